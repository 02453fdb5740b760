//! `receive → checkout → build → push → pull → start → probe → flip → drain → retire → record`
//!
//! Each word is a file of `steps/`, and receive is [`intake`], which gives a push its number and starts a [`worker`], which
//! waits for its `turn` and then takes the steps in a `run`; after each of them [`next()`] decides, from the
//! journal alone, what is done, taken back or finished. A run that was killed is taken up by [`recover`] with
//! the same decision. The pusher only reads along ([`follow`]), in the words of [`say`].

pub mod apps;
mod attempt;
pub mod audit;
pub mod busy;
pub mod cancel;
pub mod collect;
mod context;
pub mod differences;
pub mod disks;
mod endings;
mod entry;
pub mod follow;
mod given;
pub mod history;
pub mod hopeless;
pub mod identity;
mod images;
mod in_force;
mod instances;
pub mod intake;
pub mod log;
mod lost;
mod meant;
mod next;
#[cfg(test)]
mod next_tests;
mod overtaken;
mod pause;
pub mod prune;
mod rebuild;
pub mod recover;
mod registries;
pub mod registry_here;
mod retry;
mod route;
mod run;
pub mod say;
pub mod status;
mod steps;
pub mod switch;
mod turn;
mod visitor;
mod work;
pub mod worker;

pub use busy::Busy;
pub use context::{App, Context, NotFound};
pub use entry::{Entry, Facts, Learned, Outcome, Started, Step, Why, way};
pub use next::{Next, next};
pub use overtaken::{Holds, Later, what_holds};
pub use route::{left_behind, route_of};
