//! The git edge: the slots' bare repositories, what a push was, and the tree it brought.
//!
//! A [`SlotRepository`] is where a remote's pushes arrive; [`RefUpdate`] and [`PushOptions`] read what its hook
//! is told; [`what_was_pushed`] says what that means for the slot's branch. [`SlotRepository::checkout`] makes a
//! folder be exactly a commit's tree.

mod blobs;
mod commit;
mod disk;
mod error;
mod fsck;
mod hook;
mod leftovers;
mod moves;
mod push;
mod references;
mod repository;
mod stat_cache;
mod tree;
mod weight;
mod worktree;

pub use error::GitError;
pub use fsck::{FAULTS, Fault, Verdict};
pub use hook::Hook;
pub use leftovers::Leftover;
pub use moves::Obstacle;
pub use push::{
    MEMORY_MAX, ObjectId, PushError, PushOptions, Pushed, RefUpdate, is_shallow, what_was_pushed, without_git,
};
pub use references::{NotTaken, is_mistaken_for, not_taken};
pub use repository::{CommitFacts, SlotRepository};
pub use weight::{Found, Weight};
pub use worktree::{CheckedOut, Note};
