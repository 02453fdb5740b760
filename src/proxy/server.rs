//! The proxy's life: possess, restore, accept, change routes, and hand over or drain.

use std::fs::{self, File, OpenOptions};
use std::future::Future;
use std::io::{self, Read, Write};
use std::net::{SocketAddr, SocketAddrV4};
use std::os::fd::OwnedFd;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::pin::{Pin, pin};
use std::sync::atomic::{AtomicBool, Ordering::SeqCst};
use std::sync::{Arc, Mutex as SyncMutex};
use std::time::{Duration, Instant};

use rustix::fs::FlockOperation;
use tokio::io::AsyncReadExt;
use tokio::net::{TcpListener, UnixListener, UnixStream};
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::{Mutex, Notify};

use super::api::{self, Caller};
use super::connection::Plane;
use super::control::{Applied, Control, Drained, ProxyInfo};
use super::error::ProxyError;
use super::file;
use super::listen::{Doors, Inherited, taken};
use super::notify;
use super::pulse::{Limits, SWEEP};
use super::route::AppRoute;
use super::say;
use super::table::{Door, StoredRoute};
use super::takeover::{self, Handover};
use super::upstream::lock;
use crate::model::{AppName, ProxySettings};

/// How long an idle client may still send a request after a newer proxy has taken over: each answer tells it
/// that the connection closes. Without this linger, a request that is under way as its connection closes is lost.
const LINGER_TAKEN_OVER: Duration = Duration::from_secs(5);

/// The same after SIGTERM, when nobody listens any more and every second is one of refused connections.
const LINGER_ENDING: Duration = Duration::from_secs(1);

/// How long requests in flight may take after SIGTERM.
const END_DEADLINE: Duration = Duration::from_secs(30);

/// How long they, and WebSockets above all, may take after a newer proxy has taken over.
const TAKEN_OVER_DEADLINE: Duration = Duration::from_secs(60 * 60);

/// How long what was cut may take to notice.
const CUT_PATIENCE: Duration = Duration::from_secs(2);

/// How often something is looked at that has no event of its own.
const LOOK: Duration = Duration::from_millis(20);

/// What a proxy needs to know.
#[derive(Debug, Clone)]
pub struct ServerOptions {
    /// Where it listens, and its timeouts.
    pub settings: ProxySettings,
    /// Its folder: `STATE/proxy`. Made with mode 0700 where it is missing.
    pub state: PathBuf,
    /// Take over from the proxy that runs, if one does.
    pub upgrade: bool,
    /// Worker threads; one per core serves best.
    pub threads: usize,
}

/// Runs the proxy in this process until SIGTERM or SIGINT, or until a newer one has taken over, and everything
/// in flight has ended. Says `proxy ready on ADDRESS (pid NUMBER)` on stdout once it accepts connections.
///
/// On SIGTERM the listening sockets are closed at once, since nobody would serve what is accepted later; the
/// requests in flight have 30 seconds. To change the program with nothing refused, use `upgrade`.
///
/// # Errors
/// When it cannot start: another proxy runs, the port is taken, or the routes are of a newer version.
pub fn run(options: ServerOptions) -> Result<(), ProxyError> {
    allow_many_files();
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|error| ProxyError::failed(format!("cannot start: {error}")))?;
    runtime.block_on(async {
        let failed = |error: io::Error| ProxyError::failed(format!("cannot listen for signals: {error}"));
        let mut terminate = signal(SignalKind::terminate()).map_err(failed)?;
        let mut interrupt = signal(SignalKind::interrupt()).map_err(failed)?;
        let shutdown = async move {
            tokio::select! {
                _ = terminate.recv() => {}
                _ = interrupt.recv() => {}
            }
        };
        serve(options, shutdown).await
    })
}

