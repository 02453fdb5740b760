//! An upstream: one instance's address, its idle connections, and how many requests it is serving.

use std::net::SocketAddrV4;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed, Ordering::SeqCst};
use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::Notify;

use super::dial::Link;

/// How long an instance that could not be reached is passed over, in milliseconds.
const PASSED_OVER: u64 = 1_000;

/// How long an idle connection is kept, in milliseconds.
const IDLE_MAX: u64 = 30_000;

/// Idle connections kept per worker and upstream.
const IDLE_COUNT: usize = 256;

/// What all workers know of an upstream.
#[derive(Debug)]
pub(super) struct Upstream {
    /// Known by this in a [`super::pulse::Pulse`]; never 0.
    pub(super) id: u64,
    pub(super) address: SocketAddrV4,
    /// Whether anyone waits for `ended`.
    awaited: AtomicBool,
    ended: Notify,
    /// Whether a route goes here, so that a connection is worth keeping.
    routed: AtomicBool,
    passed_over_until: AtomicU64,
    /// Whether the last failure to connect took long, so that another try is not worth a client's time.
    failed_slowly: AtomicBool,
    /// Endless streams that the proxy has ended in form.
    closed: AtomicU64,
}

/// One worker's part of an upstream: what every request writes to. On memory of its own, because two workers
/// that write to one line of it wait for each other.
#[derive(Debug)]
#[repr(align(128))]
pub(super) struct Seat {
    pub(super) upstream: Arc<Upstream>,
    in_flight: AtomicU64,
    /// Idle connections. The sweep looks in now and then; else the worker is alone here.
    idle: Mutex<Vec<Idle>>,
}

/// An upstream with every worker's part of it.
#[derive(Debug, Clone)]
pub(super) struct Whole {
    pub(super) upstream: Arc<Upstream>,
    /// By worker.
    pub(super) seats: Arc<[Arc<Seat>]>,
}

#[derive(Debug)]
struct Idle {
    link: Link,
    since: u64,
}

impl Upstream {
    /// Notes that the instance could not be reached at `now`; gives whether this is news.
    pub(super) fn pass_over(&self, now: u64, slowly: bool) -> bool {
        self.failed_slowly.store(slowly, Relaxed);
        self.passed_over_until.swap(now + PASSED_OVER, Relaxed) == 0
    }

    /// Notes that the instance was reached; gives whether this is news.
    pub(super) fn reached(&self) -> bool {
        self.passed_over_until.load(Relaxed) != 0 && self.passed_over_until.swap(0, Relaxed) != 0
    }

    pub(super) fn is_passed_over(&self, now: u64) -> bool {
        now < self.passed_over_until.load(Relaxed)
    }

    /// An endless stream was ended in form.
    pub(super) fn count_closed(&self) {
        self.closed.fetch_add(1, SeqCst);
    }

    /// Endless streams that were ended in form.
    pub(super) fn closed(&self) -> u64 {
        self.closed.load(SeqCst)
    }

    /// Passed over after a failure that took long.
    pub(super) fn is_dead(&self, now: u64) -> bool {
        self.is_passed_over(now) && self.failed_slowly.load(Relaxed)
    }
}

impl Seat {
    /// Counts one more in flight. The order matters to [`super::table::Switch::claim`].
    pub(super) fn join(self: &Arc<Self>) -> InFlight {
        self.in_flight.fetch_add(1, SeqCst);
        InFlight(Arc::clone(self))
    }

    /// An idle connection that was used at most `age` milliseconds before `now`.
    pub(super) fn take_idle(&self, now: u64, age: u64) -> Option<Link> {
        let mut idle = lock(&self.idle);
        // The last one back is the first one out: it is the likeliest to be open still. One that is not ready
        // yet is still ending its last exchange, and stays.
        let mut at = idle.len();
        while at > 0 {
            at -= 1;
            if idle[at].link.is_closed() {
                idle.remove(at);
            } else if idle[at].since + age < now {
                return None;
            } else if idle[at].link.is_ready() {
                return Some(idle.remove(at).link);
            }
        }
        None
    }

    /// Keeps a connection whose exchange is over.
    pub(super) fn keep(&self, link: Link, now: u64) {
        if self.upstream.routed.load(Relaxed) && !link.is_closed() {
            let mut idle = lock(&self.idle);
            if idle.len() < IDLE_COUNT {
                idle.push(Idle { link, since: now });
            }
        }
    }
}

impl Whole {
    pub(super) fn new(id: u64, address: SocketAddrV4, workers: usize) -> Self {
        let upstream = Arc::new(Upstream {
            id,
            address,
            awaited: AtomicBool::new(false),
            ended: Notify::new(),
            routed: AtomicBool::new(true),
            passed_over_until: AtomicU64::new(0),
            failed_slowly: AtomicBool::new(false),
            closed: AtomicU64::new(0),
        });
        let seat = |_| {
            Arc::new(Seat {
                upstream: Arc::clone(&upstream),
                in_flight: AtomicU64::new(0),
                idle: Mutex::default(),
            })
        };
        Self {
            seats: (0..workers).map(seat).collect(),
            upstream,
        }
    }

    pub(super) fn in_flight(&self) -> u64 {
        self.seats.iter().map(|seat| seat.in_flight.load(SeqCst)).sum()
    }

    /// Returns once nothing is in flight.
    pub(super) async fn ended(&self) {
        self.upstream.awaited.store(true, SeqCst);
        loop {
            let mut ended = std::pin::pin!(self.upstream.ended.notified());
            ended.as_mut().enable();
            if self.in_flight() == 0 {
                return;
            }
            ended.await;
        }
    }

    /// No route goes here any more: idle connections are closed, and no other is kept.
    pub(super) fn leave_route(&self) {
        self.upstream.routed.store(false, Relaxed);
        self.seats.iter().for_each(|seat| lock(&seat.idle).clear());
    }

    /// Closes the connections that were idle for too long.
    pub(super) fn sweep(&self, now: u64) {
        for seat in self.seats.iter() {
            lock(&seat.idle).retain(|idle| now < idle.since + IDLE_MAX && !idle.link.is_closed());
        }
    }
}

/// The lock of data that no panic can leave half changed.
pub(super) fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// One request in flight on an upstream, counted until this is dropped.
#[derive(Debug)]
pub(super) struct InFlight(Arc<Seat>);

impl InFlight {
    pub(super) fn seat(&self) -> &Arc<Seat> {
        &self.0
    }
}

impl Drop for InFlight {
    fn drop(&mut self) {
        if self.0.in_flight.fetch_sub(1, SeqCst) == 1 && self.0.upstream.awaited.load(SeqCst) {
            self.0.upstream.ended.notify_waiters();
        }
    }
}
