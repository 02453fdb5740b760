//! Pruning: images, on the host and in the registry, and logs that are past their keeping.

use std::collections::HashSet;

use anyhow::Result;
use serde::Serialize;

use super::context::{App, Context};
use super::history::{self, Past, RECORDS_KEPT};
use crate::model::{Digest, Origin, ReleaseId, Slot};
use crate::registry::{Deleted, Registry};
use crate::store::{AppLock, AppState, ReleaseDir};

/// Whether things are removed or only named.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mode {
    /// Remove.
    Remove,
    /// Only say what would be removed.
    DryRun,
}

/// What was pruned, or would be.
#[derive(Debug, Default, Serialize)]
pub struct Pruned {
    /// Releases whose image went.
    pub images: Vec<ReleaseId>,
    /// Releases whose record and log went.
    pub logs: Vec<ReleaseId>,
    /// Releases whose image stays in the registry, because it does not allow deletion.
    pub not_deletable: Vec<ReleaseId>,
}

impl Pruned {
    /// Whether there was nothing to prune.
    pub fn is_empty(&self) -> bool {
        self.images.is_empty() && self.logs.is_empty()
    }
}

/// Prunes what is past its keeping: never what a slot runs, what one of the last `keep` releases of a slot
/// names, or what an unfinished release works on.
///
/// # Errors
/// When the store, the engine or the registry does not do its part; what was pruned until then stays pruned.
pub async fn prune(context: &Context, app: &App, lock: &AppLock, mode: Mode) -> Result<Pruned> {
    let releases = context.store.releases(lock.app())?;
    // What was pruned has nothing left but its record and log, and is not read again.
    let (mut gone, rest): (Vec<_>, Vec<_>) = releases.iter().cloned().partition(ReleaseDir::is_pruned);
    let (mut goes, _) = history::read_those(rest);
    let state = context.store.state(lock.app())?;
    let keeping = Keeping::of(&goes, &state, app.settings.keep);
    goes.retain(|past| !keeping.releases.contains(&past.record.id));

    let mut pruned = Pruned::default();
    for past in goes {
        pruned
            .images
            .extend(past.facts.tag.as_ref().map(|_| past.record.id));
        if mode == Mode::Remove && remove_image(context, app, &past, &keeping).await? == Deleted::NotAllowed {
            pruned.not_deletable.push(past.record.id);
        }
        gone.push(past.dir);
    }
    let oldest_kept = releases.iter().rev().take(RECORDS_KEPT).map(ReleaseDir::id).min();
    gone.retain(|dir| Some(dir.id()) < oldest_kept);
    gone.sort_by_key(ReleaseDir::id);
    for dir in gone {
        pruned.logs.push(dir.id());
        if mode == Mode::Remove {
            dir.remove()?;
        }
    }
    Ok(pruned)
}

/// What must stay.
struct Keeping {
    releases: HashSet<ReleaseId>,
    digests: HashSet<Digest>,
}

impl Keeping {
    fn of(all: &[Past], state: &AppState, keep: u32) -> Self {
        let mut releases: HashSet<ReleaseId> = state.slots.values().map(|running| running.release).collect();
        releases.extend(
            all.iter()
                .filter(|past| past.outcome.is_none())
                .map(|past| past.record.id),
        );
        // What a rollback that waits for its turn goes back to.
        releases.extend(
            all.iter()
                .filter(|past| past.outcome.is_none())
                .filter_map(|past| match past.record.origin {
                    Origin::Rollback { to } => Some(to),
                    _ => None,
                }),
        );
        for slot in Slot::BOTH {
            let runs = state.slots.get(&slot).map(|running| running.release);
            let earlier = all
                .iter()
                .rev()
                .filter(|past| past.record.slot == slot && past.is_kept() && Some(past.record.id) != runs);
            releases.extend(earlier.take(keep as usize).map(|past| past.record.id));
        }
        let kept = all.iter().filter(|past| releases.contains(&past.record.id));
        let mut digests: HashSet<Digest> = kept.filter_map(|past| past.facts.digest().cloned()).collect();
        digests.extend(state.slots.values().map(|running| running.image.digest.clone()));
        Self { releases, digests }
    }
}

/// Removes a release's tag, and its image where no kept release names the same digest. One that built nothing has
/// neither.
async fn remove_image(context: &Context, app: &App, past: &Past, keeping: &Keeping) -> Result<Deleted> {
    let mut deleted = Deleted::Absent;
    if let Some(tag) = &past.facts.tag {
        let engine = context.engine().await?;
        engine.remove_image(tag).await?;
        let image = past.facts.image.as_ref();
        if let Some(image) = image.filter(|image| !keeping.digests.contains(&image.digest)) {
            engine.remove_image(&image.to_string()).await?;
            let registry: Registry = context.registry()?;
            let path = context.settings.registry.path(&app.name);
            deleted = registry.delete(&path, &image.digest).await?;
        }
    }
    past.dir.mark_pruned()?;
    Ok(deleted)
}
