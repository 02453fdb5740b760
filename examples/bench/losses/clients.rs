//! Clients that never retry, and remember what became of each request. As good clients do, they look whether a kept
//! connection is still open before they use it.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use crate::http::{Connection, Failure, Reply, Request};
use crate::proxy::contestant::host;

const PAUSE: Duration = Duration::from_millis(3);
const TIMEOUT: Duration = Duration::from_secs(10);
/// Bytes of an upload.
const UPLOAD: usize = 16 << 10;

/// What one client does, again and again.
#[derive(Debug, Clone, Copy)]
enum Kind {
    /// `GET` on one connection.
    Kept,
    /// `GET`, a connection each.
    Fresh,
    /// `POST` of 16 KiB on one connection.
    Upload,
    /// `GET` on one connection, whose answer takes 300 ms.
    Slow,
}

/// A thread each.
const CLIENTS: [(Kind, usize); 4] = [
    (Kind::Kept, 6),
    (Kind::Fresh, 4),
    (Kind::Upload, 4),
    (Kind::Slow, 8),
];

/// What became of one request.
#[derive(Debug)]
pub(super) struct Answer {
    pub(super) begun: Instant,
    pub(super) ended: Instant,
    /// Whether the proxy had closed the connection before this was sent.
    pub(super) found_closed: bool,
    /// The version that answered.
    outcome: Result<String, Failure>,
}

impl Answer {
    pub(super) fn version(&self) -> Option<&str> {
        self.outcome.as_deref().ok()
    }

    pub(super) fn is_missing(&self) -> bool {
        matches!(
            self.outcome,
            Err(Failure::Refused | Failure::Reset | Failure::TimedOut)
        )
    }

    pub(super) fn is_truncated(&self) -> bool {
        matches!(
            self.outcome,
            Err(Failure::Truncated | Failure::Malformed | Failure::WrongBody)
        )
    }

    pub(super) fn is_error(&self) -> bool {
        matches!(self.outcome, Err(Failure::Status(_)))
    }
}

/// The clients, which ask until they are stopped.
pub(super) struct Clients {
    stop: Arc<AtomicBool>,
    threads: Vec<JoinHandle<Vec<Answer>>>,
}

impl Clients {
    pub(super) fn start(address: SocketAddr) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let kinds = CLIENTS
            .iter()
            .flat_map(|(kind, count)| std::iter::repeat_n(*kind, *count));
        let start = |kind| {
            let stop = Arc::clone(&stop);
            thread::spawn(move || ask(kind, address, &stop))
        };
        let threads = kinds.map(start).collect();
        Self { stop, threads }
    }

    /// Lets every request in flight end, and gives what became of all.
    pub(super) fn stop(self) -> Vec<Answer> {
        self.stop.store(true, Ordering::Relaxed);
        let threads = self.threads.into_iter();
        threads
            .flat_map(|thread| thread.join().expect("no client panics"))
            .collect()
    }
}

fn ask(kind: Kind, address: SocketAddr, stop: &AtomicBool) -> Vec<Answer> {
    let request = request(kind);
    let (mut answers, mut connection) = (Vec::new(), None);
    while !stop.load(Ordering::Relaxed) {
        let begun = Instant::now();
        let found_closed = connection.as_ref().is_some_and(|kept| !Connection::is_open(kept));
        connection = connection.filter(|_| !found_closed);
        let outcome = send(&mut connection, address, &request).and_then(|reply| version(kind, &reply));
        answers.push(Answer {
            begun,
            ended: Instant::now(),
            found_closed,
            outcome,
        });
        thread::sleep(PAUSE);
    }
    answers
}

fn request(kind: Kind) -> Request {
    let (method, path, body) = match kind {
        Kind::Kept | Kind::Fresh => ("GET", "/version", Vec::new()),
        Kind::Upload => ("POST", "/upload", vec![b'x'; UPLOAD]),
        Kind::Slow => ("GET", "/slow?ms=300", Vec::new()),
    };
    Request {
        method: method.to_owned(),
        path: path.to_owned(),
        host: host(0),
        body,
        close: matches!(kind, Kind::Fresh),
        ..Request::default()
    }
}

/// On the connection there is, else on a new one.
fn send(
    connection: &mut Option<Connection>,
    address: SocketAddr,
    request: &Request,
) -> Result<Reply, Failure> {
    let mut current = match connection.take() {
        Some(open) => open,
        None => Connection::open(address, TIMEOUT)?,
    };
    let reply = current.send(request, TIMEOUT)?;
    if reply.keeps_alive() && !request.close {
        *connection = Some(current);
    }
    Ok(reply)
}

fn version(kind: Kind, reply: &Reply) -> Result<String, Failure> {
    if reply.status != 200 {
        return Err(Failure::Status(reply.status));
    }
    let is_good = match kind {
        Kind::Upload => reply.text().starts_with(&format!("{UPLOAD} ")),
        _ => !reply.body.is_empty(),
    };
    let version = reply.header("app-version").filter(|_| is_good);
    version.map(str::to_owned).ok_or(Failure::WrongBody)
}
