//! A registry on this host whose disk nothing frees.

use std::path::{Path, PathBuf};

use anyhow::Result;

use super::found::Found;
use super::units::LOCAL_UNITS;
use crate::registry::COLLECT_UNIT;

/// The unit that frees it, where one was made.
pub(super) fn path() -> PathBuf {
    Path::new(LOCAL_UNITS).join(COLLECT_UNIT)
}

/// A registry on this host that nothing collects, and why.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Uncollected {
    /// Why.
    pub why: String,
}

impl Uncollected {
    pub(super) fn name(&self) -> String {
        "the registry's disk".to_owned()
    }

    pub(super) fn look(&self) -> Result<Found> {
        if path().exists() {
            return Ok(Found::Gone);
        }
        Ok(Found::LeftOut(format!("nothing frees it: {}", self.why)))
    }

    pub(super) fn make(&self) -> Result<Option<String>> {
        Ok(None)
    }
}
