//! A second look at the bytes of a client's requests, for the one thing that hyper does not tell.
//!
//! A request with both Content-Length and Transfer-Encoding is how one request is smuggled inside another past
//! a proxy. hyper settles it by itself, drops the Content-Length and never says so; we want to refuse it. So
//! this follows the framing of what hyper reads, without keeping or changing a byte of it.

/// Enough of a line to know its name, and a length or a chunk's size. What stands behind it is not looked at, however
/// the bytes are cut; a length that does not end within it is no length that anyone honest writes.
const PREFIX: usize = 64;

/// Follows one connection's requests; see the module.
#[derive(Debug)]
pub(super) struct Framing {
    state: State,
    /// Heads that have ended.
    heads: u32,
    /// The beginning of a line whose end has not come yet.
    line: Vec<u8>,
    /// Whether the last byte of that line, as far as it has come, is a carriage return.
    returned: bool,
    head: Head,
}

#[derive(Debug, Clone, Copy)]
enum State {
    Head,
    Body(u64),
    ChunkSize,
    ChunkData(u64),
    Trailers,
    /// Within a line of the trailers: only the two bytes of a line's end together end it, a newline alone does not.
    Trailer,
    /// The bytes are no HTTP: hyper refuses them, or they are a tunnel's.
    Lost,
}

#[derive(Debug, Default)]
struct Head {
    begun: bool,
    length: Option<u64>,
    /// A length that does not end within [`PREFIX`].
    endless: bool,
    chunked: bool,
}

impl Framing {
    pub(super) fn new() -> Self {
        Self {
            state: State::Head,
            heads: 0,
            line: Vec::new(),
            returned: false,
            head: Head::default(),
        }
    }

    /// Follows `bytes`; gives the number, counted from 1, of a request with conflicting lengths, and follows no
    /// further then. Where the end of a request cannot be told, it is the one after it that is given.
    pub(super) fn follow(&mut self, mut bytes: &[u8]) -> Option<u32> {
        while !bytes.is_empty() {
            match self.state {
                State::Lost => return None,
                State::Body(left) => {
                    let (rest, left) = skip(bytes, left);
                    bytes = rest;
                    self.state = if left == 0 { State::Head } else { State::Body(left) };
                }
                State::ChunkData(left) => {
                    let (rest, left) = skip(bytes, left);
                    bytes = rest;
                    self.state = if left == 0 {
                        State::ChunkSize
                    } else {
                        State::ChunkData(left)
                    };
                }
                State::Head | State::ChunkSize | State::Trailers | State::Trailer => {
                    let Some(end) = memchr::memchr(b'\n', bytes) else {
                        self.keep(bytes);
                        return None;
                    };
                    let (line, rest) = (&bytes[..end], &bytes[end + 1..]);
                    bytes = rest;
                    self.note_return(line);
                    if self.line.is_empty() {
                        self.take(line);
                    } else {
                        self.keep(line);
                        let line = std::mem::take(&mut self.line);
                        self.take(&line);
                    }
                    self.returned = false;
                    if matches!(self.state, State::Lost) {
                        let next = u32::from(!self.head.conflicts());
                        return Some(self.heads + next);
                    }
                }
            }
        }
        None
    }

    /// Requests whose heads have come, or have begun to.
    pub(super) fn begun(&self) -> u32 {
        let under_way = matches!(self.state, State::Head) && self.is_in_head();
        self.heads + u32::from(under_way)
    }

    /// Whether every request that has begun to come has come whole.
    pub(super) fn is_between(&self) -> bool {
        matches!(self.state, State::Head) && !self.is_in_head()
    }

    fn is_in_head(&self) -> bool {
        self.head.begun || !self.line.is_empty()
    }

    /// Requests whose heads have come.
    #[cfg(feature = "fuzzing")]
    pub(super) fn heads(&self) -> u32 {
        self.heads
    }

    /// Keeps one byte more than is looked at: it tells a line that is too long.
    fn keep(&mut self, part: &[u8]) {
        self.note_return(part);
        let room = (PREFIX + 1).saturating_sub(self.line.len());
        self.line.extend_from_slice(&part[..part.len().min(room)]);
    }

    fn note_return(&mut self, part: &[u8]) {
        if let Some(last) = part.last() {
            self.returned = *last == b'\r';
        }
    }

    fn take(&mut self, line: &[u8]) {
        let line = &line[..line.len().min(PREFIX + 1)];
        let line = line.strip_suffix(b"\r").unwrap_or(line);
        match self.state {
            State::Head => self.take_head(line),
            State::ChunkSize => self.state = after_chunk_size(line),
            State::Trailers if line.is_empty() && self.returned => self.state = State::Head,
            State::Trailers | State::Trailer if self.returned => self.state = State::Trailers,
            State::Trailers | State::Trailer => self.state = State::Trailer,
            _ => {}
        }
    }

