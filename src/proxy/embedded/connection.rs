//! Clients' connections: the workers that serve them, one thread each, and what all of them share.

use std::collections::{HashMap, HashSet};
use std::future::{Future as _, poll_fn};
use std::io;
use std::net::IpAddr;
use std::pin::pin;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering::Relaxed};
use std::sync::{Arc, Mutex};
use std::task::Poll;
use std::time::Duration;

use tokio::sync::mpsc;

use super::client::Client;
use super::http1::Peer;
use super::listen::Accepting;
use super::listener::Connection;
use super::pulse::{Clock, Limits, Phase, Pulse, Ruling};
use super::table::{Door, Switch};
use super::upstream::{Upstream, lock};
use crate::model::Network;

/// Workers that accept. Every one of them that has nothing to do wakes for a new connection; the others are given some.
const ACCEPTORS: usize = 4;

/// Connections that a worker may have more than another before it gives new ones away.
const LEAD: usize = 4;

/// What every worker shares.
#[derive(Debug)]
pub(super) struct Plane {
    pub(super) switch: Switch,
    pub(super) clock: Arc<Clock>,
    pub(super) limits: Limits,
    /// The peers that are other proxies.
    trusted: Vec<Network>,
    pub(super) workers: Vec<Arc<Worker>>,
    lingering: AtomicBool,
}

/// One thread's connections.
#[derive(Debug)]
pub(super) struct Worker {
    pub(super) index: usize,
    inbox: mpsc::UnboundedSender<Order>,
    count: AtomicUsize,
    pulses: Mutex<HashMap<u64, Arc<Pulse>>>,
    last_key: AtomicU64,
}

/// What a worker is told.
#[derive(Debug)]
enum Order {
    Accept(Accepting),
    Serve(Connection, Accepted),
}

/// Where a connection was accepted.
#[derive(Debug, Clone, Copy)]
pub(super) struct Accepted {
    /// None behind another program's unix socket.
    pub(super) peer: Option<IpAddr>,
    pub(super) door: Door,
}

impl Plane {
    /// Starts `threads` workers, for clients and for the proxies that are `trusted`.
    pub(super) fn start(threads: usize, limits: Limits, trusted: Vec<Network>) -> io::Result<Arc<Self>> {
        let (workers, inboxes): (Vec<_>, Vec<_>) = (0..threads.max(1)).map(Worker::new).unzip();
        let plane = Arc::new(Self {
            switch: Switch::new(workers.len()),
            clock: Arc::new(Clock::new()),
            limits,
            trusted,
            workers,
            lingering: AtomicBool::new(false),
        });
        for (worker, inbox) in plane.workers.iter().zip(inboxes) {
            let runtime = tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .build()?;
            let (plane, worker) = (Arc::downgrade(&plane), Arc::clone(worker));
            std::thread::Builder::new()
                .name(format!("proxy-{}", worker.index))
                .spawn(move || runtime.block_on(worker.work(plane, inbox)))?;
        }
        Ok(plane)
    }

    /// Has the workers accept at a door; `share` gives each its part.
    ///
    /// # Errors
    /// When a part cannot be had: then nobody accepts.
    pub(super) fn open(&self, share: impl Fn() -> io::Result<Accepting>) -> io::Result<()> {
        let acceptors = &self.workers[..self.workers.len().min(ACCEPTORS)];
        let shares: Vec<Accepting> = acceptors.iter().map(|_| share()).collect::<io::Result<_>>()?;
        for (worker, share) in acceptors.iter().zip(shares) {
            worker.order(Order::Accept(share));
        }
        Ok(())
    }

    /// Who a peer with this address is; one without comes through the unix socket.
    pub(super) fn peer(&self, address: Option<IpAddr>) -> Peer {
        match address {
            None => Peer::Front,
            Some(address) if self.trusted.iter().any(|network| network.contains(address)) => {
                Peer::Trusted(address)
            }
            Some(address) => Peer::Stranger(address),
        }
    }

    /// Gives a connection to the worker that has the fewest.
    pub(super) fn serve(&self, connection: Connection, accepted: Accepted) {
        let worker = self.least_busy();
        worker.count.fetch_add(1, Relaxed);
        worker.order(Order::Serve(connection, accepted));
    }

    /// Leaves a connection to the worker that has accepted it, or gives it to one that has clearly fewer: sockets wake
    /// whom they will, and a kept connection stays where it is.
    pub(super) fn share(self: &Arc<Self>, worker: &Arc<Worker>, connection: Connection, accepted: Accepted) {
        let fewest = self.least_busy().count.load(Relaxed);
        if worker.count.load(Relaxed) > fewest + LEAD {
            self.serve(connection, accepted);
        } else {
            worker.count.fetch_add(1, Relaxed);
            worker.begin(Arc::clone(self), connection, accepted);
        }
    }

