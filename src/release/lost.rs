//! An image that neither this host nor the registry has any more: trying again cannot help, and what can is told.

use super::context::{App, Context};
use super::history;
use super::messages;
use super::registries::Registries;
use crate::model::{Commit, ImageRef, ReleaseId, Slot};

/// Kept releases whose images are looked for.
const LOOKED_AT: usize = 10;

/// Why an image cannot be had again, and what to do in place of trying again.
#[derive(Debug, thiserror::Error)]
#[error("{message}")]
pub(super) struct Lost {
    message: String,
    /// What helps.
    pub(super) instead: String,
}

/// Where a kept release's image is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Whereabouts {
    /// At the engine.
    Host,
    /// In the registry alone.
    Registry,
}

impl Lost {
    /// For the image that `slot` is to run, built of `commit`, which the registry has just said that it has not.
    pub(super) async fn of(
        context: &Context,
        app: &App,
        slot: Slot,
        image: &ImageRef,
        commit: Option<&Commit>,
    ) -> Self {
        let others = kept(context, app, slot, image).await;
        let is_last = commit.is_some() && last_commit(context, app, slot).as_ref() == commit;
        Self {
            message: messages::image_is_lost(image),
            instead: messages::instead_of_a_lost_image(
                &app.name,
                slot,
                &app.settings.branch,
                commit,
                is_last,
                &others,
            ),
        }
    }
}

/// The kept releases that have their image still, and another one than `lost` and than what the slot runs: the newest of
/// each image.
async fn kept(context: &Context, app: &App, slot: Slot, lost: &ImageRef) -> Vec<(ReleaseId, Whereabouts)> {
    let mut seen = vec![lost.digest.clone()];
    let state = context.store.state(&app.name).unwrap_or_default();
    let runs = state.slots.get(&slot).into_iter();
    seen.extend(runs.flat_map(|running| running.digests().into_values().cloned().collect::<Vec<_>>()));
    let (mut found, mut registries) = (Vec::new(), Registries::of(context));
    let releases = history::newest_first(context, &app.name).into_iter().flatten();
    for past in releases.filter(history::Past::is_kept) {
        let images: Vec<ImageRef> = past.facts.images.into_values().collect();
        if images.iter().all(|image| seen.contains(&image.digest)) {
            continue;
        }
        if seen.len() > LOOKED_AT {
            break;
        }
        seen.extend(images.iter().map(|image| image.digest.clone()));
        let at = all_whereabouts(context, &mut registries, &images).await;
        found.extend(at.map(|at| (past.record.id, at)));
    }
    found
}

/// Where these images are: in the registry where one of them is there alone; none where one is not there.
async fn all_whereabouts(
    context: &Context,
    registries: &mut Registries<'_>,
    images: &[ImageRef],
) -> Option<Whereabouts> {
    let mut all = Whereabouts::Host;
    for image in images {
        if whereabouts(context, registries, image).await? == Whereabouts::Registry {
            all = Whereabouts::Registry;
        }
    }
    Some(all)
}

/// Where an image is; none where it is not, or where nobody answers.
async fn whereabouts(
    context: &Context,
    registries: &mut Registries<'_>,
    image: &ImageRef,
) -> Option<Whereabouts> {
    let engine = context.engine().await.ok()?;
    if engine.image(&image.to_string()).await.ok()?.is_some() {
        return Some(Whereabouts::Host);
    }
    let asked = registries.ask(image.registry(), async |registry| {
        registry.digest(image.path(), image.digest.as_str()).await
    });
    asked.await.ok()?.map(|_| Whereabouts::Registry)
}

/// The commit that `redeploy` would build.
fn last_commit(context: &Context, app: &App, slot: Slot) -> Option<Commit> {
    let mut releases = history::newest_first(context, &app.name).ok()?;
    let last = releases.find(|past| past.record.slot == slot && past.record.builds());
    last?.record.source.commit().cloned()
}
