//! One message on its way through: its head, and its body in pieces, read on one side and written on the other.
//!
//! Of a body no more is held than one buffer: the next piece is read when this one is written.

use std::io::{self, IoSlice};
use std::task::{Poll, ready};

use super::buffer::Buffer;
use super::events::Tail;
use super::http1::{Body, Malformed, put_size};

/// See the module. The content that is under way stands at the front of the buffer that it was read into.
#[derive(Debug)]
pub(super) struct Flow {
    body: Body,
    /// Whether it goes on in chunks.
    is_chunked: bool,
    /// Whether trailers go on, those that may.
    has_trailers: bool,
    /// Whether everything was staged.
    is_staged: bool,
    /// What is written before the content, and how much of it was.
    before: Vec<u8>,
    written: usize,
    /// Bytes of content that are to be written, and bytes behind them that are not.
    content: usize,
    gap: usize,
    /// What is written behind the content.
    after: &'static [u8],
    /// Whether anything at all was written.
    has_begun: bool,
    events: Option<Tail>,
}

impl Flow {
    /// A message with this `head`, whose body goes on in chunks, or as it is.
    pub(super) fn new(head: Vec<u8>, body: Body, is_chunked: bool, has_trailers: bool) -> Self {
        Self {
            is_staged: body.is_done() && !is_chunked,
            body,
            is_chunked,
            has_trailers,
            before: head,
            written: 0,
            content: 0,
            gap: 0,
            after: &[],
            has_begun: false,
            events: None,
        }
    }

    /// Lets its trailers go on, those that may, and has its head announce them by the field `announcement`. Only before
    /// anything of it was written.
    pub(super) fn let_trailers_pass(&mut self, announcement: &[u8]) {
        if !std::mem::replace(&mut self.has_trailers, true) {
            let end = self.before.len().saturating_sub(2);
            self.before.splice(end..end, announcement.iter().copied());
        }
    }

    /// The same, of an event stream.
    pub(super) fn of_events(self) -> Self {
        Self {
            events: Some(Tail::default()),
            ..self
        }
    }

    /// Whether it goes on in chunks, of which the last one tells where it ends.
    pub(super) fn is_chunked(&self) -> bool {
        self.is_chunked
    }

    /// Whether its body has come whole.
    pub(super) fn has_come(&self) -> bool {
        self.body.is_done()
    }

    /// Whether it has gone whole.
    pub(super) fn has_gone(&self) -> bool {
        self.is_staged && self.is_written()
    }

    /// Whether `buffer` holds nothing but content that is under way.
    pub(super) fn holds_all_of(&self, buffer: &Buffer) -> bool {
        buffer.bytes().len() == self.content + self.gap
    }

    /// Whether anything of it was written.
    pub(super) fn has_begun(&self) -> bool {
        self.has_begun
    }

    /// Whether all that was staged is written.
    pub(super) fn is_written(&self) -> bool {
        self.written == self.before.len() && self.content == 0 && self.after.is_empty()
    }

    /// Begins once more to write it: only where nothing was written, or it has no body.
    pub(super) fn rewind(&mut self) {
        self.written = 0;
        self.has_begun = false;
    }

    /// Has the next piece written that is in `buffer`, beside a head that is yet to be.
    ///
    /// # Errors
    /// When the body is malformed.
    pub(super) fn stage(&mut self, buffer: &mut Buffer) -> Result<(), Malformed> {
        if self.is_staged || self.content > 0 || !self.after.is_empty() {
            return Ok(());
        }
        if self.written > 0 && self.written == self.before.len() {
            self.before.clear();
            self.written = 0;
        }
        (self.content, self.gap) = buffer.decode(&mut self.body)?;
        if let Some(tail) = &mut self.events {
            tail.pass(&buffer.bytes()[..self.content]);
        }
        self.frame();
        Ok(())
    }

    fn frame(&mut self) {
        let is_last = self.body.is_done();
        match (self.is_chunked, self.content) {
            (false, _) => self.is_staged = is_last,
            (true, 0) if is_last => {
                self.before.extend_from_slice(b"0\r\n");
                if self.has_trailers {
                    self.body.put_trailers(&mut self.before);
                }
                self.after = b"\r\n";
                self.is_staged = true;
            }
            (true, 0) => {}
            (true, size) => {
                put_size(&mut self.before, size);
                // Trailers come with a last chunk of their own.
                self.is_staged = is_last && !self.body.has_trailers();
                self.after = if self.is_staged { b"\r\n0\r\n\r\n" } else { b"\r\n" };
            }
        }
    }

