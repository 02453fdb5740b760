//! The app that the tests and the demo deploy: one static binary, the standard library alone.
//!
//! Built by `rustc -O -C target-feature=+crt-static tests/app/app.rs`; it is no target of the crate, because it runs
//! inside containers. It speaks HTTP/1.1 with keep-alive, a thread per connection.
//!
//! A setting is an environment variable or, failing that, a file of that name in the working directory:
//!
//! - `VERSION`: what `/` and `/version` answer, and the header `App-Version` of every answer.
//! - `PORT`: where it listens; 8080.
//! - `LISTEN`: address and port in place of that.
//! - `FAIL`: `exit` (one line, then exit code 7), `500` (`/` and `/healthz` answer 500), `hang` (takes connections and
//!   never answers), `nolisten` (lives, but listens nowhere).
//! - `SLOWSTART`: milliseconds before it listens.
//! - `PRINT`: it prints that many lines of 699 characters and ends, as a noisy step of a build does.
//! - `SPILL`: it prints the file `/noise` that many times, byte by byte as it is, and ends.
//! - `DATA`: the folder of the file `orders`; `/data` where that exists, else no file.
//!
//! | path | answer |
//! |---|---|
//! | `/` | `index.html` of the working directory, else the version |
//! | `/healthz`, `/version`, `/instance`, `/env` | `ok`, the version, the host name, the environment |
//! | `/head` | the request's head as it came: its first line, and each header's |
//! | `/slow?ms=N` | the version, after N milliseconds |
//! | `/upload` | `LENGTH HASH` of the body: bytes, and FNV-1a of 64 bits in hexadecimal |
//! | `/download?bytes=N[&chunked=1]` | N bytes; byte `i` is `i * 31 + i / 256`, cut to 8 bits |
//! | `/sse[?events=N]` | an event each 100 ms: `data: VERSION NUMBER` |
//! | `/ws` | a WebSocket that answers each message with `NUMBER MESSAGE` |
//! | `/count` | `POST` records the body as an order; both methods answer how many orders there are |
//! | `/orders` | the orders, one per line |
//! | `/crash`, `/oom` | none: exits with code 3; takes memory until it is killed |

use std::collections::HashMap;
use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::PathBuf;
use std::sync::{Arc, Mutex};
use std::time::Duration;
use std::{env, fs, process, thread};

#[path = "websocket.rs"]
mod websocket;

/// Bytes of a request's head, and of one line of it.
const HEAD_MAX: u64 = 64 << 10;

fn main() {
    if let Some(lines) = setting("PRINT") {
        for line in 0..number(&lines) {
            println!("{line:0>699}");
        }
        return;
    }
    if let Some(times) = setting("SPILL") {
        let noise = fs::read("/noise").expect("/noise is read");
        for _ in 0..number(&times) {
            io::stdout().write_all(&noise).expect("somebody reads");
        }
        return;
    }
    let app = Arc::new(App::from_settings());
    println!("version {} starts", app.version);
    match app.fail.as_str() {
        "exit" => {
            println!("cannot start: FAIL=exit");
            process::exit(7);
        }
        "nolisten" => loop {
            thread::park();
        },
        _ => {}
    }
    thread::sleep(Duration::from_millis(
        setting("SLOWSTART").map_or(0, |ms| number(&ms)),
    ));
    let port = setting("PORT").map_or(8080, |port| number(&port));
    let listen = setting("LISTEN").unwrap_or_else(|| format!("0.0.0.0:{port}"));
    let listener = TcpListener::bind(listen).expect("the port is free");
    println!("listening on {port}");
    for stream in listener.incoming() {
        match stream {
            Ok(stream) => {
                let app = Arc::clone(&app);
                thread::spawn(move || app.serve(stream));
            }
            Err(error) => println!("accept: {error}"),
        }
    }
}

struct App {
    version: String,
    fail: String,
    orders_file: Option<PathBuf>,
    orders: Mutex<Vec<String>>,
}

struct Request {
    method: String,
    path: String,
    query: HashMap<String, String>,
    headers: HashMap<String, String>,
    /// As it came, line by line.
    head: String,
    body: Vec<u8>,
}

impl App {
    fn from_settings() -> Self {
        let folder = setting("DATA").unwrap_or_else(|| "/data".into());
        Self {
            version: setting("VERSION").unwrap_or_else(|| "none".into()),
            fail: setting("FAIL").unwrap_or_default(),
            orders_file: fs::metadata(&folder)
                .is_ok()
                .then(|| PathBuf::from(folder).join("orders")),
            orders: Mutex::default(),
        }
    }

