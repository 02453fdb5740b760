//! Slot ports that somebody else has. A program takes a configuration whole or not at all, and does not start with a port
//! that it cannot have: such a port is left out, so that only its slot goes without a port of its own.

use std::collections::BTreeSet;
use std::io;
use std::net::{IpAddr, SocketAddr, TcpListener};
use std::time::{Duration, Instant};

use super::kept::Kept;
use crate::proxy::answers::ClosedPort;
use crate::proxy::holder;

/// How long a port is waited for that a former worker of the program may still have.
pub(super) const AT_A_FLIP: Duration = Duration::from_secs(1);

/// How long one is waited for that another kind of proxy lets go.
pub(super) const AT_A_SWITCH: Duration = Duration::from_secs(3);

/// How often it is tried meanwhile.
const TRY: Duration = Duration::from_millis(20);

/// The ports of `kept` that somebody else than the program has: `text` is the configuration that it has, and the ports
/// in it are the program's. One that was left out before is tried once more where `tried_again` says so.
pub(super) async fn taken(
    kept: &Kept,
    text: &str,
    listen: IpAddr,
    tried_again: impl Fn(u16) -> bool,
    patience: Duration,
) -> BTreeSet<u16> {
    let began = Instant::now();
    let mut taken = BTreeSet::new();
    for port in kept.ports().filter(|port| !has(text, *port)) {
        let address = SocketAddr::new(listen, port);
        let is_known = kept.closed.contains(&port);
        let is_closed = match is_known {
            true if !tried_again(port) => true,
            true => is_taken(address),
            false => loop {
                let is_taken = is_taken(address);
                if !is_taken || began.elapsed() >= patience {
                    break is_taken;
                }
                tokio::time::sleep(TRY).await;
            },
        };
        if is_closed {
            taken.insert(port);
        }
    }
    taken
}

/// The ports that were left out, with who has them now.
pub(super) fn told(kept: &Kept, listen: IpAddr) -> Vec<ClosedPort> {
    let told = |port: &u16| {
        let address = SocketAddr::new(listen, *port);
        let reason = match is_taken(address) {
            true => holder::told(address),
            false => format!("port {port} was taken, and is free by now"),
        };
        ClosedPort { port: *port, reason }
    };
    kept.closed.iter().map(told).collect()
}

/// Whether a configuration names a port. An address of an instance with the same port counts too: the program may then
/// be given a port that it cannot have, and refuses it.
fn has(text: &str, port: u16) -> bool {
    let port = format!(":{port}");
    text.match_indices(&port)
        .any(|(at, _)| !text[at + port.len()..].starts_with(|next: char| next.is_ascii_digit()))
}

fn is_taken(address: SocketAddr) -> bool {
    TcpListener::bind(address).is_err_and(|error| error.kind() == io::ErrorKind::AddrInUse)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_port_is_the_programs_where_its_configuration_names_it() {
        let text = "listen 127.0.0.1:50100;\nlisten [::]:501011 default_server;\nbind 0.0.0.0:50102";
        for (port, is_there) in [(50100, true), (50101, false), (50102, true), (100, false)] {
            assert_eq!(has(text, port), is_there, "{port}");
        }
    }
}
