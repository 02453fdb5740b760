//! A command that goes back means what it saw: when its turn comes that must still be so.
//!
//! `rollback` takes back what a slot ran, or the last flip, when it was asked for. Where another release came in
//! between, going back from *that* is what nobody asked for: the command fails and changes nothing.

use anyhow::{Result, bail};

use super::say;
use crate::store::{AppState, Record};

/// Whether what the release was about is still so, now that its turn has come.
///
/// # Errors
/// When it is not, with what is so instead.
pub(super) fn is_still_so(record: &Record, now: &AppState) -> Result<()> {
    let Some(meant) = record.meant else {
        return Ok(());
    };
    if let Some(runs) = meant.runs
        && let Some(running) = now.slots.get(&runs.slot)
        && running.release != runs.release
    {
        bail!(say::runs_another(runs.slot, running.release, runs.release));
    }
    if let (Some(meant), Some(live)) = (meant.live, now.live())
        && live != meant
    {
        bail!(say::another_is_live(live, meant));
    }
    Ok(())
}
