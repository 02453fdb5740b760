//! pull: the images come from the registry, by digest, so that what runs is what the registry holds.

use anyhow::Result;
use tokio::join;

use super::start::create_ahead;
use crate::engine::{Engine, EngineError, Transfer};
use crate::model::ImageRef;
use crate::registry;
use crate::release::attempt::Attempt;
use crate::release::collect;
use crate::release::context::Context;
use crate::release::hopeless;
use crate::release::images::of_its_registry;
use crate::release::journal_entry::Learned;
use crate::release::log::Log;
use crate::release::lost::Lost;
use crate::release::retry::retrying;
use crate::release::work::{Done, Work};

pub(in crate::release) async fn pull(work: &mut Work<'_>) -> Done {
    let images = work.attempt.images()?;
    let engine = work.context.engine().await?;
    let goes_back = work.attempt.record.goes_back_to().is_some();
    let mut missing = Vec::new();
    for image in images.values() {
        if !goes_back || engine.image(&image.to_string()).await?.is_none() {
            missing.push(image);
        }
    }
    let what = match missing.is_empty() {
        true => format!("{}, on this host already", listed(images.values())),
        false => listed(missing.iter().copied()),
    };
    // The Engine that has built an image has it: nothing of it waits for the pull but that it is started.
    let (context, attempt) = (work.context, &work.attempt);
    let creates = async {
        if attempt.record.builds() {
            let _ = create_ahead(context, attempt, &images).await;
        }
    };
    let log = &mut work.log;
    let pulls = async {
        for image in missing {
            pull_one(context, attempt, log, engine, image).await?;
        }
        anyhow::Ok(())
    };
    join!(pulls, creates).0?;
    if goes_back {
        for (service, image) in &images {
            hopeless::look_at_image(work, service, &image.to_string()).await?;
        }
    }
    Ok((Learned::Images { images }, what))
}

fn listed<'a>(images: impl Iterator<Item = &'a ImageRef>) -> String {
    images.map(ToString::to_string).collect::<Vec<_>>().join(", ")
}

async fn pull_one(
    context: &Context,
    attempt: &Attempt,
    log: &mut Log,
    engine: &Engine,
    image: &ImageRef,
) -> Result<()> {
    let settings = context.settings.registry_at(image.registry());
    let credentials = registry::credentials(&settings)?;
    let transfer = Transfer {
        credentials: credentials.as_ref(),
        timeout: settings.transfer_timeout,
    };
    let _kept_off = collect::kept_off(context, &mut |line: &str| log.output(line)).await?;
    let pulled = retrying(log, async |log| {
        engine
            .pull(image, transfer, &mut |line: &str| log.output(line))
            .await
    })
    .await;
    match pulled {
        Err(EngineError::Unknown { .. }) if attempt.record.goes_back_to().is_some() => {
            let (app, slot) = (&attempt.app, attempt.slot());
            Err(Lost::of(context, app, slot, image, attempt.commit()).await.into())
        }
        pulled => pulled.map_err(|error| of_its_registry(context, image, error)),
    }
}
