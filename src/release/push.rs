//! push: the image goes to the registry, and its digest comes back.

use anyhow::Context as _;

use super::collect;
use super::entry::Learned;
use super::retry::retrying;
use super::run::{Done, Run};
use crate::engine::{EngineError, Transfer};
use crate::model::{ImageRef, registry_and_path};
use crate::registry;

pub(super) async fn push(run: &mut Run<'_>) -> Done {
    let tag = run.facts().tag.context("there is no image to push")?;
    // Where the build has put it: the configuration may name another registry by now.
    let repository = tag
        .rsplit_once(':')
        .map_or(tag.as_str(), |(repository, _)| repository);
    let (address, path) = registry_and_path(repository);
    let settings = run.context.settings.registry_at(address);
    let credentials = registry::credentials(&settings)?;
    let transfer = Transfer {
        credentials: credentials.as_ref(),
        timeout: settings.transfer_timeout,
    };
    let engine = run.context.engine().await?;
    let log = &mut run.log;
    let _kept_off = collect::kept_off(run.context, &mut |line: &str| log.output(line)).await?;
    let pushed = retrying(log, async |log| {
        engine
            .push(&tag, transfer, &mut |line: &str| log.output(line))
            .await
    })
    .await;
    let digest = match pushed {
        Ok(digest) => digest,
        Err(error) => return Err(the_registrys_own_reason(run, address, path, error).await),
    };
    let repository = repository.to_owned();
    let what = digest.to_string();
    Ok((
        Learned::Image {
            image: ImageRef { repository, digest },
        },
        what,
    ))
}

/// The Engine hides why a registry failed: the registry itself may name the cause, such as a full disk.
async fn the_registrys_own_reason(
    run: &Run<'_>,
    address: &str,
    path: &str,
    error: EngineError,
) -> anyhow::Error {
    let EngineError::RegistryFailed { .. } = error else {
        return error.into();
    };
    match run.context.registry(address) {
        Ok(registry) => match registry.try_upload(path).await {
            Err(reason) => reason.into(),
            Ok(()) => error.into(),
        },
        Err(_) => error.into(),
    }
}
