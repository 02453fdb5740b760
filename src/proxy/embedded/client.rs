//! One client's connection: its requests, one after another, and how it ends.

use std::future::{Future, poll_fn};
use std::io::{self, IoSlice};
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::io::AsyncWrite;

use super::buffer::Buffer;
use super::connection::{Accepted, Plane, Worker};
use super::forward::{self, Then};
use super::hangup::HangUp;
use super::http1::{Peer, Refused, Request, has_end};
use super::listener::Connection;
use super::page::Page;
use super::pulse::{Phase, Pulse, Ruling};
use super::stream::Stream;
use super::table::Door;

/// How long, and how many bytes, a client may go on sending that has its answer already. A connection that is closed
/// with something unread is reset, and a reset can overtake the answer.
const GOODBYE: Duration = Duration::from_secs(1);
const GOODBYE_MAX: usize = 4 << 20;

/// See the module.
#[derive(Debug)]
pub(super) struct Client {
    pub(super) plane: Arc<Plane>,
    pub(super) worker: Arc<Worker>,
    pub(super) pulse: Arc<Pulse>,
    pub(super) door: Door,
    peer: Peer,
    pub(super) stream: Stream,
    /// What it has sent, and nobody has taken.
    pub(super) buffer: Buffer,
    /// Set once it sends nothing more: whether it still reads.
    hang_up: Option<HangUp>,
}

impl Client {
    pub(super) fn new(
        plane: Arc<Plane>,
        worker: Arc<Worker>,
        pulse: Arc<Pulse>,
        connection: Connection,
        accepted: Accepted,
    ) -> Self {
        let peer = plane.peer(accepted.peer);
        Self {
            plane,
            worker,
            pulse,
            door: accepted.door,
            peer,
            stream: Stream::new(connection),
            buffer: Buffer::default(),
            hang_up: None,
        }
    }

    /// Answers what it asks, until either side wants no more.
    pub(super) async fn serve(mut self) {
        while let Some(request) = self.next_request().await {
            match forward::answer(&mut self, request).await {
                Then::Next => self.pulse.rest(),
                Then::Close if self.buffer.is_empty() => return,
                Then::Close | Then::Goodbye => return self.say_goodbye().await,
                Then::Break => return,
            }
        }
    }

    /// Its next request, whose head has come whole; none at the end.
    async fn next_request(&mut self) -> Option<Request> {
        let mut seen = 0;
        loop {
            let head = self.buffer.bytes();
            if head.len() > seen {
                self.pulse.heard();
                if seen == 0 || has_end(head, seen) {
                    match Request::read(head, self.peer) {
                        Ok(None) => {}
                        Ok(Some((request, length))) => {
                            self.buffer.consume(length);
                            return Some(request);
                        }
                        Err(Refused { page, is_head }) => return self.refuse(page, is_head).await,
                    }
                }
                seen = head.len();
            }
            if self.buffer.is_full() {
                return self.refuse(Page::HeadTooLarge, false).await;
            }
            let filled = poll_fn(|cx| {
                self.pulse.obey()?;
                self.poll_fill(cx).map(Ok)
            });
            match filled.await {
                Ok(Ok(1..)) => {}
                Ok(_) => return None,
                Err(Ruling::LateHead) => return self.refuse(Page::RequestTimeout, false).await,
                // A request that has come in the last moment is answered.
                Err(_) if self.stream.has_more() => {}
                Err(_) => return None,
            }
        }
    }

    /// Answers what is no request by `page`, and ends the connection: nobody knows where the next one would begin.
    async fn refuse(&mut self, page: Page, is_head: bool) -> Option<Request> {
        self.count_unrouted();
        self.pulse.enter(Phase::Stream);
        if self.say(&page.answer(is_head, true, None)).await.is_ok() {
            self.say_goodbye().await;
        }
        None
    }

    /// Sends it all of `text`.
    pub(super) async fn say(&mut self, mut text: &[u8]) -> io::Result<()> {
        poll_fn(|cx| {
            while !text.is_empty() {
                let polled = self.stream.poll_write(cx, &[IoSlice::new(text)]);
                self.pulse.wrote(polled.is_ready());
                text = &text[ready!(polled)?..];
            }
            Poll::Ready(Ok(()))
        })
        .await
    }

    /// Takes in what has come, 0 bytes at the end.
    pub(super) fn poll_fill(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<usize>> {
        let Self { buffer, stream, .. } = self;
        buffer.poll_fill(|room| stream.poll_read(cx, room))
    }

    /// Whether it has sent another request behind the one that it is being answered.
    pub(super) fn has_another(&self) -> bool {
        !self.buffer.is_empty() || self.stream.has_more()
    }

    /// Whether it has gone, while its request is being answered. One that sends nothing more still gets its answer, until
    /// the kernel reports a hang-up. Of a client that was never waited for this is asked only
    /// once the answer takes longer: the sweep of the pulses has it looked at then.
    pub(super) fn is_gone(&mut self, cx: &mut Context<'_>) -> bool {
        if !self.buffer.is_empty() {
            return false;
        }
        if self.stream.is_unwatched() && self.pulse.is_brief() {
            self.pulse.goes_unwatched(true);
            return false;
        }
        self.pulse.goes_unwatched(false);
        if self.hang_up.is_none() {
            match self.poll_fill(cx) {
                Poll::Pending | Poll::Ready(Ok(1..)) => return false,
                Poll::Ready(Ok(0)) => self.hang_up = self.stream.hang_up().ok(),
                Poll::Ready(Err(_)) => {}
            }
        }
        // One that cannot be watched counts as gone.
        self.hang_up.as_mut().is_none_or(|hang_up| hang_up.has_come(cx))
    }

    /// Counts a request that was no app's.
    pub(super) fn count_unrouted(&self) {
        self.plane.switch.unrouted.fetch_add(1, Relaxed);
    }

    /// Ends the connection of a client that may be sending still, such that it gets its answer.
    async fn say_goodbye(&mut self) {
        let Self { buffer, stream, .. } = self;
        buffer.consume(buffer.bytes().len());
        let mut left = GOODBYE_MAX;
        let rest = poll_fn(|cx| {
            ready!(Pin::new(&mut *stream).poll_shutdown(cx))?;
            while left > 0 {
                let came = ready!(buffer.poll_fill(|room| stream.poll_read(cx, room)))?;
                buffer.consume(came);
                left = if came == 0 { 0 } else { left.saturating_sub(came) };
            }
            Poll::Ready(io::Result::Ok(()))
        });
        let _ = tokio::time::timeout(GOODBYE, rest).await;
    }
}

/// Waits for `future` as long as the connection's pulse allows.
pub(super) async fn obeying<F: Future>(pulse: &Pulse, future: F) -> Result<F::Output, Ruling> {
    let mut future = pin!(future);
    poll_fn(|cx| {
        pulse.obey()?;
        future.as_mut().poll(cx).map(Ok)
    })
    .await
}
