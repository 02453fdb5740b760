//! checkout: the pushed tree, exactly, in the slot's worktree.

use anyhow::Context as _;

use crate::git::{Note, SlotRepository};
use crate::release::journal_entry::Learned;
use crate::release::messages;
use crate::release::work::{Done, Work};

pub(in crate::release) async fn checkout(work: &mut Work<'_>) -> Done {
    let commit = work.attempt.commit().cloned();
    let commit = commit.context("the release is not of a commit")?;
    if let Some(running) = work
        .attempt
        .ran_before()
        .filter(|running| running.commit.as_ref() == Some(&commit))
    {
        let note = messages::runs_already(&commit, running.release);
        work.log.note(note);
    }
    let repository = work
        .context
        .store
        .repository(&work.attempt.app.name, work.attempt.slot());
    let worktree = work
        .context
        .store
        .worktree(&work.attempt.app.name, work.attempt.slot());
    let release = work.release.clone();
    let tree = tokio::task::spawn_blocking(move || {
        let go_on = || !release.is_cancelled();
        let repository = SlotRepository::open(&repository)?;
        // Whatever becomes of the push and its branch, the release can be built again.
        repository.keep(release.id(), &commit)?;
        repository.checkout(&commit, &worktree, &go_on)
    })
    .await??;
    for note in &tree.notes {
        work.log.note(noted(note));
    }
    let what = format!(
        "{}, {} written, {} removed",
        messages::count(tree.files, "file"),
        tree.written,
        tree.removed
    );
    Ok((Learned::Nothing, what))
}

fn noted(note: &Note) -> String {
    match note {
        Note::Submodule { path } => {
            format!("{path} is a submodule; its folder is empty, because submodules are not checked out")
        }
        Note::LfsPointer { path } => {
            format!("{path} is a Git LFS pointer; the pointer is what the build sees, because LFS is not run")
        }
    }
}
