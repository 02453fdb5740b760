//! Recovery: what killed runs left is brought to its end, and what runs agrees again with what state says.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};

use super::audit;
use super::context::{App, Context};
use super::entry::Outcome;
use super::given;
use super::history::{self, Past, Unread};
use super::instances::{ensure, instances_of, is_of, settle};
use super::prune;
use super::route::{goes_to_the_same, route_of};
use super::run::Run;
use super::say;
use super::status::has_port;
use super::steps::probe;
use super::turn;
use crate::engine::{Engine, Instance};
use crate::model::{ByService, ReleaseId, Slot};
use crate::proxy::{AppRoute, ClosedPort, ProxyError};
use crate::store::{AppLock, AppState, Running, RunningService, StoreError, WorkerLock};

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
            told.push(say::lost_end(past.record.id, past.record.slot, &outcome));
            told.extend(untold.map(|error| say::not_audited(&error)));
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
    let wrong = match context.store.state(&app.name) {
        Err(error @ StoreError::Unreadable { .. }) => Some(error.to_string()),
        Err(error) => return Err(error.into()),
        Ok(state) => doubt(context, &app, &state).await?,
    };
    match wrong {
        Some(why) => rebuild_state(context, &app, lock, why).await,
        None => Ok(Vec::new()),
    }
}

/// Why a state that can be read is not what is so: it was lost, or a flip that it does not know of stands in a
/// release that cannot be read.
async fn doubt(context: &Context, app: &App, state: &AppState) -> Result<Option<String>> {
    let (all, unread) = history::unsettled(context, &app.name, state)?;
    if let Some(newer) = Unread::newer(&unread) {
        // What it has begun, or flipped, only that one knows.
        bail!(newer);
    }
    if let Some(release) = history::forgotten(&all, state) {
        return Ok(Some(say::state_is_lost(release)));
    }
    let Some((_, damage)) = Unread::damaged(&unread).next() else {
        return Ok(None);
    };
    let wanted = route_of(app, state);
    let agrees = match routed(context, app).await.with_context(|| damage.to_owned())? {
        Some(route) => goes_to_the_same(&route, &wanted),
        None => state.slots.is_empty(),
    };
    Ok((!agrees).then(|| damage.to_owned()))
}

/// The app's route at the proxy.
async fn routed(context: &Context, app: &App) -> Result<Option<AppRoute>, ProxyError> {
    let routes = context.proxy.current()?.routes().await?;
    Ok(routes.into_iter().find(|route| route.app == app.name))
}

/// Makes an app's state, containers and route agree again. Gives a sentence for everything that was mended.
///
/// # Errors
/// When the engine or the proxy does not answer, or what is live cannot be told.
pub async fn recover(context: &Context, lock: &mut AppLock) -> Result<Vec<String>> {
    lock.says("recover", None, None);
    let mut told = given::readable(context, lock).await?;
    let app = context.app(lock.app())?;
    told.extend(state(context, lock).await?);
    let unread = history::read(context, &app.name)?.1;
    for (file, damage) in Unread::damaged(&unread) {
        let aside = context.store.keep_aside(lock, file)?;
        told.push(format!("{damage}; it is kept as {}", aside.display()));
    }
    told.extend(Unread::newer(&unread));
    told.extend(orphans(context, lock).await?);
    lock.says("recover", None, None);
    context.store.sweep(lock)?;
    for leftover in prune::prune_repositories(context, &app.name, prune::Mode::Remove)? {
        told.push(format!(
            "{} is removed: a git that was killed left it",
            leftover.display()
        ));
    }
    let state = context.store.state(&app.name)?;
    let started = bring_up(context, &app, &state).await?;
    let mended = mend_route(context, &app, &state, !started.is_empty()).await?;
    told.extend(started.into_iter().chain(mended));
    told.extend(remove_strays(context, &app, &state).await?);
    Ok(told)
}

/// Starts what state says runs and does not, and waits until it is ready; what is not by its deadline is told.
async fn bring_up(context: &Context, app: &App, state: &AppState) -> Result<Vec<String>> {
    let engine = context.engine().await?;
    let mut told = Vec::new();
    for (slot, running) in state.slots.iter().filter(|(_, running)| !running.stopped) {
        let up = instances_of(engine, app, *slot, running).await?;
        let up = up.iter().filter(|instance| instance.running).count();
        if up < running.instances() {
            ensure(context, app, *slot, running).await?;
            // Before the route may be given to them.
            let not_ready = probe::started_again(context, app, *slot, running).await?;
            let all = instances_of(engine, app, *slot, running).await?;
            settle(engine, app, &all).await?;
            told.push(format!(
                "{slot}: {} of {} instances started again",
                running.instances() - up,
                running.instances()
            ));
            told.extend(not_ready);
        }
    }
    Ok(told)
}

/// Gives the proxy the route that follows from state, when it has another one; also when instances were `started`,
/// so that it tries at once those that it had put out.
async fn mend_route(context: &Context, app: &App, state: &AppState, started: bool) -> Result<Vec<String>> {
    let wanted = route_of(app, state);
    let has = match routed(context, app).await {
        Ok(route) => route,
        Err(ProxyError::Unreachable { .. }) if state.slots.is_empty() => return Ok(Vec::new()),
        Err(error) => return Err(error.into()),
    };
    if has.is_none() && state.slots.is_empty() {
        return Ok(Vec::new());
    }
    let problems = context.proxy.current()?.problems().await?;
    let is_right = has.is_some_and(|has| has == wanted) && problems.is_empty();
    if is_right && !started {
        return open_ports(context, app, &wanted).await;
    }
    let applied = context.proxy.put_route(&wanted).await?;
    let what = if problems.is_empty() {
        "route"
    } else {
        "configuration"
    };
    let mended = (!is_right).then(|| format!("the proxy's {what} was not what state says; it is again"));
    Ok(mended
        .into_iter()
        .chain(applied.closed.iter().map(still_closed))
        .collect())
}

