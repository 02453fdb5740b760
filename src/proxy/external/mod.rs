//! nginx, HAProxy and Caddy as the proxy: a flip chooses among what stands in their configuration already.
//!
//! ```text
//! routes → kept → view   → template → configuration, checked by the program, reloaded: only when it differs
//!               → choice → way: marker files or a runtime map; no reload
//! ```
//!
//! Addresses are planned, so all four lanes of an app (two slots, two lanes each) stand in the configuration before
//! anything runs there. What a flip changes is which of them is chosen.

mod before_start;
mod caddy;
mod command;
mod configuration;
mod door;
mod haproxy;
mod kept;
mod marks;
mod nginx;
mod slot_ports;
mod view;
mod way;

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read};
use std::net::SocketAddrV4;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use rustix::fs::FlockOperation;

use self::configuration::Configuration;
use self::kept::Kept;
use self::view::View;
use self::way::Way;
use super::answers::{Applied, Checked, ClosedPort, Drained, OutInstance};
use super::error::ProxyError;
use super::file;
use super::route::AppRoute;
use crate::failpoint;
use crate::model::{AppName, Program, ProxyKind, ProxySettings, Settings, Subnet};

/// Where the routes are kept in the program's folder of the state folder.
pub(super) const ROUTES: &str = "external.json";

/// How often in-flight counts are looked at while a drain waits.
const LOOK: Duration = Duration::from_millis(50);

/// The header of a request that asks which release answers; its value is a token that only deployer knows.
const CHECK: &str = "deployer-check";

/// The answer's header: `APP/SLOT/LANE`.
const RELEASE: &str = "deployer-release";

/// A program that is not deployer's own, as the proxy.
#[derive(Debug)]
pub struct External {
    program: Program,
    settings: ProxySettings,
    subnet: Subnet,
    /// `STATE/proxy/nginx`: what is nobody's but deployer's, and no other program's.
    state: PathBuf,
    way: Box<dyn Way>,
    /// The version of the configuration that was prepared.
    prepared: Mutex<Option<String>>,
}

impl External {
    /// `program` as the proxy, flipping by itself or in front of the embedded one, as the settings say; `state` is
    /// `STATE/proxy`. Nothing is touched yet.
    pub fn new(program: Program, settings: &Settings, state: &Path) -> Self {
        let proxy = settings.proxy.clone();
        let way: Box<dyn Way> = match program {
            Program::Nginx => Box::new(nginx::Nginx::new(&proxy)),
            Program::Haproxy => Box::new(haproxy::Haproxy::new(&proxy)),
            Program::Caddy => Box::new(caddy::Caddy::new(&proxy)),
        };
        Self {
            program,
            settings: proxy,
            subnet: settings.engine.subnet,
            state: state.join(program.as_str()),
            way,
            prepared: Mutex::new(None),
        }
    }

    /// The folder that deployer's part of the program's configuration is in: `FOLDER/nginx`.
    pub fn folder(&self) -> PathBuf {
        self.settings.folder.join(self.program.as_str())
    }

    /// The commands that deployer gives the program as root: those that the settings do not name. Caddy takes them from
    /// anybody on this machine.
    pub fn commands_as_root(&self) -> Vec<Vec<String>> {
        if self.program == Program::Caddy {
            return Vec::new();
        }
        let own = self.settings.programs.get(&self.program);
        let check = own
            .is_none_or(|own| own.check.is_none())
            .then(|| self.way.check());
        let reload = own
            .is_none_or(|own| own.reload.is_none())
            .then(|| self.way.reload());
        check.into_iter().chain(reload).collect()
    }

    /// Makes sure that the program answers.
    ///
    /// # Errors
    /// When it does not.
    pub async fn ready(&self) -> Result<(), ProxyError> {
        let kept = self.kept()?;
        let configuration = self.configuration(kept.door);
        match configuration.file.exists() && !(self.is_flipping() && kept.is_new()) {
            true => configuration.version(&kept.check).await.map(drop),
            false => Ok(()),
        }
    }

    /// As [`Proxy::put_route`](super::Proxy::put_route).
    ///
    /// # Errors
    /// [`ProxyError::Refused`] when the route clashes with another, or the program refuses its configuration: then the
    /// former one is back, and nothing has changed.
    pub async fn put_route(&self, route: &AppRoute) -> Result<Applied, ProxyError> {
        let _changing = self.lock().await?;
        let mut kept = self.kept_with_door().await?;
        route
            .check(kept.routes(), self.settings.listen.port())
            .map_err(ProxyError::refused)?;
        kept.put(route, self.subnet)?;
        let own: Vec<u16> = route.ports().collect();
        self.leave_out_taken(&mut kept, |port| own.contains(&port), slot_ports::AT_A_FLIP)
            .await?;
        self.put_in_force(&kept).await?;
        let closed = slot_ports::told(&kept, self.settings.slot_listen);
        Ok(Applied {
            closed: closed
                .into_iter()
                .filter(|closed| own.contains(&closed.port))
                .collect(),
            check: kept.check,
        })
    }

