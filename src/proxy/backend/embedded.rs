//! The embedded proxy as what takes routes: it has the public port, or a socket behind a program in front.

use std::net::{SocketAddr, SocketAddrV4};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use futures_util::future::BoxFuture;

use super::{Answer, Backend};
use crate::model::{AppName, ProxyKind};
use crate::proxy::answers::{Applied, Checked, ClosedPort, Drained, Mismatch, OutInstance};
use crate::proxy::embedded::{Control, DoorSet};
use crate::proxy::error::ProxyError;
use crate::proxy::in_use::Place;
use crate::proxy::route::AppRoute;
use crate::proxy::visit::Visit;

/// How long a port may take to become free that another program lets go of.
const PORT_FREE: Duration = Duration::from_secs(3);

/// How often it is tried meanwhile.
const TRY: Duration = Duration::from_millis(2);

/// The same for slot ports, while the public port is open already.
const TRY_SLOTS: Duration = Duration::from_millis(20);

/// How long the embedded proxy may take to end what it has in flight once it is not in use any more.
const LEAVES: Duration = Duration::from_secs(45);

/// How often it is looked at meanwhile.
const LOOK: Duration = Duration::from_millis(20);

/// The embedded proxy.
#[derive(Debug)]
pub(in crate::proxy) struct Embedded {
    place: Place,
    control: Control,
}

impl Embedded {
    /// The one at `place`, behind a program where that says so; `folder` is `STATE/proxy`.
    pub(in crate::proxy) fn new(place: Place, folder: &Path) -> Self {
        Self {
            place,
            control: Control::new(&folder.join("control.sock")),
        }
    }

    /// The token of `app`'s check. None where it cannot be told, as by a proxy of an older version.
    pub(super) async fn token(&self, app: &AppName) -> Option<String> {
        self.control.checks().await.ok()?.remove(app)
    }

    /// The socket that it listens at behind a program in front.
    pub(super) async fn socket(&self) -> Result<Option<PathBuf>, ProxyError> {
        Ok(self.control.info().await?.socket)
    }

    /// As [`Backend::check`], at that socket.
    pub(super) async fn check_at(
        &self,
        socket: &Path,
        host: &str,
        path: &str,
        check: &str,
    ) -> Result<Checked, ProxyError> {
        self.control.check_at_socket(socket, host, path, check).await
    }

    /// Gives it these routes and no others.
    pub(super) async fn put_all(&self, routes: &[AppRoute]) -> Result<Vec<Applied>, ProxyError> {
        let mut has = self.control.routes().await?;
        has.retain(|former| routes.iter().all(|route| route.app != former.app));
        for former in has {
            self.control.remove_route(&former.app).await?;
        }
        let mut applied = Vec::new();
        for route in routes {
            applied.push(self.control.put_route(route).await?);
        }
        Ok(applied)
    }

    /// Opens its public door and, with `slots`, the slot ports. Waits for ports that are taken.
    pub(super) async fn open(&self, slots: bool) -> Result<(), ProxyError> {
        let doors = DoorSet {
            slots,
            ..self.public()
        };
        let began = Instant::now();
        loop {
            match self.control.open(doors).await {
                Ok(closed) if closed.is_empty() => return Ok(()),
                Err(ProxyError::Refused { .. }) if began.elapsed() < PORT_FREE => {
                    tokio::time::sleep(TRY).await;
                }
                Ok(_) if began.elapsed() < PORT_FREE => tokio::time::sleep(TRY_SLOTS).await,
                // The public port serves without them; `status` tells it.
                Ok(_) => return Ok(()),
                Err(ProxyError::Refused { reason }) => {
                    return Err(ProxyError::refused(reason.hint(
                        "a site of your own may be there too in the program that has let go of it; `ss -ltnp` tells whose \
                         it is",
                    )));
                }
                Err(error) => return Err(error),
            }
        }
    }

    /// Its public door: the public port, or the socket behind a program.
    fn public(&self) -> DoorSet {
        let is_alone = self.place.kind == ProxyKind::Embedded;
        DoorSet {
            listen: is_alone.then_some(self.place.listen),
            socket: !is_alone,
            slots: false,
        }
    }

