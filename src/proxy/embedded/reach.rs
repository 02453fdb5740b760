//! Reaching an instance, or finding out soon that its address has vanished.
//!
//! A container that is gone takes its network with it: nothing answers at its address, and a connect would wait for
//! seconds. A network that is there answers for the kernel's part at once, however busy its app is: a port that nobody
//! listens on resets a connect within microseconds. So where a connect is met by silence, such a port is asked too.
//! Silence there as well means that the instance is gone; an answer means that its queue of connections is full, and
//! that waiting is worth while.

use std::io;
use std::net::{Ipv4Addr, SocketAddrV4};
use std::pin::pin;
use std::time::Duration;

use tokio::net::TcpStream;
use tokio::time::{sleep, timeout};

use crate::proxy::local_ports;

/// How long a connection to an instance may take: instances are on this host.
const CONNECT: Duration = Duration::from_secs(2);

/// How long a connect may be met by silence before anything is thought of it. On one host an answer takes
/// microseconds, whatever the app does.
const SILENCE: Duration = Duration::from_millis(100);

/// How long the other port may be silent, and how often it is asked: a single packet may be lost.
const OTHER_SILENCE: Duration = Duration::from_millis(150);
const OTHER_TRIES: usize = 2;

/// Ports that no app listens on; the second is for the instance whose own port is the first.
const NOBODYS: [u16; 2] = [1, 2];

/// Connects to the instance at `address`.
///
/// # Errors
/// `TimedOut` when it is there and accepts nothing for 2 seconds; `HostUnreachable` when its address has vanished,
/// which is known within half a second; the kernel's other ones, `ConnectionRefused` first.
pub(super) async fn reach(address: SocketAddrV4) -> io::Result<TcpStream> {
    let mut connecting = pin!(local_ports::connect(address.into()));
    tokio::select! {
        biased;
        connected = &mut connecting => return connected,
        () = sleep(SILENCE) => {}
    }
    tokio::select! {
        biased;
        connected = &mut connecting => connected,
        () = vanished(address) => Err(io::Error::new(
            io::ErrorKind::HostUnreachable,
            "nothing is at its address any more",
        )),
        () = sleep(CONNECT - SILENCE) => Err(io::Error::new(
            io::ErrorKind::TimedOut,
            "it accepted no connection within 2 s",
        )),
    }
}

/// Whether anything is at the instance's address, listening or not.
pub(super) async fn is_there(address: SocketAddrV4) -> bool {
    for _ in 0..OTHER_TRIES {
        match timeout(OTHER_SILENCE, local_ports::connect(other_port(address).into())).await {
            Ok(Ok(_)) => return true,
            Ok(Err(error)) => return !says_that_nothing_is_there(&error),
            Err(_) => {}
        }
    }
    false
}

/// Whether an error tells of the instance; the others tell of this process, which may be out of files or of ports.
pub(super) fn is_the_instances(error: &io::Error) -> bool {
    use io::ErrorKind as Kind;
    says_that_nothing_is_there(error)
        || matches!(
            error.kind(),
            Kind::ConnectionRefused | Kind::ConnectionReset | Kind::TimedOut
        )
}

/// Returns once nothing is at the instance's address; never where something is.
async fn vanished(address: SocketAddrV4) {
    if is_there(address).await {
        std::future::pending().await
    }
}

fn says_that_nothing_is_there(error: &io::Error) -> bool {
    use io::ErrorKind as Kind;
    matches!(error.kind(), Kind::HostUnreachable | Kind::NetworkUnreachable)
}

fn other_port(address: SocketAddrV4) -> (Ipv4Addr, u16) {
    let port = NOBODYS.into_iter().find(|port| *port != address.port());
    (*address.ip(), port.unwrap_or(NOBODYS[0]))
}
