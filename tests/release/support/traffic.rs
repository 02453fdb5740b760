//! Steady traffic: clients that never retry and count every outcome by kind. The standard library alone, because
//! `script/traffic.rs` uses it too.

use std::collections::BTreeMap;
use std::fmt;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use super::http::{Connection, Failure, Reply, Request};

/// Failures that are kept with their story.
const EXAMPLES_MAX: usize = 20;

/// Bytes of an upload.
const UPLOAD: usize = 16 << 10;

/// What one client does, again and again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Client {
    /// `GET /` on one connection.
    KeptGet,
    /// `GET /`, a connection each.
    FreshGet,
    /// `POST /upload` of 16 KiB on one connection; the answer's length and hash are checked.
    Upload,
    /// `GET /slow?ms=N` on one connection.
    Slow(u64),
    /// `POST /count` of an order that no other client sends; see [`Outcome::orders`].
    Order,
}

/// What the clients do together.
#[derive(Debug, Clone)]
pub(crate) struct Load {
    /// A thread each.
    pub(crate) clients: Vec<Client>,
    /// Each client's pause between two requests.
    pub(crate) pause: Duration,
    /// What a connection may take, and what a request may take.
    pub(crate) timeout: Duration,
    /// The Host header.
    pub(crate) host: String,
}

impl Default for Load {
    fn default() -> Self {
        Self {
            clients: vec![
                Client::KeptGet,
                Client::KeptGet,
                Client::FreshGet,
                Client::Upload,
                Client::Slow(300),
                Client::Order,
            ],
            pause: Duration::from_millis(5),
            timeout: Duration::from_secs(10),
            host: "localhost".into(),
        }
    }
}

/// What became of the requests so far.
#[derive(Debug, Clone, Default)]
pub(crate) struct Outcome {
    /// Requests begun and ended, well or not.
    pub(crate) sent: u64,
    /// Good answers by the version that gave them (the header `App-Version`).
    pub(crate) answered: BTreeMap<String, u64>,
    /// Failures by kind.
    pub(crate) failed: BTreeMap<Failure, u64>,
    /// The first failures with their story.
    pub(crate) examples: Vec<String>,
    /// By version: when the last request that it answered was begun.
    pub(crate) last_begun: BTreeMap<String, Instant>,
    /// The longest that a good answer took, pauses of [`Client::Slow`] included.
    pub(crate) slowest: Duration,
    /// The orders that were acknowledged.
    pub(crate) orders: Vec<String>,
}

impl Outcome {
    /// How many requests failed, of all kinds.
    pub(crate) fn failures(&self) -> u64 {
        self.failed.values().sum()
    }

    /// Good answers of `version`.
    pub(crate) fn of(&self, version: &str) -> u64 {
        self.answered.get(version).copied().unwrap_or(0)
    }

    /// Whether `version` answered a request that was begun after `moment`.
    pub(crate) fn is_late(&self, version: &str, moment: Instant) -> bool {
        self.last_begun.get(version).is_some_and(|begun| *begun > moment)
    }
}

impl fmt::Display for Outcome {
    fn fmt(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(to, "{} requests sent, {} failed", self.sent, self.failures())?;
        for (kind, count) in &self.failed {
            write!(to, ", {count} {kind}")?;
        }
        for example in &self.examples {
            write!(to, "\n  {example}")?;
        }
        Ok(())
    }
}

/// Traffic that runs until it is stopped or dropped.
pub(crate) struct Traffic {
    shared: Arc<Shared>,
    threads: Vec<JoinHandle<()>>,
}

struct Shared {
    address: SocketAddr,
    load: Load,
    begun: Instant,
    stop: AtomicBool,
    outcome: Mutex<Outcome>,
}

impl Traffic {
    /// Starts `load` against `address`.
    pub(crate) fn start(address: SocketAddr, load: Load) -> Self {
        let clients = load.clients.clone();
        let shared = Arc::new(Shared {
            address,
            load,
            begun: Instant::now(),
            stop: AtomicBool::new(false),
            outcome: Mutex::default(),
        });
        let start = |(index, client)| {
            let shared = Arc::clone(&shared);
            thread::spawn(move || shared.run(index, client))
        };
        let threads = clients.into_iter().enumerate().map(start).collect();
        Self { shared, threads }
    }

