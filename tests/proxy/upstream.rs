//! A little server: an instance of an app.
//!
//! `/` answers the upstream's name. Other paths: `/slow/MS`, `/head` (the request's head as it came), `/echo`
//! (the body's length and digest), `/download/BYTES`, `/events`, `/trailers`, `/old` (HTTP/1.0), `/status/CODE`,
//! `/hold` (answers when told to), `/die` (breaks off), `/once` (closes after the answer without a word),
//! `/silent` (an answer that stops half way), `/chunks` (the same without a length, broken off when told to),
//! `/half-events` (an event stream that stops within an event until told to go on), `/flood` (an event stream without
//! a pause), `/unasked` (and another answer behind it), `/early` (answers and closes without a look at the body),
//! `/duplex` (sends a chunked body back as it comes), and any upgrade, as `echo`.

use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, SocketAddrV4, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering::SeqCst};
use std::sync::{Arc, Condvar, Mutex};
use std::thread::JoinHandle;
use std::time::Duration;

use sha2::{Digest, Sha256};

pub(crate) struct Upstream {
    pub(crate) address: SocketAddrV4,
    shared: Arc<Shared>,
    accepting: Mutex<Option<JoinHandle<()>>>,
}

struct Shared {
    name: String,
    seen: Mutex<Vec<String>>,
    echoed: Mutex<Vec<u8>>,
    stuck: AtomicBool,
    open: Mutex<Vec<TcpStream>>,
    stopped: AtomicBool,
    released: (Mutex<u64>, Condvar),
}

impl Upstream {
    /// Listens on a free port of `ip`.
    pub(crate) fn start(name: &str, ip: &str) -> Self {
        Self::start_at(name, &format!("{ip}:0"))
    }

    pub(crate) fn start_at(name: &str, address: &str) -> Self {
        let listener = TcpListener::bind(address).expect("an address of the loopback network");
        let SocketAddr::V4(address) = listener.local_addr().unwrap() else {
            unreachable!("asked for IPv4")
        };
        let shared = Arc::new(Shared {
            name: name.to_owned(),
            seen: Mutex::default(),
            echoed: Mutex::default(),
            stuck: AtomicBool::new(false),
            open: Mutex::default(),
            stopped: AtomicBool::new(false),
            released: (Mutex::new(0), Condvar::new()),
        });
        let accepting = Arc::clone(&shared);
        let accepting = std::thread::spawn(move || {
            for stream in listener.incoming().map_while(Result::ok) {
                if accepting.stopped.load(SeqCst) {
                    return;
                }
                accepting.open.lock().unwrap().push(stream.try_clone().unwrap());
                let shared = Arc::clone(&accepting);
                std::thread::spawn(move || {
                    let _ = shared.serve(&stream);
                    let _ = stream.shutdown(std::net::Shutdown::Both);
                });
            }
        });
        Self {
            address,
            shared,
            accepting: Mutex::new(Some(accepting)),
        }
    }

    /// The request lines that have come.
    pub(crate) fn seen(&self) -> Vec<String> {
        self.shared.seen.lock().unwrap().clone()
    }

    /// The bytes that have come on upgraded connections.
    pub(crate) fn echoed(&self) -> Vec<u8> {
        self.shared.echoed.lock().unwrap().clone()
    }

    /// Whether nobody reads its `/flood`.
    pub(crate) fn is_stuck(&self) -> bool {
        self.shared.stuck.load(SeqCst)
    }

    /// How many connections have come.
    pub(crate) fn connections(&self) -> usize {
        self.shared.open.lock().unwrap().len()
    }

    /// Lets one `/hold`, or one more event of `/events`, go on.
    pub(crate) fn release(&self) {
        *self.shared.released.0.lock().unwrap() += 1;
        self.shared.released.1.notify_all();
    }

    /// Refuses connections from now on, and breaks off those that are open.
    pub(crate) fn stop(&self) {
        // Under the lock, so that nobody who is about to wait misses it.
        let released = self.shared.released.0.lock().unwrap();
        self.shared.stopped.store(true, SeqCst);
        drop(released);
        self.shared.released.1.notify_all();
        if let Some(accepting) = self.accepting.lock().unwrap().take() {
            let _ = TcpStream::connect(self.address);
            accepting.join().unwrap();
        }
        for stream in self.shared.open.lock().unwrap().drain(..) {
            let _ = stream.shutdown(std::net::Shutdown::Both);
        }
    }
}

impl Drop for Upstream {
    fn drop(&mut self) {
        self.stop();
    }
}

