//! `deployer rollback`

use super::failure::Result;
use super::{audited, redeploy};
use crate::model::{AppName, ReleaseId, SlotName};
use crate::release::Context;
use crate::release::intake::commands;

/// Undo the last flip, or put a slot back to an earlier release
///
/// Without a slot, traffic goes back to where it went before the last flip; with a warm standby that takes one
/// call to the proxy. With a slot, the slot goes back to its release before, by its digest; traffic follows when
/// the slot is live.
///
/// Without a slot it undoes the flip that was the last one when the command was given: if another flip has taken effect
/// before its turn comes, it fails and changes nothing.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// The slot: green, blue, or APP/green
    pub(super) slot: Option<SlotName>,
    /// The release to go back to
    #[arg(long, value_name = "RELEASE", requires = "slot")]
    to: Option<ReleaseId>,
    /// The app whose last flip is undone, where there is more than one
    #[arg(long, value_name = "APP", conflicts_with = "slot")]
    pub(super) app: Option<AppName>,
}

impl Args {
    pub(super) fn run(self, context: &Context) -> Result {
        let release = audited::begun(context, |subject| match &self.slot {
            Some(slot) => {
                let (app, slot) = subject.slot(context, slot)?;
                Ok(commands::rollback(context, &app, slot, self.to)?)
            }
            None => {
                let app = subject.app(context, self.app.as_ref())?;
                Ok(commands::undo_flip(context, &app)?)
            }
        })?;
        redeploy::follow(context, &release)
    }
}
