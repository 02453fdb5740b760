//! One request, asked of a proxy as any client would.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::Path;
use std::time::Duration;

use bytes::Bytes;
use http::header::HOST;
use http::{HeaderMap, Request, StatusCode};
use http_body_util::Full;
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::UnixStream;

use super::error::ProxyError;
use super::local_ports;

/// How long an answer may take to begin.
const DEADLINE: Duration = Duration::from_secs(10);

/// Asks for `path` of `host` at `address`, and gives the head of the answer.
///
/// # Errors
/// When nothing answers there within 10 seconds.
pub(super) async fn ask(
    address: SocketAddr,
    host: &str,
    path: &str,
    headers: &[(&str, &str)],
) -> Result<(StatusCode, HeaderMap), ProxyError> {
    ask_first([address], host, path, headers).await
}

/// As [`ask`], of the first of `addresses` that takes a connection.
///
/// # Errors
/// When nothing answers there within 10 seconds.
pub(super) async fn ask_first(
    addresses: impl IntoIterator<Item = SocketAddr>,
    host: &str,
    path: &str,
    headers: &[(&str, &str)],
) -> Result<(StatusCode, HeaderMap), ProxyError> {
    let mut last = io::Error::from(io::ErrorKind::InvalidInput);
    let mut asked = String::new();
    for address in addresses {
        let address = dialled(address);
        asked = format!("http://{address}{path}");
        match tokio::time::timeout(DEADLINE, local_ports::connect(address)).await {
            Ok(Ok(stream)) => return ask_on(stream, &asked, host, path, headers).await,
            Ok(Err(error)) => last = error,
            Err(_) => last = io::ErrorKind::TimedOut.into(),
        }
    }
    Err(unanswered(&asked, &last))
}

/// As [`ask`], at a unix socket.
///
/// # Errors
/// When nothing answers there within 10 seconds.
pub(super) async fn ask_at_socket(
    socket: &Path,
    host: &str,
    path: &str,
    headers: &[(&str, &str)],
) -> Result<(StatusCode, HeaderMap), ProxyError> {
    let asked = format!("{} for {path}", socket.display());
    let stream = UnixStream::connect(socket).await;
    let stream = stream.map_err(|error| unanswered(&asked, &error))?;
    ask_on(stream, &asked, host, path, headers).await
}

fn unanswered(asked: &str, error: &dyn std::fmt::Display) -> ProxyError {
    ProxyError::failed(format!("a request to {asked} was not answered: {error}"))
}

/// `asked` is what was asked, in a sentence.
pub(super) async fn ask_on(
    stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
    asked: &str,
    host: &str,
    path: &str,
    headers: &[(&str, &str)],
) -> Result<(StatusCode, HeaderMap), ProxyError> {
    let failed = |error: &dyn std::fmt::Display| unanswered(asked, error);
    let mut request = Request::get(path).header(HOST, host);
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    let request = request.body(Full::default()).map_err(|error| failed(&error))?;
    let answered = tokio::time::timeout(DEADLINE, exchange(stream, request)).await;
    let response = answered
        .map_err(|_| failed(&"it took more than 10s"))?
        .map_err(|error| failed(&error))?;
    let (head, _) = response.into_parts();
    Ok((head.status, head.headers))
}

/// One request on a connection of its own, which closes when the answer, or this future, is dropped.
pub(super) async fn exchange(
    stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
    request: Request<Full<Bytes>>,
) -> hyper::Result<http::Response<hyper::body::Incoming>> {
    let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await?;
    tokio::spawn(connection);
    sender.send_request(request).await
}

/// Where to dial what listens at `address`.
pub(super) fn dialled(address: SocketAddr) -> SocketAddr {
    let ip = match address.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => Ipv4Addr::LOCALHOST.into(),
        IpAddr::V6(ip) if ip.is_unspecified() => Ipv6Addr::LOCALHOST.into(),
        ip => ip,
    };
    SocketAddr::new(ip, address.port())
}
