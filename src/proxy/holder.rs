//! Who keeps a port from being listened on: a program that listens there, an outgoing connection that the kernel gave
//! the port to, or the rest of one (TIME_WAIT).

use std::fs;
use std::io::{BufRead, BufReader};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::Path;

use super::local_ports;
use crate::model::{PortSet, printable};

/// The kernel's numbers for a socket's state (include/net/tcp_states.h).
const TIME_WAIT: u8 = 6;
const LISTEN: u8 = 10;

/// A socket that has a port of this host.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Socket {
    local: SocketAddr,
    peer: SocketAddr,
    state: u8,
    user: u32,
    /// 0 where no process has it any more.
    inode: u64,
}

/// Why nobody can listen at `address`, which somebody has, as a sentence without a full stop. Reads the kernel's tables
/// of sockets and processes: some milliseconds.
pub(super) fn told(address: SocketAddr) -> String {
    let port = address.port();
    match in_the_way(sockets(), address) {
        None => format!("port {port} is taken by another program"),
        Some(socket) if socket.state == LISTEN => format!("port {port} is taken by {}", program(&socket)),
        Some(socket) if socket.inode == 0 => format!(
            "port {port} waits for the last packets of a connection to {} that was closed, and is free by itself \
             within 60 s{}",
            socket.peer,
            by_the_kernel(port)
        ),
        Some(socket) => format!(
            "port {port} is taken by a connection of {} to {}{}",
            program(&socket),
            socket.peer,
            by_the_kernel(port)
        ),
    }
}

/// What keeps the kernel from doing so again, where nothing does.
fn by_the_kernel(port: u16) -> String {
    let warning = local_ports::warning(&PortSet::from_iter([port]));
    warning.map_or(String::new(), |_| {
        " (the kernel gave it the port: `deployer install` reserves the slot ports)".to_owned()
    })
}

/// The one among `sockets` that keeps others from listening at `address`: one that listens, else one that a process has.
fn in_the_way(sockets: impl Iterator<Item = Socket>, address: SocketAddr) -> Option<Socket> {
    sockets
        .filter(|socket| collide(socket.local, address))
        .max_by_key(|socket| {
            (
                socket.state == LISTEN,
                socket.inode != 0,
                socket.state != TIME_WAIT,
            )
        })
}

fn collide(one: SocketAddr, other: SocketAddr) -> bool {
    let (a, b) = (one.ip().to_canonical(), other.ip().to_canonical());
    one.port() == other.port() && (a == b || a.is_unspecified() || b.is_unspecified())
}

fn sockets() -> impl Iterator<Item = Socket> {
    let tables = ["/proc/net/tcp", "/proc/net/tcp6"].into_iter();
    let lines = tables
        .filter_map(|table| fs::File::open(table).ok())
        .flat_map(|table| BufReader::new(table).lines().skip(1).map_while(Result::ok));
    lines.filter_map(|line| socket(&line))
}

/// A line of the kernel's table: `sl local peer state queues timer retries user timeout inode …`.
fn socket(line: &str) -> Option<Socket> {
    let mut fields = line.split_ascii_whitespace().skip(1);
    let (local, peer) = (address(fields.next()?)?, address(fields.next()?)?);
    let state = u8::from_str_radix(fields.next()?, 16).ok()?;
    let user = fields.nth(3)?.parse().ok()?;
    let inode = fields.nth(1)?.parse().ok()?;
    Some(Socket {
        local,
        peer,
        state,
        user,
        inode,
    })
}

/// `0100007F:C3B4`. The kernel prints an address four bytes at a time, as they lie in memory.
fn address(text: &str) -> Option<SocketAddr> {
    let (ip, port) = text.split_once(':')?;
    let words = ip.as_bytes().chunks(8).map(|word| {
        let word = u32::from_str_radix(std::str::from_utf8(word).ok()?, 16).ok()?;
        Some(word.to_ne_bytes())
    });
    let bytes = words.collect::<Option<Vec<[u8; 4]>>>()?.concat();
    let ip = match <[u8; 4]>::try_from(bytes.as_slice()) {
        Ok(bytes) => IpAddr::V4(Ipv4Addr::from(bytes)),
        Err(_) => IpAddr::V6(Ipv6Addr::from(<[u8; 16]>::try_from(bytes.as_slice()).ok()?)),
    };
    Some(SocketAddr::new(
        ip.to_canonical(),
        u16::from_str_radix(port, 16).ok()?,
    ))
}

