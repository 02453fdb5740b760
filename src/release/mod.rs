//! `receive → checkout → build → push → pull → start → probe → flip → drain → retire → record`
//!
//! Each word is a file of `steps/`, and receive is [`intake`], which gives a push its number and starts a [`worker`], which
//! takes the steps in a `run`; after each of them [`next()`] decides, from the journal alone, what is done, taken back or
//! finished. It waits twice for its `turn`: to be prepared, up to pull, and to take effect, from start on. A run that was
//! killed is taken up by [`recover`] with the same decision. The pusher only reads along ([`follow`]), in the words of [`messages`].

mod app_file;
pub mod app_lock;
pub mod apps;
mod attempt;
pub mod audit;
pub mod cancel;
pub mod collect;
mod context;
pub mod differences;
pub mod disks;
mod endings;
pub mod follow;
pub mod history;
pub mod hopeless;
pub mod identity;
mod images;
mod in_force;
mod instances;
pub mod intake;
mod journal_entry;
pub mod log;
mod lost;
pub mod messages;
mod next;
#[cfg(test)]
mod next_tests;
mod overtaken;
mod pause;
mod precondition;
pub mod prune;
mod rebuild;
pub mod recover;
mod registries;
pub mod registry_here;
mod retry;
mod route;
mod run;
pub mod status;
mod steps;
pub mod switch;
mod turn;
mod visitor;
mod work;
pub mod worker;

pub use app_lock::Busy;
pub use context::{App, Context, NotFound};
pub use journal_entry::{Entry, Facts, Learned, Outcome, Started, Step, Why, way};
pub use next::{Next, next};
pub use overtaken::{Holds, Later, what_holds};
pub use route::{left_behind, route_of};
