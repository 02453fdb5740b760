//! One kind of proxy at one public address: what is asked of it goes to the embedded one, or to the program that flips.

use std::net::{SocketAddr, SocketAddrV4};
use std::path::Path;
use std::time::{Duration, Instant};

use http::StatusCode;
use rustix::net::sockopt::set_socket_linger;

use super::answers::{Applied, Checked, ClosedPort, Drained, OutInstance};
use super::embedded::{Control, DoorSet};
use super::error::ProxyError;
use super::exchange;
use super::external::External;
use super::in_use::Place;
use super::local_ports;
use super::route::AppRoute;
use super::visit::{Visit, visit};
use crate::model::{AppName, ProxyKind, Settings};

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

/// How long a client that looks whether a port is served waits for its answer.
const CLIENT: Duration = Duration::from_secs(2);

/// What became of a client.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Served {
    /// It was answered, and not by 503.
    Answered,
    /// Nobody listened.
    Refused,
    /// It was answered 503.
    Unavailable,
    /// It was connected, and got no answer.
    BrokenOff,
}

/// One kind of proxy at one public address.
#[derive(Debug)]
pub struct Side {
    place: Place,
    control: Control,
    external: Option<External>,
}

impl Side {
    /// The proxy at `place`, for the rest as `settings` say; `folder` is `STATE/proxy`.
    pub(super) fn new(place: Place, settings: &Settings, folder: &Path) -> Self {
        let mut settings = settings.clone();
        settings.proxy.kind = place.kind;
        settings.proxy.listen = place.listen;
        let program = place.kind.program();
        Self {
            place,
            control: Control::new(&folder.join("control.sock")),
            external: program.map(|program| External::new(program, &settings, folder)),
        }
    }

    /// What it is, and where.
    pub fn place(&self) -> Place {
        self.place
    }

    /// Where its public port really is: the embedded proxy may have been started by a former configuration.
    ///
    /// # Errors
    /// When it does not answer.
    pub async fn listens(&self) -> Result<SocketAddr, ProxyError> {
        match self.place.kind {
            ProxyKind::Embedded => Ok(self.control.info().await?.listen),
            _ => Ok(self.place.listen),
        }
    }

    /// What a new client gets at its public port that asks for `path` of `host`.
    pub async fn serves_a_client(&self, host: &str, path: &str) -> Served {
        let connected = local_ports::connect(exchange::dialled(self.place.listen)).await;
        let Ok(stream) = connected else {
            return Served::Refused;
        };
        // Closed by a reset: a port of ours that waits for late packets could be one that is to be listened at.
        let _ = set_socket_linger(&stream, Some(Duration::ZERO));
        let asked = exchange::ask_on(stream, "the public port", host, path, &[]);
        match tokio::time::timeout(CLIENT, asked).await {
            Ok(Ok((status, _))) if status == StatusCode::SERVICE_UNAVAILABLE => Served::Unavailable,
            Ok(Ok(_)) => Served::Answered,
            _ => Served::BrokenOff,
        }
    }

    /// Makes sure that the embedded proxy runs, whichever ports it has.
    ///
    /// # Errors
    /// When it does not.
    pub async fn embedded_answers(&self) -> Result<(), ProxyError> {
        self.control.info().await.map(drop)
    }

    fn kind(&self) -> ProxyKind {
        self.place.kind
    }

    /// Makes sure that it answers.
    ///
    /// # Errors
    /// When it does not.
    pub async fn ready(&self) -> Result<(), ProxyError> {
        if self.kind().has_embedded() {
            self.control.info().await?;
        }
        match &self.external {
            Some(external) => external.ready().await,
            None => Ok(()),
        }
    }

    /// Makes `route` the whole route of its app. When this returns, the route is durable, and every request that is
    /// routed from then on follows it.
    ///
    /// # Errors
    /// [`ProxyError::Refused`] when the route clashes with another, the program refuses its configuration, or the route
    /// cannot be written: nothing has changed then.
    pub async fn put_route(&self, route: &AppRoute) -> Result<Applied, ProxyError> {
        match (&self.external, self.kind().has_embedded()) {
            (Some(external), false) => external.put_route(route).await,
            (front, _) => {
                if let Some(front) = front {
                    front.put_front().await?;
                }
                self.control.put_route(route).await
            }
        }
    }

    /// Removes the route of `app`, and closes its slot ports. Without such a route nothing happens.
    ///
    /// # Errors
    /// As for [`Side::put_route`].
    pub async fn remove_route(&self, app: &AppName) -> Result<(), ProxyError> {
        match self.flipping() {
            Some(external) => external.remove_route(app).await,
            None => self.control.remove_route(app).await,
        }
    }

