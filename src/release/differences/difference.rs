//! One difference.

use std::path::PathBuf;

use jiff::Timestamp;

use super::settings::SettingsDiffer;
use crate::engine::ContainerId;
use crate::ground::told::Told;
use crate::model::{InstanceName, PortSet, ReleaseId, Slot};
use crate::proxy::{ClosedPort, KindDiffers, Mismatch, OutInstance};
use crate::release::disks::FullDisk;
use crate::release::endings::{InstanceEndings, Now};

/// From so many endings within an hour on an instance keeps crashing.
const CRASHES: u64 = 3;

/// Something that is not as it should be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::release) enum Difference {
    /// The configuration's settings are not those in force.
    Settings(SettingsDiffer),
    /// What the app was given when it was created cannot be read.
    AppFile(FileFault),
    /// State is not what is so.
    State(StateFault),
    /// A file of a release is not what deployer wrote.
    Damaged(DamagedFile),
    /// A newer deployer has written a file of a release.
    Newer {
        /// Which, and what to do.
        told: Told,
        /// Whether nothing can be mended beside it, since state may not know of what was done.
        blocks: bool,
    },
    /// A release has not ended, and nobody works on it.
    Unfinished { release: ReleaseId, slot: Slot },
    /// A process of git that was killed has left it.
    Leftover { path: PathBuf },
    /// The Engine does not answer.
    Engine { told: Told },
    /// deployer's network is not there, or another one than it should be.
    Network(NetworkFault),
    /// Fewer instances of what a slot runs are up than should be.
    Missing {
        slot: Slot,
        release: ReleaseId,
        up: usize,
        wanted: usize,
    },
    /// An instance was paused.
    Paused { of: InstanceOf, container: ContainerId },
    /// An instance was made and not started.
    Unstarted(InstanceOf),
    /// An instance has ended by itself lately, or stays ended.
    Ended {
        of: InstanceOf,
        endings: InstanceEndings,
        /// When that was seen.
        seen: Timestamp,
    },
    /// Containers are the app's, and no slot runs them.
    Strays {
        slot: Slot,
        release: ReleaseId,
        containers: Vec<ContainerId>,
    },
    /// The proxy does not answer.
    Proxy { told: Told },
    /// The proxy serves another route than the one that follows from state.
    Route,
    /// The proxy probes instances by other settings than the configuration's.
    Probes,
    /// The configuration of another program is not what it should be.
    Configuration(Mismatch),
    /// Traffic goes through another kind of proxy than the configuration says.
    ProxyKind(KindDiffers),
    /// The proxy sends no request to an instance.
    Out(OutInstance),
    /// The proxy could not open a slot port.
    Closed {
        closed: ClosedPort,
        /// Whether it goes on trying.
        tries_again: bool,
    },
    /// The kernel may give away ports that are to be listened on.
    Unreserved(PortSet),
    /// Visitors see something else than the app.
    Visitors(Told),
    /// A branch did not move to what was released of it.
    Branch {
        slot: Slot,
        release: ReleaseId,
        branch: String,
    },
    /// A disk is full, or nearly so.
    Disk(FullDisk),
}

/// Why a file of the app's cannot be gone by.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::release) enum FileFault {
    /// It is not what deployer wrote.
    Damaged(Told),
    /// A newer deployer wrote it.
    Newer(Told),
    /// It is not there, or the system does not let it be read.
    Unread(Told),
}

/// Why state cannot be gone by.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::release) enum StateFault {
    /// Its file cannot be used.
    File(FileFault),
    /// It knows of no release, although this one was good.
    Lost(ReleaseId),
    /// The proxy serves something else, and what could tell why cannot be read.
    Doubtful { damage: String },
}

/// A file of a release that is not what deployer wrote.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(in crate::release) struct DamagedFile {
    pub(in crate::release) path: PathBuf,
    /// Which file, and why.
    pub(in crate::release) told: String,
}

/// What is wrong with deployer's network.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::release) enum NetworkFault {
    /// There is none of this name.
    Missing(String),
    /// It is another one than the configuration wants, or there are several.
    Wrong(Told),
}

/// An instance of what a slot runs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::release) struct InstanceOf {
    pub(in crate::release) slot: Slot,
    pub(in crate::release) release: ReleaseId,
    pub(in crate::release) name: InstanceName,
}

/// Whether an instance keeps crashing.
pub(super) fn is_crashing(endings: &InstanceEndings) -> bool {
    endings.state == Now::Restarting || endings.times >= CRASHES
}

impl FileFault {
    pub(in crate::release) fn told(&self) -> &Told {
        match self {
            Self::Damaged(told) | Self::Newer(told) | Self::Unread(told) => told,
        }
    }
}

impl Difference {
    /// Whether nobody is kept from anything by it.
    pub(in crate::release) fn is_note(&self) -> bool {
        matches!(self, Self::Probes)
    }
}
