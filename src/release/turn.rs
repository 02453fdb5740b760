//! Waiting for one's turn. There are two: releases that are built are prepared one at a time per slot, in the order in which
//! they were received; and what is ready takes effect one at a time per app. So nothing waits for a build but the next one
//! of the same slot.

use std::time::Duration;

use anyhow::Result;

use super::context::Context;
use super::history::{self, Past};
use super::journal_entry::{Outcome, Why};
use super::log::{Ahead, Event, Log};
use super::overtaken::{self, Holds};
use crate::store::{AppLock, Holder, Record, ReleaseDir, SlotLock};

/// How often the ones ahead are looked at.
const POLL: Duration = Duration::from_millis(50);

/// What waiting came to.
pub(super) enum Turn<L> {
    /// It is this release's turn, by this lock.
    Mine(L),
    /// The release ended before its turn came.
    Over(Outcome),
}

/// Waits until every earlier release that the slot takes has ended, where this is one that is built; what is there already
/// has nothing to wait for, and gets no lock. Says what it waits for, whenever that changes.
///
/// # Errors
/// When the store cannot be read, or a lock not be opened.
pub(super) async fn to_prepare(
    context: &Context,
    release: &ReleaseDir,
    record: &Record,
    log: &mut Log,
) -> Result<Turn<Option<SlotLock>>> {
    if !record.builds() {
        return Ok(Turn::Mine(None));
    }
    let mut ahead = earlier(context, release, |other| {
        other.slot == record.slot && other.builds()
    })?;
    let mut says = Says::default();
    loop {
        if release.is_cancelled() {
            return Ok(Turn::Over(Outcome::Dropped { why: Why::Cancelled }));
        }
        if let Some(newer) = superseding(context, release, record)? {
            return Ok(Turn::Over(Outcome::Superseded { by: newer.id }));
        }
        ahead.retain(|other| other.has_worker());
        let waits_for = match ahead.first() {
            Some(first) => about(context, first).map(Event::WaitsToBeBuilt),
            None => match context.store.try_lock_slot(release.app(), record.slot)? {
                Some(mut lock) => {
                    lock.says("release", Some(release.id()), None);
                    return not_overtaken(context, release, record, lock);
                }
                // No earlier release has it, and a later push would supersede this one: it is a command.
                None => {
                    let holder = context.store.slot_holder(release.app(), record.slot);
                    holder.as_ref().map(command_of)
                }
            },
        };
        says.whenever_it_changes(waits_for, log);
        tokio::time::sleep(POLL).await;
    }
}

/// What would not take effect once it is built need not be built.
fn not_overtaken(
    context: &Context,
    release: &ReleaseDir,
    record: &Record,
    lock: SlotLock,
) -> Result<Turn<Option<SlotLock>>> {
    let later = overtaken::later(context, release.app(), release.id())?;
    let live = match later.is_empty() {
        true => None,
        false => context.store.state(release.app())?.live,
    };
    Ok(
        match overtaken::what_holds(record.slot, &record.intent, live, &later) {
            Holds::Nothing(by) => Turn::Over(Outcome::Superseded { by }),
            Holds::All | Holds::Standby(_) => Turn::Mine(Some(lock)),
        },
    )
}

/// Waits until every earlier release that is ready has ended and the app's lock is free. `waits` is called once, before
/// this waits: others must see by then that this one is ready. Says what it waits for, whenever that changes.
///
/// # Errors
/// When the store cannot be read, or the lock not be opened; and those of `waits`.
pub(super) async fn to_take_effect(
    context: &Context,
    release: &ReleaseDir,
    record: &Record,
    log: &mut Log,
    waits: impl FnOnce() -> Result<()>,
) -> Result<Turn<AppLock>> {
    let mut ahead = earlier(context, release, |_| true)?;
    let mut says = Says::default();
    let mut waits = Some(waits);
    loop {
        if release.is_cancelled() {
            return Ok(Turn::Over(Outcome::Dropped { why: Why::Cancelled }));
        }
        ahead.retain(|other| other.has_worker());
        let waits_for = match ahead.iter().find(|other| is_ready(other)) {
            Some(first) => about(context, first).map(Event::WaitsToTakeEffect),
            None => match context.store.try_lock(release.app())? {
                Some(lock) => return Ok(Turn::Mine(lock)),
                None => {
                    let holder = context.store.holder(release.app());
                    holder.and_then(|holder| about_holder(context, release, &holder))
                }
            },
        };
        if let Some(waits) = waits.take() {
            waits()?;
        }
        if let Some(newer) = superseding(context, release, record)? {
            return Ok(Turn::Over(Outcome::Superseded { by: newer.id }));
        }
        says.whenever_it_changes(waits_for, log);
        tokio::time::sleep(POLL).await;
    }
}

/// What was said last of what is waited for.
#[derive(Default)]
struct Says {
    told: Option<Event>,
}

impl Says {
    fn whenever_it_changes(&mut self, waits_for: Option<Event>, log: &mut Log) {
        if waits_for.is_some() && waits_for != self.told {
            self.told = waits_for;
            self.told.iter().for_each(|event| log.event(event));
        }
    }
}

/// The earlier releases of this kind that have a worker, the oldest first.
fn earlier(
    context: &Context,
    release: &ReleaseDir,
    is_wanted: impl Fn(&Record) -> bool,
) -> Result<Vec<ReleaseDir>> {
    let mut all = context.store.releases(release.app())?;
    all.retain(|other| {
        let record = || other.record().ok().flatten();
        other.id() < release.id() && other.has_worker() && record().is_none_or(|record| is_wanted(&record))
    });
    Ok(all)
}

/// Whether a release waits to take effect, or does. One that cannot be read is waited for.
fn is_ready(other: &ReleaseDir) -> bool {
    history::one(other.clone()).is_ok_and(|past| past.is_none_or(|past| past.is_ready()))
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

/// Which release is waited for, and where it is.
fn about(context: &Context, first: &ReleaseDir) -> Option<Ahead> {
    let record = first.record().ok()??;
    let of_it = |holder: &Holder| holder.release == Some(first.id());
    let app = context.store.holder(first.app()).filter(of_it);
    let slot = || context.store.slot_holder(first.app(), record.slot).filter(of_it);
    Some(Ahead {
        release: first.id(),
        slot: record.slot,
        step: app.or_else(slot).and_then(|holder| holder.step),
    })
}

fn about_holder(context: &Context, release: &ReleaseDir, holder: &Holder) -> Option<Event> {
    match holder.release {
        Some(id) if id != release.id() => {
            let about = about(context, &context.store.release(release.app(), id))?;
            Some(Event::WaitsToTakeEffect(about))
        }
        Some(_) => None,
        None => Some(command_of(holder)),
    }
}

fn command_of(holder: &Holder) -> Event {
    Event::WaitsForCommand {
        command: format!("deployer {}", holder.what),
    }
}

/// The releases that have not ended and that nobody works on: those whose worker was killed. One that took effect is among
/// them even if its worker is still there, since whoever has the app's lock knows that it has given up.
pub(super) fn orphans(context: &Context, lock: &AppLock) -> Result<Vec<Past>> {
    let state = context.store.state(lock.app())?;
    let (mut all, _) = history::unsettled(context, lock.app(), &state)?;
    all.retain(|past| past.outcome.is_none() && (past.effective.is_some() || !past.dir.has_worker()));
    Ok(all)
}
