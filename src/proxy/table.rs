//! The table that every request is routed by, and the switch that replaces it in one step.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::net::SocketAddrV4;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering::Relaxed, Ordering::SeqCst};
use std::sync::{Arc, Mutex};

use arc_swap::ArcSwap;
use serde::{Deserialize, Serialize};

use super::metrics::{Counters, Shown};
use super::route::AppRoute;
use super::upstream::{InFlight, Upstream, lock};
use crate::model::{AppName, ReleaseId, Slot};

/// A route with the token that lets a request ask which release has answered it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct StoredRoute {
    pub(super) route: AppRoute,
    pub(super) check: String,
}

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

/// Why a request goes nowhere.
#[derive(Debug)]
pub(super) enum Nowhere {
    /// No app has this host, or no slot this port.
    Unknown,
    /// The app runs nothing there.
    NotLive(Arc<App>, Slot),
    /// Every instance was tried, or is known not to answer.
    Exhausted(Arc<App>, Slot),
}

/// One app in the table.
#[derive(Debug)]
pub(super) struct App {
    pub(super) name: AppName,
    pub(super) check: String,
    pub(super) counters: Arc<Counters>,
    live: Option<Slot>,
    slots: [Option<Lane>; 2],
}

/// The instances that one slot runs.
#[derive(Debug)]
struct Lane {
    release: ReleaseId,
    upstreams: Vec<Arc<Upstream>>,
    turn: AtomicUsize,
}

#[derive(Debug, Default)]
struct Table {
    generation: u64,
    hosts: HashMap<String, Arc<App>>,
    default: Option<Arc<App>>,
    ports: HashMap<u16, (Arc<App>, Slot)>,
    routes: Vec<StoredRoute>,
}

/// See the module.
#[derive(Debug)]
pub(super) struct Switch {
    table: ArcSwap<Table>,
    /// The generation of the table that is in force.
    generation: AtomicU64,
    workers: usize,
    known: Mutex<Known>,
    /// Requests that were no app's.
    pub(super) unrouted: AtomicU64,
}

/// What outlives a table.
#[derive(Debug, Default)]
struct Known {
    /// By address, those of the table in force.
    upstreams: HashMap<SocketAddrV4, Arc<Upstream>>,
    /// Those that a route has left, as long as something is in flight on them. An instance that left the public
    /// route and stays on its slot's port is here too, beside a fresh one with the same address: what is in
    /// flight since the flip is not mixed with what was before it.
    left: Vec<Arc<Upstream>>,
    counters: BTreeMap<AppName, Arc<Counters>>,
    last_id: u64,
}

impl Switch {
    /// A switch that routes nothing yet.
    pub(super) fn new(workers: usize) -> Self {
        Self {
            table: ArcSwap::default(),
            generation: AtomicU64::new(0),
            workers,
            known: Mutex::default(),
            unrouted: AtomicU64::new(0),
        }
    }

    /// Puts `routes` in force: every request routed after this returns follows them, and every request routed
    /// before is counted on its upstream.
    pub(super) fn set(&self, routes: Vec<StoredRoute>) {
        let mut known = lock(&self.known);
        let generation = self.generation.load(SeqCst) + 1;
        known.leave(&self.table.load().routes, &routes);
        let table = known.table(generation, routes, self.workers);
        let before = self.table.swap(Arc::new(table));
        self.generation.store(generation, SeqCst);
        known.left.iter().for_each(|upstream| upstream.leave_route());
        known.left.retain(|upstream| upstream.in_flight() > 0);
        known.count_flips(&before.routes, &self.table.load().routes);
    }

    /// The routes in force.
    pub(super) fn routes(&self) -> Vec<StoredRoute> {
        self.table.load().routes.clone()
    }

