//! build: the tree's image, tagged `REGISTRY/APP:COMMIT-RELEASE`.

use std::collections::BTreeMap;

use anyhow::Context as _;

use crate::engine::{BuildRequest, Engine, EngineError};
use crate::git::{CommitFacts, SlotRepository};
use crate::registry;
use crate::release::hopeless;
use crate::release::images::tags_of;
use crate::release::journal_entry::Learned;
use crate::release::messages;
use crate::release::work::{Done, Work};

pub(in crate::release) async fn build(work: &mut Work<'_>) -> Done {
    let root = work
        .context
        .store
        .worktree(&work.attempt.app.name, work.attempt.slot());
    let tags = tags_of(work.context, &work.attempt.app.name, &work.attempt.record);
    let (service, tag) = tags.iter().next().context("the release builds no image")?;
    let settings = &work.attempt.app.settings.service(service).build;
    let commit = commit_facts(work)?;
    let request = BuildRequest {
        context: root.join(&settings.context),
        root,
        dockerfile: settings.dockerfile.clone(),
        args: settings.args.clone(),
        offered: offered(work, &commit),
        target: settings.target.clone(),
        tag: tag.clone(),
        labels: annotations(work, &commit),
        pull: work.attempt.record.pull,
        logins: registry::logins(&work.context.settings)?,
    };
    let engine = work.context.engine().await?;
    let log = &mut work.log;
    let built = engine.build(&request, &mut |line: &str| log.output(line)).await;
    log.end_of_output();
    if let Err(error) = built {
        return Err(with_what_helps(work, engine, error).await);
    }
    hopeless::look_at_image(work, service, tag).await?;
    let anew = if work.attempt.record.pull {
        ", base images pulled anew"
    } else {
        ""
    };
    let what = format!("{tag}{anew}");
    Ok((Learned::Built { tags }, what))
}

/// The error of a build, and what helps where it is that a base image could not be pulled anew.
async fn with_what_helps(work: &Work<'_>, engine: &Engine, error: EngineError) -> anyhow::Error {
    let (image, reason) = match error {
        EngineError::BaseImage { image, reason, hints } if hints.is_empty() => (image, reason),
        error => return error.into(),
    };
    let is_here = engine.image(&image).await.is_ok_and(|found| found.is_some());
    let (app, is_configured) = (
        &work.attempt.app.name,
        work.attempt.app.settings.pulls_base_images(),
    );
    let hint = messages::without_pull(app, work.attempt.slot(), is_here, is_configured);
    EngineError::BaseImage {
        image,
        reason,
        hints: vec![hint],
    }
    .into()
}

fn commit_facts(work: &Work<'_>) -> anyhow::Result<CommitFacts> {
    let commit = work.attempt.commit().context("the release is not of a commit")?;
    let repository = work
        .context
        .store
        .repository(&work.attempt.app.name, work.attempt.slot());
    Ok(SlotRepository::open(&repository)?.commit_facts(commit.into())?)
}

/// The build arguments that a Dockerfile gets by declaring them. The times are the commit's, so that the same commit
/// built again is the same image unless it wants to know its release or slot.
fn offered(work: &Work<'_>, commit: &CommitFacts) -> BTreeMap<String, String> {
    let arguments = [
        ("DEPLOYER_COMMIT", commit.commit.to_string()),
        ("DEPLOYER_RELEASE", work.attempt.record.id.to_string()),
        ("DEPLOYER_SLOT", work.attempt.slot().to_string()),
        ("DEPLOYER_TIME", commit.time.to_string()),
        ("SOURCE_DATE_EPOCH", commit.time.as_second().max(0).to_string()),
    ];
    arguments.map(|(name, value)| (name.to_owned(), value)).into()
}

/// The OCI annotations. The time is the commit's, so that the same commit built again is the same image.
fn annotations(work: &Work<'_>, commit: &CommitFacts) -> BTreeMap<String, String> {
    let repository = work
        .context
        .store
        .repository(&work.attempt.app.name, work.attempt.slot());
    let annotations = [
        ("revision", commit.commit.to_string()),
        ("created", commit.time.to_string()),
        ("source", repository.display().to_string()),
        ("title", work.attempt.app.name.to_string()),
    ];
    annotations
        .map(|(key, value)| (format!("org.opencontainers.image.{key}"), value))
        .into()
}
