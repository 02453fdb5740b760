//! An app that keeps every byte that it gets, and says what it is told to.

use std::io::{self, BufRead, BufReader, Write};
use std::net::{SocketAddr, SocketAddrV4, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering::SeqCst};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

use rustix::net::{RecvFlags, recv};

use crate::support::until;

/// See the module. To `/row` it says what [`App::will_say`] was given, to everything else `mine: METHOD PATH`.
pub(super) struct App {
    pub(super) address: SocketAddrV4,
    shared: Arc<Shared>,
}

#[derive(Default)]
struct Shared {
    row: Mutex<Row>,
    /// The requests that have come whole, and what there is of those that have not.
    requests: Mutex<Vec<String>>,
    parts: Mutex<Vec<String>>,
    connections: Mutex<Vec<Connection>>,
}

struct Connection {
    stream: TcpStream,
    /// Whether a request is being read or answered.
    is_busy: Arc<AtomicBool>,
    has_ended: Arc<AtomicBool>,
}

#[derive(Default, Clone)]
struct Row {
    writes: Vec<Vec<u8>>,
    is_early: bool,
    closes: bool,
}

impl App {
    pub(super) fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.2:0").expect("an address of the loopback network");
        let SocketAddr::V4(address) = listener.local_addr().unwrap() else {
            unreachable!("asked for IPv4")
        };
        let shared = Arc::new(Shared::default());
        let accepting = Arc::clone(&shared);
        thread::spawn(move || {
            for stream in listener.incoming().map_while(Result::ok) {
                let (is_busy, has_ended) = <(Arc<AtomicBool>, Arc<AtomicBool>)>::default();
                accepting.connections.lock().unwrap().push(Connection {
                    stream: stream.try_clone().unwrap(),
                    is_busy: Arc::clone(&is_busy),
                    has_ended: Arc::clone(&has_ended),
                });
                let shared = Arc::clone(&accepting);
                thread::spawn(move || {
                    shared.serve(&stream, &is_busy);
                    has_ended.store(true, SeqCst);
                    let _ = stream.shutdown(std::net::Shutdown::Both);
                });
            }
        });
        Self { address, shared }
    }

    /// What it says to `/row` from now on.
    pub(super) fn will_say(&self, writes: &[Vec<u8>], is_early: bool, closes: bool) {
        let writes = writes.to_vec();
        *self.shared.row.lock().unwrap() = Row {
            writes,
            is_early,
            closes,
        };
    }

    /// The requests that have come whole since this was asked last, and what there is of those that broke off, in
    /// lower case.
    pub(super) fn taken(&self) -> (Vec<String>, Vec<String>) {
        let requests = std::mem::take(&mut *self.shared.requests.lock().unwrap());
        (requests, std::mem::take(&mut *self.shared.parts.lock().unwrap()))
    }

    /// How many connections have come.
    pub(super) fn connections(&self) -> usize {
        self.shared.connections.lock().unwrap().len()
    }

    /// Waits until it has accepted all connections that were made before.
    pub(super) fn accept_all(&self) {
        let own = TcpStream::connect(self.address).expect("a connection");
        let local = own.local_addr().unwrap();
        let is_accepted = || {
            let connections = self.shared.connections.lock().unwrap();
            let mut peers = connections.iter().map(|there| there.stream.peer_addr().ok());
            peers.any(|peer| peer == Some(local))
        };
        until("the app to accept", is_accepted);
    }

    /// Whether it has read all that has come, and nothing is half said.
    pub(super) fn is_at_rest(&self) -> bool {
        let is_silent = |stream: &TcpStream| {
            let heard = recv(stream, &mut [0; 1][..], RecvFlags::PEEK | RecvFlags::DONTWAIT);
            matches!(heard, Err(rustix::io::Errno::AGAIN))
        };
        let connections = self.shared.connections.lock().unwrap();
        connections.iter().all(|connection| {
            connection.has_ended.load(SeqCst)
                || is_silent(&connection.stream) && !connection.is_busy.load(SeqCst)
        })
    }
}

