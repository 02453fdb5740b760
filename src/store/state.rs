//! `state.json`: what runs in an app's slots, and which of them is live.

use std::collections::BTreeMap;
use std::net::SocketAddrV4;
use std::path::PathBuf;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::{AppLock, Store, StoreError, durable};
use crate::model::{
    AppName, ByService, Commit, Digest, ImageRef, InstanceName, Lane, ReleaseId, ServiceName, Slot,
};

const FILE: &str = "state.json";
/// 2 since it tells of services and their endpoints.
const FORMAT: u32 = 2;

/// How many flips are remembered.
pub const FLIPS_KEPT: usize = 50;

/// What runs in an app's slots, and which of them is live.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AppState {
    /// The slot that the public port goes to.
    pub live: Option<Slot>,
    /// What each slot runs.
    pub slots: BTreeMap<Slot, Running>,
    /// The last flips, the newest last.
    pub flips: Vec<Flip>,
}

/// The release that a slot runs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Running {
    /// The release.
    pub release: ReleaseId,
    /// The lane that its instances are on.
    pub lane: Lane,
    /// The commit that its images were built from.
    pub commit: Option<Commit>,
    /// Whether the instances were stopped on purpose, as a standby's may be.
    pub stopped: bool,
    /// Its services.
    pub services: ByService<RunningService>,
}

/// A service of a release that a slot runs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RunningService {
    /// Its image.
    pub image: ImageRef,
    /// Where its instances listen, in the order of their numbers.
    pub endpoints: Vec<SocketAddrV4>,
}

impl Running {
    /// Where requests to the slot go: the endpoints of its public service.
    pub fn upstreams(&self) -> &[SocketAddrV4] {
        let public = self.services.get(&ServiceName::web());
        public.map_or(&[], |service| &service.endpoints)
    }

    /// Every instance, with where it listens.
    pub fn endpoints(&self) -> impl Iterator<Item = (InstanceName, SocketAddrV4)> {
        self.services.iter().flat_map(|(service, running)| {
            let named = move |index| InstanceName {
                service: service.clone(),
                index,
            };
            (0..).map(named).zip(running.endpoints.iter().copied())
        })
    }

    /// How many instances there are.
    pub fn instances(&self) -> usize {
        self.services
            .values()
            .map(|service| service.endpoints.len())
            .sum()
    }

    /// The digest of each service's image.
    pub fn digests(&self) -> ByService<&Digest> {
        let services = self.services.iter();
        services
            .map(|(service, running)| (service.clone(), &running.image.digest))
            .collect()
    }

    /// The image of each service.
    pub fn images(&self) -> ByService<ImageRef> {
        let images = self.services.iter();
        images
            .map(|(service, running)| (service.clone(), running.image.clone()))
            .collect()
    }
}

/// A live release: the slot and what it ran.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Live {
    /// The slot.
    pub slot: Slot,
    /// The release.
    pub release: ReleaseId,
}

/// What a command saw that goes back from something: in its turn it must still be so.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Meant {
    /// A slot runs this.
    pub runs: Option<Live>,
    /// This is live.
    pub live: Option<Live>,
}

/// One flip of the live route.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Flip {
    /// When.
    pub at: Timestamp,
    /// What was live before.
    pub from: Option<Live>,
    /// What is live since.
    pub to: Live,
}

impl AppState {
    /// What is live.
    pub fn live(&self) -> Option<Live> {
        let slot = self.live?;
        let release = self.slots.get(&slot)?.release;
        Some(Live { slot, release })
    }
}

impl Store {
    /// The state of `app`; one that was never released has the empty state.
    ///
    /// # Errors
    /// When the file is there but is not what deployer wrote, or a newer deployer wrote it.
    pub fn state(&self, app: &AppName) -> Result<AppState, StoreError> {
        Ok(durable::read_sealed(&self.state_file(app), FORMAT)?.unwrap_or_default())
    }

    /// Replaces the state of the locked app, durably.
    ///
    /// # Errors
    /// When it cannot be written; the old state is then still there.
    pub fn write_state(&self, lock: &AppLock, state: &AppState) -> Result<(), StoreError> {
        durable::write_sealed(&self.state_file(lock.app()), FORMAT, state)
    }

    /// Keeps a copy of the locked app's unreadable state, and gives its name. The state itself stays until it is
    /// written anew: at no moment does it look as if the app had never been released. `None` when there is no file.
    ///
    /// # Errors
    /// When the copy cannot be made.
    pub fn keep_state_aside(&self, lock: &AppLock) -> Result<Option<PathBuf>, StoreError> {
        durable::keep_copy_aside(&self.state_file(lock.app()))
    }

    fn state_file(&self, app: &AppName) -> PathBuf {
        self.app_folder(app).join(FILE)
    }
}
