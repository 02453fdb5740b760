//! The git edge: the slots' bare repositories, what a push was, and the tree it brought.
//!
//! A [`SlotRepository`] is where a remote's pushes arrive; [`RefUpdate`] and [`PushOptions`] read what its hook
//! is told; [`what_was_pushed`] says what that means for the slot's branch. [`SlotRepository::checkout`] makes a
//! folder be exactly a commit's tree.

mod blobs;
mod disk;
mod error;
mod hook;
mod leftovers;
mod push;
mod repository;
mod seen;
mod tree;
mod weight;
mod worktree;

pub use error::GitError;
pub use hook::Hook;
pub use leftovers::Leftover;
pub use push::{
    MEMORY_MAX, ObjectId, PushError, PushOptions, Pushed, RefUpdate, what_was_pushed, without_git,
};
pub use repository::{CommitFacts, SlotRepository};
pub use weight::{Found, Weight};
pub use worktree::{CheckedOut, Note};
