//! The registry edge: what the registry holds, and taking out what is past its keeping.
//!
//! Images themselves go through the Engine. What is here asks the registry's own HTTP interface (the OCI
//! distribution specification): is it there, which tags and digests has it, delete this one. Every call is
//! bounded in time and size, tried again where that can help, and says which of the usual things went wrong.

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
