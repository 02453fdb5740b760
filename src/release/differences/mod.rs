//! What is not as it should be: one comparison, which `status` tells and `recover` mends.
//!
//! ```text
//! state, journals, configuration → Should ┐
//!                                         ├ compare → differences → status tells each of them;
//! Engine, proxy, disks → Host, Own        ┘                         recover mends them stage by stage, and looks again
//! ```
//!
//! [`compare()`] is pure: what it goes by is gathered before, by [`gather`]. So is what `recover` does about a difference
//! (`repair.rs`), and the order in which it does it (`mend.rs`).

mod compare;
mod containers;
mod difference;
#[cfg(test)]
mod faults;
mod files;
pub(super) mod gather;
mod kind;
pub(super) mod mend;
#[cfg(test)]
mod model;
mod problem;
mod repair;
mod routes;
pub mod settings;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;

use jiff::Timestamp;

use self::settings::SettingsDiffer;
use super::context::App;
use super::disks::FullDisk;
use super::endings::InstanceEndings;
use super::messages::VisitorsSee;
use crate::engine::{Instance, Status};
use crate::ground::told::Told;
use crate::model::{AppName, Commit, PortSet, ReleaseId, Slot};
use crate::proxy::{AppRoute, ClosedPort, KindDiffers, Mismatch, OutInstance};
use crate::store::AppState;

pub(super) use compare::compare;
pub(super) use containers::run_by;
pub(super) use difference::{DamagedFile, Difference, FileFault, InstanceOf, NetworkFault, StateFault};
pub(super) use files::state_fault;
pub use kind::{About, Kind, MendedBy};
pub use problem::Problem;
pub(super) use repair::Repair;

/// What should be of an app, by its own files and the configuration.
#[derive(Debug, Clone)]
pub(super) struct Should {
    /// The app, with its settings.
    pub(super) app: App,
    /// What its files say.
    pub(super) files: Files,
}

/// What state and the releases' files say.
#[derive(Debug, Clone)]
pub(super) struct Files {
    /// What the slots run.
    pub(super) state: Result<AppState, FileFault>,
    /// The newest good release among those that state may know nothing of.
    pub(super) newest_good: Option<ReleaseId>,
    /// Releases that have not ended, the oldest first.
    pub(super) unfinished: Vec<Unfinished>,
    /// Damaged files of releases that state may know nothing of.
    pub(super) damaged: Vec<DamagedFile>,
    /// Damaged files of earlier ones; looked for under the app's lock alone.
    pub(super) damaged_before: Vec<DamagedFile>,
    /// That a newer deployer has written files of releases that state may know nothing of.
    pub(super) newer: Option<Told>,
    /// The same of earlier ones; looked for under the app's lock alone.
    pub(super) newer_before: Option<Told>,
    /// Whether containers and routes are other than state says by right, or were when they were asked for: a release is
    /// past its flip, which state tells only at its end, or has done something since.
    pub(super) is_moving: bool,
}

/// A release that has not ended.
#[derive(Debug, Clone, Copy)]
pub(super) struct Unfinished {
    pub(super) release: ReleaseId,
    pub(super) slot: Slot,
    /// Whether somebody works on it.
    pub(super) has_worker: bool,
}

/// What is, for all apps of this host.
#[derive(Debug)]
pub(super) struct Host {
    /// What of the configuration is not in force.
    pub(super) settings: Option<SettingsDiffer>,
    /// What the Engine says; why it says nothing.
    pub(super) engine: Result<EngineSays, Told>,
    /// What the proxy says.
    pub(super) proxy: ProxySays,
    /// Disks that are full, or nearly so.
    pub(super) disks: Vec<FullDisk>,
    /// What visitors see of each app that is live, where it is not the app.
    pub(super) visitors: BTreeMap<AppName, VisitorsSee>,
    /// When all of this was seen.
    pub(super) seen: Timestamp,
}

/// What the Engine says.
#[derive(Debug)]
pub(super) struct EngineSays {
    /// What is wrong with deployer's network.
    pub(super) network: Option<NetworkFault>,
    /// deployer's containers, of the apps that are looked at.
    pub(super) instances: Vec<Seen>,
}

/// A container, and what the Engine knows of it beside its labels.
#[derive(Debug, Clone)]
pub(super) struct Seen {
    /// The container.
    pub(super) instance: Instance,
    /// What it does; none where the Engine does not tell.
    pub(super) status: Option<Status>,
    /// How it has ended by itself lately.
    pub(super) endings: Option<InstanceEndings>,
}

/// What the proxy says.
#[derive(Debug)]
pub(super) struct ProxySays {
    /// Every route in force; why it tells none.
    pub(super) routes: Result<Vec<AppRoute>, Told>,
    /// Instances that get no request.
    pub(super) out: Vec<OutInstance>,
    /// Slot ports that it could not open.
    pub(super) closed: Vec<ClosedPort>,
    /// Whether it tries these again by itself.
    pub(super) tries_again: bool,
    /// What is not as it should be of a program's configuration.
    pub(super) mismatches: Vec<Mismatch>,
    /// What differs between the proxy that is wanted and the one in use.
    pub(super) kind: Option<KindDiffers>,
}

/// What is, for one app alone.
#[derive(Debug, Default)]
pub(super) struct Own {
    /// The branches of what its slots run that was released before its push was taken.
    pub(super) branches: Vec<Branch>,
    /// Those of its slot ports that the kernel may give away.
    pub(super) unreserved: PortSet,
    /// The releases of its containers that somebody works on.
    pub(super) at_work: BTreeSet<ReleaseId>,
    /// What killed processes of git have left; looked for under the app's lock alone.
    pub(super) leftovers: Vec<PathBuf>,
}

/// The branch of a slot that runs something which was released before its push was taken.
#[derive(Debug, Clone)]
pub(super) struct Branch {
    pub(super) slot: Slot,
    pub(super) release: ReleaseId,
    /// Its name.
    pub(super) name: String,
    /// Where it was before the push; none: it was not there.
    pub(super) before: Option<Commit>,
    /// Where it is.
    pub(super) tip: Option<Commit>,
    /// What was released.
    pub(super) released: Option<Commit>,
}