/// As [`run`], on a runtime that is there, until `shutdown` comes. The worker threads stay until the process ends.
///
/// # Errors
/// As for [`run`].
pub async fn serve(options: ServerOptions, shutdown: impl Future<Output = ()>) -> Result<(), ProxyError> {
    let ServerOptions {
        settings,
        state,
        upgrade,
        threads,
    } = options;
    prepare_folder(&state)?;
    let mut possession = Possession::take(&state, upgrade)?;

    let loaded = file::load(&state)?;
    let plane = Plane::start(threads, Limits::from(&settings))
        .map_err(|error| ProxyError::failed(format!("cannot start the workers: {error}")))?;
    plane.switch.set(loaded.routes.clone());
    tokio::spawn(sweep(Arc::clone(&plane)));

    let public = listen(&mut possession.inherited, settings.listen)?;
    let address = public.local_addr().unwrap_or(settings.listen);
    let doors = Doors::new(Arc::clone(&plane), settings.slot_listen);
    let (slot_sockets, closed_ports) = slot_sockets(&doors, &loaded.routes, &mut possession.inherited);
    let metrics = match settings.metrics_listen {
        Some(address) => Some(metrics_socket(&mut possession.inherited, address)?),
        None => None,
    };
    let control = ControlSocket::bind(&state, "control.sock")?;
    let takeover = ControlSocket::bind(&state, "takeover.sock")?;
    for (door, socket) in slot_sockets.into_iter().chain([(Door::Public, public)]) {
        let opened = doors.open(door, socket);
        opened.map_err(|error| ProxyError::failed(format!("cannot accept connections: {error}")))?;
    }

    let server = Arc::new(Server {
        plane,
        doors,
        info: ProxyInfo {
            version: env!("CARGO_PKG_VERSION").to_owned(),
            pid: std::process::id(),
            listen: address,
            slot_listen: settings.slot_listen,
            started: jiff::Timestamp::now(),
            recovered_from: loaded.aside,
            closed_ports,
        },
        metrics: metrics.as_ref().map(|(_, socket)| Arc::clone(socket)),
        changing: Mutex::new(()),
        lock: SyncMutex::new(Some(possession.lock)),
        moved: AtomicBool::new(false),
        taken_over: Notify::new(),
        successor_gone: AtomicBool::new(false),
        predecessor: possession.handover.map(Predecessor::commit).transpose()?,
        folder: state,
    });
    let control = control.install()?;
    let takeover = takeover.install()?;
    tokio::spawn(api::serve_unix(Arc::clone(&server), control, Caller::Anyone));
    tokio::spawn(offer(Arc::clone(&server), takeover));
    let metrics =
        metrics.map(|(listener, _)| tokio::spawn(api::serve_metrics(Arc::clone(&server), listener)));

    let _ = writeln!(
        io::stdout(),
        "proxy ready on {address} (pid {})",
        std::process::id()
    );
    if let Err(error) = notify::ready() {
        say!("systemd cannot be told that the proxy is ready: {error}");
    }
    server.live(shutdown, metrics).await;
    Ok(())
}

/// A running proxy.
pub(super) struct Server {
    plane: Arc<Plane>,
    doors: Doors,
    folder: PathBuf,
    info: ProxyInfo,
    metrics: Option<Arc<std::net::TcpListener>>,
    /// Held by whoever changes the routes, or hands over.
    changing: Mutex<()>,
    /// The lock of the folder; none once it was handed over.
    lock: SyncMutex<Option<OwnedFd>>,
    /// Whether a newer proxy has taken over.
    moved: AtomicBool,
    taken_over: Notify,
    successor_gone: AtomicBool,
    predecessor: Option<Predecessor>,
}

impl Server {
    /// What the proxy says of itself.
    pub(super) fn info(&self) -> &ProxyInfo {
        &self.info
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

    /// The page of metrics.
    pub(super) fn metrics(&self) -> String {
        self.plane.switch.metrics(self.plane.connections())
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
        self.change(routes).await?;
        say!("{change}");
        Ok(Some(Applied { check }))
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
            self.change(routes).await?;
            say!("{app}: route removed");
        }
        Ok(Some(()))
    }

    /// Ports first, since only they can be refused by somebody else; then the disk; then the table.
    async fn change(&self, routes: Vec<StoredRoute>) -> Result<(), ProxyError> {
        let ports = ports(&routes);
        let new = self
            .doors
            .prepare(&ports, &mut Inherited::default())
            .map_err(ProxyError::refused)?;
        let (folder, stored) = (self.folder.clone(), routes.clone());
        tokio::task::spawn_blocking(move || file::store(&folder, &stored))
            .await
            .map_err(io::Error::other)
            .flatten()
            .map_err(|error| ProxyError::refused(format!("the routes cannot be written: {error}")))?;
        self.plane.switch.set(routes.clone());
        for (door, socket) in new {
            let opened = self.doors.open(door, socket);
            opened.map_err(|error| ProxyError::failed(format!("cannot accept connections: {error}")))?;
        }
        self.doors.close_others(&ports);
        match self.predecessor() {
            Some(predecessor) => predecessor.follow(&routes).await,
            None => Ok(()),
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

    /// Waits for what is in flight on `upstreams`, here and in the proxy before this one.
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
        }
    }

