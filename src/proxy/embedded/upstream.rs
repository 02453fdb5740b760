//! An upstream: one instance's address, its idle connections, and how many requests it is serving.

use std::net::SocketAddrV4;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed, Ordering::SeqCst};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Wake, Waker};
use std::time::Instant;

use jiff::Timestamp;
use tokio::runtime::Handle;
use tokio::sync::Notify;

use super::dial::{Heard, Link};
use super::watch;
use crate::model::{AppName, ReleaseId, Slot};
use crate::proxy::route::HttpProbe;
use crate::proxy::say;

/// How long an idle connection is kept, in milliseconds.
const IDLE_MAX: u64 = 30_000;

/// Idle connections kept per worker and upstream: as many as 2,000 clients have in use at once on two cores. With 256 of
/// them three in a hundred requests opened one, and a request cost a quarter more CPU.
const IDLE_COUNT: usize = 1024;

/// For how many seconds, a sweep each, an instance that said more than it was asked for gets a connection for each request.
/// What comes late on one that is used again would be taken for the answer to the next request.
const DISTRUST: u64 = 60;

/// How long a connection is used again and again, in milliseconds. An answer too many that comes when the next request is
/// under way is taken for its answer, and so with each one after it for as long as the connection is used without a pause:
/// this is the end of that. A new connection each ten seconds costs a busy one less than a thousandth of its requests.
const LIFE: u64 = 10_000;

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
    /// Endless streams that the proxy has ended in form.
    closed: AtomicU64,
    /// Whether requests pass it by: what `standing` tells, for those who may not wait.
    out: AtomicBool,
    /// How often it was put out. A connection from before the last time may lead nowhere.
    outs: AtomicU64,
    standing: Mutex<Standing>,
    /// Whether somebody looks at it, and whether there is a reason to look again.
    looking: AtomicBool,
    look_again: AtomicBool,
    /// For how many more sweeps none of its connections is used twice.
    distrust: AtomicU64,
}

/// Which instance is at an upstream's address.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Instance {
    pub(super) app: AppName,
    pub(super) slot: Slot,
    pub(super) release: ReleaseId,
    /// Its number within the release, from 0.
    pub(super) index: usize,
    /// How it is asked whether it is ready; none: by a connection.
    pub(super) probe: Option<HttpProbe>,
}

#[derive(Debug)]
struct Standing {
    instance: Instance,
    out: Option<Out>,
}

/// Since when and why an instance is out.
#[derive(Debug, Clone)]
pub(super) struct Out {
    pub(super) since: Timestamp,
    pub(super) began: Instant,
    pub(super) why: String,
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
    /// Whether something was heard of an idle connection, and nobody has looked yet: most likely its end.
    is_stirred: AtomicBool,
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
    /// [`Upstream::outs`] when it was last heard from.
    outs: u64,
}

impl Upstream {
    /// Whether requests pass it by.
    pub(super) fn is_out(&self) -> bool {
        self.out.load(Relaxed)
    }

    /// Whether a route goes here.
    pub(super) fn is_routed(&self) -> bool {
        self.routed.load(Relaxed)
    }

    /// Lets requests pass it by from now on; gives the number of this time, where it is news.
    pub(super) fn leave_turn(&self, why: String) -> Option<u64> {
        let mut standing = lock(&self.standing);
        if standing.out.is_some() || !self.is_routed() {
            return None;
        }
        standing.out = Some(Out {
            since: Timestamp::now(),
            began: Instant::now(),
            why,
        });
        self.out.store(true, Relaxed);
        Some(self.outs.fetch_add(1, Relaxed) + 1)
    }

    /// An endless stream was ended in form.
    pub(super) fn count_closed(&self) {
        self.closed.fetch_add(1, SeqCst);
    }

    /// Endless streams that were ended in form.
    pub(super) fn closed(&self) -> u64 {
        self.closed.load(SeqCst)
    }

    /// Lets requests come again, where it is out for the time `number`.
    pub(super) fn return_to_turn(&self, number: u64) -> Option<Out> {
        let mut standing = lock(&self.standing);
        if self.outs.load(Relaxed) != number {
            return None;
        }
        self.out.store(false, Relaxed);
        standing.out.take()
    }

    /// Lets requests come again: whoever sets a route knows the instance to be ready, or knows nothing better.
    pub(super) fn trust(&self) {
        let mut standing = lock(&self.standing);
        standing.out = None;
        self.out.store(false, Relaxed);
    }

