//! Recovery: what killed runs left is brought to its end, and what runs agrees again with what state says.

use std::path::PathBuf;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, anyhow, bail};

use super::app_file;
use super::audit;
use super::context::{App, Context};
use super::differences::gather::{self, Look};
use super::differences::mend::{self, Mendable};
use super::differences::{
    DamagedFile, Difference, FileFault, Problem, Repair, StateFault, compare, state_fault,
};
use super::history::{self, Past};
use super::instances::{ensure, instances_of, settle};
use super::messages;
use super::prune;
use super::rebuild::rebuild_state;
use super::route::{route_of, routed};
use super::run::Run;
use super::steps::probe;
use super::turn;
use crate::engine::ContainerId;
use crate::model::Slot;
use crate::proxy::AppRoute;
use crate::store::{AppLock, AppState, WorkerLock};

/// How long a worker that has given the app's lock back may take to end.
const WORKER_ENDS: Duration = Duration::from_secs(5);

/// Brings every release to its end whose worker was killed: back when its flip was not yet intended, else
/// forward. Gives a sentence for each.
///
/// # Errors
/// When one cannot be brought to its end.
pub async fn orphans(context: &Context, lock: &mut AppLock) -> Result<Vec<String>> {
    let mut told = Vec::new();
    for past in turn::orphans(context, lock)? {
        let Some(worker) = take_over(&past).await? else {
            continue;
        };
        if let Some(outcome) = history::lost_end(context, &past)? {
            let untold = audit::ended(context, past.dir.app(), &past.record, &outcome).err();
            history::write_end(context, &past, &outcome)?;
            told.push(messages::lost_end(past.record.id, past.record.slot, &outcome));
            told.extend(untold.map(|error| messages::not_audited(&error)));
            continue;
        }
        let state = context.store.state(past.dir.app())?;
        let mut run = Run::new(context, &worker, &past.dir, state)?;
        if run.has_ended() {
            continue;
        }
        run.resume()?;
        let outcome = run
            .take_effect(lock)
            .await
            .with_context(|| format!("release {} is unfinished", past.record.id))?;
        told.push(format!(
            "release {} ({}) was unfinished: {}",
            past.record.id,
            past.record.slot,
            outcome.as_str()
        ));
    }
    Ok(told)
}

/// Becomes the worker of a release whose own has given up, when that has ended. `None` when the release has not taken
/// effect and got a worker meanwhile.
async fn take_over(past: &Past) -> Result<Option<WorkerLock>> {
    let began = Instant::now();
    loop {
        match past.dir.try_work()? {
            None if past.effective.is_none() => return Ok(None),
            None if began.elapsed() > WORKER_ENDS => {
                bail!("the worker of release {} has not ended yet", past.record.id)
            }
            None => tokio::time::sleep(Duration::from_millis(20)).await,
            taken => return Ok(taken),
        }
    }
}

/// Makes an app's state readable: where it is damaged or lost a copy is kept, and it is written anew from what runs
/// and what the proxy routes. Gives a sentence for everything that was done.
///
/// # Errors
/// When the engine or the proxy, which tell what is so, do not answer, or a newer deployer has written what state may not
/// know of.
pub async fn state(context: &Context, lock: &AppLock) -> Result<Vec<String>> {
    let app = context.app(lock.app())?;
    match fault(context, &app).await? {
        Some(why) => rebuild_state(context, &app, lock, why).await,
        None => Ok(Vec::new()),
    }
}

/// Why state is not what is so. The proxy is asked only where a release's own file cannot tell.
async fn fault(context: &Context, app: &App) -> Result<Option<String>> {
    let (files, _) = gather::files(context, app)?;
    if let Some(newer) = files.newer {
        // What it has begun, or flipped, only that one knows.
        bail!(newer);
    }
    let mut fault = state_fault(app, &files, None);
    if fault.is_none()
        && let Some(damaged) = files.damaged.first()
    {
        let route = routed(context, app).await.with_context(|| damaged.told.clone())?;
        let routes: Vec<AppRoute> = route.into_iter().collect();
        fault = state_fault(app, &files, Some(&routes));
    }
    Ok(match fault {
        None => None,
        Some(StateFault::File(FileFault::Damaged(told))) => Some(told.message),
        Some(StateFault::File(fault)) => bail!(fault.told().to_owned()),
        Some(StateFault::Lost(release)) => Some(messages::state_is_lost(release)),
        Some(StateFault::Doubtful { damage }) => Some(damage),
    })
}

/// What became of recovering an app.
#[derive(Debug, Default)]
pub struct Recovered {
    /// A sentence for everything that was mended.
    pub told: Vec<String>,
    /// What it could not mend.
    pub left: Vec<Problem>,
    /// Why it did not come to its end.
    pub failed: Option<anyhow::Error>,
}

