//! Where a body ends, and what is in it: by its length, by its chunks, or by the end of the connection.

use std::io::Write as _;

use super::fields::{put, put_number};
use super::malformed::Malformed;
use super::trailers::Trailers;

/// Longest line with a chunk's size, in bytes, extensions included.
pub(super) const SIZE_LINE_MAX: usize = 1 << 10;

/// Most bytes of trailers.
pub(super) const TRAILERS_MAX: usize = 8 << 10;

/// A body that is followed to its end.
#[derive(Debug)]
pub(in crate::proxy::embedded) struct Body {
    state: State,
    /// None where none have come, and nothing is known of them. On memory of its own: most bodies have none, and a body is
    /// moved with its message.
    trailers: Option<Box<Trailers>>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    /// So many bytes are to come.
    Length(u64),
    /// The line with a chunk's size is to come.
    Size,
    /// So many bytes of a chunk are to come.
    Chunk(u64),
    /// The line end behind a chunk is to come.
    ChunkEnd,
    Trailers,
    /// All that comes until the connection ends.
    ToTheEnd,
    Done,
}

/// What there is of a body in some bytes: first `skipped` that are not its content, then `content`, then `rest` that are
/// not content either.
#[derive(Debug, Default, PartialEq, Eq)]
pub(in crate::proxy::embedded) struct Decoded {
    pub(in crate::proxy::embedded) skipped: usize,
    pub(in crate::proxy::embedded) content: usize,
    pub(in crate::proxy::embedded) rest: usize,
}

impl Body {
    pub(in crate::proxy::embedded) fn none() -> Self {
        Self::of(State::Done)
    }

    pub(in crate::proxy::embedded) fn of_length(length: u64) -> Self {
        Self::of(match length {
            0 => State::Done,
            length => State::Length(length),
        })
    }

    pub(in crate::proxy::embedded) fn chunked() -> Self {
        Self::of(State::Size)
    }

    pub(in crate::proxy::embedded) fn to_the_end() -> Self {
        Self::of(State::ToTheEnd)
    }

    fn of(state: State) -> Self {
        Self {
            state,
            trailers: None,
        }
    }

    /// The same, with these trailers behind it.
    pub(super) fn with(self, trailers: Trailers) -> Self {
        Self {
            trailers: Some(Box::new(trailers)),
            ..self
        }
    }

    /// Whether all of it has come.
    pub(in crate::proxy::embedded) fn is_done(&self) -> bool {
        self.state == State::Done
    }

    /// How many bytes are to come, where that is known beforehand.
    pub(in crate::proxy::embedded) fn length(&self) -> Option<u64> {
        match self.state {
            State::Length(left) => Some(left),
            State::Done => Some(0),
            _ => None,
        }
    }

    /// Whether it ends with the connection.
    pub(in crate::proxy::embedded) fn is_to_the_end(&self) -> bool {
        self.state == State::ToTheEnd
    }

    /// Writes how it is framed where it goes on as it came.
    pub(super) fn put_framing(&self, head: &mut Vec<u8>) {
        if let Some(length) = self.length() {
            head.extend_from_slice(b"content-length: ");
            put_number(head, length);
            head.extend_from_slice(b"\r\n");
        } else {
            put(head, "transfer-encoding", b"chunked");
        }
    }

    /// Follows the body through `raw`, and moves the content of several chunks together. What is neither skipped,
    /// content nor rest is looked at again when more has come; behind the body's end it belongs to nobody here.
    ///
    /// # Errors
    /// When the bytes are malformed.
    pub(in crate::proxy::embedded) fn decode(&mut self, raw: &mut [u8]) -> Result<Decoded, Malformed> {
        match self.state {
            State::Done => Ok(Decoded::default()),
            State::ToTheEnd => Ok(Decoded {
                content: raw.len(),
                ..Decoded::default()
            }),
            State::Length(left) => {
                let content = part(left, raw.len());
                self.state = match left - content as u64 {
                    0 => State::Done,
                    left => State::Length(left),
                };
                Ok(Decoded {
                    content,
                    ..Decoded::default()
                })
            }
            _ => self.decode_chunks(raw),
        }
    }

