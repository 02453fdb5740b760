//! What every run works with: the settings, the store, and the edges, connected when first needed.

use std::path::PathBuf;

use tokio::sync::OnceCell;

use super::differences::settings::SettingsDiffer;
use super::in_force;
use crate::engine::Engine;
use crate::model::{AppName, AppSettings, By, EngineSettings, Scope, Settings, Slot, SlotPorts};
use crate::proxy::Proxy;
use crate::registry::{Registry, RegistryError};
use crate::store::{AppFile, AppState, Store};

/// There is no such app, slot or release.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct NotFound(pub String);

/// The settings, the store and the edges.
pub struct Context {
    /// The configuration; of the Engine and its network what is in force.
    pub settings: Settings,
    /// Where the configuration says something else of the Engine than what is in force.
    pub differs: Option<SettingsDiffer>,
    /// What the configuration says of the Engine.
    pub(super) wanted: EngineSettings,
    /// The file that the configuration was read from.
    pub config: PathBuf,
    /// Who asks.
    pub by: By,
    /// Which apps and slots there are for them.
    pub scope: Scope,
    /// What they ask, as it was given: one line, printable. Empty until it is set.
    pub command: String,
    /// The state folder.
    pub store: Store,
    /// The proxy.
    pub proxy: Proxy,
    engine: OnceCell<Engine>,
}

impl Context {
    /// A context for the settings of the file `config`, and for whoever asks; nothing is connected yet.
    pub fn new(mut settings: Settings, config: PathBuf, by: By, scope: Scope) -> Self {
        let store = Store::new(&settings.state);
        let wanted = settings.engine.clone();
        let differs = in_force::adopt(&mut settings, &store, &scope);
        let proxy = Proxy::new(&settings, &store.proxy());
        Self {
            settings,
            differs,
            wanted,
            config,
            by,
            scope,
            command: String::new(),
            store,
            proxy,
            engine: OnceCell::new(),
        }
    }

    /// Goes by what the configuration says, although something else was written down.
    pub(super) fn go_by_the_configuration(&mut self) {
        self.settings.engine = self.wanted.clone();
        self.differs = None;
        self.proxy = Proxy::new(&self.settings, &self.store.proxy());
        self.engine = OnceCell::new();
    }

    /// The engine.
    ///
    /// # Errors
    /// When it does not answer.
    pub async fn engine(&self) -> anyhow::Result<&Engine> {
        let connected = self
            .engine
            .get_or_try_init(|| Engine::connect(&self.settings.engine))
            .await?;
        Ok(connected)
    }

    /// The registry at `address`, with the credentials of that one alone.
    ///
    /// # Errors
    /// When its client cannot be made from the settings.
    pub fn registry(&self, address: &str) -> Result<Registry, RegistryError> {
        Registry::new(&self.settings.registry_at(address))
    }

    /// Everything that is known of an app that was created.
    ///
    /// # Errors
    /// When there is no such app, or what the store holds of it is unreadable.
    pub fn app(&self, name: &AppName) -> anyhow::Result<App> {
        let file = self.store.app_file(name)?.ok_or_else(|| {
            NotFound(format!(
                "there is no app {name}: `deployer app list` shows those there are"
            ))
        })?;
        Ok(App {
            name: name.clone(),
            settings: self.settings.app(name),
            file,
        })
    }

    /// Where the public port answers for an app with these settings, as a person opens it.
    pub fn public_address(&self, app: &AppSettings) -> String {
        self.address_at(app, self.proxy.listen())
    }

    /// The same, where the public port is at `listen`.
    pub(super) fn address_at(&self, app: &AppSettings, listen: std::net::SocketAddr) -> String {
        let host = match app.hosts.is_empty() {
            false => app.own_host(),
            true if listen.ip().is_unspecified() => "127.0.0.1".to_owned(),
            true => listen.ip().to_string(),
        };
        match listen.port() {
            80 => format!("http://{host}/"),
            port => format!("http://{host}:{port}/"),
        }
    }

    /// Where a slot's own port answers.
    pub fn slot_address(&self, app: &App, slot: Slot) -> String {
        let listen = self.settings.proxy.slot_listen;
        let host = if listen.is_unspecified() {
            "127.0.0.1".to_owned()
        } else {
            listen.to_string()
        };
        format!("http://{host}:{}/", app.ports().of(slot))
    }
}

/// An app: its name, its settings, and what it was given when it was created.
#[derive(Debug, Clone)]
pub struct App {
    /// The name.
    pub name: AppName,
    /// The settings.
    pub settings: AppSettings,
    /// What it was given for good.
    pub file: AppFile,
}

impl App {
    /// The slot ports: the configuration's, else those given when the app was created.
    pub fn ports(&self) -> SlotPorts {
        self.settings.ports.unwrap_or(self.file.ports)
    }

    /// Where a release of a slot that is good answers: the app's address when it is live, else the slot's.
    pub fn address(&self, context: &Context, state: &AppState, slot: Slot) -> String {
        if state.live == Some(slot) {
            context.public_address(&self.settings)
        } else {
            context.slot_address(self, slot)
        }
    }
}
