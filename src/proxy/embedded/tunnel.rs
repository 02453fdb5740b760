//! Connections that are HTTP no longer: WebSockets and every other protocol that a client may change to.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf, copy_bidirectional};

use super::buffer::Buffer;
use super::client::Client;
use super::exchange::Lease;
use super::forward::Then;
use super::http1::Answer;
use super::pulse::Phase;
use super::websocket;

/// Changes protocol as the upstream has agreed to: says so, and carries bytes both ways from then on, counted in flight
/// on the upstream until both sides have ended. `answers` is what came from it behind its answer.
pub(super) async fn carry(client: &mut Client, mut answer: Answer, lease: Lease, answers: Buffer) -> Then {
    let Lease { link, tally } = lease;
    client.pulse.enter(match answer.is_websocket {
        true => Phase::WebSocket,
        false => Phase::Tunnel,
    });
    client.pulse.goes_unwatched(false);
    if client.say(&answer.head(false)).await.is_err() {
        return Then::Break;
    }
    let Client {
        stream,
        buffer,
        pulse,
        ..
    } = client;
    let mut asker = Side::new(std::mem::take(buffer), stream);
    let mut app = Side::new(answers, link.stream);
    if answer.is_websocket {
        if websocket::carry(asker, app, pulse).await.is_ok_and(|told| told) {
            tally.claim.in_flight.seat().upstream.count_closed();
        }
    } else {
        // Whichever side breaks off, both end.
        let _ = copy_bidirectional(&mut asker, &mut app).await;
    }
    Then::Break
}

/// One side of a tunnel: what has come of it already, then its stream.
struct Side<S> {
    left: Buffer,
    stream: S,
}

impl<S> Side<S> {
    fn new(left: Buffer, stream: S) -> Self {
        Self { left, stream }
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Side<S> {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, room: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        if this.left.is_empty() {
            return Pin::new(&mut this.stream).poll_read(cx, room);
        }
        let length = room.remaining().min(this.left.bytes().len());
        room.put_slice(&this.left.bytes()[..length]);
        this.left.consume(length);
        Poll::Ready(Ok(()))
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Side<S> {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.get_mut().stream).poll_write(cx, bytes)
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().stream).poll_flush(cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().stream).poll_shutdown(cx)
    }
}
