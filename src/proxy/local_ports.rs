//! The ports that the kernel gives to outgoing connections, and those that it keeps for programs that listen.
//!
//! An outgoing connection has a port of its own on this host. While it is open, and for up to 60 seconds after it was
//! closed (TIME_WAIT), nobody can listen on that port at the connection's address. The kernel takes it from
//! `ip_local_port_range`, in which the slot ports lie, and never takes one that is in `ip_local_reserved_ports`.

use std::fs::File;
use std::io::{self, Read};
use std::net::SocketAddr;

use tokio::net::{TcpSocket, TcpStream};

use crate::model::PortSet;

/// Where the kernel tells which ports it keeps.
pub const RESERVED: &str = "/proc/sys/net/ipv4/ip_local_reserved_ports";

/// Where the kernel tells from which ports it takes one.
const RANGE: &str = "/proc/sys/net/ipv4/ip_local_port_range";

/// What helps where it does not keep ports that it should.
pub const RESERVES_THEM: &str = "`deployer install` reserves them (net.ipv4.ip_local_reserved_ports)";

/// The most bytes of such a list: some thousand ranges.
const LIST_MAX: usize = 64 << 10;

/// The ports that the kernel keeps for programs that listen; none where it does not tell.
pub fn reserved() -> Option<PortSet> {
    read(RESERVED).ok()?.parse().ok()
}

/// The whole of a file of the kernel's, by one read: it answers a second one with nothing.
fn read(path: &str) -> io::Result<String> {
    let mut buffer = vec![0; LIST_MAX];
    let length = File::open(path)?.read(&mut buffer)?;
    if length == LIST_MAX {
        return Err(io::ErrorKind::FileTooLarge.into());
    }
    buffer.truncate(length);
    String::from_utf8(buffer).map_err(io::Error::other)
}

/// Those of `ports` that the kernel may give to an outgoing connection. Where it does not tell, that is none.
pub fn unreserved(ports: &PortSet) -> PortSet {
    let range = read(RANGE).ok();
    match (range.as_deref().and_then(read_range), reserved()) {
        (Some(range), Some(reserved)) => ports.among(&range).without(&reserved),
        _ => PortSet::default(),
    }
}

/// That the kernel may give some of `ports` away, and what to do, as a sentence; none where it may not.
pub fn warning(ports: &PortSet) -> Option<String> {
    let open = unreserved(ports);
    (!open.is_empty()).then(|| format!("{}: {RESERVES_THEM}", may_be_given_away(&open)))
}

/// That the kernel may give `ports` away.
pub fn may_be_given_away(ports: &PortSet) -> String {
    format!("the kernel may give the ports {ports}, which are to be listened on, to outgoing connections")
}

/// Connects to `address` from a port that can be listened on all the same. The kernel lets a listener have the port of a
/// connection only where both allow it (SO_REUSEADDR); a listener of the standard library's does.
///
/// # Errors
/// The kernel's.
pub async fn connect(address: SocketAddr) -> io::Result<TcpStream> {
    let socket = match address {
        SocketAddr::V4(_) => TcpSocket::new_v4()?,
        SocketAddr::V6(_) => TcpSocket::new_v6()?,
    };
    socket.set_reuseaddr(true)?;
    socket.connect(address).await
}

/// The kernel writes the first and the last port.
fn read_range(text: &str) -> Option<PortSet> {
    let (first, last) = text.trim().split_once(char::is_whitespace)?;
    let (first, last): (u16, u16) = (first.parse().ok()?, last.trim().parse().ok()?);
    Some((first..=last).collect())
}
