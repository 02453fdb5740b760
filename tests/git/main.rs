//! The git edge against the real git: what a push brings, and worktrees that are exactly the tree.

mod support;

mod exact_worktrees;
mod faulty_objects;
mod hostile_trees;
mod interrupted_checkouts;
mod leftovers;
mod pushes;
mod slot_repositories;
