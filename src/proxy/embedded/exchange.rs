//! One request on a connection to an upstream, and its answer on the way to the client: both directions at once, in the
//! task of the client's connection.

use std::io::{self, IoSlice};
use std::task::{Context, Poll, ready};

use super::buffer::Buffer;
use super::client::Client;
use super::dial::Link;
use super::flow::Flow;
use super::http1::{Answer, Begun, Body, Fault, INTERIM_MAX, Request, Unreadable, has_end};
use super::pulse::{Phase, Ruling};
use super::tally::Tally;

/// How long the end of the event that is under way is waited for, in milliseconds. A reader discards half an event.
const WHOLE_EVENT: u64 = 1_000;

/// See the module.
#[derive(Debug)]
pub(super) struct Exchange {
    pub(super) request: Request,
    pub(super) upload: Flow,
    /// Whether nothing more of the request goes out.
    is_sent: bool,
    /// Whether the upstream takes no more of it, though there is more.
    is_refused: bool,
    /// None where no upstream is asked: not yet, or not any more.
    lease: Option<Lease>,
    /// What came from the upstream, and nobody has taken.
    answers: Buffer,
    /// Bytes of it in which there is no whole head.
    seen: usize,
    /// Whether anything came.
    is_heard: bool,
    /// Interim answers that came.
    interims: usize,
    /// What is left to write of the last one that goes on to the client.
    interim: Vec<u8>,
}

/// What a request holds until its answer has come: a connection to an upstream, and a place in its count.
#[derive(Debug)]
pub(super) struct Lease {
    pub(super) link: Link,
    pub(super) tally: Tally,
}

/// An answer on its way to the client.
#[derive(Debug)]
pub(super) struct Delivery {
    download: Flow,
    is_events: bool,
    /// Whether the upstream answers more on its connection.
    keeps: bool,
    /// Whether an event stream was ended in form.
    has_parted: bool,
}

impl From<Unreadable> for Failed {
    fn from(why: Unreadable) -> Self {
        Self::Broken(why.into())
    }
}

/// Why an exchange fails.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Failed {
    /// The client is gone.
    Gone,
    /// The client's body is malformed.
    Malformed,
    /// Nothing of the request was written.
    Unsent,
    /// The upstream broke off, or what it said cannot be passed on. It may have seen the request.
    Broken(Fault),
}

impl Exchange {
    pub(super) fn new(mut request: Request) -> Self {
        let head = std::mem::take(&mut request.head);
        let body = std::mem::replace(&mut request.body, Body::none());
        let is_chunked = body.length().is_none();
        Self {
            upload: Flow::new(head, body, is_chunked, false),
            request,
            is_sent: false,
            is_refused: false,
            lease: None,
            answers: Buffer::default(),
            seen: 0,
            is_heard: false,
            interims: 0,
            interim: Vec::new(),
        }
    }

    /// Sends the request by `lease` from now on; by the one before nothing was sent, or nothing that has a body.
    pub(super) fn begin(&mut self, lease: Lease) {
        self.upload.rewind();
        if lease.tally.claim.app.takes_trailers {
            self.upload.let_trailers_pass(&self.request.announcement);
        }
        self.lease = Some(lease);
        self.answers = Buffer::default();
        (self.seen, self.is_sent, self.is_refused, self.is_heard) = (0, false, false, false);
    }

    /// Asks nobody any more, and gives what was held for that, with what came of the upstream and was not taken.
    pub(super) fn leave(&mut self) -> Option<(Lease, Buffer)> {
        self.lease
            .take()
            .map(|lease| (lease, std::mem::take(&mut self.answers)))
    }

    /// Whether it can be sent once more by another connection: it was `reused`, and closed when this request came.
    pub(super) fn met_a_close(&self, reused: bool) -> bool {
        reused && self.request.is_repeatable && !self.is_heard
    }

    /// Counts and logs why the answer cannot be passed on.
    pub(super) fn report(&self, fault: Fault) {
        if let Some(Lease { tally, .. }) = &self.lease {
            tally.report(fault);
        }
    }

    /// Whether the whole request has gone out.
    pub(super) fn is_asked(&self) -> bool {
        self.is_sent && !self.is_refused
    }

    /// Takes what is left of the request out of what has come from the client; gives whether that is all of it.
    pub(super) fn discard(&mut self, client: &mut Client) -> bool {
        !self.is_refused && (self.upload.has_gone() || self.upload.discard(&mut client.buffer))
    }

