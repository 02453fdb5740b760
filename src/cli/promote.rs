//! `deployer promote`

use super::failure::Result;
use super::{audited, redeploy};
use crate::model::SlotName;
use crate::release::Context;
use crate::release::intake::commands;

/// Put a slot live with what it runs
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// The slot: green, blue, or APP/green
    pub(super) slot: SlotName,
}

impl Args {
    pub(super) fn run(self, context: &Context) -> Result {
        let release = audited::begun(context, |subject| {
            let (app, slot) = subject.slot(context, &self.slot)?;
            Ok(commands::promote(context, &app, slot)?)
        })?;
        redeploy::follow(context, &release)
    }
}
