//! A difference as `status` tells it.

use std::fmt;

use serde::Serialize;

use super::settings::SettingsDiffer;
use super::{About, Difference, Kind, MendedBy};
use crate::ground::told::Told;
use crate::model::AppName;
use crate::release::messages;

/// Something that is not as it should be.
#[derive(Debug, Clone, Serialize)]
pub struct Problem {
    /// Which kind of thing.
    pub kind: Kind,
    /// What it is about.
    pub about: About,
    /// What is so, as a sentence without a full stop.
    pub message: String,
    /// What helps, the best first.
    pub hints: Vec<String>,
    /// Who mends it.
    pub mended_by: MendedBy,
}

impl Problem {
    /// The difference, of `app`, as it is told.
    pub(in crate::release) fn of(app: &AppName, difference: &Difference) -> Self {
        Self::told(difference, messages::difference(app, difference))
    }

    /// That the configuration's settings are not those in force.
    pub(in crate::release) fn of_settings(differ: SettingsDiffer) -> Self {
        let told = differ.told.clone();
        Self::told(&Difference::Settings(differ), told)
    }

    fn told(difference: &Difference, told: Told) -> Self {
        Self {
            kind: difference.kind(),
            about: difference.about(),
            message: told.message,
            hints: told.hints,
            mended_by: difference.mended_by(),
        }
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (message, hints) = (self.message.clone(), self.hints.clone());
        Told { message, hints }.fmt(to)
    }
}