    /// Sends the request and waits for the answer's head, as long as the connection's pulse allows.
    pub(super) fn poll_answer(
        &mut self,
        cx: &mut Context<'_>,
        client: &mut Client,
    ) -> Poll<Result<Result<Answer, Failed>, Ruling>> {
        client.pulse.obey()?;
        if let Err(failed) = self.send(cx, client) {
            return Poll::Ready(Ok(Err(failed)));
        }
        loop {
            if ready!(self.poll_interim(cx, client)).is_err() {
                return Poll::Ready(Ok(Err(Failed::Gone)));
            }
            match ready!(self.poll_head(cx)) {
                Ok(Some(answer)) => return Poll::Ready(Ok(Ok(answer))),
                Ok(None) => client.pulse.touch(),
                Err(failed) => return Poll::Ready(Ok(Err(failed))),
            }
        }
    }

    /// Whether a part of an interim answer was written, so that nothing else can follow.
    pub(super) fn is_within_interim(&self) -> bool {
        !self.interim.is_empty()
    }

    /// Writes what is left of an interim answer.
    fn poll_interim(&mut self, cx: &mut Context<'_>, client: &mut Client) -> Poll<io::Result<()>> {
        while !self.interim.is_empty() {
            let written = client.stream.poll_write(cx, &[IoSlice::new(&self.interim)]);
            client.pulse.wrote(written.is_ready());
            self.interim.drain(..ready!(written)?);
        }
        Poll::Ready(Ok(()))
    }

    /// Sends what can be sent of the request; once all is sent, looks whether the client is still there.
    fn send(&mut self, cx: &mut Context<'_>, client: &mut Client) -> Result<(), Failed> {
        while !self.is_sent {
            let Some(Lease { link, .. }) = &mut self.lease else {
                self.is_sent = true;
                break;
            };
            let written = self
                .upload
                .poll_write(&mut client.buffer, |bytes| link.poll_write(cx, bytes));
            match written {
                Poll::Pending => return Ok(()),
                Poll::Ready(Ok(())) => {}
                Poll::Ready(Err(_)) if !self.upload.has_begun() => return Err(Failed::Unsent),
                Poll::Ready(Err(_)) => {
                    // It may have answered all the same, before it closed.
                    (self.is_sent, self.is_refused) = (true, true);
                    break;
                }
            }
            if self.upload.has_gone() {
                self.is_sent = true;
                client.pulse.advance(Phase::Upload, Phase::Answer);
                break;
            }
            self.upload
                .stage(&mut client.buffer)
                .map_err(|_| Failed::Malformed)?;
            if self.upload.is_written() && !self.upload.has_come() {
                let polled = client.poll_fill(cx);
                client.pulse.fed(polled.is_ready());
                match polled {
                    Poll::Pending => return Ok(()),
                    Poll::Ready(Ok(1..)) => {}
                    Poll::Ready(_) => return Err(Failed::Gone),
                }
            }
        }
        match client.is_gone(cx) {
            true => Err(Failed::Gone),
            false => Ok(()),
        }
    }

    /// Waits for the answer's head; none where an interim answer came first.
    fn poll_head(&mut self, cx: &mut Context<'_>) -> Poll<Result<Option<Answer>, Failed>> {
        // What comes before anything was asked answers something else.
        if !self.upload.has_begun() {
            return Poll::Pending;
        }
        let Some(Lease { link, tally }) = &mut self.lease else {
            return Poll::Ready(Err(Unreadable::Closed.into()));
        };
        loop {
            let head = self.answers.bytes();
            if head.len() > self.seen && (self.seen == 0 || has_end(head, self.seen)) {
                let release = || tally.claim.told(self.request.check.as_deref());
                match Answer::read(head, &self.request, release).map_err(Failed::Broken)? {
                    None => {}
                    Some(Begun::Meanwhile(length, interim)) => {
                        self.answers.consume(length);
                        self.seen = 0;
                        self.interims += 1;
                        if self.interims > INTERIM_MAX {
                            return Poll::Ready(Err(Unreadable::TooManyInterim.into()));
                        }
                        self.interim = interim;
                        return Poll::Ready(Ok(None));
                    }
                    Some(Begun::Answer(mut answer, length)) => {
                        self.answers.consume(length);
                        // It may not have read what it has answered, and take the rest for the next request.
                        answer.keeps &= self.is_sent;
                        tally.status = answer.status;
                        return Poll::Ready(Ok(Some(answer)));
                    }
                }
            }
            self.seen = head.len();
            if self.answers.is_full() {
                return Poll::Ready(Err(Unreadable::HeadTooLarge.into()));
            }
            match ready!(self.answers.poll_fill(|room| link.poll_read(cx, room))) {
                Ok(1..) => self.is_heard = true,
                _ if self.seen > 0 => return Poll::Ready(Err(Unreadable::ClosedInHead.into())),
                _ => return Poll::Ready(Err(Unreadable::Closed.into())),
            }
        }
    }