    /// Routes one request: in at `door`, for `host` (lower case, no port), passing over the instances `tried`.
    ///
    /// The request is counted as in flight before the table is known to be still in force. So whoever replaces
    /// the table and then looks at the counts misses nobody.
    pub(super) fn claim(
        &self,
        door: Door,
        host: &str,
        tried: &[SocketAddrV4],
        now: u64,
    ) -> Result<Claim, Nowhere> {
        loop {
            let table = self.table.load();
            let (app, slot) = table.find(door, host).ok_or(Nowhere::Unknown)?;
            let slot = slot.ok_or_else(|| Nowhere::NotLive(Arc::clone(app), Slot::Blue))?;
            let lane = app.slots[slot as usize]
                .as_ref()
                .ok_or_else(|| Nowhere::NotLive(Arc::clone(app), slot))?;
            let upstream = lane
                .next(tried, now)
                .ok_or_else(|| Nowhere::Exhausted(Arc::clone(app), slot))?;
            upstream.join();
            let in_flight = InFlight::joined(Arc::clone(upstream));
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
    pub(super) fn upstreams(&self, addresses: &[SocketAddrV4]) -> Vec<Arc<Upstream>> {
        let known = lock(&self.known);
        let all = known.upstreams.values().chain(&known.left);
        let wanted = all.filter(|upstream| addresses.contains(&upstream.address));
        wanted.cloned().collect()
    }

    /// The upstreams at `addresses` that a route has left with something in flight.
    pub(super) fn left(&self, addresses: &[SocketAddrV4]) -> Vec<Arc<Upstream>> {
        let known = lock(&self.known);
        let wanted = known
            .left
            .iter()
            .filter(|upstream| addresses.contains(&upstream.address));
        wanted.cloned().collect()
    }

    /// Closes the connections to upstreams that were idle for too long.
    pub(super) fn sweep(&self, now: u64) {
        let upstreams: Vec<_> = {
            let mut known = lock(&self.known);
            known.left.retain(|upstream| upstream.in_flight() > 0);
            known.upstreams.values().cloned().collect()
        };
        upstreams.iter().for_each(|upstream| upstream.sweep(now));
    }

    /// The page of metrics.
    pub(super) fn metrics(&self, connections: usize) -> String {
        let table = self.table.load();
        let known = lock(&self.known);
        let shown: Vec<Shown<'_>> = known
            .counters
            .iter()
            .map(|(app, counters)| Shown {
                app: app.as_str(),
                counters,
                in_flight: Slot::BOTH.map(|slot| table.in_flight(app, slot)),
            })
            .collect();
        super::metrics::page(&shown, connections, self.unrouted.load(Relaxed))
    }
}

impl Known {
    /// Sets aside the upstreams that the public port, or everything, leaves when `old` becomes `new`.
    fn leave(&mut self, old: &[StoredRoute], new: &[StoredRoute]) {
        let (was_public, is_public) = (public(old), public(new));
        let routed: HashSet<SocketAddrV4> = addresses(new).collect();
        let leaves = |address: &SocketAddrV4| {
            !routed.contains(address) || (was_public.contains(address) && !is_public.contains(address))
        };
        let left = self
            .upstreams
            .extract_if(|address, _| leaves(address))
            .map(|(_, upstream)| upstream);
        self.left.extend(left);
    }

    fn table(&mut self, generation: u64, routes: Vec<StoredRoute>, workers: usize) -> Table {
        let mut table = Table {
            generation,
            ..Table::default()
        };
        for stored in &routes {
            let app = Arc::new(self.app(stored, workers));
            for host in &stored.route.hosts {
                table.hosts.insert(host.clone(), Arc::clone(&app));
            }
            for (&slot, route) in &stored.route.slots {
                table.ports.insert(route.port, (Arc::clone(&app), slot));
            }
            if stored.route.hosts.is_empty() {
                table.default = Some(app);
            }
        }
        table.routes = routes;
        table
    }

    fn app(&mut self, stored: &StoredRoute, workers: usize) -> App {
        let route = &stored.route;
        let counters = self.counters.entry(route.app.clone());
        let counters = Arc::clone(counters.or_insert_with(|| Arc::new(Counters::new(workers))));
        App {
            name: route.app.clone(),
            check: stored.check.clone(),
            counters,
            live: route.live,
            slots: Slot::BOTH.map(|slot| {
                let target = route.slots.get(&slot)?.target.as_ref()?;
                Some(Lane {
                    release: target.release,
                    upstreams: target
                        .upstreams
                        .iter()
                        .map(|&address| self.upstream(address, workers))
                        .collect(),
                    turn: AtomicUsize::new(0),
                })
            }),
        }
    }

    fn upstream(&mut self, address: SocketAddrV4, workers: usize) -> Arc<Upstream> {
        let last_id = &mut self.last_id;
        let upstream = self.upstreams.entry(address).or_insert_with(|| {
            *last_id += 1;
            Arc::new(Upstream::new(*last_id, address, workers))
        });
        Arc::clone(upstream)
    }

    fn count_flips(&self, before: &[StoredRoute], after: &[StoredRoute]) {
        for new in after.iter().map(|stored| &stored.route) {
            let old = before
                .iter()
                .map(|stored| &stored.route)
                .find(|old| old.app == new.app);
            let goes = |route: &AppRoute| (route.live, route.live_target().cloned());
            if old.is_some_and(|old| goes(old) != goes(new))
                && let Some(counters) = self.counters.get(&new.app)
            {
                counters.flips.fetch_add(1, Relaxed);
            }
        }
    }
}

impl Table {
    /// The app, and which of its slots; no slot where none is live.
    fn find(&self, door: Door, host: &str) -> Option<(&Arc<App>, Option<Slot>)> {
        match door {
            Door::Public => {
                let app = self.hosts.get(host).or(self.default.as_ref())?;
                Some((app, app.live))
            }
            Door::Slot(port) => self.ports.get(&port).map(|(app, slot)| (app, Some(*slot))),
        }
    }

    fn in_flight(&self, app: &AppName, slot: Slot) -> u64 {
        let app = self
            .ports
            .values()
            .map(|(app, _)| app)
            .find(|known| known.name == *app);
        let lane = app.and_then(|app| app.slots[slot as usize].as_ref());
        lane.map_or(0, |lane| {
            lane.upstreams.iter().map(|upstream| upstream.in_flight()).sum()
        })
    }
}

/// Every address that `routes` go to.
fn addresses(routes: &[StoredRoute]) -> impl Iterator<Item = SocketAddrV4> {
    let targets = routes.iter().flat_map(|stored| stored.route.slots.values());
    targets
        .filter_map(|slot| slot.target.as_ref())
        .flat_map(|target| target.upstreams.iter().copied())
}

/// Every address that the public port goes to.
fn public(routes: &[StoredRoute]) -> HashSet<SocketAddrV4> {
    let live = routes.iter().filter_map(|stored| stored.route.live_target());
    live.flat_map(|target| target.upstreams.iter().copied()).collect()
}

impl Lane {
    /// The next instance in turn that answers, else one that may answer again; none that was `tried`.
    fn next(&self, tried: &[SocketAddrV4], now: u64) -> Option<&Arc<Upstream>> {
        if let [only] = self.upstreams.as_slice() {
            return (tried.is_empty() && !only.is_dead(now)).then_some(only);
        }
        let turn = self.turn.fetch_add(1, Relaxed);
        let in_turn = || {
            let count = self.upstreams.len();
            (0..count).map(move |step| &self.upstreams[(turn.wrapping_add(step)) % count])
        };
        let untried = |upstream: &&Arc<Upstream>| !tried.contains(&upstream.address);
        in_turn()
            .filter(untried)
            .find(|upstream| !upstream.is_passed_over(now))
            .or_else(|| in_turn().filter(untried).find(|upstream| !upstream.is_dead(now)))
    }
}
