//! build: the tree's image, tagged `REGISTRY/APP:COMMIT-RELEASE`.

use std::collections::BTreeMap;

use anyhow::{Context as _, anyhow};

use super::context::Context;
use super::entry::Learned;
use super::hopeless;
use super::run::{Done, Run};
use super::say;
use crate::engine::{BuildRequest, Engine, EngineError};
use crate::git::{CommitFacts, SlotRepository};
use crate::model::AppName;
use crate::registry;
use crate::store::Record;

pub(super) async fn build(run: &mut Run<'_>) -> Done {
    let root = run.context.store.worktree(&run.app.name, run.slot());
    let settings = &run.app.settings.build;
    let tag = tag_of(run.context, &run.app.name, &run.record).context("the release builds no image")?;
    let commit = commit_facts(run)?;
    let request = BuildRequest {
        context: root.join(&settings.context),
        root,
        dockerfile: settings.dockerfile.clone(),
        args: settings.args.clone(),
        offered: offered(run, &commit),
        target: settings.target.clone(),
        tag: tag.clone(),
        labels: annotations(run, &commit),
        pull: run.record.pull,
        logins: registry::logins(&run.context.settings)?,
    };
    let engine = run.context.engine().await?;
    let log = &mut run.log;
    let built = engine.build(&request, &mut |line: &str| log.output(line)).await;
    log.end_of_output();
    if let Err(error) = built {
        return Err(with_what_helps(run, engine, error).await);
    }
    hopeless::look_at_image(run, &tag).await?;
    let anew = if run.record.pull {
        ", base images pulled anew"
    } else {
        ""
    };
    let what = format!("{tag}{anew}");
    Ok((Learned::Built { tag }, what))
}

/// The error of a build, and what helps where it is that a base image could not be pulled anew.
async fn with_what_helps(run: &Run<'_>, engine: &Engine, error: EngineError) -> anyhow::Error {
    let EngineError::BaseImage { image, reason } = &error else {
        return error.into();
    };
    if reason.contains(" Hint: ") {
        return error.into();
    }
    let is_here = engine.image(image).await.is_ok_and(|found| found.is_some());
    let (app, is_configured) = (&run.app.name, run.app.settings.build.pull);
    let hint = say::without_pull(app, run.slot(), is_here, is_configured);
    anyhow!("{error}. Hint: {hint}")
}

/// The tag of the image that a release builds: known beforehand, so that a build whose worker was killed before it
/// could write the tag down is found again. None where it builds none.
pub(super) fn tag_of(context: &Context, app: &AppName, record: &Record) -> Option<String> {
    let repository = context.settings.registry.repository(app);
    let tag = record.source.tag_for(record.id).filter(|_| record.builds())?;
    Some(format!("{repository}:{tag}"))
}

fn commit_facts(run: &Run<'_>) -> anyhow::Result<CommitFacts> {
    let repository = run.context.store.repository(&run.app.name, run.slot());
    Ok(SlotRepository::open(&repository)?.commit_facts(run.commit()?.into())?)
}

/// The build arguments that a Dockerfile gets by declaring them. The times are the commit's, so that the same commit
/// built again is the same image unless it wants to know its release or slot.
fn offered(run: &Run<'_>, commit: &CommitFacts) -> BTreeMap<String, String> {
    let arguments = [
        ("DEPLOYER_COMMIT", commit.commit.to_string()),
        ("DEPLOYER_RELEASE", run.record.id.to_string()),
        ("DEPLOYER_SLOT", run.slot().to_string()),
        ("DEPLOYER_TIME", commit.time.to_string()),
        ("SOURCE_DATE_EPOCH", commit.time.as_second().max(0).to_string()),
    ];
    arguments.map(|(name, value)| (name.to_owned(), value)).into()
}

/// The OCI annotations. The time is the commit's, so that the same commit built again is the same image.
fn annotations(run: &Run<'_>, commit: &CommitFacts) -> BTreeMap<String, String> {
    let repository = run.context.store.repository(&run.app.name, run.slot());
    let annotations = [
        ("revision", commit.commit.to_string()),
        ("created", commit.time.to_string()),
        ("source", repository.display().to_string()),
        ("title", run.app.name.to_string()),
    ];
    annotations
        .map(|(key, value)| (format!("org.opencontainers.image.{key}"), value))
        .into()
}
