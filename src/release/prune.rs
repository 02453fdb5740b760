//! Pruning: images, on the host and in the registry, and logs that are past their keeping.

use std::collections::HashSet;
use std::path::PathBuf;

use anyhow::{Result, bail};
use serde::Serialize;

use super::context::{App, Context};
use super::history::{self, Past, RECORDS_KEPT, Unread};
use super::images::tags_of;
use super::journal_entry::{Facts, Step};
use super::messages;
use super::registries::{Registries, Unanswered};
use crate::git::SlotRepository;
use crate::model::{AppName, ImageRef, ReleaseId, Slot, registry_and_path};
use crate::registry::{Deleted, Registry};
use crate::store::{AppLock, AppState, ReleaseDir, SlotLock, StoreError};

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
    /// Releases whose image a registry has not deleted yet: the next prune tries again.
    pub put_off: Vec<PutOff>,
    /// What is being prepared, and may come to the same image as a release that is past its keeping: no image goes before
    /// that is known.
    pub waits_for: Option<String>,
    /// Images that a registry of before has not deleted, and that nothing knows of any more now that their release's record
    /// has gone.
    pub left_behind: Vec<LeftBehind>,
}

/// A release whose image could not be deleted.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct PutOff {
    /// The release.
    pub release: ReleaseId,
    /// The registry that its image is in.
    pub registry: String,
    /// Why not.
    pub reason: String,
}

/// An image that stays in its registry for good, unless somebody deletes it there.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct LeftBehind {
    /// The release.
    pub release: ReleaseId,
    /// The image, or its tag where its digest is not known.
    pub image: String,
}

impl Pruned {
    /// Whether there was nothing to prune.
    pub fn is_empty(&self) -> bool {
        self.images.is_empty()
            && self.logs.is_empty()
            && self.leftovers.is_empty()
            && self.put_off.is_empty()
            && self.waits_for.is_none()
            && self.left_behind.is_empty()
    }
}