/// Lets the proxy try again what it could not open: putting the same route once more does. A port that is still taken
/// is told, and keeps nothing else from being mended.
async fn open_ports(context: &Context, app: &App, route: &AppRoute) -> Result<Vec<String>> {
    let closed = context.proxy.current()?.closed_ports().await?;
    if !closed.iter().any(|closed| has_port(app, closed)) {
        return Ok(Vec::new());
    }
    let applied = context.proxy.put_route(route).await?;
    match applied.closed.as_slice() {
        [] => Ok(vec!["its slot ports are open again".to_owned()]),
        closed => Ok(closed.iter().map(still_closed).collect()),
    }
}

fn still_closed(closed: &ClosedPort) -> String {
    format!("a slot port is still closed: {}", closed.reason)
}

/// Removes containers that are the app's and that no slot runs.
async fn remove_strays(context: &Context, app: &App, state: &AppState) -> Result<Option<String>> {
    let engine = context.engine().await?;
    let instances = engine.instances(Some(&app.name)).await?;
    let strays: Vec<&Instance> = instances
        .iter()
        .filter(|instance| {
            let running = state.slots.get(&instance.slot);
            // What is made ahead for one that is prepared is that one's.
            let is_prepared = || context.store.release(&app.name, instance.release).has_worker();
            running.is_none_or(|running| !is_of(instance, instance.slot, running)) && !is_prepared()
        })
        .collect();
    for stray in &strays {
        engine.remove(&stray.id).await?;
    }
    Ok((!strays.is_empty()).then(|| {
        format!(
            "{} that no slot runs removed",
            say::count(strays.len() as u64, "container")
        )
    }))
}

async fn rebuild_state(context: &Context, app: &App, lock: &AppLock, why: String) -> Result<Vec<String>> {
    let engine = context.engine().await?;
    let route = routed(context, app).await.with_context(|| {
        format!("{why}; the proxy, which could tell what is live, does not answer either")
    })?;
    let all = history::of(context, &app.name)?;
    let state = state_of(engine, app, route.as_ref(), &all).await?;
    let aside = context.store.keep_state_aside(lock)?;
    context.store.write_state(lock, &state)?;
    let mut told = vec![why];
    told.extend(aside.map(|aside| format!("it is kept as {}", aside.display())));
    told.push(
        "state was written anew from the containers' labels and the proxy's route; the list of flips is lost"
            .to_owned(),
    );
    Ok(told)
}

async fn state_of(engine: &Engine, app: &App, route: Option<&AppRoute>, all: &[Past]) -> Result<AppState> {
    let instances = engine.instances(Some(&app.name)).await?;
    let mut slots = BTreeMap::new();
    for slot in Slot::BOTH {
        let routed = route.and_then(|route| route.slots.get(&slot)?.target.as_ref());
        let of_slot: Vec<&Instance> = instances
            .iter()
            .filter(|instance| instance.slot == slot)
            .collect();
        let release = match routed {
            Some(target) => Some(target.release),
            None => of_slot
                .iter()
                .map(|instance| instance.release)
                .filter(|release| may_run(*release, all))
                .max(),
        };
        let Some(release) = release else { continue };
        let of_release = of_slot.into_iter().filter(|instance| instance.release == release);
        slots.insert(
            slot,
            running_of(slot, release, &of_release.collect::<Vec<_>>(), all)?,
        );
    }
    Ok(AppState {
        live: route.and_then(|route| route.live),
        slots,
        flips: Vec::new(),
    })
}

fn past(release: ReleaseId, all: &[Past]) -> Option<&Past> {
    all.iter().find(|past| past.record.id == release)
}

/// Whether a slot to which no request goes may be said to run `release`: not one of which it is known that it did
/// not become good, since its instances may never have been ready.
fn may_run(release: ReleaseId, all: &[Past]) -> bool {
    let outcome = past(release, all).map(|past| past.outcome.as_ref());
    outcome.is_none_or(|outcome| outcome.is_some_and(Outcome::is_good))
}

/// What a slot runs by the labels of its containers, each of which tells of all instances of its service; and by the
/// journal of services whose containers are all gone: they are made anew from this.
fn running_of(slot: Slot, release: ReleaseId, there: &[&Instance], all: &[Past]) -> Result<Running> {
    let told = past(release, all);
    let started = told.and_then(|past| past.facts.started.as_ref());
    let mut services = ByService::new();
    if let (Some(past), Some(started)) = (told, started) {
        let both = started.endpoints.iter();
        services.extend(both.filter_map(|(service, endpoints)| {
            let running = RunningService {
                image: past.facts.images.get(service)?.clone(),
                endpoints: endpoints.clone(),
            };
            Some((service.clone(), running))
        }));
    }
    services.extend(there.iter().map(|instance| {
        let running = RunningService {
            image: instance.image.clone(),
            endpoints: instance.endpoints.clone(),
        };
        (instance.name.service.clone(), running)
    }));
    let lane = there.first().map(|instance| instance.lane);
    let lane = lane.or(started.map(|started| started.lane));
    let Some(lane) = lane.filter(|_| !services.is_empty()) else {
        bail!(
            "the proxy routes {slot} to release {release}, of which neither a container nor a journal is left. Hint: \
             push to {slot} again"
        );
    };
    let commit = match there.first() {
        Some(instance) => instance.commit.clone(),
        None => told.and_then(|past| past.record.source.commit().cloned()),
    };
    Ok(Running {
        release,
        lane,
        commit,
        stopped: !there.is_empty() && there.iter().all(|instance| !instance.running),
        services,
    })
}
