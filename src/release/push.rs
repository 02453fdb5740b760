//! push: the image goes to the registry, and its digest comes back.

use anyhow::Context as _;

use super::entry::Learned;
use super::retry::retrying;
use super::run::{Done, Run};
use crate::engine::{EngineError, Transfer};
use crate::model::ImageRef;
use crate::registry;

pub(super) async fn push(run: &mut Run<'_>) -> Done {
    let tag = run.facts().tag.context("there is no image to push")?;
    let settings = &run.context.settings.registry;
    let credentials = registry::credentials(settings)?;
    let transfer = Transfer {
        credentials: credentials.as_ref(),
        timeout: settings.transfer_timeout,
    };
    let engine = run.context.engine().await?;
    let log = &mut run.log;
    let pushed = retrying(log, async |log| {
        engine
            .push(&tag, transfer, &mut |line: &str| log.output(line))
            .await
    })
    .await;
    let digest = match pushed {
        Ok(digest) => digest,
        Err(error) => return Err(the_registrys_own_reason(run, error).await),
    };
    let repository = run.context.settings.registry.repository(&run.app.name);
    let what = digest.to_string();
    Ok((
        Learned::Image {
            image: ImageRef { repository, digest },
        },
        what,
    ))
}

/// The Engine hides why a registry failed: the registry itself may name the cause, such as a full disk.
async fn the_registrys_own_reason(run: &Run<'_>, error: EngineError) -> anyhow::Error {
    let EngineError::RegistryFailed { .. } = error else {
        return error.into();
    };
    let path = run.context.settings.registry.path(&run.app.name);
    match run.context.registry() {
        Ok(registry) => match registry.try_upload(&path).await {
            Err(reason) => reason.into(),
            Ok(()) => error.into(),
        },
        Err(_) => error.into(),
    }
}
