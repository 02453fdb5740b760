//! Gathers both sides of the comparison: reads files, asks the Engine, the proxy and this host.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use anyhow::Result;
use futures_util::future::{join_all, join3};
use jiff::Timestamp;
use tokio::join;

use super::{Branch, EngineSays, FileFault, Files, Host, Own, ProxySays, Seen, Should, Unfinished};
use super::{DamagedFile, NetworkFault};
use crate::engine::{Engine, EngineError};
use crate::git::SlotRepository;
use crate::ground::told::Told;
use crate::model::{AppName, ReleaseId, Slot};
use crate::proxy::{Proxy, ProxyError, local_ports};
use crate::release::context::{App, Context};
use crate::release::history::{self, Past, Unread};
use crate::release::journal_entry::{Outcome, Step, has_ended};
use crate::release::messages::VisitorsSee;
use crate::release::{disks, endings, identity, prune, visitor};
use crate::store::{AppState, Moment, StoreError};

/// How long it may take to see what visitors see.
const VISIT: Duration = Duration::from_secs(1);

/// How an app is looked at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::release) enum Look {
    /// While anybody may work on it. What it costs does not grow with the history.
    Passing,
    /// Under its lock, so that nothing moves: at everything.
    Locked,
}

/// What is, for all apps of this host, and what it has to be compared with.
pub(in crate::release) struct Everything {
    pub(in crate::release) host: Host,
    /// Before the Engine and the proxy were asked.
    asked: Moment,
    /// The releases that had not ended by then.
    unended: BTreeMap<AppName, BTreeSet<ReleaseId>>,
}

/// An app, and what should be of it.
pub(in crate::release) struct OneApp {
    pub(in crate::release) should: Should,
    pub(in crate::release) own: Own,
    /// The releases that its state may know nothing of, the oldest first.
    pub(in crate::release) unsettled: Vec<Past>,
}

/// Looks at what is. An Engine or a proxy that does not answer is a difference, not an error.
pub(in crate::release) async fn everything(context: &Context, apps: &[AppName]) -> Everything {
    let (visitors, disks, settings) = join3(
        what_visitors_see(context, apps),
        disks::full(context),
        identity::refusal(context),
    )
    .await;
    let unended = apps.iter().map(|app| (app.clone(), unended(context, app)));
    let unended = unended.collect();
    let asked = Moment::now();
    let only = match apps {
        [app] => Some(app),
        _ => None,
    };
    let engine = engine_says(context, only).await;
    let proxy = proxy_says(&context.proxy).await;
    Everything {
        host: Host {
            settings,
            engine: engine.map_err(|error| Told::of(&error)),
            proxy,
            disks,
            visitors,
            seen: Timestamp::now(),
        },
        asked,
        unended,
    }
}

/// Looks at an app of `all`; why not, where not even what it was given can be read.
///
/// # Errors
/// When its releases cannot be listed.
pub(in crate::release) fn one(
    context: &Context,
    name: &AppName,
    all: &Everything,
    look: Look,
) -> Result<std::result::Result<OneApp, FileFault>> {
    let app = match context.app(name) {
        Ok(app) => app,
        Err(error) => return Ok(Err(file_fault_of(&error))),
    };
    let (mut files, unsettled) = files(context, &app)?;
    if look == Look::Passing {
        files.is_moving = is_moving(context, &app, &files, &unsettled, all);
    }
    let mut own = Own {
        branches: branches(context, &app, files.state.as_ref().ok()),
        unreserved: local_ports::unreserved(&Slot::BOTH.iter().map(|slot| app.ports().of(*slot)).collect()),
        at_work: at_work(context, name, all),
        leftovers: Vec::new(),
    };
    if look == Look::Locked {
        before(context, &app, &mut files)?;
        own.leftovers = prune::prune_repositories(context, name, prune::Mode::DryRun)?;
    }
    Ok(Ok(OneApp {
        should: Should { app, files },
        own,
        unsettled,
    }))
}

