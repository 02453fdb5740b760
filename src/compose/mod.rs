//! A compose file, read into a model of our own.
//!
//! A [`Tree`] is a folder by its descriptor: nothing outside of it is opened, whatever the file says, and no value comes from
//! deployer's own environment. [`read()`] gives a [`Model`], or all [`Faults`] of the file with their lines. Each bound of
//! the reader stands in the file that it is about; what becomes of each key stands in `keys.rs`.
//!
//! `yaml` → `node` → `extends` → `service` and its parts → `graph` → [`Model`]. [`place`] then says where each service runs, by
//! `known`, `public` and the rules of `plan`.

mod amounts;
#[cfg(test)]
mod bounds_tests;
mod build;
mod depends;
mod dockerfile;
mod dotenv;
mod environment;
mod extends;
mod fault;
mod files;
#[cfg(feature = "fuzzing")]
pub(crate) mod fuzzing;
mod graph;
mod health;
mod interpolate;
mod key_texts;
mod keys;
mod known;
mod limits;
mod model;
mod mounts;
mod node;
mod paths;
mod plan;
#[cfg(test)]
mod plan_tests;
mod ports;
mod public;
mod read;
#[cfg(test)]
mod read_tests;
mod reading;
#[cfg(test)]
mod reference_tests;
mod scope;
mod service;
mod tree;
mod yaml;

pub use dockerfile::Dockerfile;
pub use fault::{At, Fault, Faults};
pub use model::{
    Build, Condition, Dependency, FileSource, FileUse, Healthcheck, KeyRead, Model, Mount, Port, Process,
    Resources, Restart, Service, Source,
};
pub use plan::{Placed, place};
pub use read::{find, read};
pub use scope::Scope;
pub use tree::Tree;