    /// The instance, as long as it is out for the time `number` and a route goes here.
    pub(super) fn instance_if_out(&self, number: u64) -> Option<Instance> {
        let standing = lock(&self.standing);
        let is_out = standing.out.is_some() && self.outs.load(Relaxed) == number;
        (is_out && self.is_routed()).then(|| standing.instance.clone())
    }

    /// The instance, and since when and why it is out, where it is.
    pub(super) fn standing(&self) -> (Instance, Option<Out>) {
        let standing = lock(&self.standing);
        (standing.instance.clone(), standing.out.clone())
    }

    /// Notes which instance is here.
    pub(super) fn is_now(&self, instance: &Instance) {
        let mut standing = lock(&self.standing);
        if standing.instance != *instance {
            standing.instance = instance.clone();
        }
    }

    /// The instance as people read it.
    pub(super) fn told(&self) -> String {
        let Instance {
            app,
            slot,
            release,
            index,
            ..
        } = self.standing().0;
        format!(
            "{app}: instance {index} of {slot} release {release} ({})",
            self.address
        )
    }

    /// Something was heard of a connection on which nothing was asked.
    pub(super) fn heard(self: &Arc<Self>, heard: Heard) {
        match heard {
            Heard::Nothing => {}
            Heard::End => watch::look(self),
            Heard::More => self.distrust(),
        }
    }

    /// It has said more than it was asked for.
    pub(super) fn distrust(&self) {
        if self.distrust.swap(DISTRUST, Relaxed) == 0 && self.is_routed() {
            say!(
                "{} sent more than it was asked for: for {DISTRUST} s none of its connections is used twice",
                self.told()
            );
        }
    }

    /// Whether no connection to it is to be used twice.
    fn is_distrusted(&self) -> bool {
        self.distrust.load(Relaxed) > 0
    }

    /// Begins to look at it; false when somebody does already, who then looks again.
    pub(super) fn begin_look(&self) -> bool {
        let begins = !self.looking.swap(true, SeqCst);
        if !begins {
            self.look_again.store(true, SeqCst);
        }
        begins
    }

    /// Ends the look, unless there is a reason to look again.
    pub(super) fn end_look(&self) -> bool {
        let again = self.look_again.swap(false, SeqCst) && self.is_routed() && !self.is_out();
        if !again {
            self.looking.store(false, SeqCst);
        }
        !again
    }
}

impl Seat {
    /// Counts one more in flight. The order matters to [`super::table::Switch::claim`].
    pub(super) fn join(self: &Arc<Self>) -> InFlight {
        self.in_flight.fetch_add(1, SeqCst);
        InFlight(Arc::clone(self))
    }

    /// An idle connection that was used at most `age` milliseconds before `now`, and of which nothing was heard since:
    /// what an instance says before it is asked would be taken for the next answer.
    pub(super) fn take_idle(self: &Arc<Self>, now: u64, age: u64) -> Option<Link> {
        if self.is_stirred.load(Relaxed) {
            self.tidy();
        }
        let outs = self.upstream.outs.load(Relaxed);
        let mut idle = lock(&self.idle);
        if self.upstream.is_distrusted() {
            idle.clear();
        }
        // The last one back is the first one out: it is the likeliest to be open still.
        while let Some(last) = idle.last() {
            if last.outs == outs && now > last.since + age {
                return None;
            }
            let last = idle.pop().filter(|last| last.outs == outs);
            match last.as_ref().map(|last| last.link.heard_now()) {
                Some(Heard::Nothing) => return last.map(|last| last.link),
                Some(heard) => self.upstream.heard(heard),
                None => {}
            }
        }
        None
    }

    /// Keeps a connection whose exchange is over. It is given up when anything is heard of it.
    pub(super) fn keep(self: &Arc<Self>, mut link: Link, now: u64) {
        if self.upstream.is_distrusted() || link.age(now) >= LIFE {
            return;
        }
        let waker = Waker::from(Arc::clone(self));
        match link.heard(&mut Context::from_waker(&waker)) {
            Heard::Nothing => {}
            heard => return self.upstream.heard(heard),
        }
        let mut idle = lock(&self.idle);
        // Looked at under the lock: what leaves the route takes the idle connections with it.
        if self.upstream.is_routed() && idle.len() < IDLE_COUNT {
            idle.push(Idle {
                link,
                since: now,
                outs: self.upstream.outs.load(Relaxed),
            });
        }
    }

