//! Where a service runs.

use std::fmt;
use std::str::FromStr;

/// The scope of a service.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, serde::Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Scope {
    /// Each slot has its own.
    Slot,
    /// One for both slots.
    Shared,
    /// In the live slot only.
    Background,
    /// It runs to its end.
    Job,
}

impl Scope {
    /// The word for it.
    pub fn as_str(self) -> &'static str {
        match self {
            Scope::Slot => "slot",
            Scope::Shared => "shared",
            Scope::Background => "background",
            Scope::Job => "job",
        }
    }
}

impl fmt::Display for Scope {
    fn fmt(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
        to.pad(self.as_str())
    }
}

impl FromStr for Scope {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        let all = [Self::Slot, Self::Shared, Self::Background, Self::Job];
        all.into_iter().find(|scope| scope.as_str() == text).ok_or(())
    }
}
