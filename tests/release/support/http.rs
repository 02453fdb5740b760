//! A small HTTP/1.1 client that never retries and tells every way of failing apart. The standard library alone,
//! because `script/traffic.rs` uses it too.

use std::fmt;
use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::{Duration, Instant};

/// Bytes of an answer's head, and of its body.
const HEAD_MAX: u64 = 64 << 10;
const BODY_MAX: u64 = 256 << 20;

/// How a request failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Failure {
    /// No connection could be made.
    Refused,
    /// The connection ended before a byte of the answer came.
    Reset,
    /// The answer began and did not end.
    Truncated,
    /// The deadline passed.
    TimedOut,
    /// An answer that is not HTTP.
    Malformed,
    /// An answer with this status, where another was wanted.
    Status(u16),
    /// An answer with the right status and the wrong body.
    WrongBody,
    /// An answer by a release that no request could reach any more, or yet, when this one was begun.
    WrongRelease,
}

impl fmt::Display for Failure {
    fn fmt(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Refused => to.write_str("refused"),
            Self::Reset => to.write_str("reset"),
            Self::Truncated => to.write_str("truncated"),
            Self::TimedOut => to.write_str("timed out"),
            Self::Malformed => to.write_str("malformed"),
            Self::Status(status) => write!(to, "status {status}"),
            Self::WrongBody => to.write_str("wrong body"),
            Self::WrongRelease => to.write_str("wrong release"),
        }
    }
}

/// A request. `Content-Length` is added where there is a body, `Connection: close` where `close`.
#[derive(Debug, Clone, Default)]
pub(crate) struct Request {
    /// The method; empty means GET.
    pub(crate) method: String,
    /// Path and query.
    pub(crate) path: String,
    /// The Host header.
    pub(crate) host: String,
    /// Further headers, as they are sent.
    pub(crate) headers: Vec<(String, String)>,
    /// The body.
    pub(crate) body: Vec<u8>,
    /// Whether the connection ends after the answer.
    pub(crate) close: bool,
    /// Whether it is HTTP/1.0, and not 1.1.
    pub(crate) old: bool,
}

/// How fast a body goes.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Pace {
    /// Bytes of a piece.
    pub(crate) piece: usize,
    /// What follows each.
    pub(crate) pause: Duration,
}

/// An answer, whole.
#[derive(Debug, Clone)]
pub(crate) struct Reply {
    /// The status.
    pub(crate) status: u16,
    /// The headers in their order; names in lower case.
    pub(crate) headers: Vec<(String, String)>,
    /// The body.
    pub(crate) body: Vec<u8>,
}

impl Reply {
    /// The first value of the header `name` (in lower case).
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        let found = self.headers.iter().find(|(has, _)| has == name);
        found.map(|(_, value)| value.as_str())
    }

    /// The body as text, the whitespace around it cut.
    pub(crate) fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).trim().to_owned()
    }

    /// Whether the connection can take another request.
    pub(crate) fn keeps_alive(&self) -> bool {
        let framed = self.header("content-length").is_some() || self.header("transfer-encoding").is_some();
        let closes = self
            .header("connection")
            .is_some_and(|value| value.eq_ignore_ascii_case("close"));
        framed && !closes
    }
}

/// A connection. A request waits for the answer to the one before, but for [`Connection::send_all`].
pub(crate) struct Connection {
    reader: BufReader<Timed>,
}

impl Connection {
    /// Connects to `address` within `timeout`.
    pub(crate) fn open(address: SocketAddr, timeout: Duration) -> Result<Self, Failure> {
        let stream = TcpStream::connect_timeout(&address, timeout).map_err(|error| match error.kind() {
            io::ErrorKind::TimedOut => Failure::TimedOut,
            _ => Failure::Refused,
        })?;
        stream.set_nodelay(true).map_err(|_| Failure::Refused)?;
        let deadline = Instant::now() + timeout;
        Ok(Self {
            reader: BufReader::new(Timed { stream, deadline }),
        })
    }

    /// Sends `request` and reads its answer, both within `timeout`.
    pub(crate) fn send(&mut self, request: &Request, timeout: Duration) -> Result<Reply, Failure> {
        let timed = self.reader.get_mut();
        timed.deadline = Instant::now() + timeout;
        let sent = timed.stream.set_write_timeout(Some(timeout));
        let sent = sent.and_then(|()| timed.stream.write_all(&head(request)));
        let sent = sent.and_then(|()| timed.stream.write_all(&request.body));
        // An answer may stand before the end of the body, and then it counts: read on, whatever the sending gave.
        let reply = self.read_reply(request.method == "HEAD");
        match (reply, sent) {
            (Err(Failure::Reset), Err(error)) if is_timeout(&error) => Err(Failure::TimedOut),
            (reply, _) => reply,
        }
    }

    /// Whether the peer has left it open, as far as is known here.
    pub(crate) fn is_open(&self) -> bool {
        let stream = &self.reader.get_ref().stream;
        let looked = stream.set_nonblocking(true).and_then(|()| stream.peek(&mut [0]));
        let is_quiet = looked.is_err_and(|error| error.kind() == io::ErrorKind::WouldBlock);
        stream.set_nonblocking(false).is_ok() && is_quiet
    }