    /// Passes the answer on as it comes; what is left of the request goes out meanwhile.
    pub(super) fn poll_deliver(
        &mut self,
        cx: &mut Context<'_>,
        client: &mut Client,
        delivery: &mut Delivery,
    ) -> Poll<Result<(), Failed>> {
        self.send(cx, client)?;
        loop {
            self.stage(client, delivery)?;
            let download = &mut delivery.download;
            if download.has_come() {
                self.release(client, delivery.keeps && !delivery.has_parted, download);
            }
            let stream = &mut client.stream;
            let written = download.poll_write(&mut self.answers, |bytes| stream.poll_write(cx, bytes));
            client.pulse.wrote(written.is_ready());
            ready!(written).map_err(|_| Failed::Gone)?;
            if download.has_gone() {
                return Poll::Ready(Ok(()));
            }
            if download.has_come() {
                continue;
            }
            let Some(Lease { link, .. }) = &mut self.lease else {
                return Poll::Ready(Err(Unreadable::ClosedInBody.into()));
            };
            match ready!(self.answers.poll_fill(|room| link.poll_read(cx, room))) {
                Ok(1..) => client.pulse.touch(),
                Ok(0) => download.end().map_err(|_| Unreadable::ClosedInBody)?,
                Err(_) => return Poll::Ready(Err(Unreadable::ClosedInBody.into())),
            }
        }
    }

    /// Has the next piece of the answer written; of a stream that is to part, what ends it.
    fn stage(&mut self, client: &Client, delivery: &mut Delivery) -> Result<(), Failed> {
        let download = &mut delivery.download;
        let parting = if delivery.is_events {
            client.pulse.parting()
        } else {
            None
        };
        let staged = match parting {
            None => download.stage(&mut self.answers),
            Some(_) if !download.is_written() || download.has_come() => Ok(()),
            Some(parting) if download.is_between_events() || parting >= WHOLE_EVENT => {
                delivery.has_parted = true;
                if let Some(Lease { tally, .. }) = &self.lease {
                    tally.claim.in_flight.seat().upstream.count_closed();
                }
                download.stage_end();
                Ok(())
            }
            Some(_) => download.stage_event_end(&mut self.answers),
        };
        staged.map_err(|_| Unreadable::Chunk.into())
    }

    /// The upstream is done with this request: its connection can serve the next one, if it `keeps`.
    fn release(&mut self, client: &Client, keeps: bool, download: &Flow) {
        let Some(Lease { link, tally }) = self.lease.take() else {
            return;
        };
        let seat = tally.claim.in_flight.seat();
        match keeps && self.is_asked() {
            true if download.holds_all_of(&self.answers) => seat.keep(link, client.pulse.now()),
            true => seat.upstream.distrust(),
            false => {}
        }
        client.pulse.serve_by(0);
    }
}

impl Delivery {
    /// Of `answer`, whose head says whether the client's connection `closes` behind it, to a client that takes `trailers`
    /// or does not.
    pub(super) fn new(mut answer: Answer, closes: bool, trailers: bool) -> Self {
        let download = Flow::new(answer.head(closes), answer.body, answer.is_chunked, trailers);
        Self {
            download: match answer.is_events {
                true => download.of_events(),
                false => download,
            },
            is_events: answer.is_events,
            keeps: answer.keeps,
            has_parted: false,
        }
    }

    /// Whether anything of it has gone out.
    pub(super) fn has_begun(&self) -> bool {
        self.download.has_begun()
    }

    /// Whether nothing but the connection's end tells where a stream ends that was ended in form. Where its last chunk does,
    /// the connection stays: its client was told so, and may be sending the next request.
    pub(super) fn ends_with_connection(&self) -> bool {
        self.has_parted && !self.download.is_chunked()
    }
}
