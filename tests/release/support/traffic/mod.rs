//! Steady traffic: clients that never retry and count every outcome by kind. The standard library alone, because
//! `script/traffic.rs` uses it too.

mod bulk;
mod client;
mod expected;
mod outcome;
mod streams;

use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use super::http::{Connection, Failure, Reply};
pub(crate) use client::Client;
use expected::Expected;
use outcome::Good;
pub(crate) use outcome::Outcome;

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
    /// Whether the embedded proxy answers itself: it ends a connection behind an event stream that it has ended, and
    /// frames every stream. Another program may do otherwise, and the answer is whole all the same.
    pub(crate) embedded: bool,
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
            embedded: true,
        }
    }
}

/// Traffic that runs until it is stopped or dropped.
pub(crate) struct Traffic {
    shared: Arc<Shared>,
    threads: Vec<JoinHandle<()>>,
}

/// What the clients of one traffic have in common.
struct Shared {
    address: SocketAddr,
    load: Load,
    /// No other traffic's of this process.
    number: u64,
    since: Instant,
    stop: AtomicBool,
    outcome: Mutex<Outcome>,
    expected: Expected,
}

/// When a request was begun.
#[derive(Debug, Clone, Copy)]
struct Begun {
    at: Instant,
    /// As `Expected` counts.
    time: usize,
}

impl Traffic {
    /// Starts `load` against `address`.
    pub(crate) fn start(address: SocketAddr, load: Load) -> Self {
        static LAST: AtomicU64 = AtomicU64::new(0);
        if load.clients.contains(&Client::BigUpload) {
            bulk::prepare();
        }
        let clients = load.clients.clone();
        let shared = Arc::new(Shared {
            address,
            load,
            number: LAST.fetch_add(1, Ordering::Relaxed),
            since: Instant::now(),
            stop: AtomicBool::new(false),
            outcome: Mutex::default(),
            expected: Expected::default(),
        });
        let start = |(index, client)| {
            let shared = Arc::clone(&shared);
            thread::spawn(move || shared.run(index, client))
        };
        let threads = clients.into_iter().enumerate().map(start).collect();
        Self { shared, threads }
    }

    /// From now on only `versions` may answer a request that begins; another one is a failure of its own kind.
    pub(crate) fn expect(&self, versions: &[&str]) {
        self.shared.expected.only(versions);
    }

    /// The same, to be said from elsewhere.
    pub(crate) fn expectation(&self) -> Expectation {
        Expectation(Arc::clone(&self.shared))
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

/// See [`Traffic::expectation`].
pub(crate) struct Expectation(Arc<Shared>);

impl Expectation {
    /// As [`Traffic::expect`].
    pub(crate) fn only(&self, versions: &[&str]) {
        self.0.expected.only(versions);
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
            if self.is_stopping() {
                return;
            }
            client.round(self, &mut connection, &format!("{}-{index}-{round}", self.number));
            thread::sleep(self.load.pause + client.rest());
        }
    }

    fn is_stopping(&self) -> bool {
        self.stop.load(Ordering::Relaxed)
    }

    fn begin(&self) -> Begun {
        Begun {
            time: self.expected.now(),
            at: Instant::now(),
        }
    }

    /// The connection there is, else a new one.
    fn connect(&self, connection: &mut Option<Connection>) -> Result<Connection, Failure> {
        match connection.take() {
            Some(open) => Ok(open),
            None => Connection::open(self.address, self.load.timeout),
        }
    }

    fn count(&self, client: &'static str, begun: Begun, result: Result<Good, Failure>) {
        let result = result.and_then(|good| match self.expected.allows(begun.time, &good.version) {
            true => Ok(good),
            false => Err(Failure::WrongRelease),
        });
        let mut outcome = self.outcome.lock().expect("no client panicked");
        outcome.count(client, begun, self.since, result);
    }
}

fn version_of(reply: &Reply) -> String {
    reply.header("app-version").unwrap_or("unknown").to_owned()
}
