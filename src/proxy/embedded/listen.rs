//! Listening sockets: one per address, at which the workers accept.
//!
//! A socket per worker (SO_REUSEPORT) would lose the connections that wait in a socket's queue when it closes.
//! One socket can be handed to a newer proxy with its queue.

use std::collections::HashMap;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::os::fd::AsFd;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use rustix::net::sockopt;
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;
use tokio::sync::{mpsc, watch};

use super::connection::{Accepted, Plane, Worker};
use super::listener::{Listener, Place};
use super::notify;
use super::table::Door;
use super::upstream::lock;
use crate::ground::told::Told;
use crate::proxy::answers::ClosedPort;
use crate::proxy::say;

/// Pause after a failure to accept that a pause may cure, such as too many open files.
const PAUSE: Duration = Duration::from_millis(50);

/// Sockets that were there before us: a former proxy's, or systemd's.
#[derive(Debug, Default)]
pub(super) struct Inherited(HashMap<Place, Listener>);

impl Inherited {
    pub(super) fn new(sockets: impl IntoIterator<Item = Listener>) -> Self {
        let by_place = |socket: Listener| Some((socket.place().ok()?, socket));
        Self(sockets.into_iter().filter_map(by_place).collect())
    }

    /// Listens at `place`, with the socket that is there already or a new one.
    pub(super) fn listen(&mut self, place: &Place) -> io::Result<Listener> {
        let listener = match self.take(place)? {
            Some(listener) => listener,
            None => {
                // One of another address may stand in the way.
                self.close(|other| other.is_in_the_way_of(place));
                Listener::bind(place)?
            }
        };
        notify::keep(&listener);
        listener.prepare()?;
        Ok(listener)
    }

    /// The socket of `place` that is there already, unless clients find it no more.
    fn take(&mut self, place: &Place) -> io::Result<Option<Listener>> {
        match self.0.remove(place) {
            Some(listener) if !listener.is_found()? => {
                notify::forget(&listener);
                Ok(None)
            }
            there => Ok(there),
        }
    }

    /// Closes those that nobody has asked for: nobody would accept there.
    pub(super) fn close_rest(mut self) {
        self.close(|_| true);
    }

