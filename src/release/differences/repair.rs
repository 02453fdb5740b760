//! What `recover` does about differences, and in which order.

use super::difference::{DamagedFile, Difference, NetworkFault};
use crate::engine::ContainerId;
use crate::model::Slot;
use crate::release::endings::Now;

/// What `recover` does about differences. The order is the one in which it does it.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(in crate::release) enum Repair {
    /// Writes anew what the app was given.
    AppFile,
    /// Writes state anew, or fails where it must not.
    State,
    /// Puts a file aside.
    PutAside(DamagedFile),
    /// Brings unfinished releases to their end.
    Finish,
    /// Removes what killed processes of git have left.
    RemoveLeftovers,
    /// Makes the network.
    Network,
    /// Starts what a slot runs and is not up.
    Start(Slot),
    /// Has a program take its configuration again.
    Configuration,
    /// Gives the proxy the route that follows from state.
    Route,
    /// Has the proxy try again to open slot ports.
    OpenPorts,
    /// Has the proxy send requests again to what was started.
    Wake,
    /// Removes containers.
    Remove(Vec<ContainerId>),
}

/// What is looked at anew after one stage was mended, before the next one is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Stage {
    /// What the app was given.
    App,
    /// State, and what stands in the releases' files.
    Files,
    /// Releases that have not ended.
    Releases,
    /// Containers and their network.
    Running,
    /// The proxy.
    Proxy,
    /// What is too much.
    Strays,
}

impl Stage {
    pub(super) const ALL: [Self; 6] = [
        Self::App,
        Self::Files,
        Self::Releases,
        Self::Running,
        Self::Proxy,
        Self::Strays,
    ];

    /// Whether the later ones go by what it mends, so that they must not be begun without it.
    pub(super) fn is_needed(self) -> bool {
        self <= Self::Releases
    }
}

impl Repair {
    pub(super) fn stage(&self) -> Stage {
        match self {
            Self::AppFile => Stage::App,
            Self::State | Self::PutAside(_) => Stage::Files,
            Self::Finish => Stage::Releases,
            Self::RemoveLeftovers | Self::Network | Self::Start(_) => Stage::Running,
            Self::Configuration | Self::Route | Self::OpenPorts | Self::Wake => Stage::Proxy,
            Self::Remove(_) => Stage::Strays,
        }
    }
}

impl Difference {
    /// What `recover` does about it, though it may not help; none where nothing can.
    pub(super) fn repair(&self) -> Option<Repair> {
        Some(match self {
            Self::AppFile(_) => Repair::AppFile,
            Self::State(_) | Self::Newer { blocks: true, .. } => Repair::State,
            Self::Damaged(file) => Repair::PutAside(file.clone()),
            Self::Unfinished { .. } => Repair::Finish,
            Self::Leftover { .. } => Repair::RemoveLeftovers,
            Self::Network(NetworkFault::Missing(_)) => Repair::Network,
            Self::Missing { slot, .. } => Repair::Start(*slot),
            Self::Paused { of, .. } | Self::Unstarted(of) => Repair::Start(of.slot),
            Self::Ended { of, endings, .. } if endings.state == Now::Ended => Repair::Start(of.slot),
            Self::Route | Self::Probes => Repair::Route,
            Self::Configuration(_) => Repair::Configuration,
            Self::Closed { .. } => Repair::OpenPorts,
            Self::Strays { containers, .. } => Repair::Remove(containers.clone()),
            // A switch of the proxy is every app's, and was mended before.
            Self::ProxyKind(_)
            | Self::Ended { .. }
            | Self::Settings(_)
            | Self::Newer { .. }
            | Self::Engine { .. }
            | Self::Network(NetworkFault::Wrong(_))
            | Self::Proxy { .. }
            | Self::Out(_)
            | Self::Unreserved(_)
            | Self::Visitors(_)
            | Self::Branch { .. }
            | Self::Disk(_) => return None,
        })
    }
}
