//! A release: one attempt to put a commit on a slot.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use super::{ParseError, Slot};

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

/// What somebody who asks for a release of a commit asks for beside it: `--no-promote` and `--pull`, or the push
/// options of these names.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Asked {
    /// The release waits on its slot for `deployer promote`.
    pub no_promote: bool,
    /// The registries are asked for the base images anew.
    pub pull: bool,
}

/// What a release came from.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "kebab-case")]
pub enum Origin {
    /// A `git push` of `reference`.
    Push {
        /// The reference that was pushed, whole: `refs/heads/main`.
        reference: String,
    },
    /// `deployer redeploy`: the commit of release `of`, built again.
    Redeploy {
        /// The release whose commit this is.
        of: ReleaseId,
    },
    /// `deployer rollback SLOT`: the image of release `to`, pulled and started again.
    Rollback {
        /// The release whose image this is.
        to: ReleaseId,
    },
    /// `deployer promote`, or `deployer rollback` without a slot: traffic goes to what a slot runs already.
    Promote {
        /// The slot that was live before, if any.
        from: Option<Slot>,
    },
}

impl Origin {
    /// Whether the release's image is built from a tree.
    pub fn builds(&self) -> bool {
        matches!(self, Origin::Push { .. } | Origin::Redeploy { .. })
    }
}
