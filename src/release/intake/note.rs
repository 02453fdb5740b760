//! What was noted of the push that a hook is about.

use anyhow::{Context as _, Result};

use crate::model::AppName;
use crate::release::context::Context;
use crate::store::Process;

/// Whether the push that this hook is about was released before its branch moved; what was noted of it is forgotten.
pub(super) fn was_released(context: &Context, app: &AppName) -> bool {
    let is_released = is_released(context, app);
    forget(context, app);
    is_released
}

/// Whether the push that this hook is about waits for its release.
pub fn is_noted(context: &Context, app: &AppName) -> bool {
    let note = Process::receive_pack().and_then(|receiver| context.store.push_note(app, receiver));
    note.is_some()
}

/// Whether the push that this hook is about was released already.
pub fn is_released(context: &Context, app: &AppName) -> bool {
    let note = Process::receive_pack().and_then(|receiver| context.store.push_note(app, receiver));
    note.is_some_and(|note| note.release.is_some())
}

/// Forgets what was noted of the push that this hook is about, whose branch stays.
pub fn forget(context: &Context, app: &AppName) {
    if let Some(receiver) = Process::receive_pack() {
        context.store.forget_push(app, receiver);
    }
}

pub(super) fn receiver() -> Result<Process> {
    Process::receive_pack().context("/proc does not tell which process takes this push")
}
