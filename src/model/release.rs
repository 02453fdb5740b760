//! A release: one attempt to put a source on a slot.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use super::ParseError;

/// A release's number: it only grows, per app, from 1.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct ReleaseId(pub u64);

impl fmt::Display for ReleaseId {
    fn fmt(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(to)
    }
}

impl FromStr for ReleaseId {
    type Err = ParseError;

    fn from_str(text: &str) -> Result<Self, ParseError> {
        match text.parse() {
            Ok(number) if number > 0 && !text.starts_with('+') => Ok(Self(number)),
            _ => Err(ParseError::new("a release's number: 1 or more", text)),
        }
    }
}

/// What somebody who asks for a release that is built asks for beside it: `--no-promote` and `--pull`, or the push
/// options of these names.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Asked {
    /// The release waits on its slot for `deployer promote`.
    pub no_promote: bool,
    /// The registries are asked for the base images anew.
    pub pull: bool,
}
