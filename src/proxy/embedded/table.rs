//! The table that every request is routed by, and the switch that replaces it in one step.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::net::SocketAddrV4;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering::Relaxed, Ordering::SeqCst};
use std::sync::{Arc, Mutex};

use arc_swap::ArcSwap;
use serde::{Deserialize, Serialize};

use super::metrics::{Counters, Gauge, Shown};
use super::pulse::OwnLimits;
use super::upstream::{InFlight, Instance, Out, Seat, Whole, lock};
use crate::model::{AppName, ReleaseId, Slot};
use crate::proxy::route::{AppRoute, StoredRoute};

/// Where a connection came in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(super) enum Door {
    /// The public port: the host chooses the app, the app's live slot answers.
    Public,
    /// A slot's own port.
    Slot(u16),
}

/// Where one request goes: its count on the upstream, and what is to be known of it.
#[derive(Debug)]
pub(super) struct Claim {
    pub(super) in_flight: InFlight,
    pub(super) app: Arc<App>,
    pub(super) slot: Slot,
    pub(super) release: ReleaseId,
}

impl Claim {
    /// Which slot and release this is, for whoever knows the app's token.
    pub(super) fn told(&self, check: Option<&[u8]>) -> Option<String> {
        same(check?, self.app.check.as_bytes()).then(|| format!("{}/{}", self.slot, self.release))
    }
}

/// Whether two tokens are the same, in a time that does not tell where they differ.
fn same(one: &[u8], other: &[u8]) -> bool {
    one.len() == other.len()
        && one
            .iter()
            .zip(other)
            .fold(0, |differing, (a, b)| differing | (a ^ b))
            == 0
}

/// Why a request goes nowhere.
#[derive(Debug)]
pub(super) enum Nowhere {
    /// No app has this host, or no slot this port.
    Unknown,
    /// There is no route at all: a server that was just set up, or one that has lost its routes.
    NoRoutes,
    /// The app runs nothing there.
    NotLive(Arc<App>, Slot),
    /// Every instance was tried, or is known not to answer.
    Exhausted(Arc<App>, Slot),
}

/// One app in a worker's table.
#[derive(Debug)]
pub(super) struct App {
    pub(super) check: String,
    pub(super) counters: Arc<Counters>,
    /// Whether trailers of requests go on.
    pub(super) takes_trailers: bool,
    pub(super) limits: OwnLimits,
    live: Option<Slot>,
    slots: [Option<Lane>; 2],
}

/// The instances that one slot runs.
#[derive(Debug)]
struct Lane {
    release: ReleaseId,
    seats: Vec<Arc<Seat>>,
    turn: AtomicUsize,
}

/// What one worker routes by. Each has a table of its own, so that the counts of its `Arc`s are its own as well.
#[derive(Debug, Default)]
struct Table {
    generation: u64,
    hosts: HashMap<String, Arc<App>>,
    /// By what stands behind the `*.` of a wildcard.
    wildcards: HashMap<String, Arc<App>>,
    default: Option<Arc<App>>,
    ports: HashMap<u16, (Arc<App>, Slot)>,
}

/// See the module.
#[derive(Debug)]
pub(super) struct Switch {
    /// By worker.
    tables: Box<[ArcSwap<Table>]>,
    /// The generation of the tables that are in force.
    generation: AtomicU64,
    known: Mutex<Known>,
    /// Requests that were no app's.
    pub(super) unrouted: AtomicU64,
}

/// What outlives a table.
#[derive(Debug, Default)]
struct Known {
    routes: Vec<StoredRoute>,
    /// By address, those that are routed.
    upstreams: HashMap<SocketAddrV4, Whole>,
    /// Those that a route has left, as long as something is in flight on them. An instance that left the public
    /// route and stays on its slot's port is here too, beside a fresh one with the same address: what is in
    /// flight since the flip is not mixed with what was before it.
    left: Vec<Whole>,
    counters: BTreeMap<AppName, Arc<Counters>>,
    last_id: u64,
}

impl Switch {
    /// A switch that routes nothing yet.
    pub(super) fn new(workers: usize) -> Self {
        Self {
            tables: (0..workers).map(|_| ArcSwap::default()).collect(),
            generation: AtomicU64::new(0),
            known: Mutex::default(),
            unrouted: AtomicU64::new(0),
        }
    }