    /// What became of the requests so far.
    pub(crate) fn so_far(&self) -> Outcome {
        self.shared.outcome.lock().expect("no client panicked").clone()
    }

    /// Lets every request in flight end, begins no other, and gives what became of all.
    pub(crate) fn stop(mut self) -> Outcome {
        self.shared.stop.store(true, Ordering::Relaxed);
        for thread in self.threads.drain(..) {
            thread.join().expect("no client panics");
        }
        self.so_far()
    }
}

impl Drop for Traffic {
    fn drop(&mut self) {
        self.shared.stop.store(true, Ordering::Relaxed);
    }
}

impl Shared {
    fn run(&self, index: usize, client: Client) {
        let mut connection = None;
        for round in 0.. {
            if self.stop.load(Ordering::Relaxed) {
                return;
            }
            let request = self.request(client, &format!("{index}-{round}"));
            let begun = Instant::now();
            let reply = self.send(&mut connection, &request);
            let checked = reply.and_then(|reply| check(client, &request, reply));
            self.count(client, &request, begun, checked);
            thread::sleep(self.load.pause);
        }
    }

    fn request(&self, client: Client, name: &str) -> Request {
        let (method, path, body) = match client {
            Client::KeptGet | Client::FreshGet => ("GET", "/".into(), Vec::new()),
            Client::Upload => {
                let body = name.bytes().cycle().take(UPLOAD).collect();
                ("POST", "/upload".into(), body)
            }
            Client::Slow(ms) => ("GET", format!("/slow?ms={ms}"), Vec::new()),
            Client::Order => ("POST", "/count".into(), format!("order {name}").into_bytes()),
        };
        Request {
            method: method.into(),
            path,
            host: self.load.host.clone(),
            body,
            close: client == Client::FreshGet,
            ..Request::default()
        }
    }

    /// Sends on the connection there is, else on a new one; keeps it where it can be used again.
    fn send(&self, connection: &mut Option<Connection>, request: &Request) -> Result<Reply, Failure> {
        let timeout = self.load.timeout;
        let mut current = match connection.take() {
            Some(open) => open,
            None => Connection::open(self.address, timeout)?,
        };
        let reply = current.send(request, timeout)?;
        if reply.keeps_alive() && !request.close {
            *connection = Some(current);
        }
        Ok(reply)
    }

    fn count(&self, client: Client, request: &Request, begun: Instant, reply: Result<Reply, Failure>) {
        let mut outcome = self.outcome.lock().expect("no client panicked");
        outcome.sent += 1;
        match reply {
            Ok(reply) => {
                let version = reply.header("app-version").unwrap_or("unknown").to_owned();
                let last = outcome.last_begun.entry(version.clone()).or_insert(begun);
                *last = begun.max(*last);
                *outcome.answered.entry(version).or_default() += 1;
                outcome.slowest = outcome.slowest.max(begun.elapsed());
                if client == Client::Order {
                    let order = String::from_utf8_lossy(&request.body).into_owned();
                    outcome.orders.push(order);
                }
            }
            Err(failure) => {
                *outcome.failed.entry(failure).or_default() += 1;
                if outcome.examples.len() < EXAMPLES_MAX {
                    let (at, took) = (begun - self.begun, begun.elapsed());
                    outcome.examples.push(format!(
                        "{client:?} {failure}, begun at {:.3}s, ended after {:.3}s",
                        at.as_secs_f64(),
                        took.as_secs_f64()
                    ));
                }
            }
        }
    }
}

fn check(client: Client, request: &Request, reply: Reply) -> Result<Reply, Failure> {
    if reply.status != 200 {
        return Err(Failure::Status(reply.status));
    }
    let good = match client {
        Client::Upload => reply.text() == format!("{} {:016x}", request.body.len(), fnv(&request.body)),
        _ => !reply.body.is_empty(),
    };
    if good { Ok(reply) } else { Err(Failure::WrongBody) }
}

/// FNV-1a of 64 bits, as the test app computes it.
fn fnv(bytes: &[u8]) -> u64 {
    bytes.iter().fold(0xcbf2_9ce4_8422_2325, |hash, byte| {
        (hash ^ u64::from(*byte)).wrapping_mul(0x0000_0100_0000_01b3)
    })
}
