//! gate: what a push has to pass before its branch moves.
//!
//! Git calls `pre-receive` once, `update` for each reference, and `post-receive` for those that have moved. The first one
//! is in every repository and declines what no gate takes; the last one releases what was not released before; `update` is
//! there where the gate needs it.
//! What one hook has to tell the next one stands in a note of the push ([`PushNote`]), so that a gate that is changed
//! while a push is under way neither releases it twice nor not at all.

use std::path::Path;

use anyhow::Result;

use super::note::receiver;
use super::push;
use crate::git::{
    self, Found, GitError, Obstacle, Pushed, RefUpdate, SlotRepository, is_shallow, what_was_pushed,
};
use crate::ground::told::Told;
use crate::model::{AppName, Asked, BuildSettings, Commit, Gate, Slot, printable};
use crate::release::context::{App, Context};
use crate::release::messages;
use crate::store::{Process, PushNote, ReleaseDir};

/// References of one kind that are named to a pusher.
const NAMED_MAX: usize = 10;

/// Whether a reference may move.
pub enum Passed {
    /// It may.
    Yes,
    /// It may not: why, as the pusher reads it.
    No(Told),
    /// Once this release is good.
    Once(ReleaseDir),
}

/// Looks at a push before anything of it is in its place. Where the app's branch waits for its release, the push is noted,
/// since git tells its options to no later hook that could decline it.
///
/// # Errors
/// When it cannot be noted: without the note the push would not wait for its release.
pub fn begin(
    context: &Context,
    app: &AppName,
    slot: Slot,
    updates: &[RefUpdate],
    asked: Asked,
) -> Result<Passed> {
    if is_shallow(|name| std::env::var_os(name)) {
        return Ok(declined_for(context, app, slot, messages::shallow()));
    }
    let settings = context.settings.app(app);
    let is_of_branch = matches!(what_was_pushed(updates, &settings.branch), Pushed::Branch { .. });
    if settings.gate == Gate::Release && is_of_branch {
        let note = PushNote {
            slot,
            asked,
            release: None,
            updates: updates.iter().map(RefUpdate::line).collect(),
        };
        context.store.note_push(app, receiver()?, &note)?;
    }
    Ok(Passed::Yes)
}

/// Whether pushes of the app's branch wait for their releases.
pub fn holds_pushes(context: &Context, app: &AppName) -> bool {
    context.settings.app(app).gate == Gate::Release
}

/// A sentence for each of the references that git does not take whatever a hook says, which it does not explain: at most
/// ten of them.
pub fn not_taken(updates: &[RefUpdate]) -> Vec<String> {
    let names = updates.iter().map(|update| update.reference.as_str());
    let not_taken = names.filter_map(|name| Some(messages::not_taken(name, git::not_taken(name)?)));
    not_taken.take(NAMED_MAX).collect()
}

/// Whether the reference of `update` may move.
///
/// # Errors
/// When that cannot be told, or its release cannot be begun: then it must not.
pub fn pass(context: &Context, app: &AppName, slot: Slot, update: &RefUpdate) -> Result<Passed> {
    let app = context.app(app)?;
    let gate = app.settings.gate;
    let declined = |why: Told| Ok(declined_for(context, &app.name, slot, why));
    let new = match what_was_pushed(std::slice::from_ref(update), &app.settings.branch) {
        _ if gate == Gate::None => return Ok(Passed::Yes),
        Pushed::Branch { new, .. } => new,
        Pushed::Deleted { .. } if gate == Gate::Release => {
            return declined(messages::branch_stays(&app.settings.branch));
        }
        Pushed::Other { .. } if gate == Gate::Release && blocks_a_release(context, &app, slot, update) => {
            return declined(messages::blocks_a_release(
                &update.reference,
                &app.settings.branch,
            ));
        }
        Pushed::Deleted { .. } | Pushed::Other { .. } => return Ok(Passed::Yes),
    };
    let receiver = receiver()?;
    if gate == Gate::Release
        && let Some(note) = context.store.push_note(&app.name, receiver)
    {
        if let Some(why) = cannot_move(context, &app, &note, update)? {
            return declined(why);
        }
        let release = push::gated(context, &app.name, update, (receiver, note))?;
        return Ok(Passed::Once(release));
    }
    let repository = SlotRepository::open(&context.store.repository(&app.name, slot))?;
    let new = repository.commit_facts(new)?.commit;
    let old = update
        .old
        .and_then(|old| Some(repository.commit_facts(old).ok()?.commit));
    match fault(context, &app, slot, &repository, (old.as_ref(), &new))? {
        Some(why) => declined(why.map(|text| printable(text).into_owned())),
        None => Ok(Passed::Yes),
    }
}

/// Why git cannot move the branch of `update` now that its release has ended well: the hook cannot help it any more, but
/// can say so. None where it can, or where that cannot be told.
pub fn cannot_move_any_more(
    context: &Context,
    app: &AppName,
    slot: Slot,
    (update, release): (&RefUpdate, &ReleaseDir),
) -> Option<Told> {
    let app = context.app(app).ok()?;
    let note = context.store.push_note(&app.name, Process::receive_pack()?)?;
    let why = cannot_move(context, &app, &note, update).ok()??;
    let name = &app.name;
    Some(messages::released_but_declined(
        name,
        slot,
        release.id(),
        &app.settings.branch,
        why,
    ))
}