/// What state and the files of those releases say that it may know nothing of; and these releases.
///
/// # Errors
/// When the releases cannot be listed.
pub(in crate::release) fn files(context: &Context, app: &App) -> Result<(Files, Vec<Past>)> {
    let state = context.store.state(&app.name).map_err(FileFault::from);
    let known = state.as_ref().cloned().unwrap_or_default();
    let (unsettled, unread) = history::unsettled(context, &app.name, &known)?;
    let good = |past: &&Past| past.outcome.as_ref().is_some_and(Outcome::is_good);
    let newest_good = unsettled.iter().rev().find(good).map(|past| past.record.id);
    let open = unsettled.iter().filter(|past| past.outcome.is_none());
    let open = open.map(|past| (past, past.dir.has_worker()));
    let unfinished = open.filter(|(past, has_worker)| *has_worker || !has_ended_since(past));
    let files = Files {
        state,
        newest_good,
        unfinished: unfinished
            .map(|(past, has_worker)| Unfinished {
                release: past.record.id,
                slot: past.record.slot,
                has_worker,
            })
            .collect(),
        damaged: damaged(&unread),
        damaged_before: Vec::new(),
        newer: Unread::newer(&unread),
        newer_before: None,
        is_moving: false,
    };
    Ok((files, unsettled))
}

/// The releases of an app's containers that somebody works on: what is made ahead for one that is prepared is that one's.
fn at_work(context: &Context, app: &AppName, all: &Everything) -> BTreeSet<ReleaseId> {
    let engine = all.host.engine.as_ref().ok().into_iter();
    let instances = engine.flat_map(|engine| engine.instances.iter().map(|seen| &seen.instance));
    let releases = instances.filter(|it| it.app == *app).map(|it| it.release);
    let mut releases: BTreeSet<ReleaseId> = releases.collect();
    releases.retain(|release| context.store.release(app, *release).has_worker());
    releases
}

/// Looks at the releases that state knows of, too.
fn before(context: &Context, app: &App, files: &mut Files) -> Result<()> {
    let (_, unread) = history::read(context, &app.name)?;
    let mut all = damaged(&unread);
    all.retain(|file| !files.damaged.contains(file));
    files.damaged_before = all;
    files.newer_before = Unread::newer(&unread).filter(|_| files.newer.is_none());
    Ok(())
}

fn damaged(unread: &[Unread]) -> Vec<DamagedFile> {
    let damaged = Unread::damaged(unread);
    damaged
        .map(|(path, told)| DamagedFile {
            path: path.to_owned(),
            told: told.to_owned(),
        })
        .collect()
}

impl From<StoreError> for FileFault {
    fn from(error: StoreError) -> Self {
        let told = Told::of(&error);
        match error {
            StoreError::Unreadable { .. } => Self::Damaged(told),
            StoreError::Newer { .. } => Self::Newer(told),
            StoreError::Io { .. } => Self::Unread(told),
        }
    }
}

fn file_fault_of(error: &anyhow::Error) -> FileFault {
    let told = Told::of(error);
    match error.downcast_ref() {
        Some(StoreError::Unreadable { .. }) => FileFault::Damaged(told),
        Some(StoreError::Newer { .. }) => FileFault::Newer(told),
        _ => FileFault::Unread(told),
    }
}

fn unended(context: &Context, app: &AppName) -> BTreeSet<ReleaseId> {
    let releases = context.store.releases(app).unwrap_or_default();
    let open = releases.iter().filter(|dir| !has_ended(dir));
    open.map(|dir| dir.id()).collect()
}

/// See [`Files::is_moving`]. A release that has changed something since the Engine was asked had not ended then, or is
/// newer than all that runs, or runs.
fn is_moving(context: &Context, app: &App, files: &Files, unsettled: &[Past], all: &Everything) -> bool {
    let state = files.state.as_ref().ok();
    let runs = state
        .into_iter()
        .flat_map(|state| state.slots.values())
        .map(|running| running.release);
    let mut others: BTreeSet<ReleaseId> = runs.collect();
    others.extend(all.unended.get(&app.name).into_iter().flatten());
    for past in unsettled {
        others.remove(&past.record.id);
    }
    let others = others
        .into_iter()
        .filter_map(|release| history::one(context.store.release(&app.name, release)).ok()?);
    let changes = |past: &Past| {
        let has_flipped = past.outcome.is_none() && past.step >= Some(Step::Flip);
        let changed = past.changed.as_ref();
        has_flipped || changed.is_some_and(|changed| !all.asked.is_after(changed))
    };
    unsettled.iter().any(changes) || others.into_iter().any(|past| changes(&past))
}

