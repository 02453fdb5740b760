//! Listening sockets: one per address, at which the workers accept.
//!
//! A socket per worker (SO_REUSEPORT) would lose the connections that wait in a socket's queue when it closes.
//! One socket can be handed to a newer proxy with its queue.

use std::collections::HashMap;
use std::io;
use std::net::{IpAddr, SocketAddr, TcpListener, TcpStream};
use std::os::fd::AsFd;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use rustix::net::{SocketFlags, acceptfrom_with, listen, sockopt};
use tokio::sync::{mpsc, watch};

use super::connection::{Accepted, Plane, Worker};
use super::notify;
use super::table::Door;
use super::upstream::lock;
use crate::proxy::say;

/// Connections that may wait to be accepted; the kernel caps it by net.core.somaxconn.
const QUEUE: i32 = 4096;

/// Pause after a failure to accept that a pause may cure, such as too many open files.
const PAUSE: Duration = Duration::from_millis(50);

/// Sockets that were there before us: a former proxy's, or systemd's.
#[derive(Debug, Default)]
pub(super) struct Inherited(HashMap<SocketAddr, TcpListener>);

impl Inherited {
    pub(super) fn new(sockets: impl IntoIterator<Item = TcpListener>) -> Self {
        let by_address = |socket: TcpListener| Some((socket.local_addr().ok()?, socket));
        Self(sockets.into_iter().filter_map(by_address).collect())
    }

    /// Listens on `address`, with the socket that is there already or a new one.
    pub(super) fn listen(&mut self, address: SocketAddr) -> io::Result<TcpListener> {
        let listener = match self.0.remove(&address) {
            Some(listener) => listener,
            None => {
                // One of another address may stand in the way.
                self.close(|other| other.port() == address.port());
                TcpListener::bind(address)?
            }
        };
        listener.set_nonblocking(true)?;
        notify::keep(&listener);
        // Again, for a longer queue than the standard library's.
        listen(&listener, QUEUE)?;
        // What is accepted has these settings from its listener.
        sockopt::set_tcp_nodelay(&listener, true)?;
        keep_alive(&listener)?;
        Ok(listener)
    }

    /// Closes those that nobody has asked for: nobody would accept there.
    pub(super) fn close_rest(mut self) {
        self.close(|_| true);
    }

    fn close(&mut self, which: impl Fn(SocketAddr) -> bool) {
        for (_, socket) in self.0.extract_if(|address, _| which(*address)) {
            notify::forget(&socket);
        }
    }
}

/// Lets the kernel find out about a peer that has vanished: there is no timeout on a WebSocket.
pub(super) fn keep_alive(socket: impl AsFd) -> io::Result<()> {
    let socket = socket.as_fd();
    sockopt::set_socket_keepalive(socket, true)?;
    sockopt::set_tcp_keepidle(socket, Duration::from_secs(60))?;
    sockopt::set_tcp_keepintvl(socket, Duration::from_secs(15))?;
    Ok(())
}

/// The open doors.
#[derive(Debug)]
pub(super) struct Doors {
    plane: Arc<Plane>,
    slot_listen: IpAddr,
    open: Mutex<HashMap<Door, Open>>,
}

#[derive(Debug)]
struct Open {
    socket: Arc<TcpListener>,
    /// Dropped, it ends the accepting.
    accepts: watch::Sender<()>,
    /// Closed once the last worker has stopped.
    ended: mpsc::Receiver<()>,
}

/// A worker's share of a door.
#[derive(Debug)]
pub(super) struct Accepting {
    door: Door,
    socket: TcpListener,
    accepts: watch::Receiver<()>,
    _ended: mpsc::Sender<()>,
}

impl Doors {
    pub(super) fn new(plane: Arc<Plane>, slot_listen: IpAddr) -> Self {
        Self {
            plane,
            slot_listen,
            open: Mutex::default(),
        }
    }

    /// Binds the slot ports that are not open yet, without accepting.
    ///
    /// # Errors
    /// The first port that cannot be had, as a sentence.
    pub(super) fn prepare(
        &self,
        ports: &[u16],
        inherited: &mut Inherited,
    ) -> Result<Vec<(Door, TcpListener)>, String> {
        let open = lock(&self.open);
        let missing = ports
            .iter()
            .filter(|&&port| !open.contains_key(&Door::Slot(port)));
        missing
            .map(|&port| {
                let address = SocketAddr::new(self.slot_listen, port);
                let bound = inherited.listen(address);
                bound
                    .map(|socket| (Door::Slot(port), socket))
                    .map_err(|error| taken(address, &error))
            })
            .collect()
    }