/// Prunes what is past its keeping: never what a slot runs, what one of the last `keep` releases of a slot
/// names, or what an unfinished release works on.
///
/// An image is deleted in the registry that it is in, whatever registry is configured by now. What a registry does not
/// delete is put off; what one of before has not deleted when the release's record goes is left behind.
///
/// # Errors
/// When the store or the engine does not do its part; what was pruned until then stays pruned. When a newer deployer has
/// written what would have to be read: nothing is then pruned.
pub async fn prune(context: &Context, app: &App, lock: &AppLock, mode: Mode) -> Result<Pruned> {
    // What is prepared meanwhile may come to an image that is about to go.
    let builds = keep_builds_off(context, lock.app())?;
    let releases = context.store.releases(lock.app())?;
    // What was pruned has nothing left but its record and log, and is not read again.
    let (mut gone, rest): (Vec<_>, Vec<_>) = releases.iter().cloned().partition(ReleaseDir::is_pruned);
    let (mut goes, unread) = history::read_those(rest);
    if let Some(newer) = Unread::newer(&unread) {
        // An image may be one that it keeps.
        bail!(newer);
    }
    let state = context.store.state(lock.app())?;
    let keeping = Keeping::of(&goes, &state, app.settings.keep);
    goes.retain(|past| !keeping.releases.contains(&past.record.id));
    let waits_for = match &builds {
        Builds::UnderWay(what) if !goes.is_empty() => Some(what.clone()),
        _ => None,
    };
    if waits_for.is_some() {
        goes.clear();
    }

    let oldest_kept = releases.iter().rev().take(RECORDS_KEPT).map(ReleaseDir::id).min();
    let mut pruned = Pruned {
        waits_for,
        ..Pruned::default()
    };
    let mut registries = Registries::of(context);
    for past in goes {
        let release = past.record.id;
        let made = Made::by(context, &mut registries, app, &past, &keeping).await?;
        let (mut became, mut image) = (Became::Gone, None);
        for one in &made {
            let one_became = match mode {
                Mode::Remove => one.remove(context, &mut registries, &keeping).await?,
                Mode::DryRun => one.would_become(&keeping),
            };
            if one_became.rank() > became.rank() {
                (became, image) = (one_became, one.told());
            }
        }
        match became {
            Became::Shared => continue,
            Became::PutOff(why) => {
                let is_former = why.registry != context.settings.registry.address;
                match image.filter(|_| is_former && Some(release) < oldest_kept) {
                    Some(image) => pruned.left_behind.push(LeftBehind { release, image }),
                    None => {
                        let Unanswered { registry, reason } = why;
                        pruned.put_off.push(PutOff {
                            release,
                            registry,
                            reason,
                        });
                        continue;
                    }
                }
            }
            Became::NotDeletable => {
                pruned.not_deletable.push(release);
                pruned.images.push(release);
            }
            Became::Gone => pruned.images.extend(made.first().map(|_| release)),
        }
        if mode == Mode::Remove {
            past.dir.mark_pruned()?;
        }
        gone.push(past.dir);
    }
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

/// Whether releases are kept from being prepared.
enum Builds {
    /// They are, by these locks.
    KeptOff { _locks: Vec<SlotLock> },
    /// One is prepared: what it is.
    UnderWay(String),
}

fn keep_builds_off(context: &Context, app: &AppName) -> Result<Builds, StoreError> {
    let mut locks = Vec::new();
    for slot in Slot::BOTH {
        let Some(mut lock) = context.store.try_lock_slot(app, slot)? else {
            let holder = context.store.slot_holder(app, slot);
            let release = holder.and_then(|holder| holder.release);
            return Ok(Builds::UnderWay(messages::is_being_prepared(slot, release)));
        };
        lock.says("prune", None, None);
        locks.push(lock);
    }
    Ok(Builds::KeptOff { _locks: locks })
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
    images: HashSet<ImageRef>,
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
                .filter_map(|past| past.record.goes_back_to()),
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
        let mut images: HashSet<ImageRef> = kept
            .flat_map(|past| past.facts.images.values().cloned())
            .collect();
        images.extend(
            state
                .slots
                .values()
                .flat_map(|running| running.images().into_values()),
        );
        Self { releases, images }
    }

    /// Whether a registry may have to keep `image` for one that is kept under another address of it, as a name and a number
    /// are: that one could not be pulled any more.
    fn may_be(&self, image: &ImageRef) -> bool {
        let is_other = |kept: &&ImageRef| kept.registry() != image.registry();
        let mut others = self.images.iter().filter(is_other);
        others.any(|kept| kept.digest == image.digest && kept.path() == image.path())
    }
}

/// What is to be removed of a service of a release: the tag that it made, and the image that it ran, once it was pushed. A
/// rollback made no tag, and may be the last to name the image of a release that was pruned before it.
struct Made {
    tag: Option<String>,
    image: Result<Option<ImageRef>, Unanswered>,
}

/// What became of what a release had made.
enum Became {
    /// It is gone, or another release keeps it.
    Gone,
    /// The registry does not delete.
    NotDeletable,
    /// The registry has not deleted it now.
    PutOff(Unanswered),
    /// It stays for as long as a kept release may need it under another name.
    Shared,
}

impl Became {
    /// How much keeps the release from being pruned whole: what most does decides.
    fn rank(&self) -> u8 {
        match self {
            Became::Gone => 0,
            Became::NotDeletable => 1,
            Became::Shared => 2,
            Became::PutOff(_) => 3,
        }
    }
}

