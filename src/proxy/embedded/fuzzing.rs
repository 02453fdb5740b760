//! See [`crate::fuzzing`].

use std::cell::{Cell, RefCell};
use std::convert::Infallible;
use std::future::Future as _;
use std::io;
use std::pin::{Pin, pin};
use std::rc::Rc;
use std::task::{Context, Poll, Waker};

use bytes::Bytes;
use http::{Request, Response, StatusCode};
use http_body_util::{BodyExt as _, Empty};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::buffer::Buffer;
use super::frames::Frames;
use super::http1::{self, Answer, Begun, FIELDS_MAX, HEAD_MAX, Peer, has_end};

/// The frames of a WebSocket: where one ends is the same however the bytes are cut.
pub(crate) fn frames(data: &[u8]) {
    let (mut whole, mut single) = (Frames::default(), Frames::default());
    whole.follow(data);
    data.chunks(1).for_each(|byte| single.follow(byte));
    assert_eq!(whole.is_between(), single.is_between());
    assert_eq!(whole.has_closed(), single.has_closed());
}

/// A client's bytes, in pieces as long as the first two bytes say: every request that is read from them is the one that
/// hyper reads there, to the last byte of its body, and what goes on of it is that request and no other. Where hyper
/// finds none, none is read.
pub(crate) fn http(data: &[u8]) {
    let Some((size, bytes)) = data.split_first_chunk::<2>() else {
        return;
    };
    let size = usize::from(u16::from_le_bytes(*size)).max(1);
    let theirs = read_by_hyper(&plain(bytes), size);
    for (number, ours) in read(bytes, size).iter().enumerate() {
        let theirs = theirs.get(number);
        let theirs = theirs
            .unwrap_or_else(|| panic!("hyper has no request {number}: {} {}", ours.method, ours.target));
        let plain = ours.plain();
        assert_eq!((&plain.method, &plain.target), (&theirs.method, &theirs.target));
        match ours.is_whole {
            true => assert_eq!(&plain, theirs),
            false => assert!(theirs.body.starts_with(&plain.body), "{ours:?} of {theirs:?}"),
        }
        if can_be_read_again(&ours.passed_on) {
            let passed_on = read(&ours.passed_on, usize::MAX);
            assert_eq!(passed_on, std::slice::from_ref(ours), "what goes on");
        }
    }
    answer(bytes, size);
}

/// The bytes without those that clients send in a target and hyper does not take there: others in their stead, which are
/// as much or as little a part of a name.
fn plain(bytes: &[u8]) -> Vec<u8> {
    let plain = |byte: &u8| match byte {
        b'"' | b'<' | b'>' => b'[',
        b'`' => b'_',
        other => *other,
    };
    bytes.iter().map(plain).collect()
}

/// Whether what goes on, with what the proxy adds, is not more than is read.
fn can_be_read_again(passed_on: &[u8]) -> bool {
    let lines = passed_on.iter().filter(|byte| **byte == b'\n').count();
    passed_on.len() < HEAD_MAX / 2 && lines < FIELDS_MAX
}

/// An upstream's bytes: an answer that is read from them is read from what goes on of it too, with the same body.
fn answer(bytes: &[u8], size: usize) {
    let (asked, _) = http1::Request::read(b"GET / HTTP/1.1\r\nhost: a\r\n\r\n", Peer::Front)
        .ok()
        .flatten()
        .expect("a request");
    let read = |bytes: &[u8], size: usize| {
        let mut from = Pieces::new(bytes, size);
        let mut seen = 0;
        loop {
            match Answer::read(from.buffer.bytes(), &asked, || None).ok()? {
                Some(Begun::Meanwhile(length, _)) => from.buffer.consume(length),
                Some(Begun::Answer(mut answer, length)) => {
                    from.buffer.consume(length);
                    let mut passed_on = answer.head(false);
                    let (body, is_whole) = from.body(&mut answer.body);
                    if answer.is_chunked {
                        passed_on.extend(format!("{:x}\r\n", body.len()).bytes());
                        passed_on.extend(&body);
                        passed_on.extend(if body.is_empty() {
                            &b"\r\n"[..]
                        } else {
                            b"\r\n0\r\n\r\n"
                        });
                    } else {
                        passed_on.extend(&body);
                    }
                    return Some((answer.status, body, is_whole, passed_on));
                }
                None => {
                    seen += 1;
                    if !from.fill() || seen > bytes.len() {
                        return None;
                    }
                }
            }
        }
    };
    if let Some((status, body, true, passed_on)) = read(bytes, size)
        && can_be_read_again(&passed_on)
        && status != StatusCode::SWITCHING_PROTOCOLS
    {
        let again = read(&passed_on, usize::MAX).map(|(status, body, is_whole, _)| (status, body, is_whole));
        assert_eq!(again, Some((status, body, true)), "what goes on");
    }
}

