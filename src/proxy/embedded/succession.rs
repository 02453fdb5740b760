//! The end: a newer proxy takes over, or nobody does; what is in flight ends either way.

use std::fs;
use std::future::Future;
use std::io;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::SeqCst};
use std::time::{Duration, Instant};

use rustix::net::sockopt::socket_peercred;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::Notify;
use tokio::task::JoinHandle;

use super::api::{self, Caller};
use super::control::Control;
use super::notify;
use super::server::{CUT_PATIENCE, LOOK, Server};
use super::start::bind_unix;
use super::takeover::{self, Handover};
use super::upstream::lock;
use crate::proxy::error::ProxyError;
use crate::proxy::route::StoredRoute;
use crate::proxy::say;

/// How long an idle client may still send a request after a newer proxy has taken over: each answer tells it
/// that the connection closes. Without this linger, a request that is under way as its connection closes is lost.
const LINGER_TAKEN_OVER: Duration = Duration::from_secs(5);

/// The same after SIGTERM, when nobody listens any more and every second is one of refused connections.
const LINGER_ENDING: Duration = Duration::from_secs(1);

/// How long requests in flight may take after SIGTERM.
const END_DEADLINE: Duration = Duration::from_secs(30);

/// How long they, and WebSockets above all, may take after a newer proxy has taken over.
const TAKEN_OVER_DEADLINE: Duration = Duration::from_secs(60 * 60);

/// How an end goes.
struct Ending {
    /// How long idle connections are kept, each from its last answer on: longer than nginx, HAProxy and Caddy in front use one
    /// for.
    linger: Duration,
    /// How long requests may take.
    deadline: Duration,
    /// Whether nobody serves, so that what has no end of its own must not keep this process: endless streams are ended
    /// at once, and not at the deadline.
    hurried: bool,
}

/// Nobody listens any more, and nobody will until this process has ended.
const ENDING: Ending = Ending {
    linger: LINGER_ENDING,
    deadline: END_DEADLINE,
    hurried: true,
};

/// A newer proxy serves, and there is time.
const TAKEN_OVER: Ending = Ending {
    linger: LINGER_TAKEN_OVER,
    deadline: TAKEN_OVER_DEADLINE,
    hurried: false,
};

/// Another kind of proxy serves, so that clients lose nothing by coming again; and it is not waited for for long.
const LEFT: Ending = Ending {
    linger: LINGER_TAKEN_OVER,
    deadline: END_DEADLINE,
    hurried: true,
};

/// How a proxy's life has ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ended {
    /// It was stopped, or a newer one has taken over.
    Stopped,
    /// Another kind of proxy serves, and it is not to be started again.
    Left,
}

/// How long a caller may take to read its answer once nothing else keeps the process.
const CALL_PATIENCE: Duration = Duration::from_secs(1);

/// What has to stop when the end begins.
pub(super) struct Tasks {
    /// Opens the slot ports that could not be opened before.
    pub(super) slot_ports: JoinHandle<()>,
    /// Offers the sockets to a newer proxy.
    pub(super) takeover: JoinHandle<()>,
    /// Serves the metrics' port.
    pub(super) metrics: Option<JoinHandle<()>>,
}

impl Server {
    /// Lives until `shutdown` comes, or a newer proxy or another kind of proxy takes over, and what is in flight has
    /// ended.
    pub(super) async fn live(&self, shutdown: impl Future<Output = ()>, tasks: Tasks) -> Ended {
        let mut shutdown = pin!(shutdown);
        tokio::select! {
            () = shutdown.as_mut() => {
                say!("stopping: no connection is accepted any more");
                tasks.takeover.abort();
                tasks.slot_ports.abort();
                self.doors.close_all().await;
                self.end(ENDING, pin!(std::future::pending())).await;
                self.remove_sockets();
                say!("ended");
                Ended::Stopped
            }
            () = self.leaving.notified() => {
                say!("another kind of proxy serves: no connection is accepted any more");
                tasks.takeover.abort();
                tasks.slot_ports.abort();
                self.doors.close_for_good(|_, _| true).await;
                self.end(LEFT, pin!(std::future::pending())).await;
                self.remove_sockets();
                say!("ended");
                Ended::Left
            }
            () = self.taken_over.notified() => {
                if let Some(metrics) = tasks.metrics {
                    metrics.abort();
                }
                self.end(TAKEN_OVER, shutdown).await;
                let _ = fs::remove_file(private_path(&self.folder));
                say!("ended");
                Ended::Stopped
            }
        }
    }