    fn decode_chunks(&mut self, raw: &mut [u8]) -> Result<Decoded, Malformed> {
        let (mut at, mut skipped, mut content) = (0, 0, 0);
        loop {
            match self.state {
                State::Chunk(left) => {
                    let length = part(left, raw.len() - at);
                    if length == 0 {
                        break;
                    }
                    if content == 0 {
                        skipped = at;
                    } else {
                        raw.copy_within(at..at + length, skipped + content);
                    }
                    at += length;
                    content += length;
                    self.state = match left - length as u64 {
                        0 => State::ChunkEnd,
                        left => State::Chunk(left),
                    };
                }
                State::ChunkEnd => match &raw[at..] {
                    [b'\r', b'\n', ..] => {
                        at += 2;
                        self.state = State::Size;
                    }
                    [] | [b'\r'] => break,
                    _ => return Err(Malformed),
                },
                State::Size => {
                    let Some(line) = line(&raw[at..], SIZE_LINE_MAX)? else {
                        break;
                    };
                    at += line.len() + 2;
                    self.state = match size(line)? {
                        0 => State::Trailers,
                        size => State::Chunk(size),
                    };
                }
                State::Trailers => {
                    let room = TRAILERS_MAX - self.trailers_length();
                    let Some(line) = line(&raw[at..], room)? else {
                        break;
                    };
                    at += line.len() + 2;
                    if line.is_empty() && !self.has_trailers() {
                        self.state = State::Done;
                        break;
                    }
                    if line.len() + 2 > room {
                        return Err(Malformed);
                    }
                    self.trailers.get_or_insert_default().take(line)?;
                    if line.is_empty() {
                        self.state = State::Done;
                        break;
                    }
                }
                State::Length(_) | State::ToTheEnd | State::Done => break,
            }
        }
        if content == 0 {
            skipped = at;
        }
        Ok(Decoded {
            skipped,
            content,
            rest: at - skipped - content,
        })
    }

    /// The connection has ended.
    ///
    /// # Errors
    /// When the body has not.
    pub(in crate::proxy::embedded) fn end(&mut self) -> Result<(), Malformed> {
        match self.state {
            State::ToTheEnd | State::Done => {
                self.state = State::Done;
                Ok(())
            }
            _ => Err(Malformed),
        }
    }

    /// Nothing more of it is wanted.
    pub(in crate::proxy::embedded) fn break_off(&mut self) {
        self.state = State::Done;
    }

    /// Writes the trailers that may go on, a line each.
    pub(in crate::proxy::embedded) fn put_trailers(&self, to: &mut Vec<u8>) {
        if let Some(trailers) = &self.trailers {
            trailers.put(to);
        }
    }

    /// Whether trailers have come.
    pub(in crate::proxy::embedded) fn has_trailers(&self) -> bool {
        self.trailers_length() > 0
    }

    fn trailers_length(&self) -> usize {
        self.trailers.as_ref().map_or(0, |trailers| trailers.length())
    }
}

/// Writes the line that stands before a chunk.
pub(in crate::proxy::embedded) fn put_size(to: &mut Vec<u8>, size: usize) {
    write!(to, "{size:x}\r\n").expect("memory takes everything");
}

fn part(left: u64, length: usize) -> usize {
    usize::try_from(left).unwrap_or(usize::MAX).min(length)
}

/// The line that `bytes` begin with, without its end; none when that has not come. A line ends with both bytes of a line
/// end, and has neither of them within: to no reader may it end elsewhere.
fn line(bytes: &[u8], most: usize) -> Result<Option<&[u8]>, Malformed> {
    let Some(end) = memchr::memchr(b'\n', bytes) else {
        return if bytes.len() > most + 1 {
            Err(Malformed)
        } else {
            Ok(None)
        };
    };
    match bytes[..end].split_last() {
        Some((b'\r', line)) if line.len() <= most && !line.contains(&b'\r') => Ok(Some(line)),
        _ => Err(Malformed),
    }
}

