//! What Caddy tells at its admin address.

use std::io;
use std::net::SocketAddrV4;
use std::time::Duration;

use bytes::Bytes;
use http::header::HOST;
use http::{Request, StatusCode};
use http_body_util::{BodyExt, Full, Limited};
use serde::Deserialize;
use tokio::net::{TcpStream, UnixStream};

use crate::proxy::error::ProxyError;
use crate::proxy::exchange::exchange;

/// Where Caddy is told things where its configuration says nothing else.
const DEFAULT: &str = "127.0.0.1:2019";

/// What a unix socket's path begins with in Caddy's own notation, less the path's own stroke.
const UNIX: &str = "unix/";

/// How long an answer may take.
const DEADLINE: Duration = Duration::from_secs(10);

/// Largest answer that is read.
const ANSWER_MAX: usize = 16 << 20;

/// The admin address.
#[derive(Debug, Clone, Copy)]
pub(super) struct Admin<'a> {
    address: &'a str,
}

/// An upstream, as Caddy knows it.
#[derive(Debug, Deserialize)]
pub(super) struct Upstream {
    address: String,
    num_requests: i64,
    /// How often it could not be reached, or broke off, of late.
    #[serde(default)]
    pub(super) fails: i64,
}

impl Upstream {
    /// Where it is; none for one of the user's own that is no IPv4 address.
    pub(super) fn address(&self) -> Option<SocketAddrV4> {
        self.address.parse().ok()
    }

    pub(super) fn is_at(&self, address: SocketAddrV4) -> bool {
        self.address() == Some(address)
    }

    /// Requests and upgraded connections.
    pub(super) fn in_flight(&self) -> u64 {
        u64::try_from(self.num_requests).unwrap_or(0)
    }
}

impl<'a> Admin<'a> {
    /// `address` as Caddy's own configuration has it: `HOST:PORT`, or `unix//PATH`.
    pub(super) fn at(address: Option<&'a str>) -> Self {
        Self {
            address: address.unwrap_or(DEFAULT),
        }
    }

    /// Every upstream of the configuration in force, once each.
    ///
    /// # Errors
    /// [`ProxyError::Unreachable`] when nothing answers there within 10 seconds.
    pub(super) async fn upstreams(self) -> Result<Vec<Upstream>, ProxyError> {
        let answer = tokio::time::timeout(DEADLINE, self.get("/reverse_proxy/upstreams")).await;
        let answer = answer.unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()));
        let answer = answer.and_then(|answer| serde_json::from_slice(&answer).map_err(io::Error::other));
        answer.map_err(|cause| ProxyError::Unreachable {
            who: format!("Caddy does not tell its upstreams at {}", self.address),
            cause,
            hint: "is `admin` in [proxy.caddy] its admin address?".to_owned(),
        })
    }

    async fn get(self, path: &str) -> io::Result<Bytes> {
        let path_of_socket = self.address.strip_prefix(UNIX);
        // Caddy wants to be called by its address, and by nothing at a unix socket.
        let host = path_of_socket.map_or(self.address, |_| "");
        let request = Request::get(path).header(HOST, host).body(Full::default());
        let request = request.map_err(io::Error::other)?;
        let answer = match path_of_socket {
            Some(path) => exchange(UnixStream::connect(path).await?, request).await,
            None => exchange(TcpStream::connect(self.address).await?, request).await,
        };
        let answer = answer.map_err(io::Error::other)?;
        let status = answer.status();
        let body = Limited::new(answer.into_body(), ANSWER_MAX).collect().await;
        match (status, body) {
            (StatusCode::OK, Ok(body)) => Ok(body.to_bytes()),
            (StatusCode::OK, Err(error)) => Err(io::Error::other(error)),
            (status, _) => Err(io::Error::other(format!("it answered {status}"))),
        }
    }
}
