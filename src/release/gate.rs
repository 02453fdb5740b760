//! gate: what a push has to pass before its branch moves.
//!
//! Git calls `pre-receive` once, `update` for each reference, and `post-receive` for those that have moved. The last one
//! is in every repository and releases what was not released before; the others are there where the gate needs them.
//! What one hook has to tell the next one stands in a note of the push ([`PushNote`]), so that a gate that is changed
//! while a push is under way neither releases it twice nor not at all.

use std::path::Path;

use anyhow::{Context as _, Result};

use super::context::{App, Context};
use super::receive;
use super::say;
use crate::git::{Found, GitError, Pushed, RefUpdate, SlotRepository, what_was_pushed};
use crate::model::{AppName, Asked, Commit, Gate, Slot, printable};
use crate::store::{Process, PushNote, ReleaseDir};

/// Whether a reference may move.
pub enum Passed {
    /// It may.
    Yes,
    /// It may not: why, as the pusher reads it.
    No(String),
    /// Once this release is good.
    Once(ReleaseDir),
}

/// Notes a push of the app's branch before anything of it is in its place, since git tells its options to no later hook
/// that could decline it.
///
/// # Errors
/// When it cannot be noted: without the note the push would not wait for its release.
pub fn begin(
    context: &Context,
    app: &AppName,
    slot: Slot,
    updates: &[RefUpdate],
    asked: Asked,
) -> Result<()> {
    let branch = context.settings.app(app).branch;
    if !matches!(what_was_pushed(updates, &branch), Pushed::Branch { .. }) {
        return Ok(());
    }
    let receiver = receiver()?;
    let note = PushNote {
        slot,
        asked,
        release: None,
    };
    Ok(context.store.note_push(app, receiver, &note)?)
}

/// Whether the reference of `update` may move.
///
/// # Errors
/// When that cannot be told, or its release cannot be begun: then it must not.
pub fn pass(context: &Context, app: &AppName, slot: Slot, update: &RefUpdate) -> Result<Passed> {
    let app = context.app(app)?;
    let gate = app.settings.gate;
    let declined = |why: &str| {
        let live = context.store.state(&app.name).ok().and_then(|state| state.live());
        Ok(Passed::No(say::declined(&app.name, slot, why, live)))
    };
    let new = match what_was_pushed(std::slice::from_ref(update), &app.settings.branch) {
        _ if gate == Gate::None => return Ok(Passed::Yes),
        Pushed::Branch { new, .. } => new,
        Pushed::Deleted { .. } if gate == Gate::Release => {
            return declined(&say::branch_stays(&app.settings.branch));
        }
        Pushed::Deleted { .. } | Pushed::Other { .. } => return Ok(Passed::Yes),
    };
    let receiver = receiver()?;
    if gate == Gate::Release
        && let Some(note) = context.store.push_note(&app.name, receiver)
    {
        let release = receive::gated(context, &app.name, update, (receiver, note))?;
        return Ok(Passed::Once(release));
    }
    let repository = SlotRepository::open(&context.store.repository(&app.name, slot))?;
    let new = repository.commit_facts(new)?.commit;
    let old = update
        .old
        .and_then(|old| Some(repository.commit_facts(old).ok()?.commit));
    match fault(context, &app, slot, &repository, (old.as_ref(), &new))? {
        Some(why) => declined(&printable(&why)),
        None => Ok(Passed::Yes),
    }
}

/// Whether the push that this hook is about was released before its branch moved; what was noted of it is forgotten.
pub(super) fn was_released(context: &Context, app: &AppName) -> bool {
    let is_released = is_released(context, app);
    declined(context, app);
    is_released
}

/// Whether the push that this hook is about was released already.
pub fn is_released(context: &Context, app: &AppName) -> bool {
    let note = Process::receive_pack().and_then(|receiver| context.store.push_note(app, receiver));
    note.is_some_and(|note| note.release.is_some())
}

/// Forgets what was noted of the push that this hook is about, whose branch stays.
pub fn declined(context: &Context, app: &AppName) {
    if let Some(receiver) = Process::receive_pack() {
        context.store.forget_push(app, receiver);
    }
}

fn receiver() -> Result<Process> {
    Process::receive_pack().context("/proc does not tell which process takes this push")
}

/// What no build of `new` could get over, as far as the repository alone can tell.
fn fault(
    context: &Context,
    app: &App,
    slot: Slot,
    repository: &SlotRepository,
    (old, new): (Option<&Commit>, &Commit),
) -> Result<Option<String>> {
    let worktree = context.store.worktree(&app.name, slot);
    let weight = match repository.weigh(new, &worktree) {
        Ok(weight) => weight,
        Err(error @ GitError::Repository { .. }) => return Err(error.into()),
        Err(error) => return Ok(Some(error.to_string())),
    };
    let build = &app.settings.build;
    let dockerfile = Path::new(&build.context).join(&build.dockerfile);
    let shown = dockerfile
        .strip_prefix(".")
        .unwrap_or(&dockerfile)
        .display()
        .to_string();
    match repository.find(new, &dockerfile)? {
        Found::Nothing => return Ok(Some(say::no_dockerfile(&shown))),
        Found::File(0) => return Ok(Some(say::empty_dockerfile(&shown))),
        Found::Outside => return Ok(Some(say::dockerfile_outside(&shown))),
        // A link inside the tree is the build's to follow.
        Found::File(_) | Found::Link => {}
    }
    // The worktree most likely holds what the branch was at.
    let had = old.and_then(|old| repository.weigh(old, &worktree).ok());
    let needs = weight.bytes.saturating_sub(had.map_or(0, |had| had.bytes));
    let free = context.store.free(&app.name)?;
    let short = free.filter(|free| needs > *free);
    Ok(short.map(|free| say::no_space_for_tree(needs, free, &worktree)))
}