    fn take_head(&mut self, line: &[u8]) {
        if !line.is_empty() {
            match self.head.begun {
                true => self.head.field(line),
                false => self.head.begun = true,
            }
        } else if self.head.begun {
            self.heads += 1;
            self.state = match &self.head {
                head if head.conflicts() => State::Lost,
                Head { chunked: true, .. } => State::ChunkSize,
                Head {
                    length: Some(1..), ..
                } => State::Body(self.head.length.unwrap_or(0)),
                _ => State::Head,
            };
            if !matches!(self.state, State::Lost) {
                self.head = Head::default();
            }
        }
    }
}

impl Head {
    fn field(&mut self, line: &[u8]) {
        match line[0] {
            b'c' | b'C' => {
                if let Some(value) = value_of(line, b"content-length:") {
                    self.length = Some(decimal(value));
                    self.endless |= line.len() > PREFIX;
                }
            }
            b't' | b'T' => self.chunked |= value_of(line, b"transfer-encoding:").is_some(),
            _ => {}
        }
    }

    fn conflicts(&self) -> bool {
        self.endless || self.chunked && self.length.is_some()
    }
}

fn skip(bytes: &[u8], left: u64) -> (&[u8], u64) {
    let here = usize::try_from(left).unwrap_or(usize::MAX).min(bytes.len());
    (&bytes[here..], left - here as u64)
}

fn value_of<'a>(line: &'a [u8], name: &[u8]) -> Option<&'a [u8]> {
    let (start, value) = line.split_at_checked(name.len())?;
    start.eq_ignore_ascii_case(name).then(|| value.trim_ascii())
}

/// The value of digits; what is none, hyper refuses.
fn decimal(text: &[u8]) -> u64 {
    std::str::from_utf8(text)
        .ok()
        .and_then(|text| text.parse().ok())
        .unwrap_or(0)
}

fn after_chunk_size(line: &[u8]) -> State {
    let digits = line.iter().take_while(|b| b.is_ascii_hexdigit()).count();
    let size = std::str::from_utf8(&line[..digits])
        .ok()
        .filter(|_| digits <= PREFIX)
        .and_then(|text| u64::from_str_radix(text, 16).ok());
    match size {
        Some(0) => State::Trailers,
        // The line end that follows the data counts as part of it.
        Some(size) => State::ChunkData(size.saturating_add(2)),
        None => State::Lost,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const GET: &str = "GET / HTTP/1.1\r\nhost: a\r\n\r\n";
    const POST: &str = "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nab\ncd";
    const CHUNKED: &str = "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n\
                           1b;x=y\r\nTE:\r\nContent-Length: 2\r\n\r\na\r\n0\r\nTrailer: x\r\n\r\n";
    const BOTH: &str =
        "POST / HTTP/1.1\nHost: a\nTRANSFER-encoding: chunked\nX: y\ncontent-Length:3\n\n0\r\n\r\n";

    #[test]
    fn the_request_with_both_lengths_is_found_however_the_bytes_are_cut() {
        let stream = [GET, POST, CHUNKED, "\r\n", GET, BOTH, GET].concat();
        for cut in 1..stream.len() {
            let mut framing = Framing::new();
            let found: Vec<u32> = stream
                .as_bytes()
                .chunks(cut)
                .filter_map(|part| framing.follow(part))
                .collect();
            assert_eq!(found, [5], "cut into {cut}");
        }
    }

    #[test]
    fn requests_with_one_length_are_let_through() {
        let stream = [GET, POST, CHUNKED, CHUNKED, POST, GET].concat();
        for cut in 1..stream.len() {
            let mut framing = Framing::new();
            assert!(
                stream
                    .as_bytes()
                    .chunks(cut)
                    .all(|part| framing.follow(part).is_none()),
                "cut into {cut}"
            );
            assert_eq!(framing.heads, 6);
            assert_eq!(framing.begun(), 6);
            assert!(framing.is_between());
            framing.follow(b"GE");
            assert_eq!(framing.begun(), 7);
            assert!(!framing.is_between());
        }
    }

    #[test]
    fn a_length_that_is_hidden_behind_blanks_or_zeros_is_refused_however_the_bytes_are_cut() {
        let blanks = format!(
            "POST / HTTP/1.1\r\nHost: a\r\nContent-Length:{}5\r\n\r\nab\ncd{BOTH}",
            " ".repeat(60)
        );
        let zeros = CHUNKED.replace("1b;", &format!("{}1b;", "0".repeat(70))) + BOTH;
        for (stream, refused) in [(blanks, 1), (zeros, 2)] {
            for cut in 1..=stream.len() {
                let mut framing = Framing::new();
                let mut parts = stream.as_bytes().chunks(cut);
                let found = parts.find_map(|part| framing.follow(part));
                assert_eq!(found, Some(refused), "{stream:?} cut into {cut}");
            }
        }
    }

    #[test]
    fn what_is_no_http_is_followed_without_being_kept() {
        let mut framing = Framing::new();
        for _ in 0..1000 {
            framing.follow(&[b'x'; 1000]);
        }
        assert!(framing.line.capacity() < 1000);
    }
}