/// Why git cannot move the branch of `update`, if it cannot.
fn cannot_move(context: &Context, app: &App, note: &PushNote, update: &RefUpdate) -> Result<Option<Told>> {
    let branch = &app.settings.branch;
    let repository = SlotRepository::open(&context.store.repository(&app.name, note.slot))?;
    if let Some(obstacle) = repository.obstacle(&[update])? {
        return Ok(Some(told(branch, &obstacle)));
    }
    let all = RefUpdate::read(note.updates.join("\n").as_bytes())?;
    let others = || all.iter().filter(|other| other.reference != update.reference);
    let before = all.iter().take_while(|other| other.reference != update.reference);
    // With --atomic all references move at once, behind all hooks. Git does not say whether it was given, but where one
    // has moved already it was not, and no other one can keep the branch from moving.
    let is_one_by_one = before
        .into_iter()
        .any(|other| other.old != other.new && repository.has_moved(other));
    if is_one_by_one || others().next().is_none() {
        return Ok(None);
    }
    let together: Vec<&RefUpdate> = others()
        .filter(|other| git::not_taken(&other.reference).is_none())
        .chain([update])
        .collect();
    let obstacle = repository.obstacle(&together)?;
    Ok(obstacle.map(|obstacle| messages::another_cannot_move(branch, &told("all of it", &obstacle))))
}

/// Why git cannot move `what`.
fn told(what: &str, obstacle: &Obstacle) -> Told {
    match obstacle {
        Obstacle::InTheWay { there, wanted } => messages::is_in_the_way(wanted, there),
        Obstacle::Locked(path) => messages::is_locked(what, path),
        Obstacle::HasMoved => messages::has_moved(what),
        Obstacle::Other(why) => messages::cannot_move(what, why),
    }
}

/// Whether the branch of a push that waits for its release could not be made any more once `update` is.
fn blocks_a_release(context: &Context, app: &App, slot: Slot, update: &RefUpdate) -> bool {
    let branch = format!(
        "refs/heads/{}/",
        app.settings.branch.trim_start_matches("refs/heads/")
    );
    let other = format!("{}/", update.reference);
    let is_in_the_way = update.new.is_some() && (branch.starts_with(&other) || other.starts_with(&branch));
    let is_held = |push: &PushNote| push.slot == slot && push.release.is_some();
    is_in_the_way && context.store.pushes(&app.name).iter().any(is_held)
}

fn declined_for(context: &Context, app: &AppName, slot: Slot, why: Told) -> Passed {
    let live = context.store.state(app).ok().and_then(|state| state.live());
    Passed::No(messages::declined(app, slot, why, live))
}

/// A sentence for each reference that came with the push and makes the short name of the app's branch ambiguous.
pub fn mistaken(context: &Context, app: &AppName, updates: &[RefUpdate]) -> Vec<String> {
    let branch = context.settings.app(app).branch;
    let made = updates.iter().filter(|update| update.new.is_some());
    let names = made.map(|update| update.reference.as_str());
    let mistaken = names.filter(|name| git::is_mistaken_for(name, &branch));
    mistaken
        .map(|name| messages::is_mistaken_for(name, &branch))
        .collect()
}

/// What no build of `new` could get over, as far as the repository alone can tell.
fn fault(
    context: &Context,
    app: &App,
    slot: Slot,
    repository: &SlotRepository,
    (old, new): (Option<&Commit>, &Commit),
) -> Result<Option<Told>> {
    let worktree = context.store.worktree(&app.name, slot);
    let weight = match repository.weigh(new, &worktree) {
        Ok(weight) => weight,
        Err(error @ GitError::Repository { .. }) => return Err(error.into()),
        Err(error) => return Ok(Some(Told::of(&error))),
    };
    for service in app.settings.services.values() {
        if let Some(fault) = dockerfile_fault(repository, new, &service.build)? {
            return Ok(Some(fault));
        }
    }
    // The worktree most likely holds what the branch was at.
    let had = old.and_then(|old| repository.weigh(old, &worktree).ok());
    let needs = weight.bytes.saturating_sub(had.map_or(0, |had| had.bytes));
    let free = context.store.free(&app.name)?;
    let short = free.filter(|free| needs > *free);
    Ok(short.map(|free| messages::no_space_for_tree(needs, free, &worktree)))
}

/// What is wrong with the Dockerfile of a service.
fn dockerfile_fault(
    repository: &SlotRepository,
    commit: &Commit,
    build: &BuildSettings,
) -> Result<Option<Told>> {
    let dockerfile = Path::new(&build.context).join(&build.dockerfile);
    let shown = dockerfile.strip_prefix(".").unwrap_or(&dockerfile);
    let shown = shown.display().to_string();
    Ok(match repository.find(commit, &dockerfile)? {
        Found::Nothing => Some(messages::no_dockerfile(&shown)),
        Found::File(0) => Some(messages::empty_dockerfile(&shown).into()),
        Found::Outside => Some(messages::dockerfile_outside(&shown).into()),
        // A link inside the tree is the build's to follow.
        Found::File(_) | Found::Link => None,
    })
}
