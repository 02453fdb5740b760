//! Asking an instance that was put out whether it is ready again.

use std::net::SocketAddrV4;
use std::time::Duration;

use bytes::Bytes;
use http::Request;
use http::header::{HOST, USER_AGENT};
use http_body_util::Empty;
use hyper_util::rt::TokioIo;

use super::reach::reach;
use crate::proxy::route::HttpProbe;

/// Asks the instance at `address` once: for `probe`, or, where there is none, for a connection. Gives what it
/// answered, when it is ready.
pub(super) async fn ask(address: SocketAddrV4, probe: Option<&HttpProbe>) -> Option<String> {
    let Some(probe) = probe else {
        reach(address).await.ok()?;
        return Some("it accepts".to_owned());
    };
    let limit = Duration::from_millis(probe.timeout);
    let status = tokio::time::timeout(limit, status(address, probe)).await.ok()??;
    let (from, to) = probe.status;
    (from..=to)
        .contains(&status)
        .then(|| format!("{status} on {}", probe.path))
}

async fn status(address: SocketAddrV4, probe: &HttpProbe) -> Option<u16> {
    let request = Request::get(&probe.path)
        .header(HOST, &probe.host)
        .header(USER_AGENT, "deployer-probe")
        .body(Empty::<Bytes>::new())
        .ok()?;
    let stream = reach(address).await.ok()?;
    let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream))
        .await
        .ok()?;
    let connection = tokio::spawn(connection);
    let answer = sender.send_request(request).await;
    // The head is all that is wanted of it.
    connection.abort();
    Some(answer.ok()?.status().as_u16())
}
