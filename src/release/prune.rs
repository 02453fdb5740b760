//! Pruning: images, on the host and in the registry, and logs that are past their keeping.

use std::collections::HashSet;
use std::path::PathBuf;

use anyhow::Result;
use serde::Serialize;

use super::build::tag_of;
use super::context::{App, Context};
use super::entry::Step;
use super::history::{self, Past, RECORDS_KEPT};
use crate::git::SlotRepository;
use crate::model::{AppName, Digest, ImageRef, Origin, ReleaseId, Slot};
use crate::registry::Deleted;
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
    /// What processes of git that were killed have left in the app's repositories.
    pub leftovers: Vec<PathBuf>,
}

impl Pruned {
    /// Whether there was nothing to prune.
    pub fn is_empty(&self) -> bool {
        self.images.is_empty() && self.logs.is_empty() && self.leftovers.is_empty()
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
        let made = Made::by(context, app, &past, &keeping).await?;
        pruned.images.extend(made.as_ref().map(|_| past.record.id));
        if mode == Mode::Remove
            && remove_image(context, app, &past, made, &keeping).await? == Deleted::NotAllowed
        {
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
    if mode == Mode::Remove && !pruned.logs.is_empty() {
        let has_record = |id| context.store.release(&app.name, id).path().exists();
        for slot in Slot::BOTH {
            SlotRepository::open(&context.store.repository(&app.name, slot))?.keep_only(has_record)?;
        }
    }
    pruned.leftovers = prune_repositories(context, &app.name, mode)?;
    Ok(pruned)
}

/// Removes what killed processes of git have left in the app's repositories, and gives what that was.
///
/// # Errors
/// When a repository cannot be read, or something in it cannot be removed.
pub(super) fn prune_repositories(context: &Context, app: &AppName, mode: Mode) -> Result<Vec<PathBuf>> {
    let mut all = Vec::new();
    for slot in Slot::BOTH {
        let repository = SlotRepository::open(&context.store.repository(app, slot))?;
        for leftover in repository.leftovers()? {
            if mode == Mode::Remove {
                repository.remove_leftover(&leftover)?;
            }
            all.push(leftover.path);
        }
    }
    Ok(all)
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

/// What is to be removed of a release: the tag that it made, and the image that it ran, once it was pushed. A rollback
/// made no tag, and may be the last to name the image of a release that was pruned before it.
struct Made {
    tag: Option<String>,
    image: Option<ImageRef>,
}

impl Made {
    /// What `past` has made, by its journal; where its worker was killed before it could write that down, by what
    /// is there. None where it has made nothing.
    async fn by(context: &Context, app: &App, past: &Past, keeping: &Keeping) -> Result<Option<Self>> {
        if let Some(tag) = past.facts.tag.clone() {
            let pushed = past.step.is_some_and(|step| step >= Step::Push);
            let image = match past.facts.image.clone() {
                None if pushed => pushed_as(context, app, &tag).await?,
                known => known,
            };
            let tag = Some(tag);
            return Ok(Some(Self { tag, image }));
        }
        if let Some(image) = past.facts.image.clone() {
            let image = Some(image).filter(|image| !keeping.digests.contains(&image.digest));
            return Ok(image.is_some().then_some(Self { tag: None, image }));
        }
        let Some(tag) = tag_of(context, &app.name, &past.record).filter(|_| past.step == Some(Step::Build))
        else {
            return Ok(None);
        };
        let is_there = context.engine().await?.image(&tag).await?.is_some();
        let tag = Some(tag);
        Ok(is_there.then_some(Self { tag, image: None }))
    }
}

/// Removes what a release has made: its tag, and its image where no kept release names the same digest.
async fn remove_image(
    context: &Context,
    app: &App,
    past: &Past,
    made: Option<Made>,
    keeping: &Keeping,
) -> Result<Deleted> {
    let mut deleted = Deleted::Absent;
    if let Some(Made { tag, image }) = made {
        let engine = context.engine().await?;
        if let Some(tag) = tag {
            engine.remove_image(&tag).await?;
        }
        if let Some(image) = image.filter(|image| !keeping.digests.contains(&image.digest)) {
            engine.remove_image(&image.to_string()).await?;
            let path = context.settings.registry.path(&app.name);
            deleted = context.registry()?.delete(&path, &image.digest).await?;
        }
    }
    past.dir.mark_pruned()?;
    Ok(deleted)
}

/// The image that the registry has under `tag`, a tag of the app's own repository.
async fn pushed_as(context: &Context, app: &App, tag: &str) -> Result<Option<ImageRef>> {
    let repository = context.settings.registry.repository(&app.name);
    let Some(name) = tag.strip_prefix(&format!("{repository}:")) else {
        return Ok(None);
    };
    let path = context.settings.registry.path(&app.name);
    let digest = context.registry()?.digest(&path, name).await?;
    Ok(digest.map(|digest| ImageRef { repository, digest }))
}
