//! A command that goes back means what it saw, and a push that waits for its release the branch that it saw: when its
//! turn comes that must still be so.
//!
//! `rollback` takes back what a slot ran, or the last flip, when it was asked for. Where another release came in
//! between, going back from *that* is what nobody asked for: the command fails and changes nothing.

use std::time::{Duration, Instant};

use anyhow::{Result, bail};

use super::context::Context;
use super::messages;
use crate::git::SlotRepository;
use crate::model::AppName;
use crate::store::{AppState, Record};

/// How long git may take to move the branch of a release that has ended: it does so at once, unless its client takes
/// nothing that it writes.
const BRANCH_MOVES: Duration = Duration::from_secs(10);

/// How often it is looked whether it has.
const POLL: Duration = Duration::from_millis(10);

/// Whether what the release was about is still so, now that its turn has come. One that is to wait for promotion is not to
/// be on the live slot.
///
/// # Errors
/// When it is not, with what is so instead.
pub(super) fn is_still_so(app: &AppName, record: &Record, now: &AppState) -> Result<()> {
    let is_live = now.live == Some(record.slot);
    if record.builds() && is_live && !record.intent.promotes(is_live) {
        bail!(messages::live_without_promotion(app, record.slot));
    }
    let Some(meant) = record.meant else {
        return Ok(());
    };
    if let Some(runs) = meant.runs
        && let Some(running) = now.slots.get(&runs.slot)
        && running.release != runs.release
    {
        bail!(messages::runs_another(runs.slot, running.release, runs.release));
    }
    if let (Some(meant), Some(live)) = (meant.live, now.live())
        && live != meant
    {
        bail!(messages::another_is_live(live, meant));
    }
    Ok(())
}

/// Whether git can still move the branch of a push that waits for its release. Two pushes may come at once: once the
/// first one's release is good the branch moves, and git declines the second one whatever is released.
///
/// # Errors
/// When it cannot, with where the branch is now; or when the repository cannot be read.
pub(super) async fn branch_may_move(context: &Context, app: &AppName, record: &Record) -> Result<()> {
    let (Some(gated), Some(reference)) = (&record.gated, record.source.reference()) else {
        return Ok(());
    };
    let begun = Instant::now();
    while is_earlier_under_way(context, app, record) && begun.elapsed() < BRANCH_MOVES {
        tokio::time::sleep(POLL).await;
    }
    let repository = SlotRepository::open(&context.store.repository(app, record.slot))?;
    let tip = match repository.tip(reference)? {
        Some(tip) => Some(repository.commit_facts(tip)?.commit),
        None => None,
    };
    if tip != gated.from {
        bail!(messages::branch_has_moved(reference, tip.as_ref()));
    }
    Ok(())
}

/// Whether a push whose release came before `record` has not ended: its branch is about to move, or to stay.
fn is_earlier_under_way(context: &Context, app: &AppName, record: &Record) -> bool {
    let pushes = context.store.pushes(app);
    let mut of_slot = pushes.iter().filter(|push| push.slot == record.slot);
    of_slot.any(|push| push.release.is_some_and(|release| release < record.id))
}
