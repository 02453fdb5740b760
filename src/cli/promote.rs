//! `deployer promote`

use super::{Result, redeploy, select};
use crate::model::SlotName;
use crate::release::{Context, receive};

/// Put a slot live with what it runs
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// The slot: green, blue, or APP/green
    pub(super) slot: SlotName,
}

impl Args {
    pub(super) fn run(self, context: &Context) -> Result {
        let (app, slot) = select::slot(context, &self.slot)?;
        redeploy::follow(context, &receive::promote(context, &app, slot)?)
    }
}
