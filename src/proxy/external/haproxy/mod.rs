//! HAProxy: a map of its runtime chooses the backend, and is told at its master socket.
//!
//! Deployer's file has a backend for each lane, and `choices.map` beside it says which of them the public port and each
//! slot port go to. A flip writes that file first, so that every start agrees, and then tells the running workers.
//!
//! After a reload a worker of before serves the connections that it has until they end. It is told that all it is asked
//! goes to the port where it was asked (`deployer.again`), and so to the worker that knows better: no such request is
//! lost, and none goes by a former choice.

mod map;
mod master;
mod stat;

use std::io;
use std::net::SocketAddrV4;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use futures_util::future::{BoxFuture, join_all};

use self::map::Map;
use self::master::{Master, Worker};
use self::stat::Stat;
use super::command::as_root;
use super::kept::{Choice, Down};
use super::view::View;
use super::way::Way;
use crate::ground::failpoint;
use crate::ground::told::Told;
use crate::model::{Program, ProgramSettings, ProxySettings};
use crate::proxy::error::ProxyError;

/// Where the backends' names are, beside deployer's file.
const MAP: &str = "choices.map";

/// The backend that asks the newest worker.
const AGAIN: &str = "deployer.again";

/// Debian's main configuration.
const MAIN: &str = "/etc/haproxy/haproxy.cfg";

/// Where Debian's unit has the master socket.
const MASTER: &str = "/run/haproxy-master.sock";

/// How long an instance may take to accept a connection, where HAProxy says that it is down.
const ACCEPTS: Duration = Duration::from_millis(500);

/// How long the master may take to begin anew after a reload, and how often it is asked meanwhile.
const BEGINS_ANEW: Duration = Duration::from_secs(10);
const LOOK: Duration = Duration::from_millis(20);

/// How often the file and the worker are looked at again, where they differ.
const LOOKS: u32 = 3;

/// HAProxy, as the settings say that it runs.
#[derive(Debug)]
pub(super) struct Haproxy {
    settings: ProgramSettings,
    /// The folder of deployer's part.
    folder: PathBuf,
    master: Master,
}

impl Haproxy {
    pub(super) fn new(settings: &ProxySettings) -> Self {
        let own = settings.programs.get(&Program::Haproxy).cloned();
        let own = own.unwrap_or_default();
        Self {
            folder: settings.folder.join(Program::Haproxy.as_str()),
            master: Master::new(own.admin.as_deref().unwrap_or(MASTER)),
            settings: own,
        }
    }

    fn map(&self) -> PathBuf {
        self.folder.join(MAP)
    }

    /// Tells every worker, until none has come or gone meanwhile: somebody else may have HAProxy reloaded at any time.
    async fn tell(&self, wanted: &Map) -> Result<(), ProxyError> {
        let mut told = Vec::new();
        loop {
            let workers = self.master.workers().await?;
            let new: Vec<Worker> = workers
                .into_iter()
                .filter(|worker| !told.contains(worker))
                .collect();
            if new.is_empty() {
                return Ok(());
            }
            for worker in new {
                self.tell_one(worker, wanted).await?;
                told.push(worker);
            }
        }
    }

    async fn tell_one(&self, worker: Worker, wanted: &Map) -> Result<(), ProxyError> {
        let path = self.map();
        let told = match (self.master.map(worker, &path).await, worker.is_old) {
            (Ok(Some(has)), true) => {
                self.master
                    .change(worker, &path, &has, &wanted.all_to(AGAIN, &has))
                    .await
            }
            (Ok(Some(has)), false) => self.master.change(worker, &path, &has, wanted).await,
            // It is of a time before deployer's part, and has nothing of it.
            (Ok(None), true) => Ok(()),
            // Deployer's part has left it.
            (Ok(None), false) if wanted.is_empty() => Ok(()),
            (Ok(None), false) => Err(ProxyError::failed(
                Told::new("HAProxy serves by a configuration without deployer's part").hint(
                    "was it started with it, as `deployer install` has it? `deployer recover` has it read its configuration \
                     again",
                ),
            )),
            (Err(error), _) => Err(error),
        };
        match told {
            // An old worker ends when its last connection does.
            Err(_) if worker.is_old && !self.master.workers().await?.contains(&worker) => Ok(()),
            told => told,
        }
    }

    /// HAProxy may not have noticed yet that an instance is ready which deployer has just probed. Where no request went
    /// before, it may not even have noticed that the instance before it had ended, and a check of that time fails after
    /// the flip: told that a server is up, it takes several such checks for it to be down.
    async fn trust(&self, wanted: &Map) -> Result<(), ProxyError> {
        let worker = self.master.current().await?;
        let stats = self.master.stats(worker).await?;
        let is_there = |backend: &str| stats.iter().any(|stat| stat.backend == backend);
        if let Some(missing) = wanted.backends().find(|backend| !is_there(backend)) {
            let told = format!("HAProxy serves by a configuration that has no backend {missing}");
            let hint = "`deployer recover` has it read its configuration again";
            return Err(ProxyError::failed(Told::new(told).hint(hint)));
        }
        let has = self.master.map(worker, &self.map()).await?.unwrap_or_default();
        let is_new = |backend: &str| has.backends().all(|has| has != backend);
        let doubted = stats
            .iter()
            .filter(|stat| stat.is_down() || is_new(&stat.backend));
        let wanted = doubted.filter(|stat| wanted.backends().any(|backend| backend == stat.backend));
        let orders = wanted.filter_map(|stat| {
            let address = stat.server?;
            let order = format!("set server {}/{address} health up", stat.backend);
            Some(async move { accepts(address).await.then_some(order) })
        });
        for order in join_all(orders).await.into_iter().flatten() {
            self.master.order(worker, &order).await?;
        }
        Ok(())
    }

