//! One request, asked of a proxy as any client would.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::Duration;

use bytes::Bytes;
use http::header::HOST;
use http::{HeaderMap, Request, StatusCode};
use http_body_util::Full;
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite};

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
    let address = dialled(address);
    let failed = |error: &dyn std::fmt::Display| {
        ProxyError::failed(format!(
            "a request to http://{address}{path} was not answered: {error}"
        ))
    };
    let mut request = Request::get(path).header(HOST, host);
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    let request = request.body(Full::default()).map_err(|error| failed(&error))?;
    let answered = tokio::time::timeout(DEADLINE, async {
        let stream = local_ports::connect(address)
            .await
            .map_err(|error| failed(&error))?;
        exchange(stream, request).await.map_err(|error| failed(&error))
    });
    let response = answered.await.map_err(|_| failed(&"it took more than 10s"))??;
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
