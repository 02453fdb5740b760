//! The word for a difference, what it is about, and who mends it: what programs read.

use std::path::{Path, PathBuf};

use serde::Serialize;

use super::difference::{Difference, FileFault, InstanceOf, NetworkFault, StateFault, is_crashing};
use crate::model::{ReleaseId, ServiceName, Slot};
use crate::proxy::{KindDiffers, Mismatch};
use crate::release::endings::Now;

/// The word for a kind of difference, which programs go by.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "kebab-case")]
#[allow(missing_docs, reason = "docs/reference/json.md tells what each of them is")]
pub enum Kind {
    Settings,
    AppFile,
    State,
    DamagedFile,
    NewerFile,
    UnreadableFile,
    UnfinishedRelease,
    Leftover,
    Engine,
    Network,
    MissingInstances,
    PausedInstance,
    UnstartedInstance,
    EndedInstance,
    CrashingInstance,
    StrayContainers,
    Proxy,
    Route,
    Probes,
    ProxyConfiguration,
    ProxyKind,
    InstanceOut,
    ClosedPort,
    UnreservedPorts,
    Visitors,
    Branch,
    Disk,
}

impl Kind {
    /// Every kind.
    #[cfg(test)]
    pub(super) const ALL: [Self; 27] = [
        Self::Settings,
        Self::AppFile,
        Self::State,
        Self::DamagedFile,
        Self::NewerFile,
        Self::UnreadableFile,
        Self::UnfinishedRelease,
        Self::Leftover,
        Self::Engine,
        Self::Network,
        Self::MissingInstances,
        Self::PausedInstance,
        Self::UnstartedInstance,
        Self::EndedInstance,
        Self::CrashingInstance,
        Self::StrayContainers,
        Self::Proxy,
        Self::Route,
        Self::Probes,
        Self::ProxyConfiguration,
        Self::ProxyKind,
        Self::InstanceOut,
        Self::ClosedPort,
        Self::UnreservedPorts,
        Self::Visitors,
        Self::Branch,
        Self::Disk,
    ];
}

/// Who mends a difference.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum MendedBy {
    /// `deployer recover`, unless what it needs fails.
    Recover,
    /// It passes by itself.
    Itself,
    /// A person, as the hint says.
    Person,
}

/// What a difference is about, as far as it is about one.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct About {
    /// A slot.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub slot: Option<Slot>,
    /// A release.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub release: Option<ReleaseId>,
    /// A service.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub service: Option<ServiceName>,
    /// An instance's number.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub instance: Option<usize>,
    /// A port.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub port: Option<u16>,
    /// A file or folder.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub path: Option<PathBuf>,
    /// Keys of the configuration.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub settings: Vec<&'static str>,
}

impl About {
    fn release(slot: Slot, release: ReleaseId) -> Self {
        let (slot, release) = (Some(slot), Some(release));
        Self {
            slot,
            release,
            ..Self::default()
        }
    }

    fn instance(of: &InstanceOf) -> Self {
        Self {
            service: Some(of.name.service.clone()),
            instance: Some(of.name.index.into()),
            ..Self::release(of.slot, of.release)
        }
    }

    fn path(path: &Path) -> Self {
        let path = Some(path.to_owned());
        Self {
            path,
            ..Self::default()
        }
    }
}

impl FileFault {
    fn kind(&self, damaged: Kind) -> Kind {
        match self {
            Self::Damaged(_) => damaged,
            Self::Newer(_) => Kind::NewerFile,
            Self::Unread(_) => Kind::UnreadableFile,
        }
    }

    fn mended_by(&self) -> MendedBy {
        match self {
            Self::Damaged(_) => MendedBy::Recover,
            Self::Newer(_) | Self::Unread(_) => MendedBy::Person,
        }
    }
}