/// A request as it was read.
#[derive(Debug, Clone, Default)]
struct Seen {
    method: String,
    target: String,
    body: Vec<u8>,
    is_whole: bool,
    /// What goes on of it.
    passed_on: Vec<u8>,
}

impl Seen {
    /// The same, as hyper would have read it.
    fn plain(&self) -> Self {
        let target = match (self.method.as_str(), self.target.as_str()) {
            // hyper does not tell an address without a path from one with the path "/".
            ("OPTIONS", "*") => "/".to_owned(),
            (_, target) => String::from_utf8_lossy(&plain(target.as_bytes())).into_owned(),
        };
        Self {
            method: String::from_utf8_lossy(&plain(self.method.as_bytes())).into_owned(),
            target,
            body: plain(&self.body),
            is_whole: self.is_whole,
            passed_on: Vec::new(),
        }
    }
}

impl PartialEq for Seen {
    fn eq(&self, other: &Self) -> bool {
        let told = |seen: &Self| (seen.method.clone(), seen.target.clone(), seen.is_whole);
        told(self) == told(other) && self.body == other.body
    }
}

/// Bytes that come in pieces.
struct Pieces<'a> {
    left: &'a [u8],
    size: usize,
    buffer: Buffer,
}

impl<'a> Pieces<'a> {
    fn new(left: &'a [u8], size: usize) -> Self {
        let buffer = Buffer::default();
        Self { left, size, buffer }
    }

    /// Whether more has come.
    fn fill(&mut self) -> bool {
        let (left, size) = (&mut self.left, self.size);
        let filled = self.buffer.poll_fill(|room| {
            let (piece, rest) = left.split_at(size.min(left.len()).min(room.len()));
            room[..piece.len()].copy_from_slice(piece);
            *left = rest;
            Poll::Ready(Ok(piece.len()))
        });
        matches!(filled, Poll::Ready(Ok(1..)))
    }

    /// As much of a body as there is, and whether that is all of it.
    fn body(&mut self, body: &mut http1::Body) -> (Vec<u8>, bool) {
        let mut content = Vec::new();
        while !body.is_done() {
            let Ok((length, gap)) = self.buffer.decode(body) else {
                break;
            };
            content.extend_from_slice(&self.buffer.bytes()[..length]);
            if length + gap > 0 {
                self.buffer.consume(length + gap);
            } else if !body.is_done() && !self.fill() {
                let _ = body.end();
                break;
            }
        }
        (content, body.is_done())
    }
}

