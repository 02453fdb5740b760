//! A client that asks every millisecond which version answers, and never retries.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use anyhow::{Result, bail};

use http::{Connection, Failure, Request};

#[path = "../../tests/release/support/http.rs"]
#[allow(dead_code)]
mod http;

const PAUSE: Duration = Duration::from_millis(1);
const TIMEOUT: Duration = Duration::from_secs(2);

/// The client, which asks until it is dropped.
pub(crate) struct Poller {
    seen: Arc<Mutex<Seen>>,
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

/// What the client saw.
#[derive(Debug, Clone, Default)]
pub(crate) struct Seen {
    /// When each version first answered.
    first: HashMap<String, Instant>,
    /// Since when every request has failed.
    failing: Option<Instant>,
    /// The longest time from a request that failed to the next answer.
    pub(crate) gap: Duration,
    /// Requests that failed.
    pub(crate) failed: u64,
}

impl Poller {
    pub(crate) fn start(address: SocketAddr, host: &str) -> Self {
        let (seen, stop) = (
            Arc::new(Mutex::new(Seen::default())),
            Arc::new(AtomicBool::new(false)),
        );
        let request = Request {
            path: "/version".to_owned(),
            host: host.to_owned(),
            ..Request::default()
        };
        let thread = std::thread::spawn({
            let (seen, stop) = (Arc::clone(&seen), Arc::clone(&stop));
            move || {
                let mut connection = None;
                while !stop.load(Ordering::Relaxed) {
                    let begun = Instant::now();
                    let answer = ask(&mut connection, address, &request);
                    seen.lock().expect("no reader panicked").take(begun, answer);
                    std::thread::sleep(PAUSE);
                }
            }
        });
        Self {
            seen,
            stop,
            thread: Some(thread),
        }
    }

    /// Waits until `version` has answered, and gives the moment of its first answer.
    pub(crate) fn wait_for(&self, version: &str, deadline: Duration) -> Result<Instant> {
        let begun = Instant::now();
        while begun.elapsed() < deadline {
            if let Some(at) = self.seen().first.get(version) {
                return Ok(*at);
            }
            std::thread::sleep(PAUSE);
        }
        bail!("{version} did not answer within {} s", deadline.as_secs())
    }

    /// What was seen until now.
    pub(crate) fn seen(&self) -> Seen {
        self.seen.lock().expect("the client did not panic").clone()
    }
}

impl Drop for Poller {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

impl Seen {
    fn take(&mut self, begun: Instant, answer: Result<String, Failure>) {
        match answer {
            Ok(version) => {
                self.first.entry(version).or_insert_with(Instant::now);
                if let Some(since) = self.failing.take() {
                    self.gap = self.gap.max(since.elapsed());
                }
            }
            Err(_) => {
                self.failed += 1;
                self.failing.get_or_insert(begun);
            }
        }
    }
}

/// On the connection there is, else on a new one; an answer that is no success is a failure.
fn ask(
    connection: &mut Option<Connection>,
    address: SocketAddr,
    request: &Request,
) -> Result<String, Failure> {
    let mut current = match connection.take() {
        Some(open) => open,
        None => Connection::open(address, TIMEOUT)?,
    };
    let reply = current.send(request, TIMEOUT)?;
    if reply.status != 200 {
        return Err(Failure::Status(reply.status));
    }
    if reply.keeps_alive() {
        *connection = Some(current);
    }
    Ok(reply.text())
}
