//! `git push green main` puts the pushed tree live on one's own server with nothing dropped, and
//! `deployer rollback green` takes it back.
//!
//! Dependencies point one way: [`cli`] → [`release`] → the edges ([`git`], [`compose`], [`engine`], [`registry`],
//! [`proxy`], [`ssh`], [`store`]; none uses another) → [`model`], [`ground`]. [`config`] turns the file into the model.
//! What happens on a push is told by [`release`].

pub mod cli;
pub mod compose;
pub mod config;
pub mod engine;
#[cfg(feature = "fuzzing")]
#[doc(hidden)]
pub mod fuzzing;
pub mod git;
pub mod ground;
pub mod install;
pub mod model;
pub mod proxy;
#[cfg(test)]
mod reference;
pub mod registry;
pub mod release;
pub mod ssh;
pub mod store;