    fn serve(&self, stream: TcpStream) {
        if self.fail == "hang" {
            loop {
                thread::park();
            }
        }
        let _ = stream.set_nodelay(true);
        let Ok(writer) = stream.try_clone() else { return };
        let mut reader = BufReader::new(stream);
        while let Ok(Some(request)) = read_request(&mut reader, &writer) {
            let close = header(&request, "connection").eq_ignore_ascii_case("close");
            match self.answer(&request, &mut reader, &writer) {
                Ok(true) if !close => {}
                _ => return,
            }
        }
    }

    /// Answers one request; false when the connection cannot be used again.
    fn answer(
        &self,
        request: &Request,
        reader: &mut BufReader<TcpStream>,
        to: &TcpStream,
    ) -> io::Result<bool> {
        let argument = |name: &str| request.query.get(name).map_or(0, |value| number(value));
        let version = format!("{}\n", self.version);
        match request.path.as_str() {
            "/" | "/healthz" if self.fail == "500" => self.reply(request, to, 500, b"the app is unwell\n"),
            "/" => match fs::read("index.html") {
                Ok(page) => self.reply(request, to, 200, &page),
                Err(_) => self.reply(request, to, 200, version.as_bytes()),
            },
            "/healthz" => self.reply(request, to, 200, b"ok\n"),
            "/version" => self.reply(request, to, 200, version.as_bytes()),
            "/instance" => {
                let name = fs::read("/proc/sys/kernel/hostname").unwrap_or_default();
                self.reply(request, to, 200, &name)
            }
            "/env" => {
                let mut lines: Vec<_> = env::vars()
                    .map(|(name, value)| format!("{name}={value}\n"))
                    .collect();
                lines.sort();
                self.reply(request, to, 200, lines.concat().as_bytes())
            }
            "/head" => self.reply(request, to, 200, request.head.as_bytes()),
            "/slow" => {
                thread::sleep(Duration::from_millis(argument("ms")));
                self.reply(request, to, 200, version.as_bytes())
            }
            "/upload" => {
                let text = format!("{} {:016x}\n", request.body.len(), fnv(&request.body));
                self.reply(request, to, 200, text.as_bytes())
            }
            "/download" => self.download(request, to, argument("bytes"), argument("chunked") == 1),
            "/sse" => self.events(to, argument("events")),
            "/ws" => {
                let key = header(request, "sec-websocket-key");
                websocket::echo(key, &self.version, reader, to).map(|()| false)
            }
            "/count" => {
                let count = format!("{}\n", self.count(request));
                self.reply(request, to, 200, count.as_bytes())
            }
            "/orders" => self.reply(request, to, 200, self.orders().join("\n").as_bytes()),
            "/crash" => process::exit(3),
            "/oom" => take_memory(),
            _ => self.reply(request, to, 404, b"no such page\n"),
        }
    }

    fn head(&self, status: u16, kind: &str, length: &str) -> String {
        let reason = match status {
            200 => "OK",
            404 => "Not Found",
            _ => "Internal Server Error",
        };
        format!(
            "HTTP/1.1 {status} {reason}\r\nContent-Type: {kind}\r\nApp-Version: {}\r\n{length}\r\n\r\n",
            self.version
        )
    }

    fn reply(&self, request: &Request, mut to: &TcpStream, status: u16, body: &[u8]) -> io::Result<bool> {
        let kind = if body.starts_with(b"<") {
            "text/html; charset=utf-8"
        } else {
            "text/plain; charset=utf-8"
        };
        let mut answer = self
            .head(status, kind, &format!("Content-Length: {}", body.len()))
            .into_bytes();
        if request.method != "HEAD" {
            answer.extend_from_slice(body);
        }
        to.write_all(&answer).map(|()| true)
    }

    fn download(&self, request: &Request, mut to: &TcpStream, bytes: u64, chunked: bool) -> io::Result<bool> {
        let length = if chunked {
            "Transfer-Encoding: chunked".into()
        } else {
            format!("Content-Length: {bytes}")
        };
        to.write_all(self.head(200, "application/octet-stream", &length).as_bytes())?;
        if request.method == "HEAD" {
            return Ok(true);
        }
        let mut block = Vec::with_capacity(64 << 10);
        let mut at = 0;
        while at < bytes {
            let end = bytes.min(at + (64 << 10));
            block.clear();
            block.extend((at..end).map(|i| (i * 31 + i / 256) as u8));
            if chunked {
                to.write_all(format!("{:x}\r\n", block.len()).as_bytes())?;
                block.extend_from_slice(b"\r\n");
            }
            to.write_all(&block)?;
            at = end;
        }
        if chunked {
            to.write_all(b"0\r\n\r\n")?;
        }
        Ok(true)
    }