    /// Accepts at `door` from now on.
    pub(super) fn open(&self, door: Door, socket: TcpListener) -> io::Result<()> {
        let (accepts, watched) = watch::channel(());
        let (last, ended) = mpsc::channel(1);
        self.plane.open(|| {
            Ok(Accepting {
                door,
                socket: socket.try_clone()?,
                accepts: watched.clone(),
                _ended: last.clone(),
            })
        })?;
        let open = Open {
            socket: Arc::new(socket),
            accepts,
            ended,
        };
        lock(&self.open).insert(door, open);
        Ok(())
    }

    /// Whether a slot port is open.
    pub(super) fn has_slot_port(&self, port: u16) -> bool {
        lock(&self.open).contains_key(&Door::Slot(port))
    }

    /// Whether the public port is open.
    pub(super) fn has_public(&self) -> bool {
        lock(&self.open).contains_key(&Door::Public)
    }

    /// Closes the public port for good; it is free when this returns.
    pub(super) async fn close_public(&self) {
        self.close(true, |door| door == Door::Public).await;
    }

    /// Takes what waits in the queues, and closes every door for good.
    pub(super) async fn close_for_good(&self) {
        self.close(true, |_| true).await;
    }

    /// Closes every slot port that is not among `ports`; they are free when this returns.
    pub(super) async fn close_others(&self, ports: &[u16]) {
        self.close(
            true,
            |door| matches!(door, Door::Slot(port) if !ports.contains(&port)),
        )
        .await;
    }

    /// Takes what waits in the queues, and closes every door.
    pub(super) async fn close_all(&self) {
        self.close(false, |_| true).await;
    }

    /// Stops accepting, without touching what waits in the queues: another proxy has the same sockets.
    pub(super) fn leave(&self) {
        lock(&self.open).clear();
    }

    /// Every socket that is open.
    pub(super) fn sockets(&self) -> Vec<Arc<TcpListener>> {
        lock(&self.open)
            .values()
            .map(|open| Arc::clone(&open.socket))
            .collect()
    }

    /// Closes the doors that `which` names; `forgets`: for good, and not for the next process to open them again.
    async fn close(&self, forgets: bool, which: impl Fn(Door) -> bool) {
        let closing: Vec<(Door, Open)> = lock(&self.open).extract_if(|&door, _| which(door)).collect();
        for (door, open) in closing {
            let Open {
                socket,
                accepts,
                mut ended,
            } = open;
            drop(accepts);
            let _ = ended.recv().await;
            if forgets {
                notify::forget(&socket);
            }
            while let Ok((stream, peer)) = accept(&socket) {
                self.plane.serve(stream, Accepted { peer, door });
            }
        }
    }
}

/// Why `address` cannot be listened on, as a sentence.
pub(super) fn taken(address: SocketAddr, error: &io::Error) -> String {
    match error.kind() {
        io::ErrorKind::AddrInUse => format!("port {} is taken by another program", address.port()),
        _ => format!("cannot listen on {address}: {error}"),
    }
}

impl Accepting {
    /// Accepts on `worker`'s thread, until the door is closed there.
    pub(super) async fn all(mut self, plane: Arc<Plane>, worker: Arc<Worker>) {
        let socket = match tokio::net::TcpListener::from_std(self.socket) {
            Ok(socket) => socket,
            Err(error) => {
                say!("one of the threads cannot accept connections: {error}");
                return;
            }
        };
        let mut failing = false;
        loop {
            let accepted = tokio::select! {
                biased;
                _ = self.accepts.changed() => return,
                accepted = socket.accept() => accepted,
            };
            let door = self.door;
            let shared =
                accepted.and_then(|(stream, peer)| plane.share(&worker, stream, Accepted { peer, door }));
            match shared {
                Ok(()) => failing = false,
                Err(error) if error.kind() == io::ErrorKind::ConnectionAborted => {}
                Err(error) => {
                    if !std::mem::replace(&mut failing, true) {
                        say!("cannot accept connections, and goes on trying: {error}");
                    }
                    tokio::time::sleep(PAUSE).await;
                }
            }
        }
    }
}

fn accept(socket: &TcpListener) -> io::Result<(TcpStream, SocketAddr)> {
    let (stream, peer) = acceptfrom_with(socket, SocketFlags::NONBLOCK | SocketFlags::CLOEXEC)?;
    let peer = peer.and_then(|peer| SocketAddr::try_from(peer).ok());
    Ok((stream.into(), peer.ok_or(io::ErrorKind::ConnectionAborted)?))
}