/// The requests that the proxy reads.
fn read(bytes: &[u8], size: usize) -> Vec<Seen> {
    let mut from = Pieces::new(bytes, size);
    let (mut all, mut seen) = (Vec::new(), 0);
    loop {
        let head = from.buffer.bytes();
        let read = match head.len() > seen && (seen == 0 || has_end(head, seen)) {
            true => http1::Request::read(head, Peer::Front),
            false => Ok(None),
        };
        seen = head.len();
        match read {
            Err(_) => return all,
            Ok(None) if from.buffer.is_full() || !from.fill() => return all,
            Ok(None) => {}
            Ok(Some((mut request, length))) => {
                // hyper goes its own ways about a change of protocol.
                let head = from.buffer.bytes()[..length].to_ascii_lowercase();
                let asks_for_more = head.windows(7).any(|part| part == b"upgrade");
                from.buffer.consume(length);
                seen = 0;
                let line = String::from_utf8_lossy(&request.head);
                let mut words = line.split(' ').map(ToOwned::to_owned);
                let (method, target) = (words.next().unwrap_or_default(), words.next().unwrap_or_default());
                let is_chunked = request.body.length().is_none();
                let (body, is_whole) = from.body(&mut request.body);
                let mut passed_on = request.head;
                if is_chunked && !body.is_empty() {
                    passed_on.extend(format!("{:x}\r\n", body.len()).bytes());
                    passed_on.extend(&body);
                    passed_on.extend(b"\r\n");
                } else {
                    passed_on.extend(&body);
                }
                if is_chunked && is_whole {
                    passed_on.extend(b"0\r\n\r\n");
                }
                all.push(Seen {
                    method,
                    target,
                    body,
                    is_whole,
                    passed_on,
                });
                if !is_whole || !request.keeps || asks_for_more {
                    return all;
                }
            }
        }
    }
}

/// The requests that hyper reads.
fn read_by_hyper(bytes: &[u8], size: usize) -> Vec<Seen> {
    let seen = Rc::new(RefCell::new(Vec::new()));
    let patience = Rc::new(Cell::new(0));
    let client = Client {
        left: bytes.to_vec(),
        size,
        patience: Rc::clone(&patience),
    };
    let service = service_fn(|request| take(Rc::clone(&seen), request));
    let mut connection = pin!(
        hyper::server::conn::http1::Builder::new()
            .header_read_timeout(None)
            .max_header_size(HEAD_MAX)
            .max_headers(FIELDS_MAX)
            .serve_connection(TokioIo::new(client), service)
    );
    // Nothing here waits for anything outside, so that whoever polls once more has woken whoever waits.
    while connection
        .as_mut()
        .poll(&mut Context::from_waker(Waker::noop()))
        .is_pending()
    {
        patience.set(patience.get() + 1);
    }
    seen.take()
}

async fn take(
    seen: Rc<RefCell<Vec<Seen>>>,
    request: Request<Incoming>,
) -> Result<Response<Empty<Bytes>>, Infallible> {
    let (head, mut body) = request.into_parts();
    let at = seen.borrow().len();
    let target = head.uri.path_and_query().map(ToString::to_string);
    let target = target.filter(|target| target != "*");
    seen.borrow_mut().push(Seen {
        method: head.method.to_string(),
        target: target.unwrap_or_else(|| "/".to_owned()),
        ..Seen::default()
    });
    let mut response = Response::new(Empty::new());
    *response.status_mut() = StatusCode::NOT_FOUND;
    while let Some(frame) = body.frame().await {
        match frame {
            Ok(frame) => {
                if let Ok(data) = frame.into_data() {
                    seen.borrow_mut()[at].body.extend_from_slice(&data);
                }
            }
            Err(_) => return Ok(response),
        }
    }
    seen.borrow_mut()[at].is_whole = true;
    Ok(response)
}

/// Rounds in which a client that has sent everything is still there: hyper drops a request whose client is gone.
const PATIENCE: usize = 20;

/// A client that sends what it has, piece by piece, and reads nothing.
struct Client {
    left: Vec<u8>,
    size: usize,
    /// Rounds since it has sent something.
    patience: Rc<Cell<usize>>,
}

impl AsyncRead for Client {
    fn poll_read(self: Pin<&mut Self>, _: &mut Context<'_>, into: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        if this.left.is_empty() {
            return if this.patience.get() < PATIENCE {
                Poll::Pending
            } else {
                Poll::Ready(Ok(()))
            };
        }
        this.patience.set(0);
        let length = this.size.min(this.left.len()).min(into.remaining());
        let piece: Vec<u8> = this.left.drain(..length).collect();
        into.put_slice(&piece);
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