    /// Which slot ports the configuration has to do without: one that somebody else has would keep it from being taken,
    /// with all apps in it. Those that were left out before are tried again where `tried_again` says so.
    async fn leave_out_taken(
        &self,
        kept: &mut Kept,
        tried_again: impl Fn(u16) -> bool,
        patience: Duration,
    ) -> Result<(), ProxyError> {
        let text = self.configuration(kept.door).read()?.unwrap_or_default();
        kept.closed = slot_ports::taken(kept, &text, self.settings.slot_listen, tried_again, patience).await;
        Ok(())
    }

    /// As [`Proxy::closed_ports`](super::Proxy::closed_ports).
    ///
    /// # Errors
    /// When what is kept cannot be read.
    pub fn closed_ports(&self) -> Result<Vec<ClosedPort>, ProxyError> {
        let kept = self.kept_already()?;
        Ok(kept.map_or_else(Vec::new, |kept| {
            slot_ports::told(&kept, self.settings.slot_listen)
        }))
    }

    /// As [`Proxy::remove_route`](super::Proxy::remove_route).
    ///
    /// # Errors
    /// As for [`External::put_route`].
    pub async fn remove_route(&self, app: &AppName) -> Result<(), ProxyError> {
        let _changing = self.lock().await?;
        let mut kept = self.kept_with_door().await?;
        if kept.remove(app) {
            self.put_in_force(&kept).await?;
        }
        Ok(())
    }

    /// Makes sure that the program has the configuration for standing in front of the embedded proxy.
    ///
    /// # Errors
    /// As for [`External::put_route`].
    pub async fn put_front(&self) -> Result<(), ProxyError> {
        let _changing = self.lock().await?;
        let kept = self.kept_with_door().await?;
        self.keep_token(&kept)?;
        self.configuration(kept.door)
            .put(&self.view(&kept), &kept.check, self.way.as_ref())
            .await?;
        self.keep(&kept)
    }

    /// Writes the configuration for `routes`, and has the program check it. What it serves goes on as before, also
    /// when it is reloaded by somebody else and cannot have the ports.
    ///
    /// # Errors
    /// [`ProxyError::Refused`] when a route clashes with another, or the program refuses its configuration: the former
    /// one is back.
    pub async fn prepare(&self, routes: &[AppRoute]) -> Result<(), ProxyError> {
        let _changing = self.lock().await?;
        let kept = self.kept_of(routes).await?;
        self.keep_token(&kept)?;
        let view = self.view(&kept);
        self.configuration(kept.door).prepare(&view).await?;
        *self.prepared.lock().unwrap_or_else(PoisonError::into_inner) = Some(view.version);
        Ok(())
    }

    /// Has the program take everything that is not the public port or a slot port, with what is chosen for `routes`; after
    /// [`External::prepare`]. From then on [`External::check`] asks for every app. Gives the token for that.
    ///
    /// # Errors
    /// When the program does not run, or does not take it. What was written is for [`External::leave`].
    pub async fn rehearse(&self, routes: &[AppRoute]) -> Result<Applied, ProxyError> {
        let _changing = self.lock().await?;
        let kept = self.kept_of(routes).await?;
        let view = self.view(&kept);
        self.configuration(kept.door)
            .rehearse(&view, &kept.check, self.way.as_ref())
            .await?;
        self.keep(&kept)?;
        if self.is_flipping() {
            self.way.choose(&view, &kept.choices()).await?;
        }
        // No port is asked for yet.
        Ok(Applied {
            closed: Vec::new(),
            check: kept.check,
        })
    }

    /// Makes sure that the program takes its configuration without deployer's part, so that it can leave.
    ///
    /// # Errors
    /// [`ProxyError::Refused`] when it does not: the user's own part names something of deployer's.
    pub async fn can_leave(&self) -> Result<(), ProxyError> {
        let _changing = self.lock().await?;
        let kept = self.kept()?;
        self.configuration(kept.door).check_without().await
    }

