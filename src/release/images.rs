//! Images: what they are called, and where they come from again.

use anyhow::{Error, anyhow};

use super::collect;
use super::context::{App, Context};
use super::lost::Lost;
use super::messages;
use crate::engine::{EngineError, Transfer};
use crate::model::{AppName, ByService, Commit, ImageRef, ServiceName, Slot};
use crate::registry;
use crate::store::{Record, Running};

/// The tags of the images that a release builds: known beforehand, so that a build whose worker was killed before it
/// could write the tag down is found again. Empty where it builds none.
pub(super) fn tags_of(context: &Context, app: &AppName, record: &Record) -> ByService<String> {
    let tag = record.source.tag_for(record.id).filter(|_| record.builds());
    let tag = tag.map(|tag| {
        let service = ServiceName::web();
        let repository = context.settings.registry.repository(app, &service);
        (service, format!("{repository}:{tag}"))
    });
    tag.into_iter().collect()
}

/// Makes sure that images that were released before are on this host: pulled by digest where somebody removed one.
///
/// # Errors
/// The engine's, or the registry's.
pub(super) async fn bring_back(
    context: &Context,
    app: &App,
    slot: Slot,
    running: &Running,
) -> anyhow::Result<()> {
    for service in running.services.values() {
        bring_one_back(context, app, slot, &service.image, running.commit.as_ref()).await?;
    }
    Ok(())
}

async fn bring_one_back(
    context: &Context,
    app: &App,
    slot: Slot,
    image: &ImageRef,
    commit: Option<&Commit>,
) -> anyhow::Result<()> {
    let engine = context.engine().await?;
    if engine.image(&image.to_string()).await?.is_some() {
        return Ok(());
    }
    let settings = context.settings.registry_at(image.registry());
    let credentials = registry::credentials(&settings)?;
    let transfer = Transfer {
        credentials: credentials.as_ref(),
        timeout: settings.transfer_timeout,
    };
    let _kept_off = collect::kept_off(context, &mut |_: &str| {}).await?;
    let pulled = engine.pull(image, transfer, &mut |_: &str| {}).await;
    if let Err(EngineError::Unknown { .. }) = pulled {
        return Err(Lost::of(context, app, slot, image, commit).await.into());
    }
    pulled.map_err(|error| of_its_registry(context, image, error))?;
    Ok(())
}

/// The error of a pull, which says so where the image is in another registry than the configured one.
pub(super) fn of_its_registry(context: &Context, image: &ImageRef, error: EngineError) -> Error {
    let (registry, configured) = (image.registry(), &context.settings.registry.address);
    match registry == configured {
        true => error.into(),
        false => anyhow!(messages::not_pulled_from_a_former_registry(
            &error, registry, configured
        )),
    }
}
