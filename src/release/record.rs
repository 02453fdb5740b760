//! record: state says what is so, and what is past its keeping goes.

use super::entry::Learned;
use super::prune;
use super::run::{Done, Run};
use super::say;

pub(super) async fn record(run: &mut Run<'_>) -> Done {
    let after = run.after()?;
    run.context.store.write_state(run.lock, &after)?;
    let what = match prune::prune(run.context, &run.app, run.lock, prune::Mode::Remove).await {
        Ok(pruned) if pruned.is_empty() => String::new(),
        Ok(pruned) => format!(
            "{} past their keeping pruned",
            say::count(pruned.images.len() as u64, "image")
        ),
        Err(error) => format!("pruning put off: {error:#}"),
    };
    Ok((Learned::Nothing, what))
}