    /// Puts `routes`, and no others, in force, by one reload where the configuration differs.
    ///
    /// # Errors
    /// As for [`External::put_route`].
    pub async fn put_all(&self, routes: &[AppRoute]) -> Result<Applied, ProxyError> {
        let _changing = self.lock().await?;
        let mut kept = self.kept_of(routes).await?;
        self.keep_token(&kept)?;
        self.leave_out_taken(&mut kept, |_| true, slot_ports::AT_A_SWITCH)
            .await?;
        match self.is_flipping() {
            true => self.put_in_force(&kept).await?,
            false => {
                let view = self.view(&kept);
                self.configuration(kept.door)
                    .put(&view, &kept.check, self.way.as_ref())
                    .await?;
                self.keep(&kept)?;
            }
        }
        Ok(Applied {
            closed: slot_ports::told(&kept, self.settings.slot_listen),
            check: kept.check,
        })
    }

    /// Takes deployer's part out of the program's configuration, and forgets the routes: when this returns, the program
    /// listens nowhere for deployer any more. Where there is no such part, nothing happens.
    ///
    /// # Errors
    /// When the files cannot be removed, or the program cannot be reloaded.
    pub async fn leave(&self) -> Result<(), ProxyError> {
        let _changing = self.lock().await?;
        let former = self.kept()?;
        let view = self.view(&former);
        if self.configuration(former.door).file.exists() {
            self.way.before_reload(&view, true).await;
        }
        let removed = self.configuration(former.door).remove(&former.check).await;
        self.way.after_reload(&view);
        removed?;
        let kept = Kept::new(former.check);
        self.keep(&kept)?;
        // Of markers without a configuration nothing follows: what cannot be removed is put right by the next choice.
        let _ = self.way.choose(&self.view(&kept), &[]).await;
        Ok(())
    }

    /// What is kept where `routes` are all that there are. In front of the embedded proxy there are none.
    async fn kept_of(&self, routes: &[AppRoute]) -> Result<Kept, ProxyError> {
        let mut kept = self.kept_with_door().await?;
        let routes = if self.is_flipping() { routes } else { &[] };
        kept.retain(|app| routes.iter().any(|route| route.app == *app));
        for route in routes {
            let others = routes.iter();
            route
                .check(others, self.settings.listen.port())
                .map_err(ProxyError::refused)?;
            kept.put(route, self.subnet)?;
        }
        Ok(kept)
    }

    /// The configuration first, which changes nothing that is served; then what is kept, then what is chosen: a crash
    /// leaves a choice that differs from what is kept, and never one that nobody knows of.
    async fn put_in_force(&self, kept: &Kept) -> Result<(), ProxyError> {
        self.keep_token(kept)?;
        let view = self.view(kept);
        self.configuration(kept.door)
            .put(&view, &kept.check, self.way.as_ref())
            .await?;
        failpoint::at("route.configured");
        self.keep(kept)?;
        self.way.choose(&view, &kept.choices()).await?;
        failpoint::at("route.in-force");
        Ok(())
    }

    /// Every route, as the program really routes: a slot that it does not send where deployer wants it has no target.
    ///
    /// # Errors
    /// When the program, or its markers, cannot be asked.
    pub async fn routes(&self) -> Result<Vec<AppRoute>, ProxyError> {
        let kept = self.kept()?;
        let chosen = self.way.chosen(&self.view(&kept)).await?;
        Ok(kept.routes_as(&chosen))
    }

    /// What is not as it should be beside the routes: a sentence each. Before the first route there is nothing to be.
    ///
    /// # Errors
    /// When what is kept cannot be read.
    pub async fn problems(&self) -> Result<Vec<String>, ProxyError> {
        let Some(kept) = self.kept_already()? else {
            return Ok(Vec::new());
        };
        if kept.is_new() && self.is_flipping() {
            return Ok(Vec::new());
        }
        let view = self.view(&kept);
        self.configuration(kept.door).problems(&view, &kept.check).await
    }

    /// The instances that the program itself has found to be down.
    ///
    /// # Errors
    /// When it cannot be asked.
    pub async fn out(&self) -> Result<Vec<OutInstance>, ProxyError> {
        let kept = self.kept()?;
        let view = self.view(&kept);
        Ok(kept.routed_of(self.way.out(&view).await?))
    }

    /// Waits until nothing is in flight on `upstreams`, or until `deadline`. Nothing is broken off: what is left ends
    /// with its instance.
    ///
    /// # Errors
    /// When the program cannot be asked.
    pub async fn drain(&self, upstreams: &[SocketAddrV4], deadline: Duration) -> Result<Drained, ProxyError> {
        let began = Instant::now();
        let view = self.view(&self.kept()?);
        let before = self.way.in_flight(&view, upstreams).await?;
        let mut left = before;
        while left > 0 && began.elapsed() < deadline {
            tokio::time::sleep(LOOK.min(deadline.saturating_sub(began.elapsed()))).await;
            left = self.way.in_flight(&view, upstreams).await?;
        }
        Ok(Drained {
            finished: before.saturating_sub(left),
            cut: left,
            closed: 0,
        })
    }

