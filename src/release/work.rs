//! What a step works with.

use super::attempt::Attempt;
use super::context::Context;
use super::journal_entry::Learned;
use super::log::Log;
use crate::store::ReleaseDir;

/// What a step that is done gives: what the journal learns, and what the pusher reads.
pub(super) type Done = anyhow::Result<(Learned, String)>;

/// One release on its way.
pub(super) struct Work<'a> {
    pub(super) context: &'a Context,
    pub(super) attempt: Attempt,
    pub(super) release: ReleaseDir,
    pub(super) log: Log,
}