impl Shared {
    fn serve(&self, stream: &TcpStream, is_busy: &AtomicBool) {
        let mut reader = BufReader::new(stream);
        loop {
            if reader.buffer().is_empty() {
                is_busy.store(false, SeqCst);
                let _ = stream.peek(&mut [0]);
                is_busy.store(true, SeqCst);
            }
            let mut request = Vec::new();
            let whole = self.answer(&mut reader, stream, &mut request);
            let text = String::from_utf8_lossy(&request).to_ascii_lowercase();
            match whole {
                Ok(true) => continue,
                Ok(false) if request.is_empty() => return,
                _ => self.parts.lock().unwrap().push(text),
            }
            return;
        }
    }

    /// Answers the next request, whose bytes are put into `request`; gives whether there is to be another one.
    fn answer(
        &self,
        reader: &mut impl BufRead,
        mut stream: &TcpStream,
        request: &mut Vec<u8>,
    ) -> io::Result<bool> {
        if !read_head(reader, request)? {
            return Ok(false);
        }
        let head = String::from_utf8_lossy(request).to_ascii_lowercase();
        let row = self.row.lock().unwrap().clone();
        let is_row = head.split(' ').nth(1) == Some("/row");
        if !(is_row && row.is_early) {
            read_body(reader, &head, request)?;
        }
        self.requests
            .lock()
            .unwrap()
            .push(String::from_utf8_lossy(request).to_ascii_lowercase());
        if !is_row || row.writes.is_empty() {
            let words: Vec<&str> = head.split(' ').take(2).collect();
            let text = format!("mine: {}", words.join(" "));
            write!(
                stream,
                "HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{text}",
                text.len()
            )?;
            return Ok(true);
        }
        for (number, text) in row.writes.iter().enumerate() {
            if number > 0 {
                // So that it comes by itself, whether the one before it was taken or not.
                thread::sleep(Duration::from_millis(20));
            }
            stream.write_all(text)?;
        }
        if row.closes {
            stream.shutdown(std::net::Shutdown::Write)?;
            io::copy(reader, &mut io::sink())?;
            request.clear();
            return Ok(false);
        }
        Ok(true)
    }
}

/// Reads one head; gives whether there was one.
fn read_head(reader: &mut impl BufRead, request: &mut Vec<u8>) -> io::Result<bool> {
    loop {
        let start = request.len();
        if reader.read_until(b'\n', request)? == 0 {
            return Ok(false);
        }
        if request[start..].trim_ascii().is_empty() {
            return Ok(true);
        }
    }
}

/// Reads the body of the request with this head, trailers included.
fn read_body(reader: &mut impl BufRead, head: &str, request: &mut Vec<u8>) -> io::Result<()> {
    let field = |name: &str| {
        let mut lines = head.lines().filter_map(|line| line.split_once(':'));
        lines
            .find(|(found, _)| *found == name)
            .map(|(_, value)| value.trim())
    };
    let mut take = |length: usize, request: &mut Vec<u8>| {
        let start = request.len();
        request.resize(start + length, 0);
        reader.read_exact(&mut request[start..])
    };
    if field("transfer-encoding").is_none() {
        let length = field("content-length").map_or(Ok(0), str::parse);
        return take(length.map_err(io::Error::other)?, request);
    }
    loop {
        let start = request.len();
        reader.read_until(b'\n', request)?;
        let line = String::from_utf8_lossy(&request[start..]).into_owned();
        let size = usize::from_str_radix(line.trim(), 16).map_err(io::Error::other)?;
        if size == 0 {
            break;
        }
        let start = request.len();
        request.resize(start + size + 2, 0);
        reader.read_exact(&mut request[start..])?;
    }
    match read_head(reader, request)? {
        true => Ok(()),
        false => Err(io::ErrorKind::UnexpectedEof.into()),
    }
}
