//! `receive → checkout → build → push → pull → start → probe → flip → drain → retire → record`
//!
//! Each word is a file of this folder, and receive is [`intake`], which gives a push its number and starts a [`worker`], which
//! waits for its `turn` and then takes the steps in a `run`; after each of them [`next()`] decides, from the
//! journal alone, what is done, taken back or finished. A run that was killed is taken up by [`recover`] with
//! the same decision. The pusher only reads along ([`follow`]), in the words of [`say`].

pub mod apps;
pub mod audit;
mod build;
pub mod busy;
pub mod cancel;
mod checkout;
pub mod collect;
mod context;
mod disks;
mod drain;
mod endings;
mod entry;
mod flip;
pub mod follow;
mod given;
pub mod history;
pub mod hopeless;
pub mod identity;
pub mod intake;
mod lost;
mod meant;
mod next;
#[cfg(test)]
mod next_tests;
mod pause;
mod probe;
pub mod prune;
mod pull;
mod push;
mod record;
pub mod recover;
mod registries;
mod retire;
mod retry;
mod route;
mod run;
pub mod say;
mod start;
pub mod status;
pub mod switch;
mod turn;
mod unwell;
mod visitor;
pub mod worker;

pub use busy::{Busy, NotFound};
pub use context::{App, Context};
pub use entry::{Entry, Facts, Learned, Outcome, Step, Why, way};
pub use next::{Next, next};
pub use route::{left_behind, route_of, upstreams};
