//! `registry/size.json`: how much the registry on this host had on its disk when that was looked at last.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use super::{Moment, Store, StoreError, durable};
use crate::ground::durable as ground;

const FOLDER: &str = "registry";
const FILE: &str = "size.json";
const FORMAT: u32 = 1;

/// What the registry at an address had on the disk.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RegistrySize {
    /// `registry.address` when it was looked at.
    pub address: String,
    /// The folder that it keeps everything in: in a container, the one of this host that is mounted there.
    pub storage: PathBuf,
    /// Bytes on the disk.
    pub bytes: u64,
    /// When.
    pub measured: Moment,
    /// The same right after it was collected the last time.
    pub collected: Option<CollectedSize>,
}

/// What a registry had when it was collected: then it had nothing that could be freed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CollectedSize {
    /// Bytes on the disk.
    pub bytes: u64,
    /// When.
    pub at: Moment,
}

impl Store {
    /// The registry's size when it was looked at last; none where it never was.
    ///
    /// # Errors
    /// When the file is there but is not what deployer wrote.
    pub fn registry_size(&self) -> Result<Option<RegistrySize>, StoreError> {
        durable::read_sealed(&self.root().join(FOLDER).join(FILE), FORMAT)
    }

    /// Writes the registry's size down. Of two processes that do so at once, one may fail: the file is for people alone.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn write_registry_size(&self, size: &RegistrySize) -> Result<(), StoreError> {
        let folder = self.root().join(FOLDER);
        durable::create_folder(&folder)?;
        ground::sweep(&folder);
        durable::write_sealed(&folder.join(FILE), FORMAT, size)
    }
}
