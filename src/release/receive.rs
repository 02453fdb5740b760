//! receive: a release gets its number and its record, and a detached worker that owns it from then on.

use std::os::unix::process::CommandExt as _;
use std::process::{Command, Stdio};

use anyhow::{Context as _, Result, bail};

use super::context::{App, Context};
use super::history;
use super::say;
use crate::git::{Pushed, RefUpdate, SlotRepository, what_was_pushed};
use crate::model::{AppName, Commit, Origin, Promote, ReleaseId, Slot};
use crate::store::{Moment, Record, ReleaseDir};

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
    no_promote: bool,
) -> Result<Received> {
    let app = context.app(app)?;
    let branch = &app.settings.branch;
    let (reference, new) = match what_was_pushed(updates, branch) {
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
    let repository = SlotRepository::open(&context.store.repository(&app.name, slot))?;
    let facts = repository.commit_facts(new)?;
    let promote = app.settings.promote == Promote::Auto && !no_promote;
    let origin = Origin::Push { reference };
    launch(
        context,
        &app,
        slot,
        origin,
        Some((facts.commit, facts.subject)),
        promote,
    )
    .map(Received::Release)
}

/// Releases the commit of what the slot last took, again.
///
/// # Errors
/// When the slot never had a commit, or the release cannot be begun.
pub fn redeploy(context: &Context, app: &AppName, slot: Slot, no_promote: bool) -> Result<ReleaseDir> {
    let app = context.app(app)?;
    let all = history::of(context, &app.name)?;
    let last = all.iter().rev().find(|past| {
        past.record.slot == slot
            && matches!(past.record.origin, Origin::Push { .. } | Origin::Redeploy { .. })
    });
    let Some(last) = last else {
        bail!("nothing was pushed to {}/{slot} yet", app.name);
    };
    let promote = app.settings.promote == Promote::Auto && !no_promote;
    let origin = Origin::Redeploy { of: last.record.id };
    launch(context, &app, slot, origin, commit_of(&last.record), promote)
}

/// Makes the slot live with what it runs.
///
/// # Errors
/// When it runs nothing, is live already, or the release cannot be begun.
pub fn promote(context: &Context, app: &AppName, slot: Slot) -> Result<ReleaseDir> {
    go_live(context, app, slot, None)
}

/// Makes the slot live with what it runs, which must still be `meant` when its turn comes, if that is given.
fn go_live(context: &Context, app: &AppName, slot: Slot, meant: Option<ReleaseId>) -> Result<ReleaseDir> {
    let app = context.app(app)?;
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
    let of = context
        .store
        .release(&app.name, running.release)
        .record()
        .ok()
        .flatten();
    let origin = Origin::Promote {
        from: state.live,
        release: meant,
    };
    launch(context, &app, slot, origin, of.as_ref().and_then(commit_of), true)
}

/// Puts a slot back to an earlier release.
///
/// # Errors
/// When there is none, the named one is not kept, or the release cannot be begun.
pub fn rollback(context: &Context, app: &AppName, slot: Slot, to: Option<ReleaseId>) -> Result<ReleaseDir> {
    let app = context.app(app)?;
    let state = context.store.state(&app.name)?;
    let all = history::of(context, &app.name)?;
    let target = history::rollback_target(&all, &state, slot, to)?;
    let origin = Origin::Rollback { to: target.record.id };
    launch(context, &app, slot, origin, commit_of(&target.record), true)
}

/// Undoes the last flip: back to the other slot where it still runs what was live then, else back to the
/// release that the same slot ran.
///
/// # Errors
/// When there was no flip, or what was live then is no longer there.
pub fn undo_flip(context: &Context, app: &AppName) -> Result<ReleaseDir> {
    let state = context.store.state(app)?;
    let Some(flip) = state.flips.last() else {
        bail!("{app} has had no flip yet: there is nothing to undo");
    };
    let Some(from) = flip.from else {
        bail!(
            "nothing was live before release {} ({}): there is nothing to go back to",
            flip.to.release,
            flip.to.slot
        );
    };
    if from.slot == flip.to.slot {
        return rollback(context, app, from.slot, Some(from.release));
    }
    match state.slots.get(&from.slot) {
        Some(running) if running.release == from.release => {
            go_live(context, app, from.slot, Some(from.release))
        }
        _ => bail!(
            "{} no longer runs release {}, which was live before: `deployer rollback {app}/{} --to {}`, then \
             `deployer promote {app}/{}`",
            from.slot,
            from.release,
            from.slot,
            from.release,
            from.slot
        ),
    }
}

fn commit_of(record: &Record) -> Option<(Commit, String)> {
    record
        .commit
        .clone()
        .zip(Some(record.subject.clone().unwrap_or_default()))
}

/// Writes the record and starts the worker, which holds its lock from the first moment on.
fn launch(
    context: &Context,
    app: &App,
    slot: Slot,
    origin: Origin,
    commit: Option<(Commit, String)>,
    promote: bool,
) -> Result<ReleaseDir> {
    let (commit, subject) = commit.unzip();
    let (release, record, lock) = context.store.new_release(&app.name, |id| Record {
        id,
        slot,
        origin,
        commit,
        subject,
        promote,
        received: Moment::now(),
    })?;
    let environment = ["PATH", "HOME", "SSL_CERT_FILE", "SSL_CERT_DIR"];
    let environment = environment
        .iter()
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
    Ok(release)
}
