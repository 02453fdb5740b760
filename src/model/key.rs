//! A key: whoever comes over ssh, by name, and what that key may do.

use std::fmt;
use std::str::FromStr;

use super::{AppName, ParseError, Slot, serde_as_text};

/// A key's name: 1 to 64 characters `A-Z a-z 0-9 . _ @ -`, beginning with a letter or digit.
///
/// Such a name is one word of any shell, no option, and safe in a log, a label and the file of keys.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct KeyName(String);

const NAME_WANTED: &str =
    "a key's name: 1 to 64 characters of A-Z, a-z, 0-9, ., _, @ and -, beginning with a letter or digit";

impl KeyName {
    /// The name as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for KeyName {
    type Err = ParseError;

    fn from_str(text: &str) -> Result<Self, ParseError> {
        let good = (1..=64).contains(&text.len())
            && text.starts_with(|c: char| c.is_ascii_alphanumeric())
            && text
                .bytes()
                .all(|b| b.is_ascii_alphanumeric() || b"._@-".contains(&b));
        if good {
            Ok(Self(text.to_owned()))
        } else {
            Err(ParseError::new(NAME_WANTED, text))
        }
    }
}

impl fmt::Display for KeyName {
    fn fmt(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
        to.pad(&self.0)
    }
}

serde_as_text!(KeyName);

/// What a key may do. Each role may do what those before it may.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Role {
    /// See what runs: status, releases, logs; fetch from the repositories.
    Read,
    /// Push and redeploy.
    Deploy,
    /// Promote, roll back, cancel.
    Operate,
    /// Everything, keys and apps included.
    Admin,
}

impl Role {
    /// Every role, the one that may least first.
    pub const ALL: [Role; 4] = [Role::Read, Role::Deploy, Role::Operate, Role::Admin];

    /// The role as it is written.
    pub fn as_str(self) -> &'static str {
        match self {
            Role::Read => "read",
            Role::Deploy => "deploy",
            Role::Operate => "operate",
            Role::Admin => "admin",
        }
    }
}

impl FromStr for Role {
    type Err = ParseError;

    fn from_str(text: &str) -> Result<Self, ParseError> {
        let found = Self::ALL.into_iter().find(|role| role.as_str() == text);
        found.ok_or_else(|| ParseError::new("a role: read, deploy, operate or admin", text))
    }
}

impl fmt::Display for Role {
    fn fmt(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
        to.pad(self.as_str())
    }
}

serde_as_text!(Role);

/// What a key may do, and to what.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Grant {
    /// What.
    pub role: Role,
    /// To which apps; empty: to all.
    pub apps: Vec<AppName>,
    /// To which of their slots; empty: to both.
    pub slots: Vec<Slot>,
}

impl Grant {
    /// Whether `app` is one of the grant's.
    pub fn has_app(&self, app: &AppName) -> bool {
        self.apps.is_empty() || self.apps.contains(app)
    }

    /// Whether `slot` is one of the grant's.
    pub fn has_slot(&self, slot: Slot) -> bool {
        self.slots.is_empty() || self.slots.contains(&slot)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_keys_name_is_one_harmless_word() {
        for good in ["laptop", "ada@laptop", "CI_2", "a", &"k".repeat(64)] {
            assert!(good.parse::<KeyName>().is_ok(), "{good}");
        }
        for bad in [
            "",
            "-laptop",
            ".laptop",
            "a b",
            "a\"b",
            "a\nb",
            "a/b",
            "läptop",
            "$(x)",
            &"k".repeat(65),
        ] {
            assert!(bad.parse::<KeyName>().is_err(), "{bad}");
        }
    }

    #[test]
    fn a_role_may_do_what_those_before_it_may() {
        assert!(Role::ALL.is_sorted());
        assert_eq!("operate".parse(), Ok(Role::Operate));
        assert!("root".parse::<Role>().is_err());
    }
}
