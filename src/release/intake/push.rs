//! What a push asks for: its branch's new commit on the slot that it was pushed to.

use anyhow::{Context as _, Result};

use super::launch::{Draft, Held, launch};
use super::note;
use crate::git::{CommitFacts, ObjectId, Pushed, RefUpdate, SlotRepository, what_was_pushed};
use crate::model::{AppName, Asked, Commit, Intent, Promote, Promotion, ReleaseId, Slot, Source};
use crate::release::audit;
use crate::release::context::{App, Context};
use crate::release::history;
use crate::release::messages;
use crate::store::{Gated, Process, PushNote, ReleaseDir};

/// References of a push that are written down.
const REFERENCES_MAX: usize = 20;

/// What a push came to.
pub enum Received {
    /// A release, whose worker runs.
    Release(ReleaseDir),
    /// No release, and why, as the pusher reads it.
    Nothing(Vec<String>),
}

/// Takes a push to a slot.
///
/// # Errors
/// When the release cannot be written down or its worker cannot be started.
pub fn push(
    context: &Context,
    app: &AppName,
    slot: Slot,
    updates: &[RefUpdate],
    asked: Asked,
) -> Result<Received> {
    let app = context.app(app)?;
    let branch = &app.settings.branch;
    let is_released = note::was_released(context, &app.name);
    let (reference, new) = match what_was_pushed(updates, branch) {
        // The push has waited for its release, and has read all of it.
        Pushed::Branch { .. } if is_released => return Ok(Received::Nothing(Vec::new())),
        Pushed::Branch { reference, new, .. } => (reference, new),
        Pushed::Deleted { .. } => {
            let live = context.store.state(&app.name).ok().and_then(|state| state.live());
            return Ok(Received::Nothing(vec![messages::deleted_branch(
                &app.name, slot, branch, live,
            )]));
        }
        Pushed::Other { references } => {
            let told = references
                .iter()
                .map(|other| messages::other_branch(&app.name, slot, branch, other));
            return Ok(Received::Nothing(told.collect()));
        }
    };
    let numbers = context.store.lock_numbers(&app.name)?;
    let repository = SlotRepository::open(&context.store.repository(&app.name, slot))?;
    if let Some((tip, release)) = moved_on(context, &app, slot, &repository, new)? {
        let told = messages::moved_on(&app.name, slot, branch, &tip, release);
        return Ok(Received::Nothing(vec![told]));
    }
    let draft = Draft {
        command: Some(push_command([reference.as_str()], asked)),
        pull: app.settings.pulls_base_images() || asked.pull,
        ..Draft::new(
            slot,
            commit_source(repository.commit_facts(new)?, reference),
            intent(&app, asked),
        )
    };
    launch(context, &app, &numbers, draft).map(Received::Release)
}

/// Takes a push that `receiver` is holding: its branch, which `update` is about, moves once the release is good.
///
/// # Errors
/// As [`push`], and when the branch is to be deleted.
pub fn gated(
    context: &Context,
    app: &AppName,
    update: &RefUpdate,
    (receiver, note): (Process, PushNote),
) -> Result<ReleaseDir> {
    let app = context.app(app)?;
    let new = update
        .new
        .context("a branch that is deleted has nothing to release")?;
    let numbers = context.store.lock_numbers(&app.name)?;
    let repository = SlotRepository::open(&context.store.repository(&app.name, note.slot))?;
    let source = commit_source(repository.commit_facts(new)?, update.reference.clone());
    let from = update.old.map(|old| repository.commit_facts(old)).transpose()?;
    let draft = Draft {
        command: Some(push_command([update.reference.as_str()], note.asked)),
        pull: app.settings.pulls_base_images() || note.asked.pull,
        gated: Some(Held {
            gated: Gated {
                from: from.map(|facts| facts.commit),
            },
            receiver,
            note: note.clone(),
        }),
        ..Draft::new(note.slot, source, intent(&app, note.asked))
    };
    launch(context, &app, &numbers, draft)
}

/// What a push of these references asks, as it is written down: the hook does not know git's own words.
pub fn push_command<'a>(references: impl IntoIterator<Item = &'a str>, asked: Asked) -> String {
    let mut words = vec!["git push"];
    words.extend(asked.no_promote.then_some("-o no-promote"));
    words.extend(asked.pull.then_some("-o pull"));
    words.extend(references.into_iter().take(REFERENCES_MAX));
    audit::command_line(&words.join(" "))
}

/// A commit that stands in the slot's repository, as `reference` has brought it.
pub(super) fn commit_source(facts: CommitFacts, reference: String) -> Source {
    Source::Commit {
        commit: facts.commit,
        subject: facts.subject,
        reference,
    }
}

/// A release goes live by itself unless somebody, or the app's settings, will have it wait.
pub(super) fn intent(app: &App, asked: Asked) -> Intent {
    let promotes = app.settings.promote == Promote::Auto && !asked.no_promote;
    let promote = match promotes {
        true => Promotion::Yes,
        false => Promotion::No,
    };
    Intent::Deploy { promote }
}

/// Where another push moved the branch on before this one got a number, and was released already: the commit that the
/// branch is at, and the release of it. Hooks that run at once may come out of order; the branch tells theirs.
fn moved_on(
    context: &Context,
    app: &App,
    slot: Slot,
    repository: &SlotRepository,
    pushed: ObjectId,
) -> Result<Option<(Commit, ReleaseId)>> {
    let Some(tip) = repository.tip(&app.settings.branch)?.filter(|tip| *tip != pushed) else {
        return Ok(None);
    };
    let tip = repository.commit_facts(tip)?.commit;
    let all = history::of(context, &app.name)?;
    let newest = all
        .iter()
        .rev()
        .find(|past| past.record.slot == slot && past.record.is_push());
    let same = newest.filter(|past| past.record.source.commit() == Some(&tip));
    Ok(same.map(|past| (tip, past.record.id)))
}
