//! Where deployer asks a program: a loopback address and port of deployer's own, at which no site and no rule of the
//! user's can answer. What proves a flip, which configuration is in force and what is in flight are asked there; the public
//! port is for visitors.

use std::net::{Ipv4Addr, SocketAddr, SocketAddrV4, TcpListener};
use std::path::Path;
use std::time::Duration;

use http::{HeaderMap, StatusCode};
use sha2::{Digest, Sha256};

use super::view::VERSION_HOST;
use crate::proxy::error::ProxyError;
use crate::proxy::exchange;

/// The header of a request that asks which release answers; its value is a token that only deployer knows.
pub(super) const CHECK: &str = "deployer-check";

/// The answer's header: `APP/SLOT/LANE`.
pub(super) const RELEASE: &str = "deployer-release";

/// The answer's header at [`VERSION_HOST`].
pub(super) const VERSION: &str = "deployer-configuration";

/// The ports that are tried, in this order: below those that Linux gives to outgoing connections.
const PORTS: std::ops::Range<u16> = 7980..8000;

/// How long a program may take to answer at a port that is taken: whoever has it may never answer.
const ANSWERS: Duration = Duration::from_secs(1);

/// The door that a program's part of the configuration has: `kept`, as long as it is the program's or free; else the
/// first one that is free. `state` is the program's folder of the state folder, and gives the door an address that no
/// other program's door has.
pub(super) async fn choose(kept: Option<SocketAddrV4>, state: &Path, check: &str) -> SocketAddrV4 {
    let ip = ip(state);
    if let Some(door) = kept
        && (is_free(door) || is_deployers(door, check).await)
    {
        return door;
    }
    for door in PORTS.map(|port| SocketAddrV4::new(ip, port)) {
        if is_free(door) || is_deployers(door, check).await {
            return door;
        }
    }
    SocketAddrV4::new(ip, PORTS.start)
}

/// Asks at `door`. A configuration that an older deployer wrote has none, and one of a program in a container of its own
/// cannot be reached: then at the public port `listen`.
///
/// # Errors
/// When nothing answers.
pub(super) async fn ask(
    door: Option<SocketAddrV4>,
    listen: SocketAddr,
    host: &str,
    path: &str,
    headers: &[(&str, &str)],
) -> Result<(StatusCode, HeaderMap), ProxyError> {
    let addresses = door.map(SocketAddr::V4).into_iter().chain([listen]);
    exchange::ask_first(addresses, host, path, headers).await
}

/// An address of 127.0.0.0/8 that follows from `state`, and has nothing in common with those that people use.
fn ip(state: &Path) -> Ipv4Addr {
    let digest = Sha256::digest(state.as_os_str().as_encoded_bytes());
    let part = |index: usize| digest[index] % 254 + 1;
    Ipv4Addr::new(127, part(0), part(1), part(2))
}

fn is_free(door: SocketAddrV4) -> bool {
    TcpListener::bind(door).is_ok()
}

async fn is_deployers(door: SocketAddrV4, check: &str) -> bool {
    let headers = [(CHECK, check)];
    let asked = exchange::ask(door.into(), VERSION_HOST, "/", &headers);
    let asked = tokio::time::timeout(ANSWERS, asked).await;
    matches!(asked, Ok(Ok((_, headers))) if headers.contains_key(VERSION))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_door_stays_until_somebody_else_has_its_port() {
        let folder = tempfile::tempdir().unwrap();
        let first = choose(None, folder.path(), "token").await;
        assert_eq!(choose(Some(first), folder.path(), "token").await, first);
        let _stranger = TcpListener::bind((Ipv4Addr::UNSPECIFIED, first.port()))
            .or_else(|_| TcpListener::bind(first))
            .unwrap();
        let other = choose(None, folder.path(), "token").await;
        assert_eq!(other.ip(), first.ip());
        assert_ne!(other.port(), first.port());
    }
}
