//! A client that asks every millisecond who answers, and never retries.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use anyhow::{Result, bail};

use crate::http::{Connection, Failure, Request};

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
    /// When each answer first came.
    first: HashMap<String, Instant>,
    /// Since when every request has failed.
    failing: Option<Instant>,
    /// The longest time from a request that failed to the next answer.
    pub(crate) gap: Duration,
}

impl Poller {
    /// Asks for `path` of `host`: `/version`, or `/instance`, which differs from container to container.
    pub(crate) fn start(address: SocketAddr, host: &str, path: &str) -> Self {
        let (seen, stop) = (
            Arc::new(Mutex::new(Seen::default())),
            Arc::new(AtomicBool::new(false)),
        );
        let request = Request {
            path: path.to_owned(),
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

    /// Waits until an answer came that `is_wanted`, and gives it with the moment at which it came first.
    pub(crate) fn wait_for(
        &self,
        is_wanted: impl Fn(&str) -> bool,
        deadline: Duration,
    ) -> Result<(String, Instant)> {
        let begun = Instant::now();
        while begun.elapsed() < deadline {
            let seen = self.seen();
            if let Some(wanted) = seen.first.into_iter().find(|(answer, _)| is_wanted(answer)) {
                return Ok(wanted);
            }
            std::thread::sleep(PAUSE);
        }
        bail!("what was waited for did not answer within {deadline:?}")
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
            Ok(answer) => {
                self.first.entry(answer).or_insert_with(Instant::now);
                if let Some(since) = self.failing.take() {
                    self.gap = self.gap.max(since.elapsed());
                }
            }
            Err(_) => drop(self.failing.get_or_insert(begun)),
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
