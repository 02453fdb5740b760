//! pull: the image comes from the registry, by digest, so that what runs is what the registry holds.

use anyhow::anyhow;
use tokio::join;

use super::collect;
use super::context::{App, Context};
use super::entry::Learned;
use super::hopeless;
use super::lost::Lost;
use super::retry::retrying;
use super::run::{Done, Run};
use super::say;
use super::start::{create_ahead, created_ahead};
use crate::engine::{EngineError, Transfer};
use crate::model::{ImageRef, Slot};
use crate::registry;
use crate::store::Running;

/// Makes sure that an image that was released before is on this host: pulled by its digest where somebody removed it.
///
/// # Errors
/// The engine's, or the registry's.
pub(super) async fn bring_back(
    context: &Context,
    app: &App,
    slot: Slot,
    running: &Running,
) -> anyhow::Result<()> {
    let (engine, image) = (context.engine().await?, &running.image);
    if engine.image(&image.to_string()).await?.is_none() {
        let settings = context.settings.registry_at(image.registry());
        let credentials = registry::credentials(&settings)?;
        let transfer = Transfer {
            credentials: credentials.as_ref(),
            timeout: settings.transfer_timeout,
        };
        let _kept_off = collect::kept_off(context, &mut |_: &str| {}).await?;
        let pulled = engine.pull(image, transfer, &mut |_: &str| {}).await;
        if let Err(EngineError::Unknown { .. }) = pulled {
            let commit = running.commit.as_ref();
            return Err(Lost::of(context, app, slot, image, commit).await.into());
        }
        pulled.map_err(|error| of_its_registry(context, image, error))?;
    }
    Ok(())
}

/// The error of a pull, which says so where the image is in another registry than the configured one.
fn of_its_registry(context: &Context, image: &ImageRef, error: EngineError) -> anyhow::Error {
    let (registry, configured) = (image.registry(), &context.settings.registry.address);
    match registry == configured {
        true => error.into(),
        false => anyhow!(say::not_pulled_from_a_former_registry(
            &error, registry, configured
        )),
    }
}

pub(super) async fn pull(run: &mut Run<'_>) -> Done {
    let image = run.image()?;
    let engine = run.context.engine().await?;
    let goes_back = run.record.goes_back_to().is_some();
    if goes_back && engine.image(&image.to_string()).await?.is_some() {
        hopeless::look_at_image(run, &image.to_string()).await?;
        return Ok((Learned::Image { image }, "on this host already".to_owned()));
    }
    let settings = run.context.settings.registry_at(image.registry());
    let credentials = registry::credentials(&settings)?;
    let transfer = Transfer {
        credentials: credentials.as_ref(),
        timeout: settings.transfer_timeout,
    };
    // The Engine that has built an image has it: nothing of it waits for the pull but that it is started.
    let new = run.record.builds().then(|| created_ahead(run, &image));
    let (slot, log) = (run.slot(), &mut run.log);
    let _kept_off = collect::kept_off(run.context, &mut |line: &str| log.output(line)).await?;
    let pulls = retrying(log, async |log| {
        engine
            .pull(&image, transfer, &mut |line: &str| log.output(line))
            .await
    });
    let pulled = match new {
        Some(new) => join!(pulls, create_ahead(run.context, &run.app, slot, &new)).0,
        None => pulls.await,
    };
    if let (true, Err(EngineError::Unknown { .. })) = (goes_back, &pulled) {
        let commit = run.record.source.commit();
        return Err(Lost::of(run.context, &run.app, slot, &image, commit).await.into());
    }
    pulled.map_err(|error| of_its_registry(run.context, &image, error))?;
    if goes_back {
        hopeless::look_at_image(run, &image.to_string()).await?;
    }
    let what = image.to_string();
    Ok((Learned::Image { image }, what))
}
