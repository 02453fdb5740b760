//! `identity.json`: which installation this is, and where what it runs is.

use std::fs::File;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use super::{Store, StoreError, durable};
use crate::ground::durable as ground;
use crate::model::Subnet;

const FILE: &str = "identity.json";
const FORMAT: u32 = 1;

/// What an installation is known by, and the settings under which everything that it runs was made. Whoever goes by
/// others finds none of it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Identity {
    /// 32 hexadecimal digits that no other installation has; its containers carry them.
    pub installation: String,
    /// `engine.host`
    pub host: String,
    /// `engine.network`
    pub network: String,
    /// `engine.subnet`
    pub subnet: Subnet,
}

impl Store {
    /// What is in force. `None` where nothing was written yet, as before the first app.
    ///
    /// # Errors
    /// When the file is there but is not what deployer wrote.
    pub fn identity(&self) -> Result<Option<Identity>, StoreError> {
        durable::read_sealed(&self.root().join(FILE), FORMAT)
    }

    /// Writes what is in force, under the lock that [`Store::lock_identity`] gives.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn write_identity(&self, _lock: &File, identity: &Identity) -> Result<(), StoreError> {
        ground::sweep(self.root());
        durable::write_sealed(&self.root().join(FILE), FORMAT, identity)
    }

    /// Keeps a copy of a file that cannot be read, which stays until it is written anew.
    ///
    /// # Errors
    /// When the copy cannot be made.
    pub fn keep_identity_aside(&self, _lock: &File) -> Result<Option<PathBuf>, StoreError> {
        durable::keep_copy_aside(&self.root().join(FILE))
    }
}
