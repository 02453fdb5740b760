//! What a step works with.

use super::attempt::Attempt;
use super::context::Context;
use super::entry::Learned;
use super::log::Log;
use crate::store::{AppLock, ReleaseDir};

/// What a step that is done gives: what the journal learns, and what the pusher reads.
pub(super) type Done = anyhow::Result<(Learned, String)>;

/// One release on its way, with the proof that it alone may change the app.
pub(super) struct Work<'a> {
    pub(super) context: &'a Context,
    pub(super) attempt: Attempt,
    pub(super) release: ReleaseDir,
    pub(super) log: Log,
    pub(super) lock: &'a mut AppLock,
}
