//! What runs: state, the journals of runs under way, the engine and the proxy, put together.

use anyhow::Result;
use serde::Serialize;

use super::context::{App, Context};
use super::differences::gather::{self, Everything, Look, OneApp};
use super::differences::{Difference, EngineSays, FileFault, Problem, compare, run_by};
use super::endings::InstanceEndings;
use super::history::{self, Past};
use super::journal_entry::{Outcome, Step};
use super::messages::VisitorsSee;
use super::{identity, messages};
use crate::model::{AppName, By, ByService, Commit, Digest, ReleaseId, ServiceName, Slot};
use crate::store::{AppState, Running, RunningService};

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
    /// What is not as it should be.
    pub problems: Vec<Problem>,
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
    let all = gather::everything(context, apps).await;
    apps.iter()
        .map(|name| match gather::one(context, name, &all, Look::Passing)? {
            Ok(app) => one(context, &app, &all),
            Err(fault) => Ok(untold(context, name, fault)),
        })
        .collect()
}

/// What is not as it should be where there is no app that could be told of it.
pub async fn of_no_app(context: &Context) -> Vec<Problem> {
    let differ = identity::refusal(context).await;
    differ.map(Problem::of_settings).into_iter().collect()
}

/// The status of an app of which not even the file that it was created with can be read: that one is told of it,
/// and every other app as usual.
fn untold(context: &Context, name: &AppName, fault: FileFault) -> AppStatus {
    AppStatus {
        app: name.clone(),
        address: context.public_address(&context.settings.app(name)),
        live: None,
        slots: Vec::new(),
        under_way: Vec::new(),
        problems: vec![Problem::of(name, &Difference::AppFile(fault))],
        notes: Vec::new(),
    }
}

fn one(context: &Context, found: &OneApp, all: &Everything) -> Result<AppStatus> {
    let (app, files) = (&found.should.app, &found.should.files);
    let state = files.state.as_ref().cloned().unwrap_or_default();
    let differences = compare(&found.should, &all.host, &found.own);
    let (notes, problems): (Vec<_>, Vec<_>) = differences.iter().partition(|it| it.is_note());
    let mut notes: Vec<String> = notes
        .into_iter()
        .map(|note| messages::difference(&app.name, note).to_string())
        .collect();
    if let Some(VisitorsSee::Note(text)) = all.host.visitors.get(&app.name) {
        notes.push(text.to_string());
    }
    let engine = all.host.engine.as_ref().ok();
    let slots = Slot::BOTH.map(|slot| slot_status(context, app, slot, &state, engine));
    Ok(AppStatus {
        app: app.name.clone(),
        address: context.public_address(&app.settings),
        live: state.live,
        slots: slots.into_iter().collect::<Result<_>>()?,
        under_way: under_way(found),
        problems: problems
            .into_iter()
            .map(|problem| Problem::of(&app.name, problem))
            .collect(),
        notes,
    })
}

fn under_way(found: &OneApp) -> Vec<UnderWay> {
    let unfinished = found.should.files.unfinished.iter();
    let past = |release| found.unsettled.iter().find(|past| past.record.id == release);
    let known = unfinished.filter_map(|it| Some((it, past(it.release)?)));
    known
        .map(|(it, past): (_, &Past)| UnderWay {
            release: it.release,
            slot: it.slot,
            step: past.step,
            waits: Waits::of(past).filter(|_| it.has_worker),
            has_worker: it.has_worker,
            by: past.record.by.clone(),
        })
        .collect()
}

fn services(
    app: &App,
    slot: Slot,
    running: &Running,
    engine: Option<&EngineSays>,
) -> ByService<ServiceStatus> {
    let one = |(name, service): (&ServiceName, &RunningService)| {
        let there = engine.map(|engine| {
            let there = run_by(engine, &app.name, slot, running);
            there
                .filter(|seen| seen.instance.name.service == *name)
                .collect::<Vec<_>>()
        });
        let up = there.as_ref();
        let up = up.map(|there| there.iter().filter(|seen| seen.instance.running).count());
        let ended = there.into_iter().flatten().filter(|_| !running.stopped);
        let status = ServiceStatus {
            digest: service.image.digest.clone(),
            instances: service.endpoints.len(),
            running: up,
            endings: ended.filter_map(|seen| seen.endings.clone()).collect(),
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
    engine: Option<&EngineSays>,
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
        services: running.map_or_else(ByService::new, |running| services(app, slot, running, engine)),
        stopped: running.is_some_and(|running| running.stopped),
        last_failure: failed.map(|(release, outcome)| LastFailure { release, outcome }),
    })
}
