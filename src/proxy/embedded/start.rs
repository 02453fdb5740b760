//! The start: possess the folder, restore the routes, accept.

use std::fs::{self, File};
use std::future::Future;
use std::io::{self, Seek, Write};
use std::net::SocketAddr;
use std::os::fd::OwnedFd;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use tokio::net::{TcpListener, UnixListener};
use tokio::signal::unix::{SignalKind, signal};

use super::api::{self, Caller};
use super::closed::Closed;
use super::connection::Plane;
use super::control::ProxyInfo;
use super::listen::{Doors, Inherited, Prepared};
use super::listener::{Listener, Place};
use super::notify;
use super::pulse::{Limits, SWEEP};
use super::server::{ROUTES, Server, ports};
use super::succession::{Ended, Predecessor, Tasks, offer};
use super::table::Door;
use super::takeover::{self, Handover};
use super::watch;
use crate::ground::told::Told;
use crate::ground::{durable, failpoint, lock};
use crate::model::{ProxyKind, ProxySettings};
use crate::proxy::error::ProxyError;
use crate::proxy::file;
use crate::proxy::route::StoredRoute;
use crate::proxy::say;

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
    /// No port is opened, since another kind of proxy has them, until [`Control::open`](super::Control::open) says so.
    pub waits: bool,
}

