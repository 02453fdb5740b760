//! Cancelling a release that has not flipped yet.

use std::time::{Duration, Instant};

use anyhow::{Result, bail};

use super::history;
use super::journal_entry::{Outcome, Step, Why};
use crate::store::ReleaseDir;

/// How long the worker has to stop: a container's stop takes its grace.
const PATIENCE: Duration = Duration::from_secs(60);

/// Asks the worker of `release` to stop, waits until it has, and says what came of it.
///
/// # Errors
/// When the release has ended or flipped already, or nobody works on it.
pub async fn cancel(release: &ReleaseDir) -> Result<String> {
    let (app, id) = (release.app(), release.id());
    // Looked at before the journal: a worker that ends in between has written its outcome.
    let has_worker = release.has_worker();
    let Some(past) = history::one(release.clone())? else {
        bail!("{app} has no release {id}")
    };
    if let Some(outcome) = past.outcome {
        bail!("release {id} has ended already: {}", outcome.as_str());
    }
    if past.step.is_some_and(|step| step >= Step::Flip) {
        bail!("release {id} is past its flip: `deployer rollback` takes it back");
    }
    if !has_worker {
        bail!("nobody works on release {id}: `deployer recover {app}` brings it to its end");
    }
    release.ask_to_cancel()?;
    let began = Instant::now();
    while release.has_worker() && began.elapsed() < PATIENCE {
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    match history::one(release.clone())?.and_then(|past| past.outcome) {
        Some(Outcome::Failed {
            step,
            why: Why::Cancelled,
        }) => Ok(format!("release {id} is cancelled at {step}")),
        Some(Outcome::Dropped { why: Why::Cancelled }) => Ok(format!("release {id} is cancelled")),
        Some(outcome) => bail!("it was too late: release {id} is {}", outcome.as_str()),
        None => bail!(
            "release {id} was asked to stop and has not stopped yet: `deployer log {app}/{id}` shows why"
        ),
    }
}
