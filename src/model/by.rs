//! Who asked for something, and what there is for them.

use std::net::IpAddr;

use serde::{Deserialize, Serialize};

use super::{AppName, KeyName, Slot};

/// Who asked for something: whoever holds a key, or works on the server itself.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct By {
    /// The key that came over ssh; absent for a command given on the server.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub key: Option<KeyName>,
    /// The user of the operating system that the command ran as; with `sudo`, the one who called it. Printable.
    pub user: String,
    /// The address that a key came from.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub from: Option<IpAddr>,
}

impl By {
    /// The one word by which people know them: the key's name, else the user's.
    pub fn name(&self) -> &str {
        self.key.as_ref().map_or(&self.user, |key| key.as_str())
    }
}

/// Which apps and slots there are for whoever asks. The default: all of them.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Scope {
    /// The apps; empty: every app.
    pub apps: Vec<AppName>,
    /// The slots of each; empty: both.
    pub slots: Vec<Slot>,
}

impl Scope {
    /// Whether `app` is one of them.
    pub fn has_app(&self, app: &AppName) -> bool {
        self.apps.is_empty() || self.apps.contains(app)
    }

    /// Whether `slot` is one of them.
    pub fn has_slot(&self, slot: Slot) -> bool {
        self.slots.is_empty() || self.slots.contains(&slot)
    }
}
