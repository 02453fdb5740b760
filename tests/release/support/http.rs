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

/// A connection with at most one request on it.
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
    #[allow(dead_code, reason = "only the clients of script/bench ask")]
    pub(crate) fn is_open(&self) -> bool {
        let stream = &self.reader.get_ref().stream;
        let looked = stream.set_nonblocking(true).and_then(|()| stream.peek(&mut [0]));
        let is_quiet = looked.is_err_and(|error| error.kind() == io::ErrorKind::WouldBlock);
        stream.set_nonblocking(false).is_ok() && is_quiet
    }

    fn read_reply(&mut self, bodiless: bool) -> Result<Reply, Failure> {
        match self.reader.fill_buf() {
            Ok([]) => return Err(Failure::Reset),
            Ok(_) => {}
            Err(error) if is_timeout(&error) => return Err(Failure::TimedOut),
            Err(_) => return Err(Failure::Reset),
        }
        loop {
            let (status, headers) = self.read_head()?;
            if (100..200).contains(&status) && status != 101 {
                continue;
            }
            let mut reply = Reply {
                status,
                headers,
                body: Vec::new(),
            };
            if !bodiless && !matches!(status, 101 | 204 | 304) {
                self.read_body(&mut reply)?;
            }
            return Ok(reply);
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

    fn read_body(&mut self, reply: &mut Reply) -> Result<(), Failure> {
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
        loop {
            let line = self.read_line()?;
            let size = line.split(';').next().unwrap_or_default().trim();
            let size = u64::from_str_radix(size, 16).map_err(|_| Failure::Malformed)?;
            if size == 0 {
                while !self.read_line()?.is_empty() {}
                return Ok(());
            }
            self.read_exactly(size, body)?;
            if !self.read_line()?.is_empty() {
                return Err(Failure::Malformed);
            }
        }
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
    let mut head = format!("{method} {} HTTP/1.1\r\nHost: {}\r\n", request.path, request.host);
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