    /// Gives up the idle connections of which something was heard.
    fn tidy(self: &Arc<Self>) {
        self.is_stirred.store(false, Relaxed);
        let waker = Waker::from(Arc::clone(self));
        let mut cx = Context::from_waker(&waker);
        let mut idle = lock(&self.idle);
        let mut all = Vec::new();
        idle.retain(|idle| {
            all.push(idle.link.heard(&mut cx));
            all.last() == Some(&Heard::Nothing)
        });
        drop(idle);
        all.into_iter().for_each(|heard| self.upstream.heard(heard));
    }
}

/// The kernel has told of an idle connection.
impl Wake for Seat {
    fn wake(self: Arc<Self>) {
        if !self.is_stirred.swap(true, Relaxed)
            && let Ok(runtime) = Handle::try_current()
        {
            runtime.spawn(async move { self.tidy() });
        }
    }
}

impl Whole {
    pub(super) fn new(id: u64, address: SocketAddrV4, instance: Instance, workers: usize) -> Self {
        let upstream = Arc::new(Upstream {
            id,
            address,
            awaited: AtomicBool::new(false),
            ended: Notify::new(),
            routed: AtomicBool::new(true),
            closed: AtomicU64::new(0),
            out: AtomicBool::new(false),
            outs: AtomicU64::new(0),
            standing: Mutex::new(Standing { instance, out: None }),
            looking: AtomicBool::new(false),
            look_again: AtomicBool::new(false),
            distrust: AtomicU64::new(0),
        });
        let seat = |_| {
            Arc::new(Seat {
                upstream: Arc::clone(&upstream),
                in_flight: AtomicU64::new(0),
                idle: Mutex::default(),
                is_stirred: AtomicBool::new(false),
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

    /// Closes the connections that were idle for too long. To be called about once a second.
    pub(super) fn sweep(&self, now: u64) {
        let distrust = &self.upstream.distrust;
        distrust.store(distrust.load(Relaxed).saturating_sub(1), Relaxed);
        for seat in self.seats.iter() {
            lock(&seat.idle).retain(|idle| now < idle.since + IDLE_MAX);
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

#[cfg(test)]
mod tests {
    use std::net::{Ipv4Addr, SocketAddr};

    use tokio::io::AsyncWriteExt as _;
    use tokio::net::TcpListener;

    use super::*;

    async fn seat_and_app() -> (Arc<Seat>, TcpListener) {
        let app = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let SocketAddr::V4(address) = app.local_addr().unwrap() else {
            unreachable!("asked for IPv4")
        };
        let instance = Instance {
            app: "shop".parse().unwrap(),
            slot: Slot::Blue,
            release: ReleaseId(1),
            index: 0,
            probe: None,
        };
        let whole = Whole::new(1, address, instance, 1);
        (Arc::clone(&whole.seats[0]), app)
    }

    #[tokio::test]
    async fn a_connection_on_which_more_came_is_not_taken_though_the_thread_was_not_told_yet() {
        let (seat, app) = seat_and_app().await;
        let mut ends = Vec::new();
        for _ in 0..2 {
            let link = Link::open(&seat.upstream).await.unwrap();
            ends.push(app.accept().await.unwrap().0);
            seat.keep(link, 0);
        }
        assert!(seat.take_idle(0, 1).is_some(), "nothing was heard of it");
        // A blocking write: this thread's runtime has no chance to hear of it.
        let end = ends.remove(0).into_std().unwrap();
        std::io::Write::write_all(&mut &end, b"HTTP/1.1 200 OK\r\n\r\n").unwrap();
        assert!(seat.take_idle(0, 1).is_none(), "more came than was asked for");
        // And no other one of this instance is used again for a while.
        let link = Link::open(&seat.upstream).await.unwrap();
        app.accept().await.unwrap().0.shutdown().await.unwrap();
        seat.keep(link, 0);
        assert!(seat.take_idle(0, 1).is_none());
    }
    #[tokio::test]
    async fn a_connection_is_used_for_some_seconds_and_no_longer() {
        let (seat, app) = seat_and_app().await;
        let link = Link::open(&seat.upstream).await.unwrap();
        let _end = app.accept().await.unwrap();
        seat.keep(link, 100);
        for now in [100, 5_000, 99 + LIFE] {
            let link = seat.take_idle(now, LIFE).expect("it is kept");
            seat.keep(link, now);
        }
        let link = seat.take_idle(100 + LIFE, LIFE).expect("it is kept");
        seat.keep(link, 100 + LIFE);
        assert!(seat.take_idle(100 + LIFE, LIFE).is_none());
    }
}