    async fn drain_here(&self, upstreams: &[SocketAddrV4], deadline: Duration) -> Drained {
        let upstreams = self.plane.switch.upstreams(upstreams);
        let in_flight = || upstreams.iter().map(|upstream| upstream.in_flight()).sum::<u64>();
        let before = in_flight();
        let ended = async {
            for upstream in &upstreams {
                upstream.ended().await;
            }
        };
        let mut cut = 0;
        if tokio::time::timeout(deadline, ended).await.is_err() {
            cut = in_flight();
            let patience = Instant::now() + CUT_PATIENCE;
            while in_flight() > 0 && Instant::now() < patience {
                upstreams.iter().for_each(|upstream| self.plane.cut(upstream));
                tokio::time::sleep(LOOK).await;
            }
        }
        Drained {
            finished: before.saturating_sub(cut),
            cut,
        }
    }

    fn predecessor(&self) -> Option<&Predecessor> {
        self.predecessor
            .as_ref()
            .filter(|predecessor| !predecessor.is_gone())
    }

    async fn live(&self, shutdown: impl Future<Output = ()>, metrics: Option<tokio::task::JoinHandle<()>>) {
        let mut shutdown = pin!(shutdown);
        tokio::select! {
            () = shutdown.as_mut() => {
                say!("stopping: no connection is accepted any more");
                self.doors.close_all();
                self.end(LINGER_ENDING, END_DEADLINE, pin!(std::future::pending())).await;
                if !self.has_moved() {
                    let _ = fs::remove_file(self.folder.join("control.sock"));
                    let _ = fs::remove_file(takeover::path(&self.folder));
                }
            }
            () = self.taken_over.notified() => {
                if let Some(metrics) = metrics {
                    metrics.abort();
                }
                self.end(LINGER_TAKEN_OVER, TAKEN_OVER_DEADLINE, shutdown).await;
                let _ = fs::remove_file(private_path(&self.folder));
            }
        }
        say!("ended");
    }

    /// Lets what is in flight end: idle connections for `linger`, requests for `deadline`, which `hurry` shortens.
    async fn end(
        &self,
        linger: Duration,
        mut deadline: Duration,
        mut hurry: Pin<&mut impl Future<Output = ()>>,
    ) {
        self.plane.linger();
        let begun = Instant::now();
        let mut hurried = false;
        while self.plane.connections() > 0 || self.predecessor().is_some() {
            if begun.elapsed() >= deadline {
                say!("ending with {} connections cut", self.plane.connections());
                return;
            }
            if begun.elapsed() >= linger {
                self.plane.retire();
            }
            tokio::select! {
                () = tokio::time::sleep(LOOK) => {}
                () = hurry.as_mut(), if !hurried => hurried = true,
            }
            if hurried || self.successor_gone.load(SeqCst) {
                deadline = deadline.min(begun.elapsed() + END_DEADLINE);
            }
        }
    }

    async fn hand_over(self: &Arc<Self>, stream: UnixStream) -> io::Result<()> {
        let _changing = self.changing.lock().await;
        let Some(held) = lock(&self.lock).as_ref().map(OwnedFd::try_clone).transpose()? else {
            return Ok(());
        };
        let path = private_path(&self.folder);
        let private = bind_unix(&path)?;
        let mut sockets = self.doors.sockets();
        sockets.extend(self.metrics.clone());
        let stream = stream.into_std()?;
        let given = tokio::task::spawn_blocking(move || takeover::give(stream, path, &held, &sockets)).await;
        let mut stream = match given.map_err(io::Error::other).flatten() {
            Ok(stream) => stream,
            Err(error) => {
                let _ = fs::remove_file(private_path(&self.folder));
                return Err(error);
            }
        };
        // The new proxy accepts and has the lock: from here on this one only ends what it has begun.
        self.moved.store(true, SeqCst);
        lock(&self.lock).take();
        self.doors.leave();
        tokio::spawn(api::serve_unix(Arc::clone(self), private, Caller::Successor));
        takeover::done(&mut stream)?;
        self.taken_over.notify_one();
        say!("a newer proxy has taken over; ending what is in flight");
        let server = Arc::clone(self);
        let mut link = link(stream)?;
        tokio::spawn(async move {
            ended(&mut link).await;
            server.successor_gone.store(true, SeqCst);
        });
        Ok(())
    }
}