    /// Sends `requests` in one go, and reads their answers in their order, all within `timeout`.
    pub(crate) fn send_all(
        &mut self,
        requests: &[Request],
        timeout: Duration,
    ) -> Vec<Result<Reply, Failure>> {
        let timed = self.reader.get_mut();
        timed.deadline = Instant::now() + timeout;
        let _ = timed.stream.set_write_timeout(Some(timeout));
        let all: Vec<u8> = requests
            .iter()
            .flat_map(|request| [head(request), request.body.clone()].concat())
            .collect();
        // What cannot be sent is seen by its answer, which does not come.
        let _ = timed.stream.write_all(&all);
        requests
            .iter()
            .map(|request| self.read_reply(request.method == "HEAD"))
            .collect()
    }

    /// Sends the head of `request`, waits to be told to go on, and sends the body. An answer that comes instead counts.
    pub(crate) fn send_when_told(&mut self, request: &Request, timeout: Duration) -> Result<Reply, Failure> {
        let timed = self.reader.get_mut();
        timed.deadline = Instant::now() + timeout;
        let _ = timed.stream.set_write_timeout(Some(timeout));
        let _ = timed.stream.write_all(&head(request));
        self.await_answer()?;
        if self.reader.buffer().starts_with(b"HTTP/1.1 100") {
            self.read_head()?;
            let _ = self.reader.get_mut().stream.write_all(&request.body);
        }
        self.read_reply(false)
    }

    /// Sends `request`, its body in pieces with a pause behind each, and reads the head of the answer.
    pub(crate) fn begin(
        &mut self,
        request: &Request,
        pace: Pace,
        timeout: Duration,
    ) -> Result<Reply, Failure> {
        let timed = self.reader.get_mut();
        timed.deadline = Instant::now() + timeout;
        let sent = timed.stream.set_write_timeout(Some(timeout));
        let mut sent = sent.and_then(|()| timed.stream.write_all(&head(request)));
        for piece in request.body.chunks(pace.piece) {
            sent = sent.and_then(|()| timed.stream.write_all(piece));
            if sent.is_err() {
                break;
            }
            std::thread::sleep(pace.pause);
        }
        self.await_answer()?;
        self.read_final_head()
    }