/// Whose a socket is, as far as this process may know: `nginx (pid 42)`.
fn program(socket: &Socket) -> String {
    match process(socket.inode) {
        Some((pid, name)) => format!("{} (pid {pid})", printable(&name)),
        None => format!(
            "a program of the user {} (as root, `ss -tanp` tells which)",
            user(socket.user)
        ),
    }
}

/// The process that has a socket, by its number and name. Those of other users are not for everybody to look into.
fn process(inode: u64) -> Option<(u32, String)> {
    let wanted = format!("socket:[{inode}]");
    let processes = fs::read_dir("/proc").ok()?.filter_map(Result::ok);
    let mut pids = processes.filter_map(|entry| entry.file_name().to_str()?.parse::<u32>().ok());
    let pid = pids.find(|pid| {
        let open = fs::read_dir(format!("/proc/{pid}/fd")).into_iter().flatten();
        let mut targets = open.filter_map(|entry| fs::read_link(entry.ok()?.path()).ok());
        targets.any(|target| target == Path::new(&wanted))
    })?;
    let name = fs::read_to_string(format!("/proc/{pid}/comm")).unwrap_or_default();
    Some((pid, name.trim_end().to_owned()))
}

/// A user's name; the number where there is none.
fn user(id: u32) -> String {
    let accounts = fs::read_to_string("/etc/passwd").unwrap_or_default();
    let of_id = |line: &&str| line.split(':').nth(2).and_then(|id| id.parse().ok()) == Some(id);
    let named = accounts
        .lines()
        .find(of_id)
        .and_then(|line| line.split(':').next());
    named.map_or(id.to_string(), |name| printable(name).into_owned())
}

#[cfg(test)]
mod tests {
    use std::net::{TcpListener, TcpStream};

    use super::*;

    #[test]
    fn a_line_of_the_kernels_table_is_read() {
        let line = "   0: 0100007F:C3B4 0200007F:0050 06 00000000:00000000 03:00001731 00000000     0        0 0 3 0 ";
        let read = socket(line).unwrap();
        assert_eq!(read.local, "127.0.0.1:50100".parse().unwrap());
        assert_eq!(read.peer, "127.0.0.2:80".parse().unwrap());
        assert_eq!((read.state, read.user, read.inode), (TIME_WAIT, 0, 0));
        let line = "   1: 00000000000000000000000000000000:C3B5 00000000000000000000000000000000:0000 0A \
                    00000000:00000000 00:00000000 00000000   107        0 4711 1 0 100 0 0 10 0";
        let read = socket(line).unwrap();
        assert_eq!(read.local, "[::]:50101".parse().unwrap());
        assert_eq!((read.state, read.user, read.inode), (LISTEN, 107, 4711));
        assert_eq!(socket("  sl  local_address rem_address   st"), None);
    }

    #[test]
    fn the_holder_of_a_port_is_told_as_what_it_is() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let pid = std::process::id();
        let at = listener.local_addr().unwrap();
        let said = told(at);
        assert!(
            said.ends_with(&format!("(pid {pid})")) && said.contains(" is taken by "),
            "{said}"
        );
        let everywhere = SocketAddr::new(Ipv4Addr::UNSPECIFIED.into(), at.port());
        assert_eq!(told(everywhere), said);

        let outgoing = TcpStream::connect(at).unwrap();
        let own = outgoing.local_addr().unwrap();
        let said = told(own);
        assert!(
            said.contains(" is taken by a connection of ") && said.contains(&format!("(pid {pid}) to {at}")),
            "{said}"
        );

        // Whoever closes first waits.
        drop(outgoing);
        drop(listener.accept().unwrap());
        let said = told(own);
        assert!(said.contains("is free by itself within 60 s"), "{said}");
    }
}
