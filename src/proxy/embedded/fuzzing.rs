//! See [`crate::fuzzing`].

use std::cell::Cell;
use std::convert::Infallible;
use std::io;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};

use bytes::Bytes;
use http::header::{CONNECTION, UPGRADE};
use http::{Method, Request, Response, StatusCode, Version};
use http_body_util::{BodyExt, Empty};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::connection::HEAD_MAX;
use super::frames::Frames;
use super::framing::Framing;

/// The frames of a WebSocket: where one ends is the same however the bytes are cut.
pub(crate) fn frames(data: &[u8]) {
    let (mut whole, mut single) = (Frames::default(), Frames::default());
    whole.follow(data);
    data.chunks(1).for_each(|byte| single.follow(byte));
    assert_eq!(whole.is_between(), single.is_between());
    assert_eq!(whole.has_closed(), single.has_closed());
}

/// A client's bytes, in pieces as long as the first two bytes say: what follows their framing counts the requests as
/// hyper does, whatever they are, as long as it has found none that is to be refused.
pub(crate) fn http(data: &[u8]) {
    let Some((size, bytes)) = data.split_first_chunk::<2>() else {
        return;
    };
    let seen = Rc::new(Seen::default());
    let client = Client {
        left: bytes.to_vec(),
        piece: usize::from(u16::from_le_bytes(*size)).max(1),
        framing: Framing::new(),
        seen: Rc::clone(&seen),
    };
    let service = service_fn(|request| answer(Rc::clone(&seen), request));
    let connection = hyper::server::conn::http1::Builder::new()
        .header_read_timeout(None)
        .max_header_size(HEAD_MAX)
        .serve_connection(TokioIo::new(client), service);
    let runtime = tokio::runtime::Builder::new_current_thread().build();
    let ended = runtime.expect("a runtime").block_on(connection);
    if ended.is_ok() && !seen.closes.get() && seen.refused.get().is_none() {
        assert_eq!(
            seen.served.get(),
            seen.heads.get(),
            "hyper's requests, and those counted"
        );
    }
}

/// What was seen of a connection.
#[derive(Default)]
struct Seen {
    /// Requests that hyper has given to the service.
    served: Cell<u32>,
    /// Heads that were counted before.
    heads: Cell<u32>,
    /// The request that is to be refused.
    refused: Cell<Option<u32>>,
    /// Whether a request is the connection's last.
    closes: Cell<bool>,
}

async fn answer(seen: Rc<Seen>, request: Request<Incoming>) -> Result<Response<Empty<Bytes>>, Infallible> {
    let number = seen.served.get() + 1;
    seen.served.set(number);
    let mut response = Response::new(Empty::new());
    *response.status_mut() = StatusCode::NOT_FOUND;
    match seen.refused.get() {
        Some(refused) if number >= refused => {
            assert_eq!(number, refused, "hyper went on behind a request that is refused");
            response
                .headers_mut()
                .insert(CONNECTION, http::HeaderValue::from_static("close"));
            return Ok(response);
        }
        _ => assert!(number <= seen.heads.get(), "request {number} was not counted"),
    }
    let headers = request.headers();
    let plain = request.version() == Version::HTTP_11
        && request.method() != Method::CONNECT
        && !headers.contains_key(CONNECTION)
        && !headers.contains_key(UPGRADE);
    // A body that hyper refuses is the connection's last too.
    let is_whole = request.into_body().collect().await.is_ok();
    if !plain || !is_whole {
        seen.closes.set(true);
    }
    Ok(response)
}

/// A client that sends what it has, piece by piece, and reads nothing.
struct Client {
    left: Vec<u8>,
    piece: usize,
    framing: Framing,
    seen: Rc<Seen>,
}

impl AsyncRead for Client {
    fn poll_read(self: Pin<&mut Self>, _: &mut Context<'_>, into: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        let length = this.piece.min(this.left.len()).min(into.remaining());
        let piece: Vec<u8> = this.left.drain(..length).collect();
        into.put_slice(&piece);
        let refused = this.framing.follow(&piece);
        this.seen.refused.set(this.seen.refused.get().or(refused));
        this.seen.heads.set(this.framing.heads());
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Client {
    fn poll_write(self: Pin<&mut Self>, _: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Poll::Ready(Ok(bytes.len()))
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}
