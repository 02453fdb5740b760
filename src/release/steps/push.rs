//! push: the image goes to the registry, and its digest comes back.

use anyhow::{Result, bail};

use crate::engine::{EngineError, Transfer};
use crate::model::{ByService, ImageRef, registry_and_path};
use crate::registry;
use crate::release::collect;
use crate::release::journal_entry::Learned;
use crate::release::retry::retrying;
use crate::release::work::{Done, Work};

pub(in crate::release) async fn push(work: &mut Work<'_>) -> Done {
    let tags = work.attempt.facts.tags.clone();
    if tags.is_empty() {
        bail!("there is no image to push");
    }
    let mut images = ByService::new();
    for (service, tag) in tags {
        images.insert(service, push_one(work, &tag).await?);
    }
    let digests: Vec<String> = images.values().map(|image| image.digest.to_string()).collect();
    Ok((Learned::Images { images }, digests.join(", ")))
}

async fn push_one(work: &mut Work<'_>, tag: &str) -> Result<ImageRef> {
    // Where the build has put it: the configuration may name another registry by now.
    let repository = tag.rsplit_once(':').map_or(tag, |(repository, _)| repository);
    let (address, path) = registry_and_path(repository);
    let settings = work.context.settings.registry_at(address);
    let credentials = registry::credentials(&settings)?;
    let transfer = Transfer {
        credentials: credentials.as_ref(),
        timeout: settings.transfer_timeout,
    };
    let engine = work.context.engine().await?;
    let log = &mut work.log;
    let _kept_off = collect::kept_off(work.context, &mut |line: &str| log.output(line)).await?;
    let pushed = retrying(log, async |log| {
        engine
            .push(tag, transfer, &mut |line: &str| log.output(line))
            .await
    })
    .await;
    match pushed {
        Ok(digest) => Ok(ImageRef {
            repository: repository.to_owned(),
            digest,
        }),
        Err(error) => Err(the_registrys_own_reason(work, address, path, error).await),
    }
}

/// The Engine hides why a registry failed: the registry itself may name the cause, such as a full disk.
async fn the_registrys_own_reason(
    work: &Work<'_>,
    address: &str,
    path: &str,
    error: EngineError,
) -> anyhow::Error {
    let EngineError::RegistryFailed { .. } = error else {
        return error.into();
    };
    match work.context.registry(address) {
        Ok(registry) => match registry.try_upload(path).await {
            Err(reason) => reason.into(),
            Ok(()) => error.into(),
        },
        Err(_) => error.into(),
    }
}
