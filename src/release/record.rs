//! record: state says what is so, and what is past its keeping goes.

use std::time::Duration;

use super::entry::Learned;
use super::prune::{self, Mode};
use super::run::{Done, Run};
use super::say;

/// How long pruning may hold up the end of a release; what is left is for the next one.
const PRUNING: Duration = Duration::from_secs(30);

pub(super) async fn record(run: &mut Run<'_>) -> Done {
    let after = run.after()?;
    run.context.store.write_state(run.lock, &after)?;
    let pruning = prune::prune(run.context, &run.app, run.lock, Mode::Remove);
    let what = match tokio::time::timeout(PRUNING, pruning).await {
        Ok(Ok(pruned)) => say::pruned(&pruned),
        Ok(Err(error)) => format!("pruning put off: {error:#}"),
        Err(_) => format!("pruning put off: it took longer than {}", say::time(PRUNING)),
    };
    Ok((Learned::Nothing, what))
}