    /// The next bytes of a body of which `left` are to come.
    pub(crate) fn read_piece<'a>(&mut self, into: &'a mut [u8], left: usize) -> Result<&'a [u8], Failure> {
        let into = &mut into[..];
        let most = into.len().min(left);
        match self.reader.read(&mut into[..most]) {
            Ok(0) => Err(Failure::Truncated),
            Ok(read) => Ok(&into[..read]),
            Err(error) => Err(cut_short(&error)),
        }
    }

    /// The next chunk of an answer; none after the last. Each may take `timeout`.
    pub(crate) fn read_chunk(&mut self, timeout: Duration) -> Result<Option<Vec<u8>>, Failure> {
        self.reader.get_mut().deadline = Instant::now() + timeout;
        let mut chunk = Vec::new();
        Ok(self.read_one_chunk(&mut chunk)?.then_some(chunk))
    }

    /// The next bytes of an answer that ends with its connection; none after the last. They may take `timeout`.
    pub(crate) fn read_to_end(&mut self, timeout: Duration) -> Result<Option<Vec<u8>>, Failure> {
        self.reader.get_mut().deadline = Instant::now() + timeout;
        let came = self
            .reader
            .fill_buf()
            .map_err(|error| cut_short(&error))?
            .to_vec();
        self.reader.consume(came.len());
        Ok((!came.is_empty()).then_some(came))
    }

    /// Sends bytes as they are.
    pub(crate) fn say(&mut self, bytes: &[u8]) -> Result<(), Failure> {
        let said = self.reader.get_mut().stream.write_all(bytes);
        said.map_err(|error| cut_short(&error))
    }

    /// Reads as many bytes as `into` has, within `timeout`.
    pub(crate) fn hear(&mut self, into: &mut [u8], timeout: Duration) -> Result<(), Failure> {
        self.reader.get_mut().deadline = Instant::now() + timeout;
        self.reader.read_exact(into).map_err(|error| cut_short(&error))
    }

    /// Whether the other side closes without another byte, and without a reset.
    pub(crate) fn ends(&mut self, timeout: Duration) -> bool {
        self.reader.get_mut().deadline = Instant::now() + timeout;
        matches!(self.reader.fill_buf(), Ok([]))
    }

    fn await_answer(&mut self) -> Result<(), Failure> {
        match self.reader.fill_buf() {
            Ok([]) => Err(Failure::Reset),
            Ok(_) => Ok(()),
            Err(error) if is_timeout(&error) => Err(Failure::TimedOut),
            Err(_) => Err(Failure::Reset),
        }
    }

    fn read_reply(&mut self, bodiless: bool) -> Result<Reply, Failure> {
        self.await_answer()?;
        let mut reply = self.read_final_head()?;
        if !bodiless && !matches!(reply.status, 101 | 204 | 304) {
            self.read_body(&mut reply)?;
        }
        Ok(reply)
    }

    /// The head of the answer, behind those that only say that it will come.
    fn read_final_head(&mut self) -> Result<Reply, Failure> {
        loop {
            let (status, headers) = self.read_head()?;
            if status == 101 || !(100..200).contains(&status) {
                return Ok(Reply {
                    status,
                    headers,
                    body: Vec::new(),
                });
            }
        }
    }

    fn read_head(&mut self) -> Result<(u16, Vec<(String, String)>), Failure> {
        let first = self.read_line()?;
        let status = first
            .strip_prefix("HTTP/1.")
            .and_then(|rest| rest.get(2..5)?.parse().ok());
        let status = status.ok_or(Failure::Malformed)?;
        let mut headers = Vec::new();
        loop {
            let line = self.read_line()?;
            if line.is_empty() {
                return Ok((status, headers));
            }
            let (name, value) = line.split_once(':').ok_or(Failure::Malformed)?;
            headers.push((name.to_ascii_lowercase(), value.trim().to_owned()));
        }
    }

    /// Reads the body of an answer whose head has come.
    pub(crate) fn read_body(&mut self, reply: &mut Reply) -> Result<(), Failure> {
        if reply.header("transfer-encoding").is_some() {
            return self.read_chunks(&mut reply.body);
        }
        match reply.header("content-length").map(str::parse) {
            Some(Ok(length)) => self.read_exactly(length, &mut reply.body),
            Some(Err(_)) => Err(Failure::Malformed),
            None => match self.reader.by_ref().take(BODY_MAX).read_to_end(&mut reply.body) {
                Ok(_) => Ok(()),
                Err(error) => Err(cut_short(&error)),
            },
        }
    }

    fn read_chunks(&mut self, body: &mut Vec<u8>) -> Result<(), Failure> {
        while self.read_one_chunk(body)? {}
        Ok(())
    }

    /// Whether there was another chunk, now in `body`.
    fn read_one_chunk(&mut self, body: &mut Vec<u8>) -> Result<bool, Failure> {
        let line = self.read_line()?;
        let size = line.split(';').next().unwrap_or_default().trim();
        let size = u64::from_str_radix(size, 16).map_err(|_| Failure::Malformed)?;
        if size == 0 {
            while !self.read_line()?.is_empty() {}
            return Ok(false);
        }
        self.read_exactly(size, body)?;
        if !self.read_line()?.is_empty() {
            return Err(Failure::Malformed);
        }
        Ok(true)
    }

    fn read_exactly(&mut self, length: u64, body: &mut Vec<u8>) -> Result<(), Failure> {
        if length > BODY_MAX {
            return Err(Failure::Malformed);
        }
        match self.reader.by_ref().take(length).read_to_end(body) {
            Ok(read) if read as u64 == length => Ok(()),
            Ok(_) => Err(Failure::Truncated),
            Err(error) => Err(cut_short(&error)),
        }
    }

    fn read_line(&mut self) -> Result<String, Failure> {
        let mut line = Vec::new();
        let read = self.reader.by_ref().take(HEAD_MAX).read_until(b'\n', &mut line);
        read.map_err(|error| cut_short(&error))?;
        if !line.ends_with(b"\n") {
            return Err(Failure::Truncated);
        }
        Ok(String::from_utf8_lossy(&line).trim_end().to_owned())
    }
}

/// One request on a connection of its own.
pub(crate) fn request(address: SocketAddr, request: &Request, timeout: Duration) -> Result<Reply, Failure> {
    let request = Request {
        close: true,
        ..request.clone()
    };
    Connection::open(address, timeout)?.send(&request, timeout)
}

/// A stream whose every read ends at one deadline, however slowly the bytes drip.
struct Timed {
    stream: TcpStream,
    deadline: Instant,
}

impl Read for Timed {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        let left = self.deadline.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Err(io::ErrorKind::TimedOut.into());
        }
        self.stream.set_read_timeout(Some(left))?;
        self.stream.read(into)
    }
}

fn head(request: &Request) -> Vec<u8> {
    let method = match request.method.as_str() {
        "" => "GET",
        method => method,
    };
    let version = if request.old { "HTTP/1.0" } else { "HTTP/1.1" };
    let mut head = format!(
        "{method} {} {version}\r\nHost: {}\r\n",
        request.path, request.host
    );
    for (name, value) in &request.headers {
        head += &format!("{name}: {value}\r\n");
    }
    if !request.body.is_empty() || matches!(method, "POST" | "PUT") {
        head += &format!("Content-Length: {}\r\n", request.body.len());
    }
    if request.close {
        head += "Connection: close\r\n";
    }
    (head + "\r\n").into_bytes()
}

fn is_timeout(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::TimedOut | io::ErrorKind::WouldBlock)
}

fn cut_short(error: &io::Error) -> Failure {
    if is_timeout(error) {
        Failure::TimedOut
    } else {
        Failure::Truncated
    }
}
