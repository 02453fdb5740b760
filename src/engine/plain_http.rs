//! A plain HTTP request to the Engine on its own connection, for what bollard does not give: the headers of an answer,
//! or a body of an older API.

use std::io;

use bytes::Bytes;
use http::header::HOST;
use http::{Request, Response};
use http_body_util::Empty;
use hyper::body::Incoming;
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpStream, UnixStream};

/// The address of an Engine.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum EngineAddress<'a> {
    /// A unix socket, by its path.
    Socket(&'a str),
    /// `HOST:PORT`.
    Tcp(&'a str),
}

impl<'a> EngineAddress<'a> {
    /// The address that `engine.host` names; none where it names none.
    pub(super) fn of(host: &'a str) -> Option<Self> {
        match host.split_once("://")? {
            ("unix", path) if path.starts_with('/') => Some(Self::Socket(path)),
            ("tcp" | "http", address) if !address.is_empty() => Some(Self::Tcp(address)),
            _ => None,
        }
    }

    /// Asks for `path`.
    ///
    /// # Errors
    /// The system's, when nothing listens there or the connection breaks off.
    pub(super) async fn get(self, path: &str) -> io::Result<Response<Incoming>> {
        match self {
            Self::Socket(socket) => exchange(UnixStream::connect(socket).await?, path).await,
            Self::Tcp(address) => exchange(TcpStream::connect(address).await?, path).await,
        }
    }
}

async fn exchange(
    stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
    path: &str,
) -> io::Result<Response<Incoming>> {
    let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream))
        .await
        .map_err(io::Error::other)?;
    tokio::spawn(connection);
    let request = Request::get(path).header(HOST, "localhost");
    let request = request.body(Empty::<Bytes>::new()).map_err(io::Error::other)?;
    sender.send_request(request).await.map_err(io::Error::other)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_a_socket_or_a_host_with_its_port() {
        assert_eq!(
            EngineAddress::of("unix:///run/d.sock"),
            Some(EngineAddress::Socket("/run/d.sock"))
        );
        assert_eq!(
            EngineAddress::of("tcp://127.0.0.1:2375"),
            Some(EngineAddress::Tcp("127.0.0.1:2375"))
        );
        for none in ["", "unix://run", "tcp://", "ssh://host", "/run/d.sock"] {
            assert_eq!(EngineAddress::of(none), None, "{none}");
        }
    }
}
