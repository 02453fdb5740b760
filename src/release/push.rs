//! push: the image goes to the registry, and its digest comes back.

use anyhow::Context as _;

use super::entry::Learned;
use super::retry::retrying;
use super::run::{Done, Run};
use crate::model::ImageRef;

pub(super) async fn push(run: &mut Run<'_>) -> Done {
    let tag = run.facts().tag.context("there is no image to push")?;
    let credentials = run.context.registry()?.credentials()?;
    let engine = run.context.engine().await?;
    let log = &mut run.log;
    let digest = retrying(log, async |log| {
        engine
            .push(&tag, credentials.as_ref(), &mut |line: &str| log.output(line))
            .await
    })
    .await?;
    let repository = run.context.settings.registry.repository(&run.app.name);
    let what = digest.to_string();
    Ok((
        Learned::Image {
            image: ImageRef { repository, digest },
        },
        what,
    ))
}
