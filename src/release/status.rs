//! What runs: state, the journals of runs under way, the engine and the proxy, put together.

use std::collections::BTreeMap;
use std::time::Duration;

use anyhow::Result;
use futures_util::future::{join, join_all};
use serde::Serialize;

use super::context::{App, Context};
use super::disks;
use super::endings::InstanceEndings;
use super::entry::{Outcome, Step};
use super::history::{self, Past, Unread};
use super::instances::is_of;
use super::route::{route_of, serves_the_same};
use super::say::VisitorsSee;
use super::{say, unwell, visitor};
use crate::engine::Instance;
use crate::git::SlotRepository;
use crate::model::{AppName, By, ByService, Commit, Digest, ReleaseId, ServiceName, Slot};
use crate::proxy::{AppRoute, ClosedPort, OutInstance, local_ports};
use crate::store::{AppState, Moment, Running, RunningService};

/// How long it may take to see what visitors see.
const VISIT: Duration = Duration::from_secs(1);

/// Everything that `status` shows of an app.
#[derive(Debug, Serialize)]
pub struct AppStatus {
    /// The app.
    pub app: AppName,
    /// Where it answers.
    pub address: String,
    /// The live slot.
    pub live: Option<Slot>,
    /// Both slots, blue first; none where the app's own file cannot be read.
    pub slots: Vec<SlotStatus>,
    /// Releases that have not ended, the oldest first.
    pub under_way: Vec<UnderWay>,
    /// What is not as it should be, a sentence each.
    pub problems: Vec<String>,
    /// What is as the user has it, and good to know, a sentence each.
    pub notes: Vec<String>,
}

/// What a slot runs.
#[derive(Debug, Serialize)]
pub struct SlotStatus {
    /// The slot.
    pub slot: Slot,
    /// Its own port.
    pub port: u16,
    /// Where its own port answers.
    pub address: String,
    /// The release that it runs.
    pub release: Option<ReleaseId>,
    /// The release's commit.
    pub commit: Option<Commit>,
    /// The commit's first line.
    pub subject: Option<String>,
    /// Who asked for the release.
    pub by: Option<By>,
    /// The release's services: of an app with one Dockerfile `web` alone.
    pub services: ByService<ServiceStatus>,
    /// Whether its instances were stopped on purpose.
    pub stopped: bool,
    /// The newest release of the slot, when it failed.
    pub last_failure: Option<LastFailure>,
}

/// A service of what a slot runs.
#[derive(Debug, Serialize)]
pub struct ServiceStatus {
    /// The image's digest.
    pub digest: Digest,
    /// How many instances it should have.
    pub instances: usize,
    /// How many run; `None` when the engine does not answer.
    pub running: Option<usize>,
    /// Its instances that ended by themselves within the last hour, or do not run.
    pub endings: Vec<InstanceEndings>,
}

/// A slot's newest release that failed.
#[derive(Debug, Serialize)]
pub struct LastFailure {
    /// The release.
    pub release: ReleaseId,
    /// How it ended.
    pub outcome: Outcome,
}

/// A release that has not ended.
#[derive(Debug, Serialize)]
pub struct UnderWay {
    /// The release.
    pub release: ReleaseId,
    /// Its slot.
    pub slot: Slot,
    /// The step that it is at; `None` while it waits to be built.
    pub step: Option<Step>,
    /// What it waits for, where it does.
    pub waits: Option<Waits>,
    /// Whether a worker is on it. One without is for `deployer recover`.
    pub has_worker: bool,
    /// Who asked for it.
    pub by: Option<By>,
}

/// What a release waits for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Waits {
    /// To be prepared: its slot takes another release.
    ToBePrepared,
    /// To take effect: another release, or a command, has the app's lock.
    ToTakeEffect,
}

impl Waits {
    fn of(past: &Past) -> Option<Self> {
        match past {
            _ if past.effective.is_some() => None,
            _ if past.is_prepared => Some(Waits::ToTakeEffect),
            _ if past.step.is_none() => Some(Waits::ToBePrepared),
            _ => None,
        }
    }
}

