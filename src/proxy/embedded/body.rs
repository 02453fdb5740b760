//! Bodies on their way through: never held, only passed on, with what has to happen when they end.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Instant;

use bytes::Bytes;
use http::StatusCode;
use http_body::{Body, Frame, SizeHint};
use hyper::body::Incoming;

use super::dial::Link;
use super::events::{Events, Next};
use super::pulse::{Phase, Pulse};
use super::table::Claim;

/// A request's body on its way to the upstream.
#[derive(Debug)]
pub(super) enum Upload {
    /// None.
    Empty,
    /// As it comes from the client.
    Streaming(Incoming, Arc<Pulse>),
}

impl Body for Upload {
    type Data = Bytes;
    type Error = hyper::Error;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, hyper::Error>>> {
        match self.get_mut() {
            Upload::Empty => Poll::Ready(None),
            Upload::Streaming(body, pulse) => {
                let polled = Pin::new(body).poll_frame(cx);
                pulse.fed(polled.is_ready());
                polled
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        match self {
            Upload::Empty => true,
            Upload::Streaming(body, _) => body.is_end_stream(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Upload::Empty => SizeHint::with_exact(0),
            Upload::Streaming(body, _) => body.size_hint(),
        }
    }
}

impl Drop for Upload {
    fn drop(&mut self) {
        if let Upload::Streaming(_, pulse) = self {
            pulse.advance(Phase::Upload, Phase::Answer);
        }
    }
}

/// An answer's body on its way to the client. The connection is at rest when it is dropped.
#[derive(Debug)]
pub(super) struct Answer {
    kind: Kind,
    pulse: Arc<Pulse>,
}

#[derive(Debug)]
enum Kind {
    Page(Option<Bytes>),
    Streaming(Incoming, Option<Box<Lease>>),
    Events(Box<Events>),
}

/// What an answer holds on to until its end: its place in the upstream's count, and the connection.
#[derive(Debug)]
pub(super) struct Lease {
    pub(super) tally: Tally,
    pub(super) link: Link,
}

/// A request that is counted in flight, and in the metrics when it ends.
#[derive(Debug)]
pub(super) struct Tally {
    pub(super) claim: Claim,
    pub(super) status: StatusCode,
    worker: usize,
    begun: Instant,
    counts: bool,
}

impl Tally {
    /// Counts from the request's beginning; it ends as a 502 unless a status is set.
    pub(super) fn new(claim: Claim, worker: usize, begun: Instant) -> Self {
        Self {
            claim,
            worker,
            begun,
            status: StatusCode::BAD_GATEWAY,
            counts: true,
        }
    }

    /// The request goes to another instance: it is not to be counted twice.
    pub(super) fn forget(mut self) {
        self.counts = false;
    }
}

impl Drop for Tally {
    fn drop(&mut self) {
        if self.counts {
            let took = self.begun.elapsed();
            self.claim
                .app
                .counters
                .count(self.worker, self.claim.slot, self.status, took);
        }
    }
}

impl Lease {
    /// The answer has ended well: the connection can serve again.
    fn end(self, now: u64) {
        let Self { tally, link } = self;
        tally.claim.in_flight.seat().keep(link, now);
    }
}

impl Answer {
    /// A page of our own.
    pub(super) fn page(text: Bytes, pulse: Arc<Pulse>) -> Self {
        Self {
            kind: Kind::Page(Some(text)),
            pulse,
        }
    }

    /// An upstream's event stream.
    pub(super) fn events(body: Incoming, lease: Lease, pulse: Arc<Pulse>) -> Self {
        Self {
            kind: Kind::Events(Box::new(Events::new(body, lease))),
            pulse,
        }
    }

    /// An upstream's answer.
    pub(super) fn streaming(body: Incoming, lease: Lease, pulse: Arc<Pulse>) -> Self {
        let lease = if body.is_end_stream() {
            lease.end(pulse.now());
            None
        } else {
            Some(Box::new(lease))
        };
        Self {
            kind: Kind::Streaming(body, lease),
            pulse,
        }
    }

    /// What an event stream's last word is, and where its connection goes.
    fn end_events(&self, events: Events, last: Next) -> Option<Result<Frame<Bytes>, hyper::Error>> {
        let lease = events.into_lease();
        match last {
            Next::Frame(broken) => return Some(broken),
            Next::Ended => lease.end(self.pulse.now()),
            Next::Parted => lease.tally.claim.in_flight.seat().upstream.count_closed(),
        }
        self.pulse.is_framed(true);
        None
    }
}

impl Body for Answer {
    type Data = Bytes;
    type Error = hyper::Error;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, hyper::Error>>> {
        let this = self.get_mut();
        match &mut this.kind {
            Kind::Page(text) => Poll::Ready(text.take().map(|text| Ok(Frame::data(text)))),
            Kind::Streaming(body, lease) => {
                let polled = Pin::new(&mut *body).poll_frame(cx);
                match &polled {
                    Poll::Pending => {}
                    Poll::Ready(Some(Err(_))) => drop(lease.take()),
                    Poll::Ready(Some(Ok(frame))) if frame.is_data() && !body.is_end_stream() => {
                        this.pulse.touch();
                    }
                    Poll::Ready(_) => {
                        this.pulse.is_framed(true);
                        if let Some(lease) = lease.take() {
                            lease.end(this.pulse.now());
                        }
                    }
                }
                polled
            }
            Kind::Events(events) => {
                let next = ready!(events.poll_next(cx, &this.pulse));
                if let Next::Frame(Ok(frame)) = next {
                    this.pulse.touch();
                    return Poll::Ready(Some(Ok(frame)));
                }
                let Kind::Events(events) = std::mem::replace(&mut this.kind, Kind::Page(None)) else {
                    unreachable!("looked at above");
                };
                Poll::Ready(this.end_events(*events, next))
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        match &self.kind {
            Kind::Page(text) => text.is_none(),
            Kind::Streaming(body, _) => body.is_end_stream(),
            Kind::Events(events) => events.body.is_end_stream(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match &self.kind {
            Kind::Page(text) => SizeHint::with_exact(text.as_ref().map_or(0, |text| text.len() as u64)),
            Kind::Streaming(body, _) => body.size_hint(),
            Kind::Events(events) => events.body.size_hint(),
        }
    }
}

impl Drop for Answer {
    fn drop(&mut self) {
        self.pulse.rest();
    }
}