    /// The map as the newest worker has it, and as the file has it.
    async fn maps(&self) -> Result<(Map, Map), ProxyError> {
        let worker = self.master.current().await?;
        let runs = self.master.map(worker, &self.map()).await?;
        Ok((
            runs.unwrap_or_default(),
            Map::read(&self.map()).unwrap_or_default(),
        ))
    }

    fn write(&self, wanted: &Map) -> Result<(), ProxyError> {
        let failed = |error: io::Error| {
            ProxyError::refused(format!("{} cannot be written: {error}", self.map().display()))
        };
        match wanted.is_in(&self.map()) {
            true => Ok(()),
            false => wanted.write(&self.map()).map_err(failed),
        }
    }

    /// What is in flight in all workers.
    async fn all_in_flight(&self, upstreams: &[SocketAddrV4]) -> Result<u64, ProxyError> {
        let mut sum = 0;
        for worker in self.master.workers().await? {
            match self.master.stats(worker).await {
                Ok(stats) => sum += stat::in_flight(&stats, upstreams),
                Err(_) if worker.is_old && !self.master.workers().await?.contains(&worker) => {}
                Err(error) => return Err(error),
            }
        }
        Ok(sum)
    }
}

async fn accepts(address: SocketAddrV4) -> bool {
    let connected = tokio::time::timeout(ACCEPTS, tokio::net::TcpStream::connect(address)).await;
    matches!(connected, Ok(Ok(_)))
}

impl Way for Haproxy {
    fn file(&self) -> &'static str {
        "deployer.cfg"
    }

    fn template(&self, flips: bool) -> &'static str {
        match flips {
            true => include_str!("../../../../templates/haproxy/flip.cfg"),
            false => include_str!("../../../../templates/haproxy/front.cfg"),
        }
    }

    fn beside(&self) -> Option<&'static str> {
        Some(MAP)
    }

    fn check(&self) -> Vec<String> {
        let folder = self.folder.display().to_string();
        let usual = || as_root(&["haproxy", "-c", "-f", MAIN, "-f", &folder]);
        self.settings.check.clone().unwrap_or_else(usual)
    }

    fn reload(&self) -> Vec<String> {
        let usual = || as_root(&["systemctl", "reload", "haproxy"]);
        self.settings.reload.clone().unwrap_or_else(usual)
    }

    fn settled<'a>(&'a self, view: &'a View) -> BoxFuture<'a, Result<(), ProxyError>> {
        Box::pin(async {
            // In front of the embedded proxy it has nothing to choose.
            if view.socket.is_some() {
                return Ok(());
            }
            // The file is what the newest worker has read, so this changes what the former ones do, and that alone.
            let has = Map::read(&self.map()).map_err(|error| ProxyError::failed(error.to_string()))?;
            let began = Instant::now();
            loop {
                match self.tell(&has).await {
                    // The worker serves before the master has begun anew. Whoever had it reloaded again by then would
                    // not be heard.
                    Err(ProxyError::Unreachable { .. } | ProxyError::BrokeOff { .. })
                        if began.elapsed() < BEGINS_ANEW =>
                    {
                        tokio::time::sleep(LOOK).await;
                    }
                    told => return told,
                }
            }
        })
    }

    fn choose<'a>(&'a self, _view: &'a View, choices: &'a [Choice]) -> BoxFuture<'a, Result<(), ProxyError>> {
        Box::pin(async {
            let wanted = Map::of(choices);
            self.trust(&wanted).await?;
            self.write(&wanted)?;
            failpoint::at("map.written");
            self.tell(&wanted).await
        })
    }

    /// Where the file and the newest worker differ, the choice is none: the one or the other would change it.
    fn chosen<'a>(&'a self, view: &'a View) -> BoxFuture<'a, Result<Vec<Choice>, ProxyError>> {
        Box::pin(async {
            if view.apps.is_empty() {
                return Ok(Vec::new());
            }
            let apps = || view.apps.iter().map(|app| &app.name);
            let (mut runs, mut written) = self.maps().await?;
            for _ in 0..LOOKS {
                if apps().all(|app| runs.is_for_like(app, &written)) {
                    break;
                }
                // A flip may be under way between the one and the other.
                tokio::time::sleep(LOOK).await;
                (runs, written) = self.maps().await?;
            }
            Ok(apps()
                .filter(|app| runs.is_for_like(app, &written))
                .map(|app| runs.choice(app))
                .collect())
        })
    }

    fn in_flight<'a>(
        &'a self,
        _view: &'a View,
        upstreams: &'a [SocketAddrV4],
    ) -> BoxFuture<'a, Result<u64, ProxyError>> {
        Box::pin(self.all_in_flight(upstreams))
    }

    fn out<'a>(&'a self, view: &'a View) -> BoxFuture<'a, Result<Vec<Down>, ProxyError>> {
        Box::pin(async {
            if view.apps.is_empty() {
                return Ok(Vec::new());
            }
            let worker = self.master.current().await?;
            let stats = self.master.stats(worker).await?;
            Ok(stats.iter().filter_map(Stat::down).collect())
        })
    }
}