impl Shared {
    fn serve(&self, stream: &TcpStream) -> io::Result<()> {
        stream.set_nodelay(true)?;
        let mut reader = BufReader::new(stream);
        loop {
            let Some(head) = read_head(&mut reader)? else {
                return Ok(());
            };
            let line = head.lines().next().unwrap_or_default().to_owned();
            self.seen.lock().unwrap().push(line.clone());
            let mut words = line.split(' ');
            let (method, path) = (words.next().unwrap_or_default(), words.next().unwrap_or_default());
            if let Some(protocol) = field(&head, "upgrade") {
                return self.echo_for_ever(protocol, reader, stream);
            }
            let path = path.split('?').next().unwrap_or_default();
            let (number, path) = match path.trim_start_matches('/').split_once('/') {
                Some((path, number)) => (number.parse().unwrap_or(0), path),
                None => (0_u64, path.trim_start_matches('/')),
            };
            if path == "die" {
                return Ok(());
            }
            if path == "unread" {
                return self.wait_for_release();
            }
            if path == "early" {
                return self.say(
                    stream,
                    "413 Too much\r\ncontent-length: 5\r\nconnection: close",
                    b"early",
                );
            }
            if path == "duplex" {
                self.duplex(&mut reader, stream)?;
                continue;
            }
            let body = read_body(&mut reader, &head)?;
            match path {
                "slow" => {
                    std::thread::sleep(Duration::from_millis(number));
                    self.answer(stream, self.name.as_bytes())?;
                }
                "hold" => {
                    self.wait_for_release()?;
                    self.answer(stream, self.name.as_bytes())?;
                }
                "head" => self.answer(stream, head.as_bytes())?,
                "echo" => self.answer(stream, format!("{} {}", body.length, body.digest).as_bytes())?,
                "trailed" => self.answer(stream, body.trailers.as_bytes())?,
                "download" => self.download(stream, number)?,
                "events" => return self.events(stream),
                "chunks" => {
                    self.say(stream, "200 OK\r\ntransfer-encoding: chunked", b"4\r\nhalf\r\n")?;
                    return self.wait_for_release();
                }
                "half-events" => return self.half_events(stream),
                "flood" => return self.flood(stream),
                "trailers" => self.say(
                    stream,
                    "200 OK\r\ntransfer-encoding: chunked\r\ntrailer: x-sum",
                    b"3\r\nabc\r\n0\r\nx-sum: 42\r\n\r\n",
                )?,
                "old" => {
                    let mut to = stream;
                    return write!(to, "HTTP/1.0 200 OK\r\n\r\n{}", self.name);
                }
                "status" => self.say(stream, &format!("{number} X\r\ncontent-length: 0"), b"")?,
                "not-modified" => self.say(stream, "304 Not Modified\r\netag: \"x\"", b"")?,
                "unasked" => {
                    let more = b"blueHTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nwrong";
                    self.say(stream, "200 OK\r\ncontent-length: 4", more)?;
                }
                "once" => {
                    self.answer(stream, self.name.as_bytes())?;
                    return Ok(());
                }
                "silent" => {
                    self.say(stream, "200 OK\r\ncontent-length: 10", b"half")?;
                    return self.wait_for_release();
                }
                _ if method == "HEAD" => self.say(stream, "200 OK\r\ncontent-length: 1234", b"")?,
                _ => self.answer(stream, self.name.as_bytes())?,
            }
        }
    }

    /// Waits until it is told to go on.
    ///
    /// # Errors
    /// When it is stopped: it says nothing more.
    fn wait_for_release(&self) -> io::Result<()> {
        let released = self.released.0.lock().unwrap();
        let waits = |released: &mut u64| *released == 0 && !self.stopped.load(SeqCst);
        let mut released = self.released.1.wait_while(released, waits).unwrap();
        if self.stopped.load(SeqCst) {
            return Err(io::ErrorKind::ConnectionAborted.into());
        }
        *released -= 1;
        Ok(())
    }

    fn answer(&self, stream: &TcpStream, body: &[u8]) -> io::Result<()> {
        self.say(stream, &format!("200 OK\r\ncontent-length: {}", body.len()), body)
    }

    fn say(&self, mut stream: &TcpStream, head: &str, body: &[u8]) -> io::Result<()> {
        let mut text = format!("HTTP/1.1 {head}\r\nx-from: {}\r\n\r\n", self.name).into_bytes();
        text.extend_from_slice(body);
        stream.write_all(&text)
    }

    fn download(&self, mut stream: &TcpStream, length: u64) -> io::Result<()> {
        self.say(stream, &format!("200 OK\r\ncontent-length: {length}"), b"")?;
        let block = [b'd'; 64 << 10];
        let mut left = length as usize;
        while left > 0 {
            let now = left.min(block.len());
            stream.write_all(&block[..now])?;
            left -= now;
        }
        Ok(())
    }

