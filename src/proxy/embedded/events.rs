//! An event stream (`text/event-stream`) on its way through: it has no end of its own, and may be ended after any event.

use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use http_body::{Body, Frame};
use hyper::body::Incoming;

use super::body::Lease;
use super::pulse::Pulse;

/// How long the end of the event that is under way is waited for, in milliseconds. A reader discards half an event.
const WHOLE_EVENT: u64 = 1_000;

/// See the module.
#[derive(Debug)]
pub(super) struct Events {
    pub(super) body: Incoming,
    lease: Lease,
    tail: Tail,
}

/// What becomes of an event stream.
pub(super) enum Next {
    /// Its next frame, as the body gives it.
    Frame(Result<Frame<Bytes>, hyper::Error>),
    /// The app has ended it.
    Ended,
    /// It is time to end it.
    Parted,
}

impl Events {
    pub(super) fn new(body: Incoming, lease: Lease) -> Self {
        let tail = Tail::default();
        Self { body, lease, tail }
    }

    /// What comes next. Once `pulse` parts, only the event that is under way.
    pub(super) fn poll_next(&mut self, cx: &mut Context<'_>, pulse: &Pulse) -> Poll<Next> {
        let parting = pulse.parting();
        if parting.is_some_and(|parting| self.tail.is_between() || parting >= WHOLE_EVENT) {
            return Poll::Ready(Next::Parted);
        }
        Pin::new(&mut self.body).poll_frame(cx).map(|frame| match frame {
            None => Next::Ended,
            Some(Err(error)) => Next::Frame(Err(error)),
            Some(Ok(frame)) => Next::Frame(Ok(match frame.into_data() {
                Ok(data) if parting.is_some() => Frame::data(self.tail.pass_event_end(data)),
                Ok(data) => {
                    self.tail.pass(&data);
                    Frame::data(data)
                }
                Err(frame) => frame,
            })),
        })
    }

    /// Gives back what the stream held on to.
    pub(super) fn into_lease(self) -> Lease {
        self.lease
    }
}

/// The last bytes that have passed, the latest one last.
#[derive(Debug, Clone, Copy, Default)]
struct Tail(Option<[u8; 3]>);

impl Tail {
    fn pass(&mut self, bytes: &[u8]) {
        for byte in &bytes[bytes.len().saturating_sub(3)..] {
            let [_, b, c] = self.0.unwrap_or_default();
            self.0 = Some([b, c, *byte]);
        }
    }

    /// Whether the last event is whole: it ends with an empty line, by any of the three line ends that there are.
    fn is_between(self) -> bool {
        match self.0 {
            None => true,
            Some(tail) => tail == *b"\n\r\n" || tail.ends_with(b"\n\n") || tail.ends_with(b"\r\r"),
        }
    }

    /// The part of `data` that ends the event under way, all of it where its end has not come.
    fn pass_event_end(&mut self, mut data: Bytes) -> Bytes {
        let end = data.iter().position(|byte| {
            self.pass(&[*byte]);
            self.is_between()
        });
        data.split_to(end.map_or(data.len(), |end| end + 1))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn events_end_at_an_empty_line_however_the_bytes_come() {
        for (stream, first) in [
            ("data: 1\n\ndata: 2\n\n", "data: 1\n\n"),
            ("data: 1\r\n\r\ndata: 2\r\n\r\n", "data: 1\r\n\r\n"),
            ("data: 1\r\rdata: 2\r\r", "data: 1\r\r"),
            ("data: 1\ndata: 1\n\n: x\n\n", "data: 1\ndata: 1\n\n"),
            ("data: never ends\n", "data: never ends\n"),
        ] {
            for cut in 1..stream.len() {
                let mut tail = Tail::default();
                assert!(tail.is_between());
                let (before, after) = stream.as_bytes().split_at(cut.min(first.len() - 1));
                tail.pass(before);
                assert!(!tail.is_between(), "{stream:?} cut at {cut}");
                let passed = tail.pass_event_end(Bytes::copy_from_slice(after));
                assert_eq!([before, &passed].concat(), first.as_bytes(), "cut at {cut}");
            }
        }
    }
}
