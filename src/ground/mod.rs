//! The ground floor: what every edge stands on. It knows no app, no release and no edge.
//!
//! - [`durable`]: the one way in which a file that must survive a crash is written.
//! - [`lock`]: the one kind of lock between processes.
//! - [`sealed`]: what a state file holds under a format number and a checksum.
//! - [`child`]: other programs, run to their end with a deadline.
//! - [`told`]: a message for people, with its hints beside it.
//! - [`failpoint`]: named moments at which a test kills or holds a process.

pub(crate) mod child;
pub(crate) mod durable;
pub(crate) mod failpoint;
pub(crate) mod lock;
pub mod sealed;
pub mod told;