/// Makes an app's state, containers and route agree again.
pub async fn recover(context: &Context, lock: &mut AppLock) -> Recovered {
    lock.says("recover", None, None);
    let name = lock.app().clone();
    let mut mended = mend::mend(&mut Recovery { context, lock }).await;
    if let Err(error) = context.store.sweep(lock) {
        mended.failed.get_or_insert(error.into());
    }
    let is_released = context
        .store
        .state(&name)
        .is_ok_and(|state| !state.slots.is_empty());
    let silent = mended.left.iter().find_map(|left| match left {
        Difference::Engine { told } => Some(told),
        Difference::Proxy { told } if is_released => Some(told),
        _ => None,
    });
    if let Some(silent) = silent {
        mended.failed.get_or_insert(anyhow!(silent.clone()));
    }
    Recovered {
        told: mended.told,
        left: mended.left.iter().map(|left| Problem::of(&name, left)).collect(),
        failed: mended.failed,
    }
}

/// An app under its lock.
struct Recovery<'a> {
    context: &'a Context,
    lock: &'a mut AppLock,
}

impl Mendable for Recovery<'_> {
    async fn look(&mut self) -> Result<Vec<Difference>> {
        let name = self.lock.app();
        let all = gather::everything(self.context, std::slice::from_ref(name)).await;
        Ok(match gather::one(self.context, name, &all, Look::Locked)? {
            Ok(app) => compare(&app.should, &all.host, &app.own),
            Err(fault) => vec![Difference::AppFile(fault)],
        })
    }

    async fn mend(&mut self, repair: &Repair) -> Result<Vec<String>> {
        match repair {
            Repair::AppFile => app_file::readable(self.context, self.lock).await,
            Repair::State => state(self.context, self.lock).await,
            Repair::PutAside(file) => self.put_aside(file),
            Repair::Finish => self.finish().await,
            Repair::RemoveLeftovers => self.remove_leftovers(),
            Repair::Network => self.make_network().await,
            Repair::Start(slot) => self.start(*slot).await,
            Repair::Configuration => self.put_route(Some("configuration")).await,
            Repair::Route => self.put_route(Some("route")).await,
            Repair::Wake => self.put_route(None).await,
            Repair::OpenPorts => self.open_ports().await,
            Repair::Remove(containers) => self.remove(containers).await,
        }
    }
}

impl Recovery<'_> {
    fn known(&self) -> Result<(App, AppState)> {
        let app = self.context.app(self.lock.app())?;
        let state = self.context.store.state(&app.name)?;
        Ok((app, state))
    }

    fn put_aside(&self, file: &DamagedFile) -> Result<Vec<String>> {
        let aside = self.context.store.keep_aside(self.lock, &file.path)?;
        let told = format!("{}; it is kept as {}", file.told, aside.display());
        Ok(vec![told])
    }

    async fn finish(&mut self) -> Result<Vec<String>> {
        let told = orphans(self.context, self.lock).await?;
        self.lock.says("recover", None, None);
        Ok(told)
    }

    fn remove_leftovers(&self) -> Result<Vec<String>> {
        let removed = prune::prune_repositories(self.context, self.lock.app(), prune::Mode::Remove)?;
        let removed = removed.into_iter();
        let told = |path: PathBuf| format!("{} is removed: a git that was killed left it", path.display());
        Ok(removed.map(told).collect())
    }

    async fn make_network(&self) -> Result<Vec<String>> {
        self.context.engine().await?.ensure_network().await?;
        let name = &self.context.settings.engine.network;
        Ok(vec![format!("the network {name} was gone; it is made again")])
    }

    /// Starts what a slot runs and is not up, and waits until it is ready; what is not by its deadline is told.
    async fn start(&self, slot: Slot) -> Result<Vec<String>> {
        let (context, engine) = (self.context, self.context.engine().await?);
        let (app, state) = self.known()?;
        let Some(running) = state.slots.get(&slot) else {
            return Ok(Vec::new());
        };
        let up = instances_of(engine, &app, slot, running).await?;
        let up = up.iter().filter(|instance| instance.running).count();
        ensure(context, &app, slot, running).await?;
        // Before the route may be given to them.
        let not_ready = probe::started_again(context, &app, slot, running).await?;
        let all = instances_of(engine, &app, slot, running).await?;
        settle(engine, &app, &all).await?;
        let wanted = running.instances();
        let mut told = vec![format!(
            "{slot}: {} of {wanted} instances started again",
            wanted.saturating_sub(up)
        )];
        told.extend(not_ready);
        Ok(told)
    }

    /// Gives the proxy the route that follows from state, since its route or `what` else was not so.
    async fn put_route(&self, what: Option<&str>) -> Result<Vec<String>> {
        let (app, state) = self.known()?;
        self.context.proxy.put_route(&route_of(&app, &state)).await?;
        let told = what.map(|what| format!("the proxy's {what} was not what state says; it is again"));
        Ok(told.into_iter().collect())
    }

    /// Lets the proxy try again what it could not open: putting the same route once more does.
    async fn open_ports(&self) -> Result<Vec<String>> {
        let (app, state) = self.known()?;
        let applied = self.context.proxy.put_route(&route_of(&app, &state)).await?;
        Ok(match applied.closed.is_empty() {
            true => vec!["its slot ports are open again".to_owned()],
            false => Vec::new(),
        })
    }

    async fn remove(&self, containers: &[ContainerId]) -> Result<Vec<String>> {
        let engine = self.context.engine().await?;
        for container in containers {
            engine.remove(container).await?;
        }
        let removed = messages::count(containers.len() as u64, "container");
        Ok(vec![format!("{removed} that no slot runs removed")])
    }
}