/// The status of these apps. An engine or a proxy that does not answer is a problem that is told, not an error.
///
/// # Errors
/// When the store cannot be read.
pub async fn of(context: &Context, apps: &[AppName]) -> Result<Vec<AppStatus>> {
    let (visitors, disks) = join(what_visitors_see(context, apps), disks::problems(context)).await;
    let asked = Moment::now();
    let instances = instances(context).await;
    let (routes, out, closed, problems) = proxy_says(context).await;
    let seen = Seen {
        visitors,
        asked,
        instances,
        routes,
        out,
        closed,
        problems,
        disks,
        differs: context.proxy.differs(),
    };
    apps.iter()
        .map(|name| match context.app(name) {
            Ok(app) => one(context, &app, &seen),
            Err(error) => Ok(untold(context, name, &error)),
        })
        .collect()
}

/// The status of an app of which not even the file that it was created with can be read: that one is told of it,
/// and every other app as usual.
fn untold(context: &Context, name: &AppName, error: &anyhow::Error) -> AppStatus {
    AppStatus {
        app: name.clone(),
        address: context.public_address(&context.settings.app(name)),
        live: None,
        slots: Vec::new(),
        under_way: Vec::new(),
        problems: vec![format!("{error:#}")],
        notes: Vec::new(),
    }
}

/// What the engine and the proxy say.
struct Seen {
    /// Before they were asked.
    asked: Moment,
    instances: Result<unwell::Seen>,
    routes: Result<Vec<AppRoute>>,
    out: Vec<OutInstance>,
    closed: Vec<ClosedPort>,
    /// What visitors see of each app that is live, where it is not the app.
    visitors: BTreeMap<AppName, VisitorsSee>,
    /// Of the proxy, whatever the app.
    problems: Vec<String>,
    /// Disks that are full, or nearly so.
    disks: Vec<String>,
    /// What differs between the proxy that is wanted and the one in use.
    differs: Option<String>,
}

/// The proxy's routes, instances that are out, ports that are closed, and problems. One that does not answer is told by
/// its routes; one of an older version puts no instance out.
async fn proxy_says(
    context: &Context,
) -> (
    Result<Vec<AppRoute>>,
    Vec<OutInstance>,
    Vec<ClosedPort>,
    Vec<String>,
) {
    let proxy = match context.proxy.current() {
        Ok(proxy) => proxy,
        Err(error) => return (Err(error.into()), Vec::new(), Vec::new(), Vec::new()),
    };
    (
        proxy.routes().await.map_err(anyhow::Error::from),
        proxy.out().await.unwrap_or_default(),
        proxy.closed_ports().await.unwrap_or_default(),
        proxy.problems().await.unwrap_or_default(),
    )
}

/// Looks at the public port as the visitors of all apps that are live do, at once.
async fn what_visitors_see(context: &Context, apps: &[AppName]) -> BTreeMap<AppName, VisitorsSee> {
    let Ok(proxy) = context.proxy.current() else {
        return BTreeMap::new();
    };
    let looks = apps.iter().filter_map(|name| {
        let is_live = context.store.state(name).ok()?.live.is_some();
        let app = context.app(name).ok().filter(|_| is_live)?;
        let proxy = proxy.as_ref();
        Some(async move {
            Some((
                app.name.clone(),
                visitor::sees(context, proxy, &app, VISIT).await?,
            ))
        })
    });
    join_all(looks).await.into_iter().flatten().collect()
}

async fn instances(context: &Context) -> Result<unwell::Seen> {
    unwell::Seen::of(context.engine().await?).await
}