    /// Puts `routes` in force: every request routed after this returns follows them, and every request routed
    /// before is counted on its upstream.
    pub(super) fn set(&self, routes: Vec<StoredRoute>) {
        let mut known = lock(&self.known);
        let workers = self.tables.len();
        known.leave(&routes);
        known.meet(&routes, workers);
        let generation = self.generation.load(SeqCst) + 1;
        for (worker, table) in self.tables.iter().enumerate() {
            table.store(Arc::new(known.table(generation, &routes, worker)));
        }
        self.generation.store(generation, SeqCst);
        known.left.iter().for_each(Whole::leave_route);
        known.left.retain(|whole| whole.in_flight() > 0);
        known.count_flips(&routes);
        known.routes = routes;
    }

    /// The routes in force.
    pub(super) fn routes(&self) -> Vec<StoredRoute> {
        lock(&self.known).routes.clone()
    }

    /// Routes one request: in at `door`, for `host` (lower case, no port), passing over the instances `tried`.
    ///
    /// The request is counted as in flight before the table is known to be still in force. So whoever replaces
    /// the table and then looks at the counts misses nobody.
    pub(super) fn claim(
        &self,
        worker: usize,
        door: Door,
        host: &str,
        tried: &[SocketAddrV4],
    ) -> Result<Claim, Nowhere> {
        loop {
            let table = self.tables[worker].load();
            let (app, slot) = table
                .find(door, host)
                .ok_or_else(|| match table.ports.is_empty() {
                    true => Nowhere::NoRoutes,
                    false => Nowhere::Unknown,
                })?;
            let slot = slot.ok_or_else(|| Nowhere::NotLive(Arc::clone(app), Slot::Blue))?;
            let lane = app.slots[slot as usize]
                .as_ref()
                .ok_or_else(|| Nowhere::NotLive(Arc::clone(app), slot))?;
            let seat = lane
                .next(tried)
                .ok_or_else(|| Nowhere::Exhausted(Arc::clone(app), slot))?;
            let in_flight = seat.join();
            if self.generation.load(SeqCst) <= table.generation {
                return Ok(Claim {
                    in_flight,
                    app: Arc::clone(app),
                    slot,
                    release: lane.release,
                });
            }
        }
    }

    /// The upstreams at `addresses`, those that a route has left included.
    pub(super) fn upstreams(&self, addresses: &[SocketAddrV4]) -> Vec<Whole> {
        let known = lock(&self.known);
        let all = known.upstreams.values().chain(&known.left);
        let wanted = all.filter(|whole| addresses.contains(&whole.upstream.address));
        wanted.cloned().collect()
    }

    /// The upstreams with these ids, those that a route has left included.
    pub(super) fn with_ids(&self, ids: &HashSet<u64>) -> Vec<Whole> {
        let known = lock(&self.known);
        let all = known.upstreams.values().chain(&known.left);
        all.filter(|whole| ids.contains(&whole.upstream.id))
            .cloned()
            .collect()
    }

    /// Lets requests go to every instance of `app` again: its route was just set by somebody who knows.
    pub(super) fn trust(&self, app: &AppName) {
        let known = lock(&self.known);
        for whole in known.upstreams.values() {
            if whole.upstream.standing().0.app == *app {
                whole.upstream.trust();
            }
        }
    }

    /// The instances that are out, with their addresses.
    pub(super) fn out(&self) -> Vec<(SocketAddrV4, Instance, Out)> {
        let known = lock(&self.known);
        let out = |whole: &Whole| {
            let (instance, out) = whole.upstream.standing();
            Some((whole.upstream.address, instance, out?))
        };
        known.upstreams.values().filter_map(out).collect()
    }

    /// The upstreams at `addresses` that a route has left with something in flight.
    pub(super) fn left(&self, addresses: &[SocketAddrV4]) -> Vec<Whole> {
        let known = lock(&self.known);
        let left = known.left.iter();
        let wanted = left.filter(|whole| addresses.contains(&whole.upstream.address));
        wanted.cloned().collect()
    }

    /// Closes the connections to upstreams that were idle for too long.
    pub(super) fn sweep(&self, now: u64) {
        let mut known = lock(&self.known);
        known.left.retain(|whole| whole.in_flight() > 0);
        known.upstreams.values().for_each(|whole| whole.sweep(now));
    }

    /// The page of metrics, with `gauges` that are no app's, and their values.
    pub(super) fn metrics(&self, gauges: &[(&Gauge, usize)]) -> String {
        let known = lock(&self.known);
        let shown: Vec<Shown<'_>> = known
            .counters
            .iter()
            .map(|(app, counters)| Shown {
                app: app.as_str(),
                counters,
                in_flight: Slot::BOTH.map(|slot| known.in_flight(app, slot)),
                out: Slot::BOTH.map(|slot| known.out(app, slot)),
            })
            .collect();
        super::metrics::page(&shown, gauges, self.unrouted.load(Relaxed))
    }
}