    fn events(&self, mut stream: &TcpStream) -> io::Result<()> {
        let head = "200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked";
        self.say(stream, head, b"9\r\ndata: 0\n\n\r\n")?;
        for number in 1..=9 {
            self.wait_for_release()?;
            stream.write_all(format!("9\r\ndata: {number}\n\n\r\n").as_bytes())?;
        }
        stream.write_all(b"0\r\n\r\n")
    }

    /// Events until the reader takes no more.
    fn flood(&self, mut stream: &TcpStream) -> io::Result<()> {
        self.say(stream, "200 OK\r\ncontent-type: text/event-stream", b"")?;
        stream.set_write_timeout(Some(Duration::from_millis(500)))?;
        while stream.write_all(&b"data: flood\n\n".repeat(5_000)).is_ok() {}
        self.stuck.store(true, SeqCst);
        self.wait_for_release()
    }

    /// One event and a half; the rest of the second, and a third, when told to.
    fn half_events(&self, mut stream: &TcpStream) -> io::Result<()> {
        let head = "200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked";
        self.say(stream, head, b"f\r\ndata: 0\n\ndata: \r\n")?;
        self.wait_for_release()?;
        stream.write_all(b"c\r\n1\n\ndata: 2\n\n\r\n")?;
        self.wait_for_release()
    }

    /// Sends back each byte of a chunked body when it has come.
    fn duplex(&self, reader: &mut impl BufRead, mut stream: &TcpStream) -> io::Result<()> {
        self.say(stream, "200 OK\r\ntransfer-encoding: chunked", b"")?;
        loop {
            let mut line = String::new();
            reader.read_line(&mut line)?;
            let size = usize::from_str_radix(line.trim(), 16).map_err(io::Error::other)?;
            let mut chunk = vec![0; size + 2];
            reader.read_exact(&mut chunk)?;
            stream.write_all(&[line.as_bytes(), &chunk].concat())?;
            if size == 0 {
                return Ok(());
            }
        }
    }

    fn echo_for_ever(
        &self,
        protocol: &str,
        mut reader: BufReader<&TcpStream>,
        mut stream: &TcpStream,
    ) -> io::Result<()> {
        write!(
            stream,
            "HTTP/1.1 101 Switching Protocols\r\nconnection: upgrade\r\nupgrade: {protocol}\r\n\r\n"
        )?;
        let mut bytes = [0; 1 << 10];
        loop {
            let came = reader.read(&mut bytes)?;
            if came == 0 {
                return Ok(());
            }
            self.echoed.lock().unwrap().extend_from_slice(&bytes[..came]);
            stream.write_all(&bytes[..came])?;
        }
    }
}

fn read_head(reader: &mut impl BufRead) -> io::Result<Option<String>> {
    let mut head = String::new();
    loop {
        let start = head.len();
        if reader.read_line(&mut head)? == 0 {
            return Ok(None);
        }
        if head[start..].trim_end().is_empty() {
            return Ok(Some(head));
        }
    }
}

pub(crate) fn field<'a>(head: &'a str, wanted: &str) -> Option<&'a str> {
    head.lines().skip(1).find_map(|line| {
        let (name, value) = line.split_once(':')?;
        name.eq_ignore_ascii_case(wanted).then(|| value.trim())
    })
}

struct Received {
    length: usize,
    digest: String,
    trailers: String,
}

fn read_body(reader: &mut impl BufRead, head: &str) -> io::Result<Received> {
    let mut hash = Sha256::new();
    let mut length = 0;
    let mut trailers = String::new();
    if field(head, "transfer-encoding").is_some() {
        loop {
            let mut line = String::new();
            reader.read_line(&mut line)?;
            let size = usize::from_str_radix(line.trim(), 16).map_err(io::Error::other)?;
            if size == 0 {
                break;
            }
            let mut chunk = vec![0; size + 2];
            reader.read_exact(&mut chunk)?;
            hash.update(&chunk[..size]);
            length += size;
        }
        trailers = read_head(reader)?.unwrap_or_default();
    } else if let Some(left) = field(head, "content-length").and_then(|length| length.parse::<usize>().ok()) {
        let mut block = vec![0; 64 << 10];
        while length < left {
            let now = block.len().min(left - length);
            reader.read_exact(&mut block[..now])?;
            hash.update(&block[..now]);
            length += now;
        }
    }
    Ok(Received {
        length,
        digest: hex(&hash.finalize()),
        trailers,
    })
}

pub(crate) fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