/// The proxy that this one has taken over from, as long as it has something in flight.
struct Predecessor {
    control: Control,
    pid: u32,
    gone: Arc<AtomicBool>,
}

impl Predecessor {
    fn commit(handover: Handover) -> Result<Self, ProxyError> {
        let (control, pid) = (Control::new(&handover.offer.control), handover.offer.pid);
        let gone = Arc::new(AtomicBool::new(false));
        let mut link = link(handover.commit()?)
            .map_err(|error| ProxyError::failed(format!("the running proxy cannot be watched: {error}")))?;
        say!("took over from the proxy with pid {pid}");
        let noted = Arc::clone(&gone);
        tokio::spawn(async move {
            ended(&mut link).await;
            noted.store(true, SeqCst);
        });
        Ok(Self { control, pid, gone })
    }

    fn is_gone(&self) -> bool {
        self.gone.load(SeqCst)
    }

    async fn follow(&self, routes: &[StoredRoute]) -> Result<(), ProxyError> {
        match self.control.follow(routes).await {
            Err(error) if !self.is_gone() => Err(ProxyError::failed(format!(
                "the route is in force, but not in the proxy before this one (pid {}), which is ending what it has \
                 in flight: {error}",
                self.pid
            ))),
            _ => Ok(()),
        }
    }
}

fn link(stream: std::os::unix::net::UnixStream) -> io::Result<UnixStream> {
    stream.set_nonblocking(true)?;
    UnixStream::from_std(stream)
}

/// Returns when the other end has gone.
async fn ended(link: &mut UnixStream) {
    let mut byte = [0];
    while matches!(link.read(&mut byte).await, Ok(1..)) {}
}

async fn offer(server: Arc<Server>, listener: UnixListener) {
    while !server.has_moved() {
        match listener.accept().await {
            Ok((stream, _)) => {
                if let Err(error) = server.hand_over(stream).await {
                    say!("a newer proxy did not take over, and this one goes on: {error}");
                }
            }
            Err(_) => tokio::time::sleep(LOOK).await,
        }
    }
}

async fn sweep(plane: Arc<Plane>) {
    let mut rounds = tokio::time::interval(SWEEP);
    rounds.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    for round in 0_u64.. {
        rounds.tick().await;
        plane.sweep();
        if round.is_multiple_of(10) {
            plane.switch.sweep(plane.clock.now());
        }
    }
}

/// The folder's lock, and what a former proxy or systemd has left for this one.
struct Possession {
    lock: OwnedFd,
    inherited: Inherited,
    handover: Option<Handover>,
}

impl Possession {
    fn take(folder: &Path, upgrade: bool) -> Result<Self, ProxyError> {
        if upgrade && let Some(mut handover) = takeover::request(folder)? {
            let lock = handover.lock.try_clone();
            return Ok(Self {
                lock: lock
                    .map_err(|error| ProxyError::failed(format!("cannot take the lock over: {error}")))?,
                inherited: Inherited::new(std::mem::take(&mut handover.sockets)),
                handover: Some(handover),
            });
        }
        Ok(Self {
            lock: lock_folder(folder)?,
            inherited: Inherited::new(notify::sockets()),
            handover: None,
        })
    }
}

fn lock_folder(folder: &Path) -> Result<OwnedFd, ProxyError> {
    let path = folder.join("lock");
    let failed = |error: io::Error| ProxyError::failed(format!("cannot lock {}: {error}", path.display()));
    let mut file = OpenOptions::new()
        .create(true)
        .truncate(false)
        .read(true)
        .write(true)
        .mode(0o600)
        .open(&path)
        .map_err(failed)?;
    if rustix::fs::flock(&file, FlockOperation::NonBlockingLockExclusive).is_err() {
        let mut pid = String::new();
        let _ = (&mut file).take(20).read_to_string(&mut pid);
        return Err(ProxyError::failed(format!(
            "another proxy runs already on {} (pid {}). Hint: `deployer proxy run --upgrade` takes over from it",
            folder.display(),
            pid.trim()
        )));
    }
    note_pid(&mut file).map_err(failed)?;
    Ok(file.into())
}