/// Runs the proxy in this process until SIGTERM or SIGINT, or until a newer one has taken over, and everything
/// in flight has ended. Says `proxy ready on PLACE (pid NUMBER)` on stdout once it accepts connections: at
/// the public port or, where another program stands in front, at the unix socket.
///
/// On SIGTERM the listening sockets are closed at once, since nobody would serve what is accepted later; where systemd
/// keeps them, connections wait there for the next process. The requests in flight have 30 seconds, event streams and
/// WebSockets are ended in form after one. To change the program with nothing refused, use `upgrade`.
///
/// Gives why it has ended.
///
/// # Errors
/// When it cannot start: another proxy runs, the port is taken, or the routes are of a newer version.
pub fn run(options: ServerOptions) -> Result<Ended, ProxyError> {
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
pub async fn serve(options: ServerOptions, shutdown: impl Future<Output = ()>) -> Result<Ended, ProxyError> {
    let ServerOptions {
        settings,
        state,
        upgrade,
        threads,
        waits,
    } = options;

    prepare_folder(&state)?;
    let mut possession = Possession::take(&state, upgrade)?;

    failpoint::at("proxy.locked");
    durable::sweep(&state);
    let loaded = file::load::<Vec<StoredRoute>>(&state, ROUTES)?;
    let routes = loaded.content.unwrap_or_default();
    let plane = Plane::start(threads, Limits::from(&settings), settings.trusted.clone())
        .map_err(|error| ProxyError::failed(format!("cannot start the workers: {error}")))?;
    plane.switch.set(routes.clone());
    tokio::spawn(sweep(Arc::clone(&plane)));

    let wanted = match settings.kind {
        ProxyKind::Front(_) => Place::Path(settings.socket.clone()),
        _ => Place::Address(settings.listen),
    };
    let public = match waits {
        false => Some(listen(&mut possession.inherited, &wanted)?),
        true => None,
    };
    let bound = public.as_ref().and_then(|public| public.place().ok());
    let place = bound.unwrap_or(wanted);
    let doors = Doors::new(Arc::clone(&plane), settings.slot_listen);
    let slots = match waits {
        false => doors.prepare(&ports(&routes), &mut possession.inherited),
        true => Prepared::default(),
    };
    let closed = Closed::default();
    closed.are(&slots.refused, |_| true);
    let metrics = match settings.metrics_listen {
        Some(address) => Some(metrics_socket(&mut possession.inherited, address)?),
        None => None,
    };
    failpoint::at("proxy.listening");
    possession.inherited.close_rest();
    let control = ControlSocket::bind(&state, "control.sock")?;
    let takeover = ControlSocket::bind(&state, "takeover.sock")?;
    let public = public.map(|public| (Door::Public, public));
    for (door, socket) in slots.sockets.into_iter().chain(public) {
        let opened = doors.open(door, socket);
        opened.map_err(|error| ProxyError::failed(format!("cannot accept connections: {error}")))?;
    }

    failpoint::at("proxy.accepting");
    let info = ProxyInfo {
        version: env!("CARGO_PKG_VERSION").to_owned(),
        pid: std::process::id(),
        listen: match place {
            Place::Address(address) => address,
            Place::Path(_) => settings.listen,
        },
        socket: match &place {
            Place::Address(_) => None,
            Place::Path(path) => Some(path.clone()),
        },
        slot_listen: settings.slot_listen,
        started: jiff::Timestamp::now(),
        recovered_from: loaded.aside,
        closed_ports: Vec::new(),
    };
    let predecessor = possession.handover.map(Predecessor::commit).transpose()?;
    if predecessor.is_some()
        && let Ok(lock) = possession.lock.try_clone()
    {
        let _ = note_pid(&mut lock.into());
    }
    let metrics_copy = metrics.as_ref().map(|(_, socket)| Arc::clone(socket));
    let server = Arc::new(Server::new(
        plane,
        doors,
        settings.socket,
        waits,
        state,
        info,
        closed,
        possession.lock,
        metrics_copy,
        predecessor,
    ));
    let control = control.install()?;
    let takeover = takeover.install()?;
    failpoint::at("proxy.answering");
    tokio::spawn(api::serve_unix(Arc::clone(&server), control, Caller::Anyone));
    let tasks = Tasks {
        slot_ports: tokio::spawn(Arc::clone(&server).open_closed()),
        takeover: tokio::spawn(offer(Arc::clone(&server), takeover)),
        metrics: metrics.map(|(socket, _)| tokio::spawn(api::serve_metrics(Arc::clone(&server), socket))),
    };

    let pid = std::process::id();
    let _ = match waits {
        false => writeln!(io::stdout(), "proxy ready on {place} (pid {pid})"),
        true => writeln!(
            io::stdout(),
            "proxy waits for `deployer proxy switch` (pid {pid})"
        ),
    };
    if let Err(error) = notify::ready() {
        say!("systemd cannot be told that the proxy is ready: {error}");
    }
    Ok(server.live(shutdown, tasks).await)
}

/// Tells systemd that all is well although nothing is served, before this process ends: another kind of proxy flips.
pub fn nothing_to_do() {
    if let Err(error) = notify::ready() {
        say!("systemd cannot be told that there is nothing to do: {error}");
    }
    for socket in notify::sockets() {
        notify::forget(&socket);
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
            watch::look_after_waiting(&plane);
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
    let Some(mut file) = lock::try_take(&path).map_err(failed)? else {
        let pid = fs::read_to_string(&path).unwrap_or_default();
        let runs = format!(
            "another proxy runs already on {} (pid {})",
            folder.display(),
            pid.trim()
        );
        let hint = "`deployer proxy run --upgrade` takes over from it";
        return Err(ProxyError::failed(Told::new(runs).hint(hint)));
    };
    note_pid(&mut file).map_err(failed)?;
    Ok(file.into())
}

fn note_pid(file: &mut File) -> io::Result<()> {
    file.set_len(0)?;
    file.seek(io::SeekFrom::Start(0))?;
    writeln!(file, "{}", std::process::id())
}

fn prepare_folder(folder: &Path) -> Result<(), ProxyError> {
    let made = durable::make_folder(folder, 0o700);
    made.and_then(|()| fs::set_permissions(folder, fs::Permissions::from_mode(0o700)))
        .map_err(|error| ProxyError::failed(format!("cannot use the folder {}: {error}", folder.display())))
}

fn listen(inherited: &mut Inherited, place: &Place) -> Result<Listener, ProxyError> {
    inherited
        .listen(place)
        .map_err(|error| ProxyError::failed(place.refused(&error)))
}

fn metrics_socket(
    inherited: &mut Inherited,
    address: SocketAddr,
) -> Result<(TcpListener, Arc<Listener>), ProxyError> {
    let place = Place::Address(address);
    let socket = listen(inherited, &place)?;
    let copy = match &socket {
        Listener::Tcp(tcp) => tcp.try_clone().and_then(TcpListener::from_std),
        Listener::Unix(_) => Err(io::ErrorKind::Unsupported.into()),
    };
    let copy = copy.map_err(|error| ProxyError::failed(place.refused(&error)))?;
    Ok((copy, Arc::new(socket)))
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

/// Listens at `path`, for this user alone, in the place of what was there.
pub(super) fn bind_unix(path: &Path) -> io::Result<UnixListener> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let listener = UnixListener::bind(path)?;
    fs::set_permissions(path, fs::Permissions::from_mode(0o600))?;
    Ok(listener)
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
