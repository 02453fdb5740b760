//! Where the processes of a container listen, as the kernel tells it: for whoever wonders why nothing answers.

use std::fs::File;
use std::io::Read;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::Path;

use bollard::query_parameters::InspectContainerOptions;

use super::{ContainerId, Engine};

/// Bytes of a table that are read. Sockets that listen come first in it.
const READ_MAX: u64 = 1 << 20;
/// The state of a socket that listens, in the kernel's tables.
const LISTENS: &str = "0A";
/// Where the Engine itself listens in every container, for DNS.
const ENGINES_DNS: IpAddr = IpAddr::V4(Ipv4Addr::new(127, 0, 0, 11));

impl Engine {
    /// Where the container's processes listen for TCP; `address` is the one that it has. None where that cannot be
    /// seen: it has ended, or its processes are hidden from this user.
    pub async fn listens_at(&self, id: &ContainerId, address: Ipv4Addr) -> Option<Vec<SocketAddr>> {
        let options = None::<InspectContainerOptions>;
        let found = self.docker.inspect_container(id.as_str(), options).await.ok()?;
        let pid = found.state?.pid.filter(|pid| *pid > 0)?;
        listeners(Path::new(&format!("/proc/{pid}/net")), address)
    }
}

/// What listens in the network whose tables are in `folder`, which must have `address`: a number of a process may be
/// another one's by now, or mean nothing here.
fn listeners(folder: &Path, address: Ipv4Addr) -> Option<Vec<SocketAddr>> {
    let read = |name: &str| {
        let mut text = String::new();
        let file = File::open(folder.join(name)).ok()?;
        file.take(READ_MAX).read_to_string(&mut text).ok()?;
        Some(text)
    };
    if !has_address(&read("fib_trie")?, address) {
        return None;
    }
    let mut all = listening(&read("tcp")?);
    // Without IPv6 there is no such table.
    all.extend(listening(&read("tcp6").unwrap_or_default()));
    all.sort_unstable();
    all.dedup();
    Some(all)
}

/// Whether the kernel's table of routes has `address` as one of its own.
fn has_address(table: &str, address: Ipv4Addr) -> bool {
    let wanted = format!("|-- {address}");
    let mut lines = table.lines().map(str::trim);
    while let Some(line) = lines.next() {
        if line == wanted
            && lines
                .next()
                .is_some_and(|next| next.starts_with("/32 host LOCAL"))
        {
            return true;
        }
    }
    false
}

/// The sockets that listen, of `/proc/net/tcp` or `tcp6`, but for the Engine's own.
fn listening(table: &str) -> Vec<SocketAddr> {
    let socket = |line: &str| {
        let mut words = line.split_whitespace();
        let local = words.nth(1)?;
        (words.nth(1)? == LISTENS).then_some(())?;
        let (address, port) = local.split_once(':')?;
        Some(SocketAddr::new(
            address_of(address)?,
            u16::from_str_radix(port, 16).ok()?,
        ))
    };
    let all = table.lines().filter_map(socket);
    all.filter(|socket| socket.ip() != ENGINES_DNS).collect()
}

/// An address as the kernel writes it: numbers of 32 bits in this machine's order, in hexadecimal.
fn address_of(text: &str) -> Option<IpAddr> {
    let mut bytes = Vec::new();
    for at in (0..text.len()).step_by(8) {
        let word = u32::from_str_radix(text.get(at..at + 8)?, 16).ok()?;
        bytes.extend(word.to_ne_bytes());
    }
    match bytes.len() {
        4 => Some(Ipv4Addr::from(<[u8; 4]>::try_from(bytes).ok()?).into()),
        16 => Some(Ipv6Addr::from(<[u8; 16]>::try_from(bytes).ok()?).to_canonical()),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use std::net::TcpListener;

    use super::*;

    #[test]
    fn the_kernels_own_tables_are_read() {
        let sockets = ["127.0.0.1:0", "0.0.0.0:0", "[::1]:0", "[::]:0"];
        // A machine without IPv6 has only the first two.
        let sockets: Vec<TcpListener> = sockets
            .iter()
            .filter_map(|at| TcpListener::bind(at).ok())
            .collect();
        assert!(sockets.len() >= 2);
        let found = listeners(Path::new("/proc/self/net"), Ipv4Addr::LOCALHOST).unwrap();
        for socket in &sockets {
            let address = socket.local_addr().unwrap();
            assert!(found.contains(&address), "{address} is not among {found:?}");
        }
        let elsewhere = Ipv4Addr::new(203, 0, 113, 7);
        assert_eq!(listeners(Path::new("/proc/self/net"), elsewhere), None);
    }

    #[test]
    fn what_does_not_listen_and_the_engines_dns_are_passed_over() {
        let table = "  sl  local_address rem_address   st tx_queue rx_queue tr\n   \
                     0: 0B00007F:98D1 00000000:0000 0A 00000000:00000000\n   \
                     1: 00000000:0BB8 00000000:0000 0A 00000000:00000000\n   \
                     2: 020012AC:0BB8 010012AC:D2F0 01 00000000:00000000\n   3: x\n";
        let found = listening(table);
        assert_eq!(found, ["0.0.0.0:3000".parse().unwrap()]);
    }
}