    async fn close_for(&self, other: Place, public: bool) -> Result<(), ProxyError> {
        let doors = DoorSet {
            listen: self.public().listen.filter(|_| public),
            socket: false,
            slots: !other.kind.has_embedded(),
        };
        self.control.close(doors).await
    }

    async fn leave_for(&self, other: Place, wanted: ProxyKind) -> Result<(), ProxyError> {
        let stays = wanted.has_embedded() || other.kind.has_embedded();
        let left = match stays {
            true => {
                let slots = !other.kind.has_embedded();
                let doors = DoorSet {
                    slots,
                    ..self.public()
                };
                self.control.close(doors).await
            }
            false => self.control.leave().await,
        };
        match left {
            Ok(()) if stays => Ok(()),
            Ok(()) | Err(ProxyError::BrokeOff { .. }) => {
                self.ended().await;
                Ok(())
            }
            Err(ProxyError::Unreachable { .. }) => Ok(()),
            Err(error) => Err(error),
        }
    }

    /// Waits until its process has ended what it had in flight, within its own deadline.
    async fn ended(&self) {
        let began = Instant::now();
        while began.elapsed() < LEAVES && self.control.info().await.is_ok() {
            tokio::time::sleep(LOOK).await;
        }
    }
}

impl Backend for Embedded {
    fn place(&self) -> Place {
        self.place
    }

    fn listens(&self) -> Answer<'_, SocketAddr> {
        Box::pin(async { Ok(self.control.info().await?.listen) })
    }

    fn ready(&self) -> Answer<'_, ()> {
        Box::pin(async { self.control.info().await.map(drop) })
    }

    fn put_route<'a>(&'a self, route: &'a AppRoute) -> Answer<'a, Applied> {
        Box::pin(self.control.put_route(route))
    }

    fn remove_route<'a>(&'a self, app: &'a AppName) -> Answer<'a, ()> {
        Box::pin(self.control.remove_route(app))
    }

    fn routes(&self) -> Answer<'_, Vec<AppRoute>> {
        Box::pin(self.control.routes())
    }

    fn out(&self) -> Answer<'_, Vec<OutInstance>> {
        Box::pin(self.control.out())
    }

    fn closed_ports(&self) -> Answer<'_, Vec<ClosedPort>> {
        Box::pin(async { Ok(self.control.info().await?.closed_ports) })
    }

    fn mismatches(&self) -> Answer<'_, Vec<Mismatch>> {
        Box::pin(async { Ok(Vec::new()) })
    }

    fn drain<'a>(&'a self, upstreams: &'a [SocketAddrV4], deadline: Duration) -> Answer<'a, Drained> {
        Box::pin(self.control.drain(upstreams, deadline))
    }

    fn check<'a>(
        &'a self,
        _app: &'a AppName,
        host: &'a str,
        path: &'a str,
        check: &'a str,
    ) -> Answer<'a, Checked> {
        Box::pin(self.control.check(self.place.listen, host, path, check))
    }

    fn visit<'a>(
        &'a self,
        _app: &'a AppName,
        _host: &'a str,
        _path: &'a str,
        _within: Duration,
    ) -> BoxFuture<'a, Option<Result<Visit, ProxyError>>> {
        Box::pin(async { None })
    }

    fn embedded_answers(&self) -> Answer<'_, ()> {
        self.ready()
    }

    fn can_leave(&self, _other: Place) -> Answer<'_, ()> {
        Box::pin(async { Ok(()) })
    }

    fn prepare<'a>(&'a self, routes: &'a [AppRoute]) -> Answer<'a, ()> {
        Box::pin(async { self.put_all(routes).await.map(drop) })
    }

    fn rehearse<'a>(&'a self, _routes: &'a [AppRoute]) -> Answer<'a, Option<Vec<Applied>>> {
        Box::pin(async { Ok(None) })
    }

    fn take<'a>(&'a self, routes: &'a [AppRoute], slots: bool) -> Answer<'a, Vec<Applied>> {
        Box::pin(async move {
            let applied = self.put_all(routes).await?;
            self.open(slots).await?;
            Ok(applied)
        })
    }

    fn let_go(&self, other: Place, public: bool) -> Answer<'_, ()> {
        Box::pin(self.close_for(other, public))
    }

    fn leave(&self, other: Place, wanted: ProxyKind) -> Answer<'_, ()> {
        Box::pin(self.leave_for(other, wanted))
    }
}
