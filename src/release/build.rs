//! build: the tree's image, tagged `REGISTRY/APP:COMMIT-RELEASE`.

use std::collections::BTreeMap;

use anyhow::Context as _;

use super::context::Context;
use super::entry::Learned;
use super::hopeless;
use super::run::{Done, Run};
use crate::engine::BuildRequest;
use crate::git::SlotRepository;
use crate::model::AppName;
use crate::registry;
use crate::store::Record;

pub(super) async fn build(run: &mut Run<'_>) -> Done {
    let root = run.context.store.worktree(&run.app.name, run.slot());
    let settings = &run.app.settings.build;
    let tag = tag_of(run.context, &run.app.name, &run.record).context("the release has no commit")?;
    let credentials = registry::credentials(&run.context.settings.registry)?;
    let request = BuildRequest {
        context: root.join(&settings.context),
        root,
        dockerfile: settings.dockerfile.clone(),
        args: settings.args.clone(),
        target: settings.target.clone(),
        tag: tag.clone(),
        labels: annotations(run)?,
        credentials: credentials.map(|given| (run.context.settings.registry.address.clone(), given)),
    };
    let engine = run.context.engine().await?;
    let log = &mut run.log;
    let built = engine.build(&request, &mut |line: &str| log.output(line)).await;
    log.end_of_output();
    built?;
    hopeless::look_at_image(run, &tag).await?;
    let what = tag.clone();
    Ok((Learned::Built { tag }, what))
}

/// The tag of the image that a release builds: known beforehand, so that a build whose worker was killed before it
/// could write the tag down is found again. None where there is no commit to build.
pub(super) fn tag_of(context: &Context, app: &AppName, record: &Record) -> Option<String> {
    let repository = context.settings.registry.repository(app);
    let commit = record.commit.as_ref().filter(|_| record.origin.builds())?;
    Some(format!("{repository}:{}-{}", commit.short(), record.id))
}

/// The OCI annotations. The time is the commit's, so that the same commit built again is the same image.
fn annotations(run: &Run<'_>) -> anyhow::Result<BTreeMap<String, String>> {
    let commit = run.commit()?;
    let repository = run.context.store.repository(&run.app.name, run.slot());
    let facts = SlotRepository::open(&repository)?.commit_facts(commit.into())?;
    let annotations = [
        ("revision", commit.to_string()),
        ("created", facts.time.to_string()),
        ("source", repository.display().to_string()),
        ("title", run.app.name.to_string()),
    ];
    Ok(annotations
        .map(|(key, value)| (format!("org.opencontainers.image.{key}"), value))
        .into())
}