fn note_pid(file: &mut File) -> io::Result<()> {
    file.set_len(0)?;
    writeln!(file, "{}", std::process::id())
}

fn prepare_folder(folder: &Path) -> Result<(), ProxyError> {
    let made = fs::DirBuilder::new().recursive(true).mode(0o700).create(folder);
    made.and_then(|()| fs::set_permissions(folder, fs::Permissions::from_mode(0o700)))
        .map_err(|error| ProxyError::failed(format!("cannot use the folder {}: {error}", folder.display())))
}

fn listen(inherited: &mut Inherited, address: SocketAddr) -> Result<std::net::TcpListener, ProxyError> {
    inherited
        .listen(address)
        .map_err(|error| ProxyError::failed(taken(address, &error)))
}

fn metrics_socket(
    inherited: &mut Inherited,
    address: SocketAddr,
) -> Result<(TcpListener, Arc<std::net::TcpListener>), ProxyError> {
    let socket = listen(inherited, address)?;
    let copy = socket.try_clone().and_then(TcpListener::from_std);
    let copy = copy.map_err(|error| ProxyError::failed(taken(address, &error)))?;
    Ok((copy, Arc::new(socket)))
}

/// The slot ports' sockets, and why some could not be had: the public port serves without them.
fn slot_sockets(
    doors: &Doors,
    routes: &[StoredRoute],
    inherited: &mut Inherited,
) -> (Vec<(Door, std::net::TcpListener)>, Vec<String>) {
    let (mut sockets, mut closed) = (Vec::new(), Vec::new());
    for port in ports(routes) {
        match doors.prepare(&[port], inherited) {
            Ok(prepared) => sockets.extend(prepared),
            Err(reason) => {
                say!("{reason}; the slot is served without its own port");
                closed.push(reason);
            }
        }
    }
    (sockets, closed)
}

fn ports(routes: &[StoredRoute]) -> Vec<u16> {
    routes
        .iter()
        .flat_map(|stored| stored.route.slots.values().map(|slot| slot.port))
        .collect()
}

/// A unix socket that is bound, and not yet where it is looked for.
struct ControlSocket {
    listener: UnixListener,
    new: PathBuf,
    path: PathBuf,
}

impl ControlSocket {
    fn bind(folder: &Path, name: &str) -> Result<Self, ProxyError> {
        let (path, new) = (folder.join(name), folder.join(format!("{name}.new")));
        let listener = bind_unix(&new)
            .map_err(|error| ProxyError::failed(format!("cannot listen at {}: {error}", path.display())))?;
        Ok(Self { listener, new, path })
    }

    /// Puts it in the place of a former one, in one step.
    fn install(self) -> Result<UnixListener, ProxyError> {
        fs::rename(&self.new, &self.path).map_err(|error| {
            ProxyError::failed(format!("cannot listen at {}: {error}", self.path.display()))
        })?;
        Ok(self.listener)
    }
}

fn bind_unix(path: &Path) -> io::Result<UnixListener> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let listener = UnixListener::bind(path)?;
    fs::set_permissions(path, fs::Permissions::from_mode(0o600))?;
    Ok(listener)
}

/// Where a proxy that has handed over is told the routes.
fn private_path(folder: &Path) -> PathBuf {
    folder.join(format!("control-{}.sock", std::process::id()))
}

/// What a route change is, in one line.
fn describe(old: Option<&AppRoute>, new: &AppRoute) -> String {
    match old {
        Some(old) if (old.live, old.live_target()) == (new.live, new.live_target()) => {
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

/// Two descriptors per connection: the usual soft limit of 1,024 would end at 500 clients.
fn allow_many_files() {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    let limit = getrlimit(Resource::Nofile);
    let raised = Rlimit {
        current: limit.maximum,
        ..limit
    };
    if setrlimit(Resource::Nofile, raised).is_err() {
        say!("the limit of open files stays at {:?}", limit.current);
    }
}
