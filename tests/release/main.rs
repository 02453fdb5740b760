//! Releases from the push to the answer, through the front door: a real git, Docker Engine, registry and proxy.

mod audit;
mod base_images;
mod ci;
mod collection;
mod commands;
mod crash;
mod differences;
mod door;
mod durable;
#[path = "../durable/mod.rs"]
#[allow(dead_code, reason = "not every part of it is used by both")]
mod durable_calls;
mod engine;
mod failures;
mod faults;
mod gate;
mod harness;
mod history;
mod hostile;
mod identity;
mod instances;
mod json;
mod kill;
mod programs;
mod prune;
mod push;
mod queue;
mod recover;
mod rollback;
mod schedules;
mod soak;
mod ssh;
#[allow(dead_code, reason = "not every part of the harness is used by a test yet")]
mod support;
mod trees;
mod two_locks;