/// The size that a chunk's line tells. Extensions are taken note of by nobody, and go no further.
fn size(line: &[u8]) -> Result<u64, Malformed> {
    let digits = line.iter().take_while(|byte| byte.is_ascii_hexdigit()).count();
    let (digits, rest) = line.split_at(digits);
    let rest = rest.trim_ascii_start();
    if !(1..=16).contains(&digits.len()) || !(rest.is_empty() || rest[0] == b';') {
        return Err(Malformed);
    }
    std::str::from_utf8(digits)
        .ok()
        .and_then(|digits| u64::from_str_radix(digits, 16).ok())
        .ok_or(Malformed)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What is in a body that comes in pieces of `cut` bytes, its trailers, and what is left behind it.
    fn follow(mut body: Body, stream: &[u8], cut: usize) -> Result<(Vec<u8>, String, Vec<u8>), Malformed> {
        let (mut content, mut buffer) = (Vec::new(), Vec::new());
        let mut pieces = stream.chunks(cut);
        while !body.is_done() {
            let Some(piece) = pieces.next() else {
                body.end()?;
                break;
            };
            buffer.extend_from_slice(piece);
            let decoded = body.decode(&mut buffer)?;
            let end = decoded.skipped + decoded.content;
            content.extend_from_slice(&buffer[decoded.skipped..end]);
            buffer.drain(..end + decoded.rest);
        }
        pieces.for_each(|piece| buffer.extend_from_slice(piece));
        let mut trailers = Vec::new();
        body.put_trailers(&mut trailers);
        Ok((content, String::from_utf8(trailers).unwrap(), buffer))
    }

    #[test]
    fn a_body_is_found_however_the_bytes_are_cut() {
        let chunks = b"3\r\nabc\r\n1b;x=\"y\"\r\nGET / HTTP/1.1\r\nhost: a\r\n\r\n\r\n000A \t\r\n0123456789\r\n0\r\n\r\nNEXT";
        let content = b"abcGET / HTTP/1.1\r\nhost: a\r\n\r\n0123456789";
        for cut in 1..=chunks.len() {
            let (found, trailers, rest) = follow(Body::chunked(), chunks, cut).unwrap();
            assert_eq!(found, content, "cut into {cut}");
            assert_eq!((trailers.as_str(), &rest[..]), ("", &b"NEXT"[..]));
            let (found, _, rest) = follow(Body::of_length(10), b"0123456789NEXT", cut).unwrap();
            assert_eq!((&found[..], &rest[..]), (&b"0123456789"[..], &b"NEXT"[..]));
            let (found, _, rest) = follow(Body::to_the_end(), chunks, cut).unwrap();
            assert_eq!((&found[..], rest.len()), (&chunks[..], 0));
        }
    }

    #[test]
    fn trailers_are_kept_but_for_those_that_would_change_the_message() {
        let stream = b"1\r\na\r\n0\r\nX-Sum: 42\r\ncontent-length: 7\r\nTransfer-Encoding: x\r\nx-other:  y\r\n\r\nNEXT";
        for cut in 1..=stream.len() {
            let (content, trailers, rest) = follow(Body::chunked(), stream, cut).unwrap();
            assert_eq!(content, b"a");
            assert_eq!(trailers, "X-Sum: 42\r\nx-other: y\r\n");
            assert_eq!(rest, b"NEXT");
        }
    }

    #[test]
    fn chunks_that_could_be_read_in_two_ways_are_refused() {
        let long = format!("1;{}\r\na\r\n0\r\n\r\n", "x".repeat(2 * SIZE_LINE_MAX));
        let many = format!("0\r\n{}\r\n", "a: b\r\n".repeat(101));
        let large = format!("0\r\n{}\r\n", format!("a: {}\r\n", "b".repeat(9000)).repeat(2));
        for stream in [
            "1\na\r\n0\r\n\r\n",
            "1\r\na\n0\r\n\r\n",
            "1;x\ny\r\na\r\n0\r\n\r\n",
            "1;x\ry\r\na\r\n0\r\n\r\n",
            "1 x\r\na\r\n0\r\n\r\n",
            "-1\r\na\r\n0\r\n\r\n",
            "+1\r\na\r\n0\r\n\r\n",
            "0x1\r\na\r\n0\r\n\r\n",
            " 1\r\na\r\n0\r\n\r\n",
            "\r\na\r\n0\r\n\r\n",
            "1\r\nab\r\n0\r\n\r\n",
            "1\r\naxx0\r\n\r\n",
            "00000000000000001\r\na\r\n0\r\n\r\n",
            "10000000000000000\r\na",
            "0\r\nx y\r\n\r\n",
            "0\r\nx: y\n\r\n",
            "0\r\n folded: y\r\n\r\n",
            &long,
            &many,
            &large,
        ] {
            for cut in 1..=stream.len().min(40) {
                let found = follow(Body::chunked(), stream.as_bytes(), cut);
                assert_eq!(found.err(), Some(Malformed), "{stream:?} cut into {cut}");
            }
        }
    }

    #[test]
    fn a_body_that_breaks_off_is_not_whole() {
        for (body, stream) in [
            (Body::of_length(5), "abc"),
            (Body::chunked(), "3\r\nabc\r\n"),
            (Body::chunked(), "3\r\nabc\r\n0\r\n"),
        ] {
            assert_eq!(follow(body, stream.as_bytes(), 2).err(), Some(Malformed));
        }
        assert!(follow(Body::none(), b"", 1).is_ok());
    }
}