    fn least_busy(&self) -> &Arc<Worker> {
        let fewest = self
            .workers
            .iter()
            .min_by_key(|worker| worker.count.load(Relaxed));
        fewest.expect("there is a worker")
    }

    /// Connections of clients, upgraded ones included, that are open.
    pub(super) fn connections(&self) -> usize {
        self.workers
            .iter()
            .map(|worker| worker.count.load(Relaxed).max(lock(&worker.pulses).len()))
            .sum()
    }

    /// From now on every answer closes its connection.
    pub(super) fn linger(&self) {
        self.lingering.store(true, Relaxed);
    }

    pub(super) fn is_lingering(&self) -> bool {
        self.lingering.load(Relaxed)
    }

    /// Closes the connections on which there was no request for so long.
    pub(super) fn retire(&self, rest: Duration) {
        let rest = rest.as_millis() as u64;
        self.each_pulse(|pulse| pulse.retire(rest));
    }

    /// Breaks off what `upstream` is serving.
    pub(super) fn cut(&self, upstream: &Upstream) {
        self.each_pulse(|pulse| pulse.cut_from(upstream.id));
    }

    /// Ends the endless streams in form.
    pub(super) fn part(&self) {
        self.each_pulse(Pulse::part);
    }

    /// Breaks everything off; endless streams end in form.
    pub(super) fn cut_all(&self) {
        self.each_pulse(Pulse::cut);
    }

    /// Breaks off what waits for `upstream`, which is gone.
    pub(super) fn lose(&self, upstream: &Upstream) {
        self.each_pulse(|pulse| pulse.lose(upstream.id));
    }

    /// The ids of the upstreams that something waits for without progress for `patience` milliseconds.
    pub(super) fn waited_for(&self, patience: u64) -> HashSet<u64> {
        let mut found = HashSet::new();
        self.each_pulse(|pulse| found.extend(pulse.waits_for(patience)));
        found
    }

    /// One round of the sweep.
    pub(super) fn sweep(&self) {
        self.clock.tick();
        self.each_pulse(|pulse| pulse.sweep(&self.limits));
    }

    fn each_pulse(&self, mut act: impl FnMut(&Pulse)) {
        for worker in &self.workers {
            lock(&worker.pulses).values().for_each(|pulse| act(pulse));
        }
    }
}

impl Worker {
    fn new(index: usize) -> (Arc<Self>, mpsc::UnboundedReceiver<Order>) {
        let (inbox, receiver) = mpsc::unbounded_channel();
        let worker = Self {
            index,
            inbox,
            count: AtomicUsize::new(0),
            pulses: Mutex::default(),
            last_key: AtomicU64::new(0),
        };
        (Arc::new(worker), receiver)
    }

    async fn work(self: Arc<Self>, plane: std::sync::Weak<Plane>, mut inbox: mpsc::UnboundedReceiver<Order>) {
        while let Some(order) = inbox.recv().await {
            let Some(plane) = plane.upgrade() else { return };
            match order {
                Order::Accept(accepting) => drop(tokio::spawn(accepting.all(plane, Arc::clone(&self)))),
                Order::Serve(connection, accepted) => self.begin(plane, connection, accepted),
            }
        }
    }

    fn order(&self, order: Order) {
        // A worker that is gone takes its connections with it: the process is ending.
        let _ = self.inbox.send(order);
    }

    /// Serves a connection, which was counted already. Only on the worker's own thread.
    fn begin(self: &Arc<Self>, plane: Arc<Plane>, connection: Connection, accepted: Accepted) {
        let worker = Arc::clone(self);
        tokio::spawn(async move {
            Arc::clone(&worker).serve(plane, connection, accepted).await;
            worker.count.fetch_sub(1, Relaxed);
        });
    }

    async fn serve(self: Arc<Self>, plane: Arc<Plane>, connection: Connection, accepted: Accepted) {
        let pulse = Arc::new(Pulse::new(Arc::clone(&plane.clock), Phase::Fresh));
        let _registered = self.register(Arc::clone(&pulse));
        let client = Client::new(Arc::clone(&plane), self, Arc::clone(&pulse), connection, accepted);
        let mut served = pin!(client.serve());
        poll_fn(|cx| {
            pulse.belongs_to(cx.waker());
            match pulse.orders(&plane.limits) {
                Ruling::Cut => Poll::Ready(()),
                _ => served.as_mut().poll(cx),
            }
        })
        .await;
    }

    /// Lets the sweep see `pulse` until what is given back is dropped.
    fn register(self: &Arc<Self>, pulse: Arc<Pulse>) -> Registered {
        let key = self.last_key.fetch_add(1, Relaxed);
        lock(&self.pulses).insert(key, pulse);
        Registered {
            worker: Arc::clone(self),
            key,
        }
    }
}

/// See [`Worker::register`].
struct Registered {
    worker: Arc<Worker>,
    key: u64,
}

impl Drop for Registered {
    fn drop(&mut self) {
        lock(&self.worker.pulses).remove(&self.key);
    }
}