impl Known {
    /// Sets aside the upstreams that the public port, or everything, leaves when `new` comes into force.
    fn leave(&mut self, new: &[StoredRoute]) {
        let (was_public, is_public) = (public(&self.routes), public(new));
        let routed: HashSet<SocketAddrV4> = new.iter().flat_map(|stored| addresses(&stored.route)).collect();
        let leaves = |address: &SocketAddrV4| {
            !routed.contains(address) || (was_public.contains(address) && !is_public.contains(address))
        };
        let left = self.upstreams.extract_if(|address, _| leaves(address));
        self.left.extend(left.map(|(_, whole)| whole));
    }

    /// Makes what `routes` need and is not there.
    fn meet(&mut self, routes: &[StoredRoute], workers: usize) {
        for route in routes.iter().map(|stored| &stored.route) {
            let counters = self.counters.entry(route.app.clone());
            counters.or_insert_with(|| Arc::new(Counters::new(workers)));
            for (address, instance) in instances(route) {
                match self.upstreams.get(&address) {
                    Some(known) => known.upstream.is_now(&instance),
                    None => {
                        self.last_id += 1;
                        let whole = Whole::new(self.last_id, address, instance, workers);
                        self.upstreams.insert(address, whole);
                    }
                }
            }
        }
    }

    fn table(&self, generation: u64, routes: &[StoredRoute], worker: usize) -> Table {
        let mut table = Table {
            generation,
            ..Table::default()
        };
        for stored in routes {
            let app = Arc::new(self.app(stored, worker));
            for host in &stored.route.hosts {
                match host.strip_prefix("*.") {
                    Some(domain) => table.wildcards.insert(domain.to_owned(), Arc::clone(&app)),
                    None => table.hosts.insert(host.clone(), Arc::clone(&app)),
                };
            }
            for (&slot, route) in &stored.route.slots {
                table.ports.insert(route.port, (Arc::clone(&app), slot));
            }
            if stored.route.hosts.is_empty() {
                table.default = Some(app);
            }
        }
        table
    }

    fn app(&self, stored: &StoredRoute, worker: usize) -> App {
        let route = &stored.route;
        let seat = |address| Arc::clone(&self.upstreams[address].seats[worker]);
        App {
            check: stored.check.clone(),
            counters: Arc::clone(&self.counters[&route.app]),
            takes_trailers: route.trailers,
            limits: OwnLimits {
                body: route.body_timeout,
                response: route.response_timeout,
            },
            live: route.live,
            slots: Slot::BOTH.map(|slot| {
                let target = route.slots.get(&slot)?.target.as_ref()?;
                Some(Lane {
                    release: target.release,
                    seats: target.upstreams.iter().map(seat).collect(),
                    turn: AtomicUsize::new(worker),
                })
            }),
        }
    }

    fn count_flips(&self, after: &[StoredRoute]) {
        for new in after.iter().map(|stored| &stored.route) {
            let old = self
                .routes
                .iter()
                .map(|stored| &stored.route)
                .find(|old| old.app == new.app);
            if old.is_some_and(|old| !old.is_as_live_as(new)) {
                self.counters[&new.app].flips.fetch_add(1, Relaxed);
            }
        }
    }

    fn in_flight(&self, app: &AppName, slot: Slot) -> u64 {
        self.of_slot(app, slot).map(Whole::in_flight).sum()
    }

    fn out(&self, app: &AppName, slot: Slot) -> u64 {
        let all = self.of_slot(app, slot);
        all.filter(|whole| whole.upstream.is_out()).count() as u64
    }

    /// What a slot's requests go to.
    fn of_slot(&self, app: &AppName, slot: Slot) -> impl Iterator<Item = &Whole> {
        let route = self
            .routes
            .iter()
            .map(|stored| &stored.route)
            .find(|route| route.app == *app);
        let target = route.and_then(|route| route.slots.get(&slot)?.target.as_ref());
        let upstreams = target.into_iter().flat_map(|target| &target.upstreams);
        upstreams.filter_map(|address| self.upstreams.get(address))
    }
}

fn addresses(route: &AppRoute) -> impl Iterator<Item = SocketAddrV4> {
    let targets = route.slots.values().filter_map(|slot| slot.target.as_ref());
    targets.flat_map(|target| target.upstreams.iter().copied())
}