impl Made {
    /// What `past` has made, by its journal; where its worker was killed before it could write that down, by what
    /// is there.
    async fn by(
        context: &Context,
        registries: &mut Registries<'_>,
        app: &App,
        past: &Past,
        keeping: &Keeping,
    ) -> Result<Vec<Self>> {
        let Facts { tags, images, .. } = &past.facts;
        let mut all = Vec::new();
        for (service, tag) in tags {
            let pushed = past.step.is_some_and(|step| step >= Step::Push);
            let image = match images.get(service).cloned() {
                None if pushed => pushed_as(registries, tag).await,
                known => Ok(known),
            };
            let tag = Some(tag.clone());
            all.push(Self { tag, image });
        }
        let untagged = images.iter().filter(|(service, _)| !tags.contains_key(*service));
        for (_, image) in untagged.filter(|(_, image)| !keeping.images.contains(image)) {
            let image = Ok(Some(image.clone()));
            all.push(Self { tag: None, image });
        }
        if past.step == Some(Step::Build) && tags.is_empty() {
            for tag in tags_of(context, &app.name, &past.record).into_values() {
                if context.engine().await?.image(&tag).await?.is_some() {
                    let (tag, image) = (Some(tag), Ok(None));
                    all.push(Self { tag, image });
                }
            }
        }
        Ok(all)
    }

    /// Removes the tag, and the image where no kept release names the same one.
    ///
    /// # Errors
    /// The engine's. What a registry does not do is an answer.
    async fn remove(
        &self,
        context: &Context,
        registries: &mut Registries<'_>,
        keeping: &Keeping,
    ) -> Result<Became> {
        let engine = context.engine().await?;
        if let Some(tag) = &self.tag {
            engine.remove_image(tag).await?;
        }
        let became = self.would_become(keeping);
        let (Ok(Some(image)), Became::Gone | Became::Shared) = (&self.image, &became) else {
            return Ok(became);
        };
        if keeping.images.contains(image) {
            return Ok(became);
        }
        engine.remove_image(&image.to_string()).await?;
        if matches!(became, Became::Shared) {
            return Ok(became);
        }
        let delete = async |registry: &Registry| registry.delete(image.path(), &image.digest).await;
        Ok(match registries.ask(image.registry(), delete).await {
            Ok(Deleted::Yes | Deleted::Absent) => Became::Gone,
            Ok(Deleted::NotAllowed) => Became::NotDeletable,
            Err(why) => Became::PutOff(why),
        })
    }

    /// What becomes of it where every registry does as it is asked.
    fn would_become(&self, keeping: &Keeping) -> Became {
        match &self.image {
            Err(why) => Became::PutOff(why.clone()),
            Ok(Some(image)) if !keeping.images.contains(image) && keeping.may_be(image) => Became::Shared,
            Ok(_) => Became::Gone,
        }
    }

    /// The image, or what else is known of it.
    fn told(&self) -> Option<String> {
        match &self.image {
            Ok(image) => image.as_ref().map(ToString::to_string),
            Err(_) => self.tag.clone(),
        }
    }
}

/// The image that the registry of `tag` has under it.
async fn pushed_as(registries: &mut Registries<'_>, tag: &str) -> Result<Option<ImageRef>, Unanswered> {
    let Some((repository, name)) = tag.rsplit_once(':') else {
        return Ok(None);
    };
    let (address, path) = registry_and_path(repository);
    let asked = registries.ask(address, async |registry| registry.digest(path, name).await);
    let repository = repository.to_owned();
    Ok(asked.await?.map(|digest| ImageRef { repository, digest }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_image_that_may_be_a_kept_one_under_another_name_of_its_registry_stays() {
        let image = |repository: &str, digit: &str| ImageRef {
            repository: repository.to_owned(),
            digest: format!("sha256:{}", digit.repeat(64)).parse().unwrap(),
        };
        let keeping = Keeping {
            releases: HashSet::new(),
            images: HashSet::from([image("127.0.0.1:5000/team/shop", "a")]),
        };
        assert!(keeping.may_be(&image("localhost:5000/team/shop", "a")));
        for other in [
            image("localhost:5000/team/shop", "b"),
            image("localhost:5000/shop", "a"),
            image("127.0.0.1:5000/shop", "a"),
        ] {
            assert!(!keeping.may_be(&other), "{other}");
        }
    }
}
