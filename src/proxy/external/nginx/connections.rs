//! Connections to instances, as the kernel knows them.

use std::fs::File;
use std::io::{self, BufRead, BufReader, Read};
use std::net::{Ipv4Addr, SocketAddrV4};

/// The most bytes that are read of a table: 150 each connection.
const TABLE_MAX: u64 = 64 << 20;

/// ESTABLISHED, SYN_SENT and CLOSE_WAIT, as `include/net/tcp_states.h` of Linux numbers them: in none of the others can
/// a request be under way.
const IN_USE: [&str; 3] = ["01", "02", "08"];

/// How many connections to `upstreams` there are, idle ones too, in the network namespace of the process `pid`.
///
/// # Errors
/// When its table cannot be read.
pub(super) fn to(upstreams: &[SocketAddrV4], pid: u32) -> io::Result<u64> {
    let table = File::open(format!("/proc/{pid}/net/tcp"))?.take(TABLE_MAX);
    let mut count = 0;
    for line in BufReader::new(table).lines() {
        count += u64::from(peer(&line?).is_some_and(|peer| upstreams.contains(&peer)));
    }
    Ok(count)
}

/// The other side of the connection in a line of the table, where the connection is in use:
/// `0: 0100007F:1F90 0100007F:A2B4 01 …`, the addresses as they are in memory.
fn peer(line: &str) -> Option<SocketAddrV4> {
    let mut words = line.split_ascii_whitespace().skip(2);
    let (peer, state) = (words.next()?, words.next()?);
    if !IN_USE.contains(&state) {
        return None;
    }
    let (ip, port) = peer.split_once(':')?;
    let ip = u32::from_str_radix(ip, 16).ok()?.to_ne_bytes();
    Some(SocketAddrV4::new(
        Ipv4Addr::from(ip),
        u16::from_str_radix(port, 16).ok()?,
    ))
}

#[cfg(test)]
mod tests {
    use std::net::{SocketAddr, TcpListener, TcpStream};

    use super::*;

    #[test]
    fn connections_count_until_they_are_closed() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let SocketAddr::V4(address) = listener.local_addr().unwrap() else {
            unreachable!("an IPv4 address was bound");
        };
        let count = || to(&[address], std::process::id()).unwrap();
        assert_eq!(count(), 0, "one that listens is no connection");
        let both = [(); 2].map(|()| TcpStream::connect(address).unwrap());
        assert_eq!(count(), 2);
        let accepted: Vec<TcpStream> = (0..2).map(|_| listener.accept().unwrap().0).collect();
        drop(both);
        drop(accepted);
        assert_eq!(count(), 0, "one that waits for late packets is none either");
    }

    #[test]
    fn a_line_that_is_none_is_passed_over() {
        for line in [
            "",
            "  sl  local_address rem_address   st tx_queue rx_queue",
            "0: 0100007F:1F90 0100007F 01",
            "0: x 0100007F:x 01",
        ] {
            assert_eq!(peer(line), None, "{line:?}");
        }
    }
}