/// What is at each address of a route.
fn instances(route: &AppRoute) -> impl Iterator<Item = (SocketAddrV4, Instance)> {
    let targets = route
        .slots
        .iter()
        .filter_map(|(slot, of)| Some((*slot, of.target.as_ref()?)));
    targets.flat_map(move |(slot, target)| {
        let of = move |(index, address): (usize, &SocketAddrV4)| {
            let instance = Instance {
                app: route.app.clone(),
                slot,
                release: target.release,
                index,
                probe: target.probe.clone(),
            };
            (*address, instance)
        };
        target.upstreams.iter().enumerate().map(of)
    })
}

impl Table {
    /// The app, and which of its slots; no slot where none is live.
    fn find(&self, door: Door, host: &str) -> Option<(&Arc<App>, Option<Slot>)> {
        match door {
            Door::Public => {
                let named = self.hosts.get(host).or_else(|| self.wildcard(host));
                let app = named.or(self.default.as_ref())?;
                Some((app, app.live))
            }
            Door::Slot(port) => self.ports.get(&port).map(|(app, slot)| (app, Some(*slot))),
        }
    }

    /// The app whose wildcard matches a host that nobody names.
    fn wildcard(&self, host: &str) -> Option<&Arc<App>> {
        if self.wildcards.is_empty() {
            return None;
        }
        let (label, domain) = host.split_once('.')?;
        self.wildcards.get(domain).filter(|_| !label.is_empty())
    }
}

/// Every address that the public port goes to.
fn public(routes: &[StoredRoute]) -> HashSet<SocketAddrV4> {
    let live = routes.iter().filter_map(|stored| stored.route.live_target());
    live.flat_map(|target| target.upstreams.iter().copied()).collect()
}

impl Lane {
    /// The next instance in turn that is not out; none that was `tried`.
    fn next(&self, tried: &[SocketAddrV4]) -> Option<&Arc<Seat>> {
        if let [only] = self.seats.as_slice() {
            return (tried.is_empty() && !only.upstream.is_out()).then_some(only);
        }
        let turn = self.turn.fetch_add(1, Relaxed);
        let in_turn = || {
            let count = self.seats.len();
            (0..count).map(move |step| &self.seats[turn.wrapping_add(step) % count])
        };
        let untried = |seat: &&Arc<Seat>| !tried.contains(&seat.upstream.address);
        in_turn().filter(untried).find(|seat| !seat.upstream.is_out())
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::AtomicBool;

    use super::*;
    use crate::proxy::{SlotRoute, Target};

    fn to(address: &str) -> Vec<StoredRoute> {
        let target = Target {
            release: ReleaseId(1),
            upstreams: vec![address.parse().unwrap()],
            probe: None,
        };
        let slot = SlotRoute {
            port: 1,
            target: Some(target),
        };
        vec![StoredRoute {
            route: AppRoute {
                app: "shop".parse().unwrap(),
                hosts: Vec::new(),
                response_timeout: None,
                body_timeout: None,
                live: Some(Slot::Blue),
                slots: [(Slot::Blue, slot)].into(),
                trailers: false,
            },
            check: String::new(),
        }]
    }

    #[test]
    fn whoever_counts_after_a_flip_misses_nobody() {
        let addresses = ["127.0.0.2:80", "127.0.0.3:80"];
        let switch = Switch::new(2);
        // Whether the address is out of the routes, and was seen with nothing in flight since.
        let drained = [AtomicBool::new(false), AtomicBool::new(false)];
        let (stop, claims, missed) = (AtomicBool::new(false), AtomicU64::new(0), AtomicU64::new(0));
        switch.set(to(addresses[0]));
        std::thread::scope(|scope| {
            for worker in 0..2 {
                let (switch, drained, stop, claims, missed) = (&switch, &drained, &stop, &claims, &missed);
                scope.spawn(move || {
                    while !stop.load(SeqCst) {
                        let claim = switch.claim(worker, Door::Public, "", &[]).unwrap();
                        let at = usize::from(claim.in_flight.seat().upstream.address.ip().octets()[3] - 2);
                        missed.fetch_add(u64::from(drained[at].load(SeqCst)), Relaxed);
                        claims.fetch_add(1, Relaxed);
                    }
                });
            }
            for flip in 0..20_000 {
                let (old, new) = (flip % 2, (flip + 1) % 2);
                let whole = switch.upstreams(&[addresses[old].parse().unwrap()]);
                drained[new].store(false, SeqCst);
                switch.set(to(addresses[new]));
                while whole.iter().any(|whole| whole.in_flight() > 0) {
                    std::hint::spin_loop();
                }
                drained[old].store(true, SeqCst);
            }
            stop.store(true, SeqCst);
        });
        assert!(claims.load(SeqCst) > 20_000);
        assert_eq!(missed.load(SeqCst), 0, "of {} claims", claims.load(SeqCst));
    }
}
