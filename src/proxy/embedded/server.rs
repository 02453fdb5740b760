//! A running proxy, as its control socket sees it: routes change, and old upstreams drain.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, Read};
use std::net::SocketAddrV4;
use std::os::fd::OwnedFd;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::SeqCst};
use std::sync::{Arc, Mutex as SyncMutex};
use std::time::{Duration, Instant};

use tokio::sync::{Mutex, Notify};

use super::closed::Closed;
use super::connection::Plane;
use super::control::{DoorChange, DoorSet, ProxyInfo};
use super::listen::{Doors, Inherited, Prepared};
use super::listener::{Listener, Place};
use super::metrics;
use super::succession::Predecessor;
use super::table::Door;
use crate::ground::failpoint;
use crate::model::AppName;
use crate::proxy::answers::{Applied, ClosedPort, Drained, OutInstance};
use crate::proxy::error::ProxyError;
use crate::proxy::file;
use crate::proxy::route::AppRoute;
use crate::proxy::route::StoredRoute;
use crate::proxy::say;

/// How long what was cut may take to notice.
pub(super) const CUT_PATIENCE: Duration = Duration::from_secs(2);

/// How often something is looked at that has no event of its own.
pub(super) const LOOK: Duration = Duration::from_millis(20);

/// Where the routes are kept in the proxy's folder.
pub(in crate::proxy) const ROUTES: &str = "routes.json";

/// A running proxy.
pub(super) struct Server {
    pub(super) plane: Arc<Plane>,
    pub(super) doors: Doors,
    pub(super) folder: PathBuf,
    info: ProxyInfo,
    /// The slot ports that could not be opened.
    pub(super) closed: Closed,
    /// The metrics' socket, to be handed over.
    pub(super) metrics: Option<Arc<Listener>>,
    /// Held by whoever changes the routes, or hands over.
    pub(super) changing: Mutex<()>,
    /// The lock of the folder; none once it was handed over.
    pub(super) lock: SyncMutex<Option<OwnedFd>>,
    /// Whether a newer proxy has taken over.
    pub(super) moved: AtomicBool,
    pub(super) taken_over: Notify,
    pub(super) successor_gone: AtomicBool,
    predecessor: Option<Predecessor>,
    /// Where the socket for a program in front is.
    socket: PathBuf,
    /// Whether the slot ports of every route are open: another kind of proxy may have them.
    has_slots: AtomicBool,
    /// Another kind of proxy serves, and this one ends.
    pub(super) leaving: Notify,
    /// Callers at the control socket that have not had their answer.
    pub(super) calls: AtomicUsize,
    /// Drains that wait.
    draining: AtomicUsize,
}

