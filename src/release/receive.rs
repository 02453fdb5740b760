//! receive: a release gets its number and its record, and a detached worker that owns it from then on.

use std::os::unix::process::CommandExt as _;
use std::process::{Command, Stdio};

use anyhow::{Context as _, Result, bail};

use super::audit;
use super::context::{App, Context};
use super::gate;
use super::history;
use super::say;
use crate::git::{ObjectId, Pushed, RefUpdate, SlotRepository, what_was_pushed};
use crate::ground::failpoint;
use crate::model::{AppName, Asked, Commit, Origin, Promote, ReleaseId, Slot};
use crate::store::{
    AppState, Gated, Live, Meant, Moment, Numbers, Process, PushNote, Record, ReleaseDir, Running,
};

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
    let is_released = gate::was_released(context, &app.name);
    let (reference, new) = match what_was_pushed(updates, branch) {
        // The push has waited for its release, and has read all of it.
        Pushed::Branch { .. } if is_released => return Ok(Received::Nothing(Vec::new())),
        Pushed::Branch { reference, new, .. } => (reference, new),
        Pushed::Deleted { .. } => {
            let live = context.store.state(&app.name).ok().and_then(|state| state.live());
            return Ok(Received::Nothing(vec![say::deleted_branch(
                &app.name, slot, branch, live,
            )]));
        }
        Pushed::Other { references } => {
            let told = references
                .iter()
                .map(|other| say::other_branch(&app.name, slot, branch, other));
            return Ok(Received::Nothing(told.collect()));
        }
    };
    let numbers = context.store.lock_numbers(&app.name)?;
    let repository = SlotRepository::open(&context.store.repository(&app.name, slot))?;
    if let Some((tip, release)) = moved_on(context, &app, slot, &repository, new)? {
        let told = say::moved_on(&app.name, slot, branch, &tip, release);
        return Ok(Received::Nothing(vec![told]));
    }
    let facts = repository.commit_facts(new)?;
    let draft = Draft {
        slot,
        command: Some(push_command([reference.as_str()], asked)),
        origin: Origin::Push { reference },
        commit: Some((facts.commit, facts.subject)),
        promote: app.settings.promote == Promote::Auto && !asked.no_promote,
        pull: app.settings.build.pull || asked.pull,
        meant: None,
        gated: None,
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
    let facts = repository.commit_facts(new)?;
    let from = update.old.map(|old| repository.commit_facts(old)).transpose()?;
    let draft = Draft {
        slot: note.slot,
        command: Some(push_command([update.reference.as_str()], note.asked)),
        origin: Origin::Push {
            reference: update.reference.clone(),
        },
        commit: Some((facts.commit, facts.subject)),
        promote: app.settings.promote == Promote::Auto && !note.asked.no_promote,
        pull: app.settings.build.pull || note.asked.pull,
        meant: None,
        gated: Some(Held {
            gated: Gated {
                from: from.map(|facts| facts.commit),
            },
            receiver,
            note,
        }),
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
        .find(|past| past.record.slot == slot && matches!(past.record.origin, Origin::Push { .. }));
    let same = newest.filter(|past| past.record.commit.as_ref() == Some(&tip));
    Ok(same.map(|past| (tip, past.record.id)))
}

/// Releases the commit of what the slot last took, again; or the one that its branch is at, where that came in and no hook
/// could release it.
///
/// # Errors
/// When the slot never had a commit, is live and must not be promoted, or the release cannot be begun.
pub fn redeploy(context: &Context, app: &AppName, slot: Slot, asked: Asked) -> Result<ReleaseDir> {
    let app = context.app(app)?;
    let numbers = context.store.lock_numbers(&app.name)?;
    let last = history::newest_first(context, &app.name)?
        .find(|past| past.record.slot == slot && past.record.origin.builds());
    let (origin, commit) = match (never_released(context, &app, slot), last) {
        (Some((reference, commit)), _) => (Origin::Push { reference }, Some(commit)),
        (None, Some(last)) => (Origin::Redeploy { of: last.record.id }, commit_of(&last.record)),
        (None, None) => bail!("nothing was pushed to {}/{slot} yet", app.name),
    };
    let promote = app.settings.promote == Promote::Auto && !asked.no_promote;
    let live = context.store.state(&app.name).ok().and_then(|state| state.live);
    if !promote && live == Some(slot) {
        bail!(say::live_without_promotion(&app.name, slot));
    }
    let draft = Draft {
        slot,
        origin,
        commit,
        promote,
        pull: app.settings.build.pull || asked.pull,
        meant: None,
        gated: None,
        command: None,
    };
    launch(context, &app, &numbers, draft)
}

/// The branch and the commit that it is at, with its subject, where no release of the slot was ever of that commit: the hook
/// failed after git had moved the branch.
fn never_released(context: &Context, app: &App, slot: Slot) -> Option<(String, (Commit, String))> {
    let repository = SlotRepository::open(&context.store.repository(&app.name, slot)).ok()?;
    let tip = repository.tip(&app.settings.branch).ok()??;
    let facts = repository.commit_facts(tip).ok()?;
    let mut all = history::newest_first(context, &app.name).ok()?;
    let is_known =
        all.any(|past| past.record.slot == slot && past.record.commit.as_ref() == Some(&facts.commit));
    let reference = format!("refs/heads/{}", app.settings.branch);
    (!is_known).then_some((reference, (facts.commit, facts.subject)))
}

/// Makes the slot live with what it runs.
///
/// # Errors
/// When it runs nothing, is live already, or the release cannot be begun.
pub fn promote(context: &Context, app: &AppName, slot: Slot) -> Result<ReleaseDir> {
    let app = context.app(app)?;
    let numbers = context.store.lock_numbers(&app.name)?;
    let state = context.store.state(&app.name)?;
    let Some(running) = state.slots.get(&slot) else {
        bail!("{}/{slot} runs nothing: push to it first", app.name);
    };
    if state.live == Some(slot) {
        bail!(
            "{}/{slot} is live already, with release {}",
            app.name,
            running.release
        );
    }
    go_live(context, &app, &numbers, &state, (slot, running), None)
}

/// Puts a slot back to an earlier release: to the one before what it runs now, where none is named.
///
/// # Errors
/// When there is none, the named one is not kept, or the release cannot be begun.
pub fn rollback(context: &Context, app: &AppName, slot: Slot, to: Option<ReleaseId>) -> Result<ReleaseDir> {
    let app = context.app(app)?;
    let numbers = context.store.lock_numbers(&app.name)?;
    let state = context.store.state(&app.name)?;
    let runs = state.slots.get(&slot).filter(|_| to.is_none());
    let meant = runs.map(|running| Meant {
        runs: Some(Live {
            slot,
            release: running.release,
        }),
        live: None,
    });
    go_back(context, &app, &numbers, &state, (slot, to), meant)
}

/// Undoes the last flip: back to the other slot where it still runs what was live then, else back to the
/// release that the same slot ran.
///
/// # Errors
/// When there was no flip, or what was live then is no longer there.
pub fn undo_flip(context: &Context, app: &AppName) -> Result<ReleaseDir> {
    let app = context.app(app)?;
    let numbers = context.store.lock_numbers(&app.name)?;
    let state = context.store.state(&app.name)?;
    let name = &app.name;
    let Some(flip) = state.flips.last() else {
        bail!("{name} has had no flip yet: there is nothing to undo");
    };
    let Some(from) = flip.from else {
        bail!(
            "nothing was live before release {} ({}): there is nothing to go back to",
            flip.to.release,
            flip.to.slot
        );
    };
    let live = Some(flip.to);
    if from.slot == flip.to.slot {
        let meant = Meant { runs: None, live };
        let back = (from.slot, Some(from.release));
        return go_back(context, &app, &numbers, &state, back, Some(meant));
    }
    match state.slots.get(&from.slot) {
        Some(running) if running.release == from.release => {
            let runs = Some(from);
            let meant = Meant { runs, live };
            go_live(context, &app, &numbers, &state, (from.slot, running), Some(meant))
        }
        _ => bail!(
            "{} no longer runs release {}, which was live before: `deployer rollback {name}/{} --to {}`, then \
             `deployer promote {name}/{}`",
            from.slot,
            from.release,
            from.slot,
            from.release,
            from.slot
        ),
    }
}

fn go_live(
    context: &Context,
    app: &App,
    numbers: &Numbers,
    state: &AppState,
    (slot, running): (Slot, &Running),
    meant: Option<Meant>,
) -> Result<ReleaseDir> {
    let of = context.store.release(&app.name, running.release);
    let draft = Draft {
        slot,
        origin: Origin::Promote { from: state.live },
        commit: of.record().ok().flatten().as_ref().and_then(commit_of),
        promote: true,
        pull: false,
        meant,
        gated: None,
        command: None,
    };
    launch(context, app, numbers, draft)
}

fn go_back(
    context: &Context,
    app: &App,
    numbers: &Numbers,
    state: &AppState,
    (slot, to): (Slot, Option<ReleaseId>),
    meant: Option<Meant>,
) -> Result<ReleaseDir> {
    let all = history::of(context, &app.name)?;
    let target = history::rollback_target(&all, state, slot, to)?;
    let draft = Draft {
        slot,
        origin: Origin::Rollback { to: target.record.id },
        commit: commit_of(&target.record),
        promote: true,
        pull: false,
        meant,
        gated: None,
        command: None,
    };
    launch(context, app, numbers, draft)
}

fn commit_of(record: &Record) -> Option<(Commit, String)> {
    record
        .commit
        .clone()
        .zip(Some(record.subject.clone().unwrap_or_default()))
}

/// A release that has no number yet.
struct Draft {
    slot: Slot,
    origin: Origin,
    commit: Option<(Commit, String)>,
    promote: bool,
    pull: bool,
    meant: Option<Meant>,
    gated: Option<Held>,
    /// What was asked, where the command's own words do not tell.
    command: Option<String>,
}

/// A push that is held until its release has ended.
struct Held {
    gated: Gated,
    receiver: Process,
    note: PushNote,
}

/// Tells the audit log, writes the record and starts the worker, which holds its lock from the first moment on.
fn launch(context: &Context, app: &App, numbers: &Numbers, draft: Draft) -> Result<ReleaseDir> {
    let (commit, subject) = draft.commit.unzip();
    let (release, record, lock) = context.store.new_release(numbers, |id| {
        let record = Record {
            id,
            slot: draft.slot,
            origin: draft.origin,
            commit,
            subject,
            promote: draft.promote,
            pull: draft.pull,
            meant: draft.meant,
            gated: draft.gated.as_ref().map(|held| held.gated.clone()),
            by: Some(context.by.clone()),
            command: Some(draft.command.unwrap_or_else(|| context.command.clone())),
            received: Moment::now(),
        };
        if let Some(held) = draft.gated {
            // Before anybody can see the release end: the push's other hook would release it once more.
            let release = Some(id);
            let note = PushNote { release, ..held.note };
            context.store.note_push(&app.name, held.receiver, &note)?;
        }
        // Before the record, by which others see the release: one that cannot be told of never was.
        audit::begun(context, &app.name, &record)?;
        Ok(record)
    })?;
    let environment = ["PATH", "HOME", "SSL_CERT_FILE", "SSL_CERT_DIR"];
    let environment = environment
        .iter()
        .chain(failpoint::ENVIRONMENT)
        .filter_map(|name| Some((*name, std::env::var_os(name)?)));
    // The program as it runs now, even if another one was installed in its place meanwhile.
    Command::new("/proc/self/exe")
        .arg("--config")
        .arg(&context.config)
        .args(["worker", app.name.as_str(), &record.id.to_string()])
        .env_clear()
        .envs(environment)
        .current_dir("/")
        // From its first moment neither a Ctrl-C nor a hang-up of the pusher's terminal reaches the worker.
        .process_group(0)
        .stdin(lock.into_stdio())
        .stdout(Stdio::null())
        .stderr(release.log_as_stdio()?)
        .spawn()
        .with_context(|| format!("the worker of release {} could not be started", record.id))?;
    failpoint::at("worker.spawned");
    Ok(release)
}
