//! What the commands ask for: the same again, what ran before, or traffic to what a slot runs.

use anyhow::{Result, bail};

use super::launch::{Draft, launch};
use super::push::{commit_source, intent};
use crate::git::SlotRepository;
use crate::model::{AppName, Asked, Intent, Promotion, ReleaseId, Slot, Source};
use crate::release::context::{App, Context};
use crate::release::history;
use crate::release::messages;
use crate::store::{AppState, Live, Meant, Numbers, ReleaseDir, Running};

/// Releases the source of what the slot last took, again; or the commit that its branch is at, where that came in and no
/// hook could release it.
///
/// # Errors
/// When the slot never took anything, is live and must not be promoted, or the release cannot be begun.
pub fn redeploy(context: &Context, app: &AppName, slot: Slot, asked: Asked) -> Result<ReleaseDir> {
    let app = context.app(app)?;
    let numbers = context.store.lock_numbers(&app.name)?;
    let last = history::newest_first(context, &app.name)?
        .find(|past| past.record.slot == slot && past.record.builds());
    let (source, redeploys) = match (never_released(context, &app, slot), last) {
        (Some(source), _) => (source, None),
        (None, Some(last)) => (last.record.source, Some(last.record.id)),
        (None, None) => bail!("nothing was pushed to {}/{slot} yet", app.name),
    };
    let intent = intent(&app, asked);
    let live = context.store.state(&app.name).ok().and_then(|state| state.live);
    if live == Some(slot) && !intent.promotes(true) {
        bail!(messages::live_without_promotion(&app.name, slot));
    }
    let draft = Draft {
        redeploys,
        pull: app.settings.pulls_base_images() || asked.pull,
        ..Draft::new(slot, source, intent)
    };
    launch(context, &app, &numbers, draft)
}

/// The commit that the slot's branch is at, where no release of the slot was ever of it: the hook failed after git had
/// moved the branch.
fn never_released(context: &Context, app: &App, slot: Slot) -> Option<Source> {
    let repository = SlotRepository::open(&context.store.repository(&app.name, slot)).ok()?;
    let tip = repository.tip(&app.settings.branch).ok()??;
    let facts = repository.commit_facts(tip).ok()?;
    let mut all = history::newest_first(context, &app.name).ok()?;
    let is_known =
        all.any(|past| past.record.slot == slot && past.record.source.commit() == Some(&facts.commit));
    let reference = format!("refs/heads/{}", app.settings.branch);
    (!is_known).then(|| commit_source(facts, reference))
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
    let runs = context.store.release(&app.name, running.release).record();
    let runs = runs.ok().flatten().map(|record| record.source);
    let draft = Draft {
        meant,
        ..Draft::new(
            slot,
            Source::of_release(running.release, runs),
            Intent::Promote { from: state.live },
        )
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
    let source = Source::of_release(target.record.id, Some(target.record.source));
    let promote = Promotion::WhereLive;
    let draft = Draft {
        meant,
        ..Draft::new(slot, source, Intent::Deploy { promote })
    };
    launch(context, app, numbers, draft)
}