impl Server {
    /// A proxy that accepts at its doors, has the folder's `lock`, and took over from `predecessor` if from any. With
    /// `waits` no door is open yet; `socket` is where one for a program in front is.
    #[allow(
        clippy::too_many_arguments,
        reason = "each is one of the things that a proxy has"
    )]
    pub(super) fn new(
        plane: Arc<Plane>,
        doors: Doors,
        socket: PathBuf,
        waits: bool,
        folder: PathBuf,
        info: ProxyInfo,
        closed: Closed,
        lock: OwnedFd,
        metrics: Option<Arc<Listener>>,
        predecessor: Option<Predecessor>,
    ) -> Self {
        Self {
            plane,
            doors,
            folder,
            info,
            closed,
            metrics,
            changing: Mutex::new(()),
            lock: SyncMutex::new(Some(lock)),
            moved: AtomicBool::new(false),
            taken_over: Notify::new(),
            successor_gone: AtomicBool::new(false),
            predecessor,
            socket,
            has_slots: AtomicBool::new(!waits),
            leaving: Notify::new(),
            calls: AtomicUsize::new(0),
            draining: AtomicUsize::new(0),
        }
    }

    /// Notes a caller until what is given back is dropped, so that the process does not end before it has
    /// answered: the end of a drain is when there is nothing left to stay for.
    pub(super) fn call(&self) -> Call<'_> {
        Call::new(&self.calls)
    }

    /// What the proxy says of itself.
    pub(super) fn info(&self) -> ProxyInfo {
        let mut info = self.info.clone();
        info.closed_ports = self.closed.all();
        info.listen = self.doors.public_address().unwrap_or(info.listen);
        let wanted = ports(&self.plane.switch.routes());
        info.closed_ports
            .retain(|closed| wanted.contains(&closed.port) && !self.doors.has_slot_port(closed.port));
        info
    }

    /// Whether a newer proxy has taken over.
    pub(super) fn has_moved(&self) -> bool {
        self.moved.load(SeqCst)
    }

    /// The routes in force.
    pub(super) fn routes(&self) -> Vec<AppRoute> {
        self.plane
            .switch
            .routes()
            .into_iter()
            .map(|stored| stored.route)
            .collect()
    }

    /// The token of each app's check.
    pub(super) fn checks(&self) -> BTreeMap<AppName, String> {
        let routes = self.plane.switch.routes().into_iter();
        routes.map(|stored| (stored.route.app, stored.check)).collect()
    }

    /// The instances that are out.
    pub(super) fn out(&self) -> Vec<OutInstance> {
        let out = self.plane.switch.out();
        let mut out: Vec<OutInstance> = out
            .into_iter()
            .map(|(address, instance, out)| OutInstance {
                app: instance.app,
                slot: instance.slot,
                index: instance.index,
                address,
                since: out.since,
                why: out.why,
            })
            .collect();
        out.sort_by(|one, other| (&one.app, one.slot, one.index).cmp(&(&other.app, other.slot, other.index)));
        out
    }

    /// The page of metrics.
    pub(super) fn metrics(&self) -> String {
        self.plane.switch.metrics(&[
            (&metrics::CONNECTIONS, self.plane.connections()),
            (&metrics::DRAINING, self.draining.load(SeqCst)),
        ])
    }

    /// Makes `route` the whole route of its app; none where a newer proxy has to be asked.
    pub(super) async fn put_route(&self, route: AppRoute) -> Result<Option<Applied>, ProxyError> {
        let _changing = self.changing.lock().await;
        if self.has_moved() {
            return Ok(None);
        }
        let before = self.plane.switch.routes();
        let others = before.iter().map(|stored| &stored.route);
        route
            .check(others, self.info.listen.port())
            .map_err(ProxyError::refused)?;
        let check = token().map_err(|error| ProxyError::refused(format!("no random numbers: {error}")))?;
        let old = before.iter().find(|stored| stored.route.app == route.app);
        let change = describe(old.map(|stored| &stored.route), &route);
        let app = route.app.clone();
        let mut routes: Vec<StoredRoute> = before
            .iter()
            .filter(|stored| stored.route.app != route.app)
            .cloned()
            .collect();
        routes.push(StoredRoute {
            route,
            check: check.clone(),
        });
        routes.sort_by(|one, other| one.route.app.cmp(&other.route.app));
        let closed = self.change(routes, &app).await?;
        self.plane.switch.trust(&app);
        say!("{change}");
        Ok(Some(Applied { check, closed }))
    }

    /// Removes the route of `app`; none where a newer proxy has to be asked.
    pub(super) async fn remove_route(&self, app: &AppName) -> Result<Option<()>, ProxyError> {
        let _changing = self.changing.lock().await;
        if self.has_moved() {
            return Ok(None);
        }
        let mut routes = self.plane.switch.routes();
        let before = routes.len();
        routes.retain(|stored| stored.route.app != *app);
        if routes.len() < before {
            self.change(routes, app).await?;
            say!("{app}: route removed");
        }
        Ok(Some(()))
    }

    /// Ports first, so that they answer as soon as the route is in force; then the disk; then the table. A port that
    /// somebody else has keeps no route from being in force; those of `app` are given.
    async fn change(&self, routes: Vec<StoredRoute>, app: &AppName) -> Result<Vec<ClosedPort>, ProxyError> {
        let ports = self.open_ports(&routes);
        let prepared = self.doors.prepare(&ports, &mut Inherited::default());
        self.store(routes.clone()).await?;
        self.plane.switch.set(routes.clone());
        failpoint::at("route.in-force");
        self.open_doors(prepared.sockets)?;
        self.doors.close_others(&ports).await;
        failpoint::at("route.ports-closed");
        let own = routes.iter().find(|stored| stored.route.app == *app);
        let own: Vec<u16> = own.into_iter().flat_map(|stored| stored.route.ports()).collect();
        self.closed.are(&prepared.refused, |port| own.contains(&port));
        if let Some(predecessor) = self.predecessor() {
            predecessor.follow(&routes).await?;
        }
        let mut closed = self.closed.all();
        closed.retain(|closed| own.contains(&closed.port));
        Ok(closed)
    }

    /// Opens and closes doors, and gives the slot ports that cannot be had; none where a newer proxy has to be asked.
    /// Where the public port is taken, nothing has changed.
    pub(super) async fn change_doors(
        &self,
        change: DoorChange,
    ) -> Result<Option<Vec<ClosedPort>>, ProxyError> {
        let _changing = self.changing.lock().await;
        if self.has_moved() {
            return Ok(None);
        }
        let DoorChange { open, close } = change;
        let mut prepared = Prepared::default();
        if open.slots {
            let ports = ports(&self.plane.switch.routes());
            prepared = self.doors.prepare(&ports, &mut Inherited::default());
        }
        let socket = open.socket.then(|| Place::Path(self.socket.clone()));
        for place in open.listen.map(Place::Address).into_iter().chain(socket) {
            let public = self.doors.prepare_public(&place);
            prepared.sockets.extend(public.map_err(ProxyError::refused)?);
        }
        let is_news = !prepared.sockets.is_empty() || close != DoorSet::default();
        self.open_doors(prepared.sockets)?;
        if open.slots || close.slots {
            self.has_slots.store(open.slots, SeqCst);
        }
        self.doors
            .close_for_good(|door, place| match (door, place) {
                (Door::Slot(_), _) => close.slots,
                (Door::Public, Place::Address(_)) => close.listen.is_some(),
                (Door::Public, Place::Path(_)) => close.socket,
            })
            .await;
        if open.slots || close.slots {
            self.closed.are(&prepared.refused, |_| false);
        }
        if is_news {
            say!("{}", told(open, close));
        }
        Ok(Some(self.closed.all()))
    }

    /// Forgets the routes for good, and begins to end; none where a newer proxy has to be asked. What was routed goes
    /// on as it was.
    pub(super) async fn leave(&self) -> Result<Option<()>, ProxyError> {
        let _changing = self.changing.lock().await;
        if self.has_moved() {
            return Ok(None);
        }
        self.store(Vec::new()).await?;
        self.leaving.notify_one();
        Ok(Some(()))
    }

    async fn store(&self, routes: Vec<StoredRoute>) -> Result<(), ProxyError> {
        let folder = self.folder.clone();
        tokio::task::spawn_blocking(move || file::store(&folder, ROUTES, &routes))
            .await
            .map_err(io::Error::other)
            .flatten()
            .map_err(|error| ProxyError::refused(format!("the routes cannot be written: {error}")))
    }

    /// The slot ports that are to be open with these routes.
    pub(super) fn open_ports(&self, routes: &[StoredRoute]) -> Vec<u16> {
        match self.has_slots.load(SeqCst) {
            true => ports(routes),
            false => Vec::new(),
        }
    }

    /// Follows the routes of the newer proxy that has taken over.
    pub(super) async fn follow(&self, routes: Vec<StoredRoute>) -> Result<(), ProxyError> {
        self.plane.switch.set(routes.clone());
        match self.predecessor() {
            Some(predecessor) => predecessor.follow(&routes).await,
            None => Ok(()),
        }
    }

    /// How many are in flight on `upstreams`, here and in the proxy before this one.
    pub(super) async fn in_flight(&self, upstreams: &[SocketAddrV4]) -> u64 {
        let ours: u64 = self
            .plane
            .switch
            .upstreams(upstreams)
            .iter()
            .map(|upstream| upstream.in_flight())
            .sum();
        match self.predecessor() {
            Some(predecessor) => ours + predecessor.control.in_flight(upstreams).await.unwrap_or(0),
            None => ours,
        }
    }

    /// Waits for what was in flight on `upstreams` when a route left them, here and in the proxy before this one.
    pub(super) async fn drain(&self, upstreams: &[SocketAddrV4], deadline: Duration) -> Drained {
        let theirs = async {
            match self.predecessor() {
                Some(predecessor) => predecessor
                    .control
                    .drain(upstreams, deadline)
                    .await
                    .unwrap_or_default(),
                None => Drained::default(),
            }
        };
        let (ours, theirs) = tokio::join!(self.drain_here(upstreams, deadline), theirs);
        Drained {
            finished: ours.finished + theirs.finished,
            cut: ours.cut + theirs.cut,
            closed: ours.closed + theirs.closed,
        }
    }

    async fn drain_here(&self, upstreams: &[SocketAddrV4], deadline: Duration) -> Drained {
        let upstreams = self.plane.switch.left(upstreams);
        let in_flight = || upstreams.iter().map(|upstream| upstream.in_flight()).sum::<u64>();
        let closed = || upstreams.iter().map(|whole| whole.upstream.closed()).sum::<u64>();
        let (before, closed_before) = (in_flight(), closed());
        let _draining = Call::new(&self.draining);
        let ended = async {
            for whole in &upstreams {
                whole.ended().await;
            }
        };
        let mut cut = 0;
        if tokio::time::timeout(deadline, ended).await.is_err() {
            cut = in_flight();
            let patience = Instant::now() + CUT_PATIENCE;
            while in_flight() > 0 && Instant::now() < patience {
                upstreams.iter().for_each(|whole| self.plane.cut(&whole.upstream));
                tokio::time::sleep(LOOK).await;
            }
        }
        Drained {
            finished: before.saturating_sub(cut),
            cut,
            closed: (closed() - closed_before).min(cut),
        }
    }

    /// The proxy before this one, as long as it has something in flight.
    pub(super) fn predecessor(&self) -> Option<&Predecessor> {
        self.predecessor
            .as_ref()
            .filter(|predecessor| !predecessor.is_gone())
    }
}