    fn remove_sockets(&self) {
        let _ = fs::remove_file(self.folder.join("control.sock"));
        let _ = fs::remove_file(takeover::path(&self.folder));
    }

    /// Lets what is in flight end, as `ending` says; `hurry` shortens its deadline.
    async fn end(&self, ending: Ending, mut hurry: Pin<&mut impl Future<Output = ()>>) {
        let Ending {
            linger,
            mut deadline,
            mut hurried,
        } = ending;
        self.plane.linger();
        let begun = Instant::now();
        while self.plane.connections() > 0 || self.predecessor().is_some() {
            if begun.elapsed() >= deadline {
                self.cut_all().await;
                return;
            }
            // At once: their connections may bring requests yet, and are to be idle by the end of the linger.
            if hurried {
                self.plane.part();
            }
            if begun.elapsed() >= linger {
                self.plane.retire(linger);
            }
            tokio::select! {
                () = tokio::time::sleep(LOOK) => {}
                () = hurry.as_mut(), if !hurried => hurried = true,
            }
            hurried |= self.successor_gone.load(SeqCst);
            if hurried {
                deadline = deadline.min(begun.elapsed() + END_DEADLINE);
                if let Some(predecessor) = self.predecessor() {
                    predecessor.hurry();
                }
            }
        }
        let patience = Instant::now() + CALL_PATIENCE;
        while self.calls.load(SeqCst) > 0 && Instant::now() < patience {
            tokio::time::sleep(LOOK).await;
        }
    }

    async fn cut_all(&self) {
        let patience = Instant::now() + CUT_PATIENCE;
        say!("ending with {} connections cut", self.plane.connections());
        while self.plane.connections() > 0 && Instant::now() < patience {
            self.plane.cut_all();
            tokio::time::sleep(LOOK).await;
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
        let successor = socket_peercred(&stream)?.pid;
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
        // Before it may end: systemd takes the end of the main process for that of the service.
        if let Err(error) = notify::successor(successor) {
            say!("systemd cannot be told of the newer proxy: {error}");
        }
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
pub(super) struct Predecessor {
    pub(super) control: Control,
    pid: u32,
    gone: Arc<AtomicBool>,
    hurried: Arc<Notify>,
}

impl Predecessor {
    /// Completes the takeover.
    pub(super) fn commit(handover: Handover) -> Result<Self, ProxyError> {
        let (control, pid) = (Control::new(&handover.offer.control), handover.offer.pid);
        let (gone, hurried) = (Arc::new(AtomicBool::new(false)), Arc::new(Notify::new()));
        let mut link = link(handover.commit()?)
            .map_err(|error| ProxyError::failed(format!("the running proxy cannot be watched: {error}")))?;
        say!("took over from the proxy with pid {pid}");
        let (noted, asked) = (Arc::clone(&gone), Arc::clone(&hurried));
        tokio::spawn(async move {
            tokio::select! {
                () = ended(&mut link) => {}
                () = asked.notified() => {
                    // To the other side this is our end; its own end is still seen.
                    let _ = link.shutdown().await;
                    ended(&mut link).await;
                }
            }
            noted.store(true, SeqCst);
        });
        Ok(Self {
            control,
            pid,
            gone,
            hurried,
        })
    }

    /// Lets it know that nobody serves any more, so that it does not wait for what has no end of its own.
    fn hurry(&self) {
        self.hurried.notify_one();
    }

    /// Whether it has ended.
    pub(super) fn is_gone(&self) -> bool {
        self.gone.load(SeqCst)
    }

    /// Whether it ends within a moment: its control socket goes, with nothing left in flight, just before it does.
    async fn is_gone_soon(&self) -> bool {
        let patience = Instant::now() + CALL_PATIENCE;
        while !self.is_gone() && Instant::now() < patience {
            tokio::time::sleep(LOOK).await;
        }
        self.is_gone()
    }

    /// Tells it the routes that are in force.
    pub(super) async fn follow(&self, routes: &[StoredRoute]) -> Result<(), ProxyError> {
        match self.control.follow(routes).await {
            Err(error) if !self.is_gone_soon().await => Err(ProxyError::failed(format!(
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

/// Offers what this proxy has to whoever asks, until one has taken it.
pub(super) async fn offer(server: Arc<Server>, listener: UnixListener) {
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

/// Where a proxy that has handed over is told the routes.
fn private_path(folder: &Path) -> PathBuf {
    folder.join(format!("control-{}.sock", std::process::id()))
}