fn one(context: &Context, app: &App, seen: &Seen) -> Result<AppStatus> {
    let mut problems: Vec<String> = context.differs.iter().cloned().collect();
    let state = context.store.state(&app.name).unwrap_or_else(|error| {
        problems.push(format!("{error}: `deployer recover {}` writes it anew", app.name));
        AppState::default()
    });
    let is_read = problems.len() == context.differs.iter().len();
    let (unsettled, unread) = history::unsettled(context, &app.name, &state)?;
    let is_moving = is_moving(
        unsettled.iter().chain(&newest_running(context, app, &state)),
        &seen.asked,
    );
    if let Some(release) = history::forgotten(&unsettled, &state).filter(|_| is_read && !is_moving) {
        problems.push(format!(
            "{}: `deployer recover {}` writes it anew",
            say::state_is_lost(release),
            app.name
        ));
    }
    problems.extend(
        Unread::damaged(&unread)
            .map(|(_, damage)| format!("{damage}: `deployer recover {}` puts it aside", app.name)),
    );
    problems.extend(Unread::newer(&unread));
    let under_way = under_way(&unsettled);
    for orphan in under_way.iter().filter(|under_way| !under_way.has_worker) {
        problems.push(format!(
            "release {} is unfinished: `deployer recover {}` brings it to its end",
            orphan.release, app.name
        ));
    }
    match &seen.instances {
        Err(error) => problems.push(format!("{error:#}")),
        Ok(_) if is_moving => {}
        Ok(seen) => {
            problems.extend(missing(app, &state, &seen.instances));
            problems.extend(seen.problems(app, &state));
        }
    }
    problems.extend(unwell::out(&app.name, &seen.out));
    problems.extend(branches_left(context, app, &state));
    problems.extend(seen.problems.iter().chain(&seen.disks).cloned());
    problems.extend(seen.differs.clone());
    let mut notes = Vec::new();
    match seen.visitors.get(&app.name) {
        Some(VisitorsSee::Note(text)) => notes.push(text.clone()),
        Some(VisitorsSee::Problem(text)) => problems.push(text.clone()),
        None => {}
    }
    match &seen.routes {
        Err(error) => problems.push(format!("{error:#}")),
        Ok(routes) => {
            let wanted = route_of(app, &state);
            let has = routes.iter().find(|route| route.app == app.name);
            let is_right = has.is_some_and(|has| serves_the_same(has, &wanted));
            if under_way.is_empty() && !is_moving && !state.slots.is_empty() && !is_right {
                problems.push(format!(
                    "the proxy's route is not what state says: `deployer recover {}` mends it",
                    app.name
                ));
            }
        }
    }
    let closed = seen.closed.iter().filter(|closed| has_port(app, closed));
    let tries_again = context.proxy.in_use().is_ok_and(|used| used.kind.has_embedded());
    problems.extend(closed.map(|closed| say::closed_port(&app.name, closed, tries_again)));
    problems.extend(local_ports::warning(
        &Slot::BOTH.iter().map(|slot| app.ports().of(*slot)).collect(),
    ));
    let slots = Slot::BOTH.map(|slot| slot_status(context, app, slot, &state, seen.instances.as_ref().ok()));
    Ok(AppStatus {
        address: context.public_address(&app.settings),
        live: state.live,
        slots: slots.into_iter().collect::<Result<_>>()?,
        under_way,
        problems,
        notes,
        app: app.name.clone(),
    })
}

/// Slots whose branch is still where it was before what they run was pushed, though the push waited for its release: it
/// ended between the two.
fn branches_left(context: &Context, app: &App, state: &AppState) -> Vec<String> {
    let held = context.store.pushes(&app.name);
    let is_left = |slot: Slot, release: ReleaseId| {
        let record = context.store.release(&app.name, release).record().ok()??;
        let before = record.gated?.from;
        let repository = SlotRepository::open(&context.store.repository(&app.name, slot)).ok()?;
        let tip = match repository.tip(&app.settings.branch).ok()? {
            Some(tip) => Some(repository.commit_facts(tip).ok()?.commit),
            None => None,
        };
        Some(tip == before && tip.as_ref() != record.source.commit())
    };
    let runs = state.slots.iter().map(|(slot, running)| (*slot, running.release));
    runs.filter(|(_, release)| held.iter().all(|push| push.release != Some(*release)))
        .filter(|(slot, release)| is_left(*slot, *release) == Some(true))
        .map(|(slot, release)| say::branch_did_not_move(slot, release, &app.settings.branch))
        .collect()
}

/// Whether a port that the proxy could not open is one of the app's.
pub(super) fn has_port(app: &App, closed: &ClosedPort) -> bool {
    Slot::BOTH.iter().any(|slot| app.ports().of(*slot) == closed.port)
}

fn under_way(unsettled: &[Past]) -> Vec<UnderWay> {
    let open = unsettled.iter().filter(|past| past.outcome.is_none());
    let open = open.map(|past| (past, past.dir.has_worker()));
    open.filter(|(past, has_worker)| *has_worker || !has_ended_since(past))
        .map(|(past, has_worker)| UnderWay {
            release: past.record.id,
            slot: past.record.slot,
            step: past.step,
            waits: Waits::of(past).filter(|_| has_worker),
            has_worker,
            by: past.record.by.clone(),
        })
        .collect()
}

