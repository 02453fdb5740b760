//! checkout: the pushed tree, exactly, in the slot's worktree.

use anyhow::bail;

use super::entry::Learned;
use super::run::{Done, Run};
use super::say;
use crate::git::{Note, SlotRepository};

pub(super) async fn checkout(run: &mut Run<'_>) -> Done {
    if !run.promotes() && run.before.live == Some(run.slot()) {
        bail!(say::live_without_promotion(&run.app.name, run.slot()));
    }
    if let Some(running) = run
        .ran_before()
        .filter(|running| running.commit.as_ref() == run.record.source.commit())
    {
        let line = say::runs_already(run.commit()?, running.release);
        run.log.line(&line);
    }
    let repository = run.context.store.repository(&run.app.name, run.slot());
    let worktree = run.context.store.worktree(&run.app.name, run.slot());
    let commit = run.commit()?.clone();
    let release = run.release.clone();
    let tree = tokio::task::spawn_blocking(move || {
        let go_on = || !release.is_cancelled();
        let repository = SlotRepository::open(&repository)?;
        // Whatever becomes of the push and its branch, the release can be built again.
        repository.keep(release.id(), &commit)?;
        repository.checkout(&commit, &worktree, &go_on)
    })
    .await??;
    for note in &tree.notes {
        run.log.line(&noted(note));
    }
    let what = format!(
        "{}, {} written, {} removed",
        say::count(tree.files, "file"),
        tree.written,
        tree.removed
    );
    Ok((Learned::Nothing, what))
}

fn noted(note: &Note) -> String {
    match note {
        Note::Submodule { path } => format!(
            " note: {path} is a submodule; its folder is empty, because submodules are not checked out"
        ),
        Note::LfsPointer { path } => format!(
            " note: {path} is a Git LFS pointer; the pointer is what the build sees, because LFS is not run"
        ),
    }
}