    /// Every route in force, by the app's name.
    ///
    /// # Errors
    /// When the proxy does not answer.
    pub async fn routes(&self) -> Result<Vec<AppRoute>, ProxyError> {
        match self.flipping() {
            Some(external) => external.routes().await,
            None => self.control.routes().await,
        }
    }

    /// The instances that get no request because they could not be reached, by app, slot and number.
    ///
    /// # Errors
    /// When the proxy does not answer.
    pub async fn out(&self) -> Result<Vec<OutInstance>, ProxyError> {
        match self.flipping() {
            Some(external) => external.out().await,
            None => self.control.out().await,
        }
    }

    /// Slot ports that the proxy routes and does not listen on, since somebody else has them. The embedded proxy tries
    /// them again and again; another program has them again from the next route of their app on.
    ///
    /// # Errors
    /// When the proxy does not answer.
    pub async fn closed_ports(&self) -> Result<Vec<ClosedPort>, ProxyError> {
        match self.flipping() {
            Some(external) => external.closed_ports(),
            None => Ok(self.control.info().await?.closed_ports),
        }
    }

    /// What is not as it should be beside the routes: a sentence each.
    ///
    /// # Errors
    /// When that cannot be told.
    pub async fn problems(&self) -> Result<Vec<String>, ProxyError> {
        match &self.external {
            Some(external) => external.problems().await,
            None => Ok(Vec::new()),
        }
    }

    /// Waits until nothing is in flight on `upstreams`, or until `deadline`, and then breaks off what is left, as far
    /// as the proxy can; else it ends with its instance.
    ///
    /// # Errors
    /// When the proxy does not answer.
    pub async fn drain(&self, upstreams: &[SocketAddrV4], deadline: Duration) -> Result<Drained, ProxyError> {
        match self.flipping() {
            Some(external) => external.drain(upstreams, deadline).await,
            None => self.control.drain(upstreams, deadline).await,
        }
    }

    /// Asks for `path` of `host` where only deployer's part answers, and gives which release of `app` has: at the public
    /// port where that is the embedded proxy's own, at its socket behind a program in front, and at the door that a
    /// program has for deployer. `check` is the token that [`Side::put_route`] gave.
    ///
    /// # Errors
    /// When nothing answers there within 10 seconds.
    pub async fn check(
        &self,
        app: &AppName,
        host: &str,
        path: &str,
        check: &str,
    ) -> Result<Checked, ProxyError> {
        match self.flipping() {
            Some(external) => external.check(app, host, path, check).await,
            None => match self.control.info().await?.socket {
                Some(socket) if self.external.is_some() => {
                    self.control.check_at_socket(&socket, host, path, check).await
                }
                _ => self.control.check(self.place.listen, host, path, check).await,
            },
        }
    }

    /// What a visitor who asks for `path` of `host` is answered at the public port of a program, `within` that time; none
    /// where the public port is the embedded proxy's own.
    ///
    /// # Errors
    /// When no answer comes.
    pub async fn visit(
        &self,
        app: &AppName,
        host: &str,
        path: &str,
        within: Duration,
    ) -> Option<Result<Visit, ProxyError>> {
        let check = match (&self.external, self.flipping()) {
            (None, _) => return None,
            (_, Some(external)) => external.token().ok()?,
            // One of an older version does not tell, and nothing can be said.
            _ => self.control.checks().await.ok()?.remove(app)?,
        };
        Some(visit(self.place.listen, host, path, &check, within).await)
    }

    /// The program that flips by itself.
    fn flipping(&self) -> Option<&External> {
        self.external.as_ref().filter(|_| !self.kind().has_embedded())
    }

    /// Does everything that can be done for `routes` to be in force here without taking a port from anybody: routes are
    /// put, a program's configuration is written and checked. What it serves already goes on.
    ///
    /// # Errors
    /// When it does not answer, or refuses: what was written is for [`Side::let_go`].
    pub async fn prepare(&self, routes: &[AppRoute]) -> Result<(), ProxyError> {
        if self.kind().has_embedded() {
            self.put_embedded(routes).await?;
        }
        match &self.external {
            Some(external) => external.prepare(routes).await,
            None => Ok(()),
        }
    }

