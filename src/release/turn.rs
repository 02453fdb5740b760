//! Waiting for one's turn: releases of an app go one at a time, in the order in which they were received.

use std::time::Duration;

use anyhow::Result;

use super::context::Context;
use super::entry::{Outcome, Why};
use super::history::{self, Past};
use super::log::{Event, Log};
use crate::store::{AppLock, Record, ReleaseDir};

/// How often the ones ahead are looked at.
const POLL: Duration = Duration::from_millis(50);

/// What waiting came to.
pub(super) enum Turn {
    /// It is this release's turn.
    Mine(AppLock),
    /// The release ended before its turn came.
    Over(Outcome),
}

/// Waits until every earlier release that is being worked on has ended and the app's lock is free. Says what
/// it waits for, whenever that changes.
pub(super) async fn wait(
    context: &Context,
    release: &ReleaseDir,
    record: &Record,
    log: &mut Log,
) -> Result<Turn> {
    let mut told = None;
    let mut ahead = ahead_of(context, release)?;
    loop {
        if release.is_cancelled() {
            return Ok(Turn::Over(Outcome::Dropped { why: Why::Cancelled }));
        }
        if let Some(newer) = superseding(context, release, record)? {
            return Ok(Turn::Over(Outcome::Superseded { by: newer.id }));
        }
        ahead.retain(|other| other.has_worker());
        let waits_for = match ahead.first() {
            Some(first) => about(context, first),
            None => match context.store.try_lock(release.app())? {
                Some(lock) => return Ok(Turn::Mine(lock)),
                None => about_holder(context, release),
            },
        };
        if let Some(event) = waits_for.filter(|event| told.as_ref() != Some(event)) {
            log.event(&event);
            told = Some(event);
        }
        tokio::time::sleep(POLL).await;
    }
}

/// The earlier releases that have a worker, the oldest first.
fn ahead_of(context: &Context, release: &ReleaseDir) -> Result<Vec<ReleaseDir>> {
    let mut all = context.store.releases(release.app())?;
    all.retain(|other| other.id() < release.id() && other.has_worker());
    Ok(all)
}

/// The newest push to the same slot that came after this one, when this one is a push too.
fn superseding(context: &Context, release: &ReleaseDir, record: &Record) -> Result<Option<Record>> {
    if !record.builds() {
        return Ok(None);
    }
    let mut all = context.store.releases(release.app())?;
    all.retain(|other| other.id() > release.id());
    let mut newest = all.iter().rev().filter_map(|other| other.record().ok().flatten());
    Ok(newest.find(|other| other.slot == record.slot && other.builds()))
}

fn about(context: &Context, first: &ReleaseDir) -> Option<Event> {
    let record = first.record().ok()??;
    let holder = context
        .store
        .holder(first.app())
        .filter(|holder| holder.release == Some(first.id()));
    Some(Event::WaitsForRelease {
        release: first.id(),
        slot: record.slot,
        step: holder.and_then(|holder| holder.step),
    })
}

fn about_holder(context: &Context, release: &ReleaseDir) -> Option<Event> {
    let holder = context.store.holder(release.app())?;
    match holder.release {
        Some(id) if id != release.id() => about(context, &context.store.release(release.app(), id)),
        Some(_) => None,
        None => Some(Event::WaitsForCommand {
            command: format!("deployer {}", holder.what),
        }),
    }
}

/// The releases that have not ended and that nobody works on: those whose worker was killed. One that has begun is
/// among them even if its worker is still there, since whoever has the app's lock knows that it has given up.
pub(super) fn orphans(context: &Context, lock: &AppLock) -> Result<Vec<Past>> {
    let state = context.store.state(lock.app())?;
    let (mut all, _) = history::unsettled(context, lock.app(), &state)?;
    all.retain(|past| past.outcome.is_none() && (past.step.is_some() || !past.dir.has_worker()));
    Ok(all)
}
