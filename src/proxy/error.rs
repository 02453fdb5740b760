//! What can go wrong with the proxy, as its callers see it.

use std::io;

use crate::ground::told::{Hint, Told};

/// The proxy did not do what was asked.
#[derive(Debug, thiserror::Error)]
pub enum ProxyError {
    /// Nothing answers where the proxy should.
    #[error("{who}: {cause}{}", Hint(hint))]
    Unreachable {
        /// Who does not answer, and where: the beginning of a sentence.
        who: String,
        /// Why it could not be reached.
        cause: io::Error,
        /// What to look at, as a sentence.
        hint: String,
    },
    /// The proxy was asked, and its answer did not come whole: it was killed, or is ending. Whether it did what was
    /// asked is not known; asking again does no harm.
    #[error("the proxy broke off: {reason}")]
    BrokeOff {
        /// At what, and why.
        reason: String,
    },
    /// The proxy said no and changed nothing.
    #[error("the proxy refused: {reason}")]
    Refused {
        /// Why, as a sentence without a full stop.
        reason: Told,
    },
    /// The proxy could not be asked, or could not do it. What is in force is what it says it is: ask again.
    #[error("the proxy failed: {reason}")]
    Failed {
        /// What failed, as a sentence without a full stop.
        reason: Told,
    },
}

impl ProxyError {
    pub(super) fn failed(reason: impl Into<Told>) -> Self {
        Self::Failed {
            reason: reason.into(),
        }
    }

    pub(super) fn refused(reason: impl Into<Told>) -> Self {
        Self::Refused {
            reason: reason.into(),
        }
    }
}