    /// Has everything in force here but the ports, after [`Side::prepare`], so that all is seen to work before anybody
    /// lets a port go. Gives the token of each app's check; none where the apps cannot be asked for yet, since the
    /// embedded proxy has no port and no socket.
    ///
    /// # Errors
    /// When the program does not run, or does not take it.
    pub async fn rehearse(&self, routes: &[AppRoute]) -> Result<Option<Vec<Applied>>, ProxyError> {
        let Some(external) = &self.external else {
            return Ok(None);
        };
        let applied = external.rehearse(routes).await?;
        let is_asked = self.flipping().is_some();
        Ok(is_asked.then(|| routes.iter().map(|_| applied.clone()).collect()))
    }

    /// Makes sure that it can leave for `other`.
    ///
    /// # Errors
    /// When the user's own part of the program's configuration needs deployer's.
    pub async fn can_leave(&self, other: &Side) -> Result<(), ProxyError> {
        match &self.external {
            Some(external) if !self.shares_program(other) => external.can_leave().await,
            _ => Ok(()),
        }
    }

    /// Puts `routes`, and no others, in force, with the public port and, with `slots`, the slot ports. A port that is
    /// still taken is waited for, for as long as a program may take to let it go. Gives the token of each app's check,
    /// in the order of the routes. A slot port that stays taken is left out.
    ///
    /// # Errors
    /// When it does not answer, refuses, or the public port stays taken.
    pub async fn take(&self, routes: &[AppRoute], slots: bool) -> Result<Vec<Applied>, ProxyError> {
        let mut applied = Vec::new();
        if self.kind().has_embedded() {
            applied = self.put_embedded(routes).await?;
            // Before a program sends anything there; its slot ports may be the program's until it is reloaded.
            let slots = slots && self.external.is_none();
            self.open(DoorSet {
                slots,
                ..self.public()
            })
            .await?;
        }
        if let Some(external) = &self.external {
            let check = external.put_all(routes).await?;
            if self.kind().has_embedded() {
                self.open(DoorSet {
                    slots,
                    ..self.public()
                })
                .await?;
            } else {
                applied = routes.iter().map(|_| check.clone()).collect();
            }
        }
        Ok(applied)
    }

    /// The embedded proxy's own public door.
    fn public(&self) -> DoorSet {
        DoorSet {
            listen: self.external.is_none().then_some(self.place.listen),
            socket: self.external.is_some(),
            slots: false,
        }
    }

    /// Lets go of what `other`, which is to take them, cannot have meanwhile: slot ports, and with `public` the public
    /// port. What is in flight goes on.
    ///
    /// # Errors
    /// When it does not answer, or cannot.
    pub async fn let_go(&self, other: &Side, public: bool) -> Result<(), ProxyError> {
        if self.kind().has_embedded() {
            let listen = self.public().listen.filter(|_| public);
            let slots = !other.kind().has_embedded();
            let socket = false;
            self.control
                .close(DoorSet {
                    listen,
                    socket,
                    slots,
                })
                .await?;
        }
        match &self.external {
            Some(external) if public && !self.shares_program(other) => external.leave().await,
            _ => Ok(()),
        }
    }

    /// Lets go of everything that `other`, which is in use, does not need. An embedded proxy that is `wanted` stays,
    /// without a port, and waits to be switched to; else its process ends, once what it has in flight has ended.
    ///
    /// # Errors
    /// When it cannot be told to. One that does not run has nothing.
    pub async fn leave(&self, other: &Side, wanted: ProxyKind) -> Result<(), ProxyError> {
        if let Some(external) = &self.external
            && !self.shares_program(other)
        {
            external.leave().await?;
        }
        if !self.kind().has_embedded() {
            return Ok(());
        }
        let stays = wanted.has_embedded() || other.kind().has_embedded();
        let left = match stays {
            true => {
                let slots = !other.kind().has_embedded();
                self.control
                    .close(DoorSet {
                        slots,
                        ..self.public()
                    })
                    .await
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

    fn shares_program(&self, other: &Side) -> bool {
        self.kind().program() == other.kind().program()
    }

    /// Gives the embedded proxy these routes and no others.
    async fn put_embedded(&self, routes: &[AppRoute]) -> Result<Vec<Applied>, ProxyError> {
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

    async fn open(&self, doors: DoorSet) -> Result<(), ProxyError> {
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
                    return Err(ProxyError::refused(format!(
                        "{reason}. Hint: a site of your own may be there too in the program that has let go of it; \
                         `ss -ltnp` tells whose it is"
                    )));
                }
                Err(error) => return Err(error),
            }
        }
    }

    /// Waits until the embedded proxy's process has ended what it had in flight, within its own deadline.
    async fn ended(&self) {
        let began = Instant::now();
        while began.elapsed() < LEAVES && self.control.info().await.is_ok() {
            tokio::time::sleep(LOOK).await;
        }
    }
}