impl Difference {
    /// The word for it.
    pub(super) fn kind(&self) -> Kind {
        match self {
            Self::Settings(_) => Kind::Settings,
            Self::AppFile(fault) => fault.kind(Kind::AppFile),
            Self::State(StateFault::File(fault)) => fault.kind(Kind::State),
            Self::State(_) => Kind::State,
            Self::Damaged(_) => Kind::DamagedFile,
            Self::Newer { .. } => Kind::NewerFile,
            Self::Unfinished { .. } => Kind::UnfinishedRelease,
            Self::Leftover { .. } => Kind::Leftover,
            Self::Engine { .. } => Kind::Engine,
            Self::Network(_) => Kind::Network,
            Self::Missing { .. } => Kind::MissingInstances,
            Self::Paused { .. } => Kind::PausedInstance,
            Self::Unstarted(_) => Kind::UnstartedInstance,
            Self::Ended { endings, .. } if is_crashing(endings) => Kind::CrashingInstance,
            Self::Ended { .. } => Kind::EndedInstance,
            Self::Strays { .. } => Kind::StrayContainers,
            Self::Proxy { .. } => Kind::Proxy,
            Self::Route => Kind::Route,
            Self::Probes => Kind::Probes,
            Self::Configuration(_) => Kind::ProxyConfiguration,
            Self::ProxyKind(_) => Kind::ProxyKind,
            Self::Out(_) => Kind::InstanceOut,
            Self::Closed { .. } => Kind::ClosedPort,
            Self::Unreserved(_) => Kind::UnreservedPorts,
            Self::Visitors(_) => Kind::Visitors,
            Self::Branch { .. } => Kind::Branch,
            Self::Disk(_) => Kind::Disk,
        }
    }

    /// What it is about.
    pub(super) fn about(&self) -> About {
        match self {
            Self::Settings(differ) => About {
                settings: differ.settings.clone(),
                ..About::default()
            },
            Self::Damaged(file) => About::path(&file.path),
            Self::Leftover { path } => About::path(path),
            Self::Disk(disk) => About::path(&disk.path),
            Self::Configuration(Mismatch::File { file, .. }) => About::path(file),
            Self::Unfinished { release, slot }
            | Self::Missing { slot, release, .. }
            | Self::Strays { slot, release, .. }
            | Self::Branch { slot, release, .. } => About::release(*slot, *release),
            Self::Paused { of, .. } | Self::Unstarted(of) | Self::Ended { of, .. } => About::instance(of),
            Self::State(StateFault::Lost(release)) => About {
                release: Some(*release),
                ..About::default()
            },
            Self::Out(out) => About {
                slot: Some(out.slot),
                instance: Some(out.index),
                ..About::default()
            },
            Self::Closed { closed, .. } => About {
                port: Some(closed.port),
                ..About::default()
            },
            Self::AppFile(_)
            | Self::State(_)
            | Self::Newer { .. }
            | Self::Engine { .. }
            | Self::Network(_)
            | Self::Proxy { .. }
            | Self::Route
            | Self::Probes
            | Self::Configuration(_)
            | Self::ProxyKind(_)
            | Self::Unreserved(_)
            | Self::Visitors(_) => About::default(),
        }
    }

    /// Who mends it.
    pub(super) fn mended_by(&self) -> MendedBy {
        match self {
            Self::AppFile(fault) | Self::State(StateFault::File(fault)) => fault.mended_by(),
            Self::State(_)
            | Self::Damaged(_)
            | Self::Unfinished { .. }
            | Self::Leftover { .. }
            | Self::Network(NetworkFault::Missing(_))
            | Self::Missing { .. }
            | Self::Paused { .. }
            | Self::Unstarted(_)
            | Self::Strays { .. }
            | Self::Route
            | Self::Probes
            | Self::Configuration(Mismatch::File { .. } | Mismatch::Version { .. })
            | Self::ProxyKind(KindDiffers::BrokenOff { .. }) => MendedBy::Recover,
            Self::Ended { endings, .. } => match endings.state {
                Now::Ended => MendedBy::Recover,
                _ if is_crashing(endings) => MendedBy::Person,
                _ => MendedBy::Itself,
            },
            Self::Out(_)
            | Self::Closed {
                tries_again: true, ..
            } => MendedBy::Itself,
            Self::Settings(_)
            | Self::Newer { .. }
            | Self::Engine { .. }
            | Self::Network(NetworkFault::Wrong(_))
            | Self::Proxy { .. }
            | Self::Configuration(Mismatch::Silent { .. })
            | Self::ProxyKind(KindDiffers::Edited { .. })
            | Self::Closed { .. }
            | Self::Unreserved(_)
            | Self::Visitors(_)
            | Self::Branch { .. }
            | Self::Disk(_) => MendedBy::Person,
        }
    }
}