/// Whether a release that nobody works on any more has ended since its journal was read.
fn has_ended_since(past: &Past) -> bool {
    let now = history::one(past.dir.clone()).ok().flatten();
    now.is_none_or(|now| now.outcome.is_some())
}

/// The branches of what runs and was released before its push was taken, unless the push is still held.
fn branches(context: &Context, app: &App, state: Option<&AppState>) -> Vec<Branch> {
    let held = context.store.pushes(&app.name);
    let branch = |slot: Slot, release: ReleaseId| {
        let record = context.store.release(&app.name, release).record().ok()??;
        let before = record.gated.as_ref()?.from.clone();
        let repository = SlotRepository::open(&context.store.repository(&app.name, slot)).ok()?;
        let tip = match repository.tip(&app.settings.branch).ok()? {
            Some(tip) => Some(repository.commit_facts(tip).ok()?.commit),
            None => None,
        };
        Some(Branch {
            slot,
            release,
            name: app.settings.branch.clone(),
            before,
            tip,
            released: record.source.commit().cloned(),
        })
    };
    let slots = state.into_iter().flat_map(|state| &state.slots);
    let runs = slots.map(|(slot, running)| (*slot, running.release));
    runs.filter(|(_, release)| held.iter().all(|push| push.release != Some(*release)))
        .filter_map(|(slot, release)| branch(slot, release))
        .collect()
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

/// Asks the Engine for its containers, those of `only` where one app is looked at, and for how each of them is, and beside
/// that for what ended lately.
async fn engine_says(context: &Context, only: Option<&AppName>) -> Result<EngineSays> {
    let engine = context.engine().await?;
    let look = async {
        let instances = engine.instances(only).await?;
        let states = instances
            .iter()
            .map(async |instance| engine.instance_state(&instance.id).await.ok());
        let states = join_all(states).await;
        Ok::<_, EngineError>(instances.into_iter().zip(states))
    };
    let (looked, remembered, network) = join!(look, engine.endings(), network_fault(context, engine));
    // Without them fewer endings are known.
    let (remembered, now) = (remembered.unwrap_or_default(), Timestamp::now());
    let instances = looked?.map(|(instance, state)| Seen {
        endings: state
            .as_ref()
            .and_then(|state| endings::known(&instance.name, &instance.id, state, &remembered, now)),
        status: state.map(|state| state.status),
        instance,
    });
    Ok(EngineSays {
        network: network?,
        instances: instances.collect(),
    })
}

async fn network_fault(context: &Context, engine: &Engine) -> Result<Option<NetworkFault>, EngineError> {
    match engine.find_network().await {
        Ok(Some(_)) => Ok(None),
        Ok(None) => Ok(Some(NetworkFault::Missing(
            context.settings.engine.network.clone(),
        ))),
        Err(error @ (EngineError::NetworkDiffers { .. } | EngineError::NetworkAmbiguous { .. })) => {
            Ok(Some(NetworkFault::Wrong(Told::of(&error))))
        }
        Err(error) => Err(error),
    }
}

/// Asks the proxy. One that does not answer tells so by its routes; one of an older version puts no instance out.
async fn proxy_says(all: &Proxy) -> ProxySays {
    let silent = |error: ProxyError| ProxySays {
        routes: Err(Told::of(&error)),
        out: Vec::new(),
        closed: Vec::new(),
        tries_again: false,
        mismatches: Vec::new(),
        kind: all.differs(),
    };
    let proxy = match all.current() {
        Ok(proxy) => proxy,
        Err(error) => return silent(error),
    };
    ProxySays {
        routes: proxy.routes().await.map_err(|error| Told::of(&error)),
        out: proxy.out().await.unwrap_or_default(),
        closed: proxy.closed_ports().await.unwrap_or_default(),
        tries_again: all.in_use().is_ok_and(|used| used.kind.has_embedded()),
        mismatches: proxy.mismatches().await.unwrap_or_default(),
        kind: all.differs(),
    }
}
