//! A client that says exactly what it is told to say, and never says it twice.

use std::collections::HashMap;
use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::time::Duration;

/// How long a test waits for bytes before it fails.
pub(crate) const PATIENCE: Duration = Duration::from_secs(20);

/// Where a proxy is found.
#[derive(Debug, Clone)]
pub(crate) enum At {
    Port(SocketAddr),
    Socket(PathBuf),
}

impl From<SocketAddr> for At {
    fn from(address: SocketAddr) -> Self {
        Self::Port(address)
    }
}

impl At {
    fn connect(self) -> io::Result<TcpStream> {
        match self {
            Self::Port(address) => {
                let stream = TcpStream::connect(address)?;
                stream.set_nodelay(true)?;
                Ok(stream)
            }
            // Bytes come and go through the one as through the other.
            Self::Socket(path) => UnixStream::connect(path).map(|stream| OwnedFd::from(stream).into()),
        }
    }
}

/// One connection.
pub(crate) struct Client {
    pub(crate) reader: BufReader<TcpStream>,
    said_close: bool,
}

#[derive(Debug, Default)]
pub(crate) struct Response {
    pub(crate) status: u16,
    pub(crate) headers: HashMap<String, String>,
    pub(crate) body: Vec<u8>,
    pub(crate) trailers: HashMap<String, String>,
}

impl Response {
    pub(crate) fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", String::as_str)
    }

    pub(crate) fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }
}

impl Client {
    pub(crate) fn open(at: impl Into<At>) -> Self {
        Self::try_open(at).expect("the proxy accepts")
    }

    pub(crate) fn try_open(at: impl Into<At>) -> io::Result<Self> {
        let stream = at.into().connect()?;
        stream.set_read_timeout(Some(PATIENCE))?;
        stream.set_write_timeout(Some(PATIENCE))?;
        Ok(Self {
            reader: BufReader::new(stream),
            said_close: false,
        })
    }

    pub(crate) fn stream(&self) -> &TcpStream {
        self.reader.get_ref()
    }

    /// Whether the last answer said that the connection closes.
    pub(crate) fn said_close(&self) -> bool {
        self.said_close
    }

    pub(crate) fn say(&mut self, text: impl AsRef<[u8]>) -> io::Result<()> {
        self.reader.get_mut().write_all(text.as_ref())
    }

    /// A GET of `path`, and its answer.
    pub(crate) fn get(&mut self, path: &str) -> io::Result<Response> {
        self.say(format!("GET {path} HTTP/1.1\r\nHost: test\r\n\r\n"))?;
        self.response()
    }

    /// A POST of `body` to `path`, and its answer.
    pub(crate) fn post(&mut self, path: &str, body: &[u8]) -> io::Result<Response> {
        let mut request = format!(
            "POST {path} HTTP/1.1\r\nHost: test\r\nContent-Length: {}\r\n\r\n",
            body.len()
        )
        .into_bytes();
        request.extend_from_slice(body);
        self.say(request)?;
        self.response()
    }

    pub(crate) fn response(&mut self) -> io::Result<Response> {
        self.response_to("GET")
    }

    /// The answer to a request by `method`.
    pub(crate) fn response_to(&mut self, method: &str) -> io::Result<Response> {
        let mut response = self.head()?;
        if method != "HEAD" {
            self.body(&mut response)?;
        }
        self.said_close = response.header("connection") == "close";
        Ok(response)
    }

    /// The status line and the headers alone.
    pub(crate) fn head(&mut self) -> io::Result<Response> {
        let line = self.line()?;
        let status = line.split(' ').nth(1).and_then(|status| status.parse().ok());
        Ok(Response {
            status: status.ok_or_else(|| io::Error::other(format!("no status line: {line:?}")))?,
            headers: self.fields()?,
            ..Response::default()
        })
    }

    fn body(&mut self, response: &mut Response) -> io::Result<()> {
        if response.header("transfer-encoding") == "chunked" {
            while let Some(chunk) = self.chunk()? {
                response.body.extend_from_slice(&chunk);
            }
            response.trailers = self.fields()?;
        } else if let Ok(length) = response.header("content-length").parse() {
            response.body = vec![0; length];
            self.reader.read_exact(&mut response.body)?;
        } else if !matches!(response.status, 100..200 | 204 | 304) {
            self.reader.read_to_end(&mut response.body)?;
        }
        Ok(())
    }

    /// One chunk; none after the last, before the trailers.
    pub(crate) fn chunk(&mut self) -> io::Result<Option<Vec<u8>>> {
        let line = self.line()?;
        let size =
            usize::from_str_radix(&line, 16).map_err(|_| io::Error::other(format!("no size: {line:?}")))?;
        if size == 0 {
            return Ok(None);
        }
        let mut chunk = vec![0; size + 2];
        self.reader.read_exact(&mut chunk)?;
        chunk.truncate(size);
        Ok(Some(chunk))
    }

    pub(crate) fn line(&mut self) -> io::Result<String> {
        let mut line = String::new();
        if self.reader.read_line(&mut line)? == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        Ok(line.trim_end().to_owned())
    }

    fn fields(&mut self) -> io::Result<HashMap<String, String>> {
        let mut fields = HashMap::new();
        loop {
            let line = self.line()?;
            let Some((name, value)) = line.split_once(':') else {
                return Ok(fields);
            };
            fields.insert(name.to_ascii_lowercase(), value.trim().to_owned());
        }
    }

    /// Whether the other side closes without another byte.
    pub(crate) fn is_closed(&mut self) -> bool {
        let mut byte = [0];
        match self.reader.read(&mut byte) {
            Ok(read) => read == 0,
            Err(error) => error.kind() == io::ErrorKind::ConnectionReset,
        }
    }
}
