//! What a release waits for, and what of it a later one holds in its place.

use crate::model::{ReleaseId, Slot};

/// A release that comes first.
pub struct Ahead {
    /// The release.
    pub release: ReleaseId,
    /// Its slot.
    pub slot: Slot,
    /// The step that it is at.
    pub step: Option<String>,
}

impl Ahead {
    fn told(&self) -> String {
        let at = self.step.as_ref().map(|step| format!(", now at {step}"));
        format!(
            "release {} ({}{})",
            self.release,
            self.slot,
            at.unwrap_or_default()
        )
    }
}

/// A release waits to be built: its slot takes another one.
pub fn waits_to_be_built(ahead: &Ahead) -> String {
    format!(" waiting: {} comes first on this slot", ahead.told())
}

/// A release waits to take effect: another one does.
pub fn waits_to_take_effect(ahead: &Ahead) -> String {
    format!(" waiting: {} takes effect first", ahead.told())
}

/// A release waits for a command that holds the app's lock.
pub fn waits_for_a_command(what: &str) -> String {
    format!(" waiting: `{what}` works on the app and comes first")
}

/// A release that was to go live does not.
pub fn stays_on_standby(later: ReleaseId) -> String {
    format!(" note: it stays on standby, since release {later}, which was asked for later, is live")
}

/// A release does not take effect.
pub fn superseded(later: ReleaseId) -> String {
    format!(" note: it does not take effect, since release {later}, which was asked for later, holds")
}
