//! Where a release comes from, and what is to become of it.

use serde::{Deserialize, Serialize};

use super::{Commit, ReleaseId, Slot};

/// Where a release comes from.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "kebab-case")]
pub enum Source {
    /// A commit of the slot's repository, whose tree is built.
    Commit {
        /// The commit.
        commit: Commit,
        /// Its first line, printable.
        subject: String,
        /// The reference that it was pushed to, whole: `refs/heads/main`.
        reference: String,
    },
    /// What an earlier release of the app ran.
    Release {
        /// That release.
        release: ReleaseId,
        /// What it was built from, which is no release itself; none where nothing is left that tells.
        of: Option<Box<Source>>,
    },
}

impl Source {
    /// What `release` ran, which itself came from `source`.
    pub fn of_release(release: ReleaseId, source: Option<Source>) -> Self {
        let of = match source {
            Some(Source::Release { of, .. }) => of,
            built => built.map(Box::new),
        };
        Source::Release { release, of }
    }

    /// Whether an image is built from it.
    pub fn builds(&self) -> bool {
        self.tag_for(ReleaseId(1)).is_some()
    }

    /// The tag of the image that `release` builds from it. None where it builds none.
    pub fn tag_for(&self, release: ReleaseId) -> Option<String> {
        match self {
            Source::Commit { commit, .. } => Some(format!("{}-{release}", commit.short())),
            Source::Release { .. } => None,
        }
    }

    /// The release whose image it is. None where it is no release's.
    pub fn release(&self) -> Option<ReleaseId> {
        match self {
            Source::Release { release, .. } => Some(*release),
            Source::Commit { .. } => None,
        }
    }

    /// The commit that the image is, or was, built from. None where it is not built from one.
    pub fn commit(&self) -> Option<&Commit> {
        match self.built() {
            Some(Source::Commit { commit, .. }) => Some(commit),
            _ => None,
        }
    }

    /// What people know it by: a commit's first line, printable.
    pub fn subject(&self) -> Option<&str> {
        match self.built() {
            Some(Source::Commit { subject, .. }) => Some(subject),
            _ => None,
        }
    }

    /// The reference that it was pushed to.
    pub fn reference(&self) -> Option<&str> {
        match self {
            Source::Commit { reference, .. } => Some(reference),
            Source::Release { .. } => None,
        }
    }

    /// What the image was built from: itself, or what the earlier release came from.
    fn built(&self) -> Option<&Source> {
        match self {
            Source::Release { of, .. } => of.as_deref(),
            built => Some(built),
        }
    }
}

/// What is to become of a release.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "kebab-case")]
pub enum Intent {
    /// The slot runs the source in the place of what it runs.
    Deploy {
        /// Whether traffic goes to it.
        promote: Promotion,
    },
    /// Traffic goes to what the slot runs already.
    Promote {
        /// The slot that was live before, if any.
        from: Option<Slot>,
    },
}

/// Whether a release that is good goes live.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Promotion {
    /// It does.
    Yes,
    /// It waits on its slot for `deployer promote`.
    No,
    /// It does where its slot is live.
    WhereLive,
}

impl Intent {
    /// Whether the release goes live when it is good, on a slot that is live now or is not.
    pub fn promotes(&self, is_live: bool) -> bool {
        match self {
            Intent::Promote { .. } => true,
            Intent::Deploy { promote } => match promote {
                Promotion::Yes => true,
                Promotion::No => false,
                Promotion::WhereLive => is_live,
            },
        }
    }

    /// Whether the slot goes on with what it runs already.
    pub fn keeps_what_runs(&self) -> bool {
        matches!(self, Intent::Promote { .. })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn commit() -> Source {
        Source::Commit {
            commit: "0123456789".repeat(4).parse().unwrap(),
            subject: "v1".to_owned(),
            reference: "refs/heads/main".to_owned(),
        }
    }

    #[test]
    fn an_earlier_release_is_known_by_what_it_was_built_from_however_often_it_was_gone_back_to() {
        let first = Source::of_release(ReleaseId(3), Some(commit()));
        let again = Source::of_release(ReleaseId(7), Some(first));
        assert_eq!(again.release(), Some(ReleaseId(7)));
        assert_eq!((again.commit(), again.subject()), (commit().commit(), Some("v1")));
        assert!(!again.builds() && again.reference().is_none());
        let lost = Source::of_release(ReleaseId(3), None);
        assert_eq!((lost.commit(), lost.subject()), (None, None));
    }

    #[test]
    fn a_tag_names_the_commit_and_the_release_that_built_it() {
        assert_eq!(commit().tag_for(ReleaseId(42)).as_deref(), Some("01234567-42"));
        assert!(commit().builds());
    }
}
