//! The registry edge: what the registry holds, and the deletion of what is past its keeping.
//!
//! Images themselves go through the Engine. What is here asks the registry's own HTTP interface (the OCI
//! distribution specification): whether it answers, its tags and digests, and deletion. Every call is bounded in time
//! and size, retried where that can help, and fails with an error of its own kind.

mod answer;
mod auth;
mod client;
mod collect;
mod error;
mod local;
mod transport;

pub use auth::{credentials, logins};
pub use client::{Deleted, Registry};
pub use collect::{COLLECT_UNIT, collect, usual_command};
pub use error::RegistryError;
pub use local::{LocalRegistry, STORAGE_LAYOUT, config_of, local_registry, size_on_disk};