/// See [`Server::call`].
pub(super) struct Call<'a>(&'a AtomicUsize);

impl<'a> Call<'a> {
    fn new(count: &'a AtomicUsize) -> Self {
        count.fetch_add(1, SeqCst);
        Self(count)
    }
}

impl Drop for Call<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, SeqCst);
    }
}

/// Every slot port that `routes` want.
pub(super) fn ports(routes: &[StoredRoute]) -> Vec<u16> {
    routes.iter().flat_map(|stored| stored.route.ports()).collect()
}

/// Which doors were opened and closed, in one line.
fn told(open: DoorSet, close: DoorSet) -> String {
    let names = |set: DoorSet| {
        let names = [
            (set.listen.is_some(), "the public port"),
            (set.socket, "the socket for a program in front"),
            (set.slots, "the slot ports"),
        ];
        let names = names
            .into_iter()
            .filter_map(|(is_in, name)| is_in.then_some(name));
        names.collect::<Vec<_>>().join(", ")
    };
    match (names(open), names(close)) {
        (opened, closed) if closed.is_empty() => format!("opened: {opened}"),
        (opened, closed) if opened.is_empty() => format!("closed, for another kind of proxy: {closed}"),
        (opened, closed) => format!("opened: {opened}; closed: {closed}"),
    }
}

/// What a route change is, in one line.
fn describe(old: Option<&AppRoute>, new: &AppRoute) -> String {
    match old {
        Some(old) if old.is_as_live_as(new) => {
            format!("{}: live stays {}", new.app, new.live_text())
        }
        Some(old) => format!("{}: live {} → {}", new.app, old.live_text(), new.live_text()),
        None => format!("{}: new, live {}", new.app, new.live_text()),
    }
}

/// 32 hexadecimal digits that nobody can guess.
fn token() -> io::Result<String> {
    let mut bytes = [0; 16];
    File::open("/dev/urandom")?.read_exact(&mut bytes)?;
    Ok(bytes.iter().map(|byte| format!("{byte:02x}")).collect())
}