    /// Server-sent events until the reader goes, or `events` of them where that is not 0.
    fn events(&self, mut to: &TcpStream, events: u64) -> io::Result<bool> {
        to.write_all(
            self.head(200, "text/event-stream", "Connection: close")
                .as_bytes(),
        )?;
        for count in 1.. {
            to.write_all(format!("data: {} {count}\n\n", self.version).as_bytes())?;
            if count == events {
                break;
            }
            thread::sleep(Duration::from_millis(100));
        }
        Ok(false)
    }

    /// Records an order where the request is a POST. The file is appended to, so that instances can share it.
    fn count(&self, request: &Request) -> usize {
        if request.method == "POST" {
            let order = String::from_utf8_lossy(&request.body).replace(['\r', '\n'], " ");
            match &self.orders_file {
                Some(path) => {
                    let mut file = fs::OpenOptions::new()
                        .append(true)
                        .create(true)
                        .open(path)
                        .expect("the orders open");
                    file.write_all(format!("{order}\n").as_bytes())
                        .expect("the order is written");
                }
                None => self.orders.lock().expect("no thread panicked").push(order),
            }
        }
        self.orders().len()
    }

    fn orders(&self) -> Vec<String> {
        match &self.orders_file {
            Some(path) => fs::read_to_string(path)
                .unwrap_or_default()
                .lines()
                .map(Into::into)
                .collect(),
            None => self.orders.lock().expect("no thread panicked").clone(),
        }
    }
}

/// The next request of a connection, body and all; none where the peer has closed it.
fn read_request(from: &mut BufReader<TcpStream>, mut to: &TcpStream) -> io::Result<Option<Request>> {
    let first = read_line(from)?;
    if first.is_empty() {
        return Ok(None);
    }
    let mut words = first.split(' ');
    let (method, target) = (words.next().unwrap_or_default(), words.next().unwrap_or_default());
    let (path, query) = target.split_once('?').unwrap_or((target, ""));
    let mut request = Request {
        method: method.into(),
        path: path.into(),
        query: query
            .split('&')
            .filter_map(|pair| pair.split_once('='))
            .map(|(k, v)| (k.into(), v.into()))
            .collect(),
        headers: HashMap::new(),
        head: format!("{first}\n"),
        body: Vec::new(),
    };
    loop {
        let line = read_line(from)?;
        request.head += &format!("{line}\n");
        match line.split_once(':') {
            Some((name, value)) => request
                .headers
                .insert(name.to_ascii_lowercase(), value.trim().into()),
            None => break,
        };
    }
    if header(&request, "expect").eq_ignore_ascii_case("100-continue") {
        to.write_all(b"HTTP/1.1 100 Continue\r\n\r\n")?;
    }
    request.body = read_body(&request, from)?;
    Ok(Some(request))
}

fn read_body(request: &Request, from: &mut BufReader<TcpStream>) -> io::Result<Vec<u8>> {
    let mut body = Vec::new();
    if !header(request, "transfer-encoding").eq_ignore_ascii_case("chunked") {
        let length = number(header(request, "content-length"));
        from.take(length).read_to_end(&mut body)?;
        return if body.len() as u64 == length {
            Ok(body)
        } else {
            Err(io::ErrorKind::UnexpectedEof.into())
        };
    }
    loop {
        let line = read_line(from)?;
        let size = line.split(';').next().unwrap_or_default().trim();
        let size = u64::from_str_radix(size, 16).map_err(|_| io::ErrorKind::InvalidData)?;
        if size == 0 {
            while !read_line(from)?.is_empty() {}
            return Ok(body);
        }
        let before = body.len();
        from.take(size).read_to_end(&mut body)?;
        if (body.len() - before) as u64 != size || !read_line(from)?.is_empty() {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
    }
}

fn read_line(from: &mut BufReader<TcpStream>) -> io::Result<String> {
    let mut line = Vec::new();
    from.take(HEAD_MAX).read_until(b'\n', &mut line)?;
    Ok(String::from_utf8_lossy(&line).trim_end().into())
}

fn header<'a>(request: &'a Request, name: &str) -> &'a str {
    request.headers.get(name).map_or("", String::as_str)
}

fn setting(name: &str) -> Option<String> {
    let text = env::var(name).ok().or_else(|| fs::read_to_string(name).ok())?;
    Some(text.trim().to_owned())
}

fn number(text: &str) -> u64 {
    text.parse().unwrap_or(0)
}

fn fnv(bytes: &[u8]) -> u64 {
    bytes.iter().fold(0xcbf2_9ce4_8422_2325, |hash, byte| {
        (hash ^ u64::from(*byte)).wrapping_mul(0x0000_0100_0000_01b3)
    })
}

fn take_memory() -> ! {
    let mut taken = Vec::new();
    loop {
        taken.push(std::hint::black_box(vec![1u8; 8 << 20]));
    }
}
