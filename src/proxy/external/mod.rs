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
mod flip;
mod haproxy;
mod kept;
mod marks;
mod nginx;
mod slot_ports;
mod view;
mod way;

use std::fs::File;
use std::io::{self, Read};
use std::net::SocketAddrV4;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use self::configuration::Configuration;
use self::kept::Kept;
use self::view::View;
use self::way::Way;
use super::answers::{Applied, Mismatch};
use super::error::ProxyError;
use super::file;
use super::route::AppRoute;
use crate::ground::{durable, failpoint, lock};
use crate::model::{Program, ProxyKind, ProxySettings, Settings, Subnet};

/// Where the routes are kept in the program's folder of the state folder.
pub(super) const ROUTES: &str = "external.json";

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
    pub(super) async fn answers(&self) -> Result<(), ProxyError> {
        let kept = self.kept()?;
        let configuration = self.configuration(kept.door);
        match configuration.file.exists() && !(self.is_flipping() && kept.is_new()) {
            true => configuration.version(&kept.check).await.map(drop),
            false => Ok(()),
        }
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

    /// Makes sure that the program has the configuration for standing in front of the embedded proxy.
    ///
    /// # Errors
    /// [`ProxyError::Refused`] when the program refuses its configuration: then the former one is back, and nothing has
    /// changed.
    pub(super) async fn put_front(&self) -> Result<(), ProxyError> {
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
    pub(super) async fn try_configuration(&self, routes: &[AppRoute]) -> Result<(), ProxyError> {
        let _changing = self.lock().await?;
        let kept = self.kept_of(routes).await?;
        self.keep_token(&kept)?;
        let view = self.view(&kept);
        self.configuration(kept.door).prepare(&view).await?;
        *self.prepared.lock().unwrap_or_else(PoisonError::into_inner) = Some(view.version);
        Ok(())
    }

    /// Has the program take everything that is not the public port or a slot port, with what is chosen for `routes`; after
    /// [`External::try_configuration`]. From then on every app can be asked for. Gives the token for that.
    ///
    /// # Errors
    /// When the program does not run, or does not take it. What was written is for [`External::remove`].
    pub(super) async fn put_all_but_ports(&self, routes: &[AppRoute]) -> Result<Applied, ProxyError> {
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
    pub(super) async fn can_do_without(&self) -> Result<(), ProxyError> {
        let _changing = self.lock().await?;
        let kept = self.kept()?;
        self.configuration(kept.door).check_without().await
    }

    /// Puts `routes`, and no others, in force, by one reload where the configuration differs.
    ///
    /// # Errors
    /// As for [`External::put_front`].
    pub(super) async fn put_all(&self, routes: &[AppRoute]) -> Result<Applied, ProxyError> {
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
    pub(super) async fn remove(&self) -> Result<(), ProxyError> {
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

    /// What is not as it should be beside the routes: a sentence each. Before the first route there is nothing to be.
    ///
    /// # Errors
    /// When what is kept cannot be read.
    pub(super) async fn mismatches(&self) -> Result<Vec<Mismatch>, ProxyError> {
        let Some(kept) = self.kept_already()? else {
            return Ok(Vec::new());
        };
        if kept.is_new() && self.is_flipping() {
            return Ok(Vec::new());
        }
        let view = self.view(&kept);
        self.configuration(kept.door).mismatches(&view, &kept.check).await
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
        let part = self.folder();
        let locked = tokio::task::spawn_blocking(move || -> io::Result<File> {
            durable::make_folder(&folder, 0o700)?;
            let lock = lock::take(&folder.join("external.lock"))?;
            durable::sweep(&folder);
            durable::sweep(&part);
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
