//! record: state says what is so, and what is past its keeping goes.

use std::time::Duration;

use crate::release::journal_entry::Learned;
use crate::release::messages;
use crate::release::prune::{self, Mode};
use crate::release::work::{Done, Work};
use crate::store::AppLock;

/// How long pruning may hold up the end of a release; what is left is for the next one.
const PRUNING: Duration = Duration::from_secs(30);

pub(in crate::release) async fn record(work: &mut Work<'_>, lock: &AppLock) -> Done {
    let after = work.attempt.after()?;
    work.context.store.write_state(lock, after)?;
    let pruning = prune::prune(work.context, &work.attempt.app, lock, Mode::Remove);
    let what = match tokio::time::timeout(PRUNING, pruning).await {
        Ok(Ok(pruned)) => messages::pruned(&pruned),
        Ok(Err(error)) => format!("pruning put off: {error:#}"),
        Err(_) => format!("pruning put off: it took longer than {}", messages::time(PRUNING)),
    };
    Ok((Learned::Nothing, what))
}