/// Whether containers and routes are other than state says by right, or were when they were asked for: a release is
/// past its flip, which state tells only at its end, or has done something since.
fn is_moving<'a>(mut all: impl Iterator<Item = &'a Past>, asked: &Moment) -> bool {
    all.any(|past| {
        let has_flipped = past.outcome.is_none() && past.step >= Some(Step::Flip);
        has_flipped
            || past
                .changed
                .as_ref()
                .is_some_and(|changed| !asked.is_after(changed))
    })
}

/// The newest release that runs: it may have come to its end since the containers were asked for.
fn newest_running(context: &Context, app: &App, state: &AppState) -> Option<Past> {
    let newest = state.slots.values().map(|running| running.release).max()?;
    history::one(context.store.release(&app.name, newest)).ok()?
}

/// Whether a release that nobody works on any more has ended since its journal was read.
fn has_ended_since(past: &Past) -> bool {
    let now = history::one(past.dir.clone()).ok().flatten();
    now.is_none_or(|now| now.outcome.is_some())
}

fn missing(app: &App, state: &AppState, instances: &[Instance]) -> Vec<String> {
    let slots = state.slots.iter().filter(|(_, running)| !running.stopped);
    slots
        .filter_map(|(slot, running)| {
            let (up, wanted) = (up(app, instances, *slot, running).count(), running.instances());
            (up < wanted).then(|| {
                format!(
                    "{slot}: only {up} of {} run: `deployer logs {}/{slot}` may show why, `deployer recover {}` starts them again",
                    say::count(wanted as u64, "instance"), app.name, app.name
                )
            })
        })
        .collect()
}

/// The instances of what a slot runs that are up.
fn up<'a>(
    app: &'a App,
    instances: &'a [Instance],
    slot: Slot,
    running: &'a Running,
) -> impl Iterator<Item = &'a Instance> {
    let of_app = instances.iter().filter(|instance| instance.app == app.name);
    of_app.filter(move |instance| instance.running && is_of(instance, slot, running))
}

fn services(
    app: &App,
    slot: Slot,
    running: &Running,
    state: &AppState,
    seen: Option<&unwell::Seen>,
) -> ByService<ServiceStatus> {
    let endings = seen.map_or(Vec::new(), |seen| seen.endings(app, slot, state));
    let one = |(name, service): (&ServiceName, &RunningService)| {
        let is_up = |instance: &&Instance| instance.name.service == *name;
        let up = seen.map(|seen| up(app, &seen.instances, slot, running).filter(is_up).count());
        let of_it = endings.iter().filter(|endings| endings.name.service == *name);
        let status = ServiceStatus {
            digest: service.image.digest.clone(),
            instances: service.endpoints.len(),
            running: up,
            endings: of_it.cloned().collect(),
        };
        (name.clone(), status)
    };
    running.services.iter().map(one).collect()
}

fn slot_status(
    context: &Context,
    app: &App,
    slot: Slot,
    state: &AppState,
    seen: Option<&unwell::Seen>,
) -> Result<SlotStatus> {
    let running = state.slots.get(&slot);
    let release = running.map(|running| running.release);
    let newer = history::newest_ended(context, &app.name, slot, release)?;
    let failed = newer
        .and_then(|past| Some((past.record.id, past.outcome?)))
        .filter(|(_, outcome)| !outcome.is_good());
    let record = release.and_then(|release| context.store.release(&app.name, release).record().ok()?);
    Ok(SlotStatus {
        slot,
        port: app.ports().of(slot),
        address: context.slot_address(app, slot),
        release,
        commit: running.and_then(|running| running.commit.clone()),
        by: record.as_ref().and_then(|record| record.by.clone()),
        subject: record.and_then(|record| record.source.subject().map(str::to_owned)),
        services: running.map_or_else(ByService::new, |running| {
            services(app, slot, running, state, seen)
        }),
        stopped: running.is_some_and(|running| running.stopped),
        last_failure: failed.map(|(release, outcome)| LastFailure { release, outcome }),
    })
}
