//! What somebody did, as a line of the audit log tells it.

use std::net::IpAddr;

use jiff::Timestamp;
use serde::{Deserialize, Serialize, Serializer};

use crate::model::{AppName, By, KeyName, ReleaseId, Slot};

/// The version of the lines that this program writes. Within it fields are only ever added.
pub(super) const VERSION: u32 = 1;

/// One line of the audit log.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Action {
    /// The version of the line's shape: 1.
    pub version: u32,
    /// When it was written down, to the millisecond.
    #[serde(serialize_with = "to_the_millisecond")]
    pub time: Timestamp,
    /// The key that came over ssh; none for a command given on the server.
    pub key: Option<KeyName>,
    /// The user that the command ran as; none where it is not known any more.
    pub user: Option<String>,
    /// The address that a key came from.
    pub from: Option<IpAddr>,
    /// What was asked, in one line.
    pub command: String,
    /// The app that it was about, where it was about one.
    pub app: Option<AppName>,
    /// The slot, where it was about one.
    pub slot: Option<Slot>,
    /// The release that began or ended.
    pub release: Option<ReleaseId>,
    /// What came of it.
    pub outcome: ActionOutcome,
    /// Why, in one line, where it did not go well.
    pub reason: Option<String>,
    /// How many more there were before it that are much the same and have no line of their own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub more: Option<u64>,
    /// When the first of those was.
    #[serde(
        default,
        skip_serializing_if = "Option::is_none",
        serialize_with = "option_to_the_millisecond"
    )]
    pub since: Option<Timestamp>,
}

/// What came of an action. The first two are about a command that is no release, the third is about the front door,
/// and all the others are about a release.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ActionOutcome {
    /// The command did what it was asked.
    Done,
    /// The command failed, or the release did.
    Failed,
    /// The key may not do that: nothing was done.
    Refused,
    /// The release has its number, and its worker is about to start.
    Begun,
    /// The release went live.
    Live,
    /// The release waits on its slot for `deployer promote`.
    Standby,
    /// The release was cancelled.
    Cancelled,
    /// A newer push to the same slot took its place while it waited.
    Superseded,
    /// The release's worker was killed.
    Interrupted,
}

impl ActionOutcome {
    /// The outcome's word.
    pub fn as_str(self) -> &'static str {
        match self {
            ActionOutcome::Done => "done",
            ActionOutcome::Failed => "failed",
            ActionOutcome::Refused => "refused",
            ActionOutcome::Begun => "begun",
            ActionOutcome::Live => "live",
            ActionOutcome::Standby => "standby",
            ActionOutcome::Cancelled => "cancelled",
            ActionOutcome::Superseded => "superseded",
            ActionOutcome::Interrupted => "interrupted",
        }
    }
}

impl Action {
    /// An action of this moment, about nothing yet. `command` is one line that is fit for a terminal.
    pub fn now(by: Option<&By>, command: String, outcome: ActionOutcome) -> Self {
        Self {
            version: VERSION,
            time: Timestamp::now(),
            key: by.and_then(|by| by.key.clone()),
            user: by.map(|by| by.user.clone()),
            from: by.and_then(|by| by.from),
            command,
            app: None,
            slot: None,
            release: None,
            outcome,
            reason: None,
            more: None,
            since: None,
        }
    }

    /// The one word by which people know who it was: the key's name, else the user's.
    pub fn who(&self) -> &str {
        let key = self.key.as_ref().map(KeyName::as_str);
        key.or(self.user.as_deref()).unwrap_or("unknown")
    }
}

fn option_to_the_millisecond<S: Serializer>(time: &Option<Timestamp>, to: S) -> Result<S::Ok, S::Error> {
    match time {
        Some(time) => to_the_millisecond(time, to),
        None => to.serialize_none(),
    }
}

fn to_the_millisecond<S: Serializer>(time: &Timestamp, to: S) -> Result<S::Ok, S::Error> {
    to.collect_str(&format_args!("{time:.3}"))
}
