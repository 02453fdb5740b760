//! The engine edge against a real Docker Engine and a real registry.

mod build;
mod context;
mod ignore;
mod instances;
#[allow(dead_code, reason = "the ports of a lease are for whole worlds")]
#[path = "../release/support/lease.rs"]
mod lease;
mod network;
mod registry;
mod support;
mod tap;