    /// Asks for `path` of `host` where only deployer's part of the configuration answers, by the choice that the public
    /// port goes by, and gives which release of `app` has answered.
    ///
    /// # Errors
    /// When nothing answers there.
    pub async fn check(
        &self,
        app: &AppName,
        host: &str,
        path: &str,
        check: &str,
    ) -> Result<Checked, ProxyError> {
        let kept = self.kept()?;
        let headers = [(CHECK, check)];
        let asked = door::ask(kept.door, self.settings.listen, host, path, &headers).await;
        let (status, headers) = asked?;
        let told = headers.get(RELEASE).and_then(|value| value.to_str().ok());
        Ok(Checked {
            status: status.as_u16(),
            release: told.and_then(|told| kept.release(app, told)),
        })
    }

    /// The token of a check.
    ///
    /// # Errors
    /// When what is kept cannot be read.
    pub(super) fn token(&self) -> Result<String, ProxyError> {
        Ok(self.kept()?.check)
    }

    fn is_flipping(&self) -> bool {
        matches!(self.settings.kind, ProxyKind::Flip(_))
    }

    fn view(&self, kept: &Kept) -> View {
        View::of(
            kept,
            self.program,
            &self.settings,
            self.way.template(self.is_flipping()),
        )
    }

    fn configuration(&self, door: Option<SocketAddrV4>) -> Configuration<'_> {
        Configuration {
            program: self.program,
            settings: &self.settings,
            file: self.folder().join(self.way.file()),
            beside: self.way.beside().map(|name| self.folder().join(name)),
            check: self.way.check(),
            reload: self.way.reload(),
            door,
            checked: self
                .prepared
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
                .clone(),
        }
    }

    fn keep(&self, kept: &Kept) -> Result<(), ProxyError> {
        file::store(&self.state, ROUTES, kept)
            .map_err(|error| ProxyError::refused(format!("the routes cannot be written: {error}")))
    }

    /// The token stands in the configuration: one that nobody knew after a crash would be another configuration, and
    /// another reload.
    fn keep_token(&self, kept: &Kept) -> Result<(), ProxyError> {
        match self.state.join(ROUTES).exists() {
            true => Ok(()),
            false => self.keep(&Kept::new(kept.check.clone())),
        }
    }

    fn kept_already(&self) -> Result<Option<Kept>, ProxyError> {
        Ok(file::load(&self.state, ROUTES)?.content)
    }

    /// What is kept; new where there is nothing yet.
    fn kept(&self) -> Result<Kept, ProxyError> {
        match self.kept_already()? {
            Some(kept) => Ok(kept),
            None => {
                let check =
                    token().map_err(|error| ProxyError::refused(format!("no random numbers: {error}")))?;
                Ok(Kept::new(check))
            }
        }
    }

    /// What is kept, with a door that the program has or can have.
    async fn kept_with_door(&self) -> Result<Kept, ProxyError> {
        let mut kept = self.kept()?;
        kept.door = Some(door::choose(kept.door, &self.state, &kept.check).await);
        Ok(kept)
    }

    /// One change of the routes at a time, whoever makes it.
    async fn lock(&self) -> Result<File, ProxyError> {
        let folder = self.state.clone();
        let locked = tokio::task::spawn_blocking(move || -> io::Result<File> {
            fs::DirBuilder::new()
                .recursive(true)
                .mode(0o700)
                .create(&folder)?;
            let mut options = OpenOptions::new();
            options.create(true).truncate(false).write(true).mode(0o600);
            let lock = options.open(folder.join("external.lock"))?;
            rustix::fs::flock(&lock, FlockOperation::LockExclusive)?;
            file::sweep(&folder, ROUTES);
            Ok(lock)
        });
        let locked = locked.await.map_err(io::Error::other).flatten();
        locked.map_err(|error| {
            ProxyError::failed(format!("{} cannot be locked: {error}", self.state.display()))
        })
    }
}

/// Whether `program` is there. Where the settings say how it is checked, it may be anywhere, such as in a container.
pub(super) fn is_installed(program: Program, settings: &ProxySettings) -> bool {
    let own = settings.programs.get(&program);
    own.is_some_and(|own| own.check.is_some()) || command::is_there(program.as_str())
}

/// 32 hexadecimal digits that nobody can guess.
fn token() -> io::Result<String> {
    let mut bytes = [0; 16];
    File::open("/dev/urandom")?.read_exact(&mut bytes)?;
    Ok(bytes.iter().map(|byte| format!("{byte:02x}")).collect())
}
