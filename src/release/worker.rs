//! The worker: the detached process that owns one release from its turn to its end.

use std::time::Duration;

use anyhow::{Context as _, Result};

use super::audit;
use super::context::Context;
use super::journal_entry::{Entry, Facts, Outcome};
use super::log::{self, Ended, Event, Log};
use super::messages;
use super::recover;
use super::registry_here;
use super::run::Run;
use super::turn::{self, Turn};
use crate::ground::failpoint;
use crate::model::{AppName, ReleaseId};
use crate::store::{AppLock, Journal, Moment, Record, ReleaseDir, WorkerLock};

/// How long a build's context stays in the Engine's cache: longer than any build that may still use it.
const CONTEXT_KEPT: Duration = Duration::from_secs(60 * 60);

/// How long what no build uses stays in BuildKit's cache.
const BUILDS_KEPT: Duration = Duration::from_secs(7 * 24 * 60 * 60);

/// Brings release `id` of `app` to its end. `lock` was taken by whoever received the release.
///
/// Where that cannot be done the log says so, and the release stays unfinished for `deployer recover`.
///
/// # Errors
/// When there is no such release, or it has no log to say anything in.
pub async fn work(context: &Context, app: &AppName, id: ReleaseId, lock: &WorkerLock) -> Result<()> {
    let release = context.store.release(app, id);
    let record = release
        .record()?
        .with_context(|| format!("there is no release {id} of {app}"))?;
    let mut log = Log::open(&release)?;
    failpoint::at("worker.begun");
    log.event(&Event::begun(app, &record));
    if let Err(error) = go(context, &release, &record, lock, &mut log).await {
        log.event(&Event::Unfinished {
            app: app.clone(),
            release: id,
            why: log::told(&error),
        });
    }
    lock.release();
    if record.builds() {
        tidy(context).await;
    }
    registry_here::measure(context, false).await;
    failpoint::at("worker.ended");
    Ok(())
}

/// What nobody waits for: contexts and layers of earlier builds leave the Engine's cache. Where it fails the next release
/// does it.
async fn tidy(context: &Context) {
    if let Ok(engine) = context.engine().await {
        let _ = engine.forget_contexts(CONTEXT_KEPT).await;
        let _ = engine.forget_builds(BUILDS_KEPT).await;
    }
}

async fn go(
    context: &Context,
    release: &ReleaseDir,
    record: &Record,
    worker: &WorkerLock,
    log: &mut Log,
) -> Result<()> {
    let mut slot = match turn::to_prepare(context, release, record, log).await? {
        Turn::Over(outcome) => return end_before_turn(context, release, record, outcome, log),
        Turn::Mine(slot) => slot,
    };
    // What is built takes its time, and what was left is not to wait for it. Where somebody has the lock they have done so.
    if slot.is_some()
        && let Some(mut lock) = context.store.try_lock(release.app())?
    {
        make_whole(context, release, &mut lock, log).await?;
    }
    let state = context.store.state(release.app()).unwrap_or_default();
    let mut run = Run::new(context, worker, release, state)?;
    if run.prepare(slot.as_mut()).await?.is_some() {
        return Ok(());
    }
    drop(slot);
    let mut lock = match run.await_turn().await? {
        Turn::Over(outcome) => return run.end_before_turn(outcome).await,
        Turn::Mine(lock) => lock,
    };
    make_whole(context, release, &mut lock, log).await?;
    run.take_effect(&mut lock).await?;
    Ok(())
}

/// Brings what killed processes have left of the app to its end, before anything is done by what it says.
async fn make_whole(
    context: &Context,
    release: &ReleaseDir,
    lock: &mut AppLock,
    log: &mut Log,
) -> Result<()> {
    lock.says("release", Some(release.id()), None);
    for told in recover::state(context, lock).await? {
        log.note(told);
    }
    recover::orphans(context, lock).await?;
    // What cannot be removed is no reason to fail a release; `deployer recover` tells it.
    let _ = context.store.sweep(lock);
    Ok(())
}

/// Writes down that a release ended while it waited: it needs no lock, because it changed nothing.
fn end_before_turn(
    context: &Context,
    release: &ReleaseDir,
    record: &Record,
    outcome: Outcome,
    log: &mut Log,
) -> Result<()> {
    let ended = Ended {
        app: release.app(),
        record,
        facts: &Facts::default(),
        outcome: &outcome,
        at: &Moment::now(),
    };
    let state = context.store.state(release.app()).unwrap_or_default();
    let verdict = ended.verdict(context, &state);
    if let Err(error) = audit::ended(context, release.app(), record, &outcome) {
        log.note(messages::not_audited(&error));
    }
    Journal::open(release)?.append(Entry::Finished { outcome })?;
    log.event(&Event::Verdict(verdict));
    Ok(())
}