    fn close(&mut self, which: impl Fn(&Place) -> bool) {
        for (_, socket) in self.0.extract_if(|place, _| which(place)) {
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

/// Slot ports that were asked for.
#[derive(Debug, Default)]
pub(super) struct Prepared {
    /// Bound, and not accepted at yet.
    pub(super) sockets: Vec<(Door, Listener)>,
    /// Those that could not be had.
    pub(super) refused: Vec<Refused>,
}

/// A slot port that could not be had.
#[derive(Debug)]
pub(super) struct Refused {
    pub(super) port: u16,
    place: Place,
    error: io::Error,
}

impl Refused {
    /// Why, which takes a look at who has it.
    pub(super) fn told(&self) -> ClosedPort {
        ClosedPort {
            port: self.port,
            reason: self.place.refused(&self.error).to_string(),
        }
    }
}

/// The open doors.
#[derive(Debug)]
pub(super) struct Doors {
    plane: Arc<Plane>,
    slot_listen: IpAddr,
    open: Mutex<HashMap<Place, Open>>,
}

#[derive(Debug)]
struct Open {
    door: Door,
    socket: Arc<Listener>,
    /// Dropped, it ends the accepting.
    accepts: watch::Sender<()>,
    /// Closed once the last worker has stopped.
    ended: mpsc::Receiver<()>,
}

/// A worker's share of a door.
#[derive(Debug)]
pub(super) struct Accepting {
    door: Door,
    socket: Listener,
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

    /// Binds the slot ports that are not open yet, without accepting. One that cannot be had keeps no other from it.
    pub(super) fn prepare(&self, ports: &[u16], inherited: &mut Inherited) -> Prepared {
        let open = lock(&self.open);
        let places = ports.iter().map(|&port| (port, self.slot(port)));
        let mut prepared = Prepared::default();
        for (port, place) in places.filter(|(_, place)| !open.contains_key(place)) {
            match inherited.listen(&place) {
                Ok(socket) => prepared.sockets.push((Door::Slot(port), socket)),
                Err(error) => prepared.refused.push(Refused { port, place, error }),
            }
        }
        prepared
    }

    /// Binds the public door at `place`, where it is not open yet, without accepting.
    ///
    /// # Errors
    /// When it cannot be had, as a sentence.
    pub(super) fn prepare_public(&self, place: &Place) -> Result<Option<(Door, Listener)>, Told> {
        if lock(&self.open).contains_key(place) {
            return Ok(None);
        }
        let bound = Inherited::default().listen(place);
        bound
            .map(|socket| Some((Door::Public, socket)))
            .map_err(|error| place.refused(&error))
    }

    /// Accepts at `door` from now on.
    pub(super) fn open(&self, door: Door, socket: Listener) -> io::Result<()> {
        let place = socket.place()?;
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
            door,
            socket: Arc::new(socket),
            accepts,
            ended,
        };
        lock(&self.open).insert(place, open);
        Ok(())
    }

    fn slot(&self, port: u16) -> Place {
        Place::Address(SocketAddr::new(self.slot_listen, port))
    }

    /// Whether a slot port is open.
    pub(super) fn has_slot_port(&self, port: u16) -> bool {
        lock(&self.open).contains_key(&self.slot(port))
    }

    /// Where the public port is open.
    pub(super) fn public_address(&self) -> Option<SocketAddr> {
        let open = lock(&self.open);
        open.iter().find_map(|(place, open)| match (open.door, place) {
            (Door::Public, Place::Address(address)) => Some(*address),
            _ => None,
        })
    }

    /// Takes what waits in the queues of the doors that `which` names, and closes them for good; their ports are free
    /// when this returns.
    pub(super) async fn close_for_good(&self, which: impl Fn(Door, &Place) -> bool) {
        self.close(true, which).await;
    }

    /// Closes every slot port that is not among `ports`; they are free when this returns.
    pub(super) async fn close_others(&self, ports: &[u16]) {
        self.close(
            true,
            |door, _| matches!(door, Door::Slot(port) if !ports.contains(&port)),
        )
        .await;
    }

    /// Takes what waits in the queues, and closes every door.
    pub(super) async fn close_all(&self) {
        self.close(false, |_, _| true).await;
    }

    /// Stops accepting, without touching what waits in the queues: another proxy has the same sockets.
    pub(super) fn leave(&self) {
        lock(&self.open).clear();
    }

    /// Every socket that is open.
    pub(super) fn sockets(&self) -> Vec<Arc<Listener>> {
        lock(&self.open)
            .values()
            .map(|open| Arc::clone(&open.socket))
            .collect()
    }

    /// Closes the doors that `which` names; `forgets`: for good, and not for the next process to open them again.
    async fn close(&self, forgets: bool, which: impl Fn(Door, &Place) -> bool) {
        let closing: Vec<Open> = lock(&self.open)
            .extract_if(|place, open| which(open.door, place))
            .map(|(_, open)| open)
            .collect();
        for open in closing {
            let Open {
                door,
                socket,
                accepts,
                mut ended,
            } = open;
            drop(accepts);
            let _ = ended.recv().await;
            if forgets {
                notify::forget(&socket);
            }
            while let Ok((connection, peer)) = socket.accept() {
                self.plane.serve(connection, Accepted { peer, door });
            }
        }
    }
}

impl Accepting {
    /// Accepts on `worker`'s thread, until the door is closed there.
    pub(super) async fn all(mut self, plane: Arc<Plane>, worker: Arc<Worker>) {
        #[expect(
            deprecated,
            reason = "the newer form is unsafe; this socket is the same one as long as it is watched"
        )]
        let watched = AsyncFd::with_interest(self.socket, Interest::READABLE);
        let socket = match watched {
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
                accepted = socket.async_io(Interest::READABLE, Listener::accept) => accepted,
            };
            match accepted {
                Ok((connection, peer)) => {
                    failing = false;
                    let door = self.door;
                    plane.share(&worker, connection, Accepted { peer, door });
                }
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