    /// Writes what was staged.
    pub(super) fn poll_write(
        &mut self,
        buffer: &mut Buffer,
        mut write: impl FnMut(&[IoSlice<'_>]) -> Poll<io::Result<usize>>,
    ) -> Poll<io::Result<()>> {
        while !self.is_written() {
            let content = &buffer.bytes()[..self.content];
            let all = [&self.before[self.written..], content, self.after];
            let written = match all {
                [only, [], []] | [[], only, []] => write(&[IoSlice::new(only)]),
                [one, other, []] => write(&[one, other].map(IoSlice::new)),
                all => write(&all.map(IoSlice::new)),
            };
            let written = ready!(written)?;
            if written == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
            self.advance(written, buffer);
        }
        Poll::Ready(Ok(()))
    }

    fn advance(&mut self, mut written: usize, buffer: &mut Buffer) {
        self.has_begun = true;
        let before = written.min(self.before.len() - self.written);
        self.written += before;
        written -= before;
        let content = written.min(self.content);
        self.content -= content;
        let gap = if self.content == 0 {
            std::mem::take(&mut self.gap)
        } else {
            0
        };
        if content + gap > 0 {
            buffer.consume(content + gap);
        }
        self.after = &self.after[written - content..];
    }

    /// The other side has ended its stream.
    ///
    /// # Errors
    /// When that is not where the body ends.
    pub(super) fn end(&mut self) -> Result<(), Malformed> {
        self.body.end()
    }

    /// Takes out of `buffer` what has come of a body that nobody wants; gives whether that is all of it.
    pub(super) fn discard(&mut self, buffer: &mut Buffer) -> bool {
        if self.content + self.gap > 0 {
            buffer.consume(self.content + self.gap);
            (self.content, self.gap) = (0, 0);
        }
        while !self.body.is_done() {
            match buffer.decode(&mut self.body) {
                Ok((0, _)) | Err(Malformed) => break,
                Ok((content, gap)) => buffer.consume(content + gap),
            }
        }
        self.body.is_done()
    }

    /// Whether an event stream can end here: behind a whole event.
    pub(super) fn is_between_events(&self) -> bool {
        self.events.is_some_and(Tail::is_between)
    }

    /// Has the end of the event written that is under way, as far as it is in `buffer`, and nothing behind that.
    ///
    /// # Errors
    /// When the body is malformed.
    pub(super) fn stage_event_end(&mut self, buffer: &mut Buffer) -> Result<(), Malformed> {
        let Some(tail) = &mut self.events else {
            return Ok(());
        };
        if self.written == self.before.len() {
            self.before.clear();
            self.written = 0;
        }
        let (content, gap) = buffer.decode(&mut self.body)?;
        let end = tail.pass_event_end(&buffer.bytes()[..content]);
        (self.content, self.gap) = (end, content - end + gap);
        if end == 0 && content + gap > 0 {
            buffer.consume(content + gap);
            self.gap = 0;
        }
        self.frame();
        Ok(())
    }

    /// Has the end written of an event stream that is to end here.
    pub(super) fn stage_end(&mut self) {
        self.body.break_off();
        self.before.clear();
        self.written = 0;
        self.frame();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn buffer_of(bytes: &[u8]) -> Buffer {
        let mut buffer = Buffer::default();
        let filled = buffer.poll_fill(|room| {
            room[..bytes.len()].copy_from_slice(bytes);
            Poll::Ready(Ok(bytes.len()))
        });
        assert!(filled.is_ready());
        buffer
    }

    /// What is written of a flow, when what comes, comes in pieces of `cut` bytes, and is written in pieces of `most`.
    fn pass(mut flow: Flow, stream: &[u8], cut: usize, most: usize) -> Vec<u8> {
        let (mut written, mut buffer) = (Vec::new(), Buffer::default());
        let mut pieces = stream.chunks(cut);
        while !flow.has_gone() {
            flow.stage(&mut buffer).unwrap();
            let gone = flow.poll_write(&mut buffer, |parts| {
                let all = parts
                    .iter()
                    .fold(Vec::new(), |all, part| [&all, &part[..]].concat());
                let taken = most.min(all.len());
                written.extend_from_slice(&all[..taken]);
                Poll::Ready(Ok(taken))
            });
            assert!(matches!(gone, Poll::Ready(Ok(()))));
            if !flow.has_gone() && !flow.has_come() {
                match pieces.next() {
                    Some(piece) => drop(buffer.poll_fill(|room| {
                        room[..piece.len()].copy_from_slice(piece);
                        Poll::Ready(Ok(piece.len()))
                    })),
                    None => flow.end().unwrap(),
                }
            }
        }
        assert!(buffer.is_empty());
        written
    }

    /// The content of chunks, and their trailers.
    fn unchunk(mut bytes: &[u8]) -> (Vec<u8>, Vec<u8>) {
        let mut content = Vec::new();
        loop {
            let end = bytes.windows(2).position(|pair| pair == b"\r\n").expect("a line");
            let size = usize::from_str_radix(std::str::from_utf8(&bytes[..end]).unwrap(), 16).unwrap();
            bytes = &bytes[end + 2..];
            if size == 0 {
                return (content, bytes.to_vec());
            }
            content.extend_from_slice(&bytes[..size]);
            assert_eq!(&bytes[size..size + 2], b"\r\n");
            bytes = &bytes[size + 2..];
        }
    }

    #[test]
    fn a_message_goes_on_whole_however_it_comes_and_is_taken() {
        let chunks = b"3\r\nabc\r\n5\r\ndefgh\r\n0\r\nx-sum: 1\r\n\r\n";
        for cut in 1..=chunks.len() {
            for most in [1, 2, 3, 7, 1000] {
                let flow = |body, is_chunked, trailers| {
                    Flow::new(b"head\r\n\r\n".to_vec(), body, is_chunked, trailers)
                };
                let passed = pass(flow(Body::of_length(8), false, false), b"abcdefgh", cut, most);
                assert_eq!(passed, b"head\r\n\r\nabcdefgh");
                let passed = pass(flow(Body::chunked(), false, false), chunks, cut, most);
                assert_eq!(passed, b"head\r\n\r\nabcdefgh");
                let passed = pass(flow(Body::to_the_end(), true, false), b"abcdefgh", cut, most);
                assert_eq!(unchunk(&passed[8..]), (b"abcdefgh".to_vec(), b"\r\n".to_vec()));
                for (trailers, end) in [(true, &b"x-sum: 1\r\n\r\n"[..]), (false, b"\r\n")] {
                    let passed = pass(flow(Body::chunked(), true, trailers), chunks, cut, most);
                    assert_eq!(unchunk(&passed[8..]), (b"abcdefgh".to_vec(), end.to_vec()));
                }
                assert_eq!(
                    pass(flow(Body::none(), false, false), b"", cut, most),
                    b"head\r\n\r\n"
                );
            }
        }
    }

    #[test]
    fn head_and_body_are_written_at_once() {
        let mut buffer = buffer_of(b"5\r\nabcde\r\n0\r\n\r\nNEXT");
        let mut flow = Flow::new(b"head".to_vec(), Body::chunked(), true, false);
        flow.stage(&mut buffer).unwrap();
        let mut writes = Vec::new();
        let gone = flow.poll_write(&mut buffer, |parts| {
            writes.push(
                parts
                    .iter()
                    .fold(Vec::new(), |all, part| [&all, &part[..]].concat()),
            );
            Poll::Ready(Ok(writes[0].len()))
        });
        assert!(gone.is_ready() && flow.has_gone());
        assert_eq!(writes, [b"head5\r\nabcde\r\n0\r\n\r\n"]);
        assert_eq!(buffer.bytes(), b"NEXT");
    }

    #[test]
    fn a_message_without_a_body_can_be_sent_again() {
        let mut flow = Flow::new(b"head".to_vec(), Body::none(), false, false);
        for _ in 0..2 {
            let gone = flow.poll_write(&mut Buffer::default(), |_| Poll::Ready(Ok(1)));
            assert!(gone.is_ready() && flow.has_gone() && flow.has_begun());
            flow.rewind();
            assert!(!flow.has_gone() && !flow.has_begun());
        }
    }

    #[test]
    fn what_nobody_wants_is_taken_out() {
        let mut buffer = buffer_of(b"3\r\nabc\r\n2\r\nde\r\n0\r\n\r\nNEXT");
        let mut flow = Flow::new(Vec::new(), Body::chunked(), true, false);
        flow.stage(&mut buffer).unwrap();
        assert!(flow.discard(&mut buffer));
        assert_eq!(buffer.bytes(), b"NEXT");
        let mut flow = Flow::new(Vec::new(), Body::of_length(10), false, false);
        assert!(!flow.discard(&mut buffer));
        assert!(buffer.is_empty());
    }
}
