//! `deployer redeploy`

use super::{Code, Failure, Result, audited, output};
use crate::model::SlotName;
use crate::release::Context;
use crate::release::follow::{self, Reader};
use crate::release::receive;
use crate::store::ReleaseDir;

/// Release the commit that was last pushed to a slot, again
///
/// Git says "Everything up-to-date" to a second push of the same commit and runs no hook: this does.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// The slot: green, blue, or APP/green
    pub(super) slot: SlotName,
    /// Leave it on the standby, for `deployer promote`
    #[arg(long)]
    no_promote: bool,
}

impl Args {
    pub(super) fn run(self, context: &Context) -> Result {
        let release = audited::begun(context, |subject| {
            let (app, slot) = subject.slot(context, &self.slot)?;
            Ok(receive::redeploy(context, &app, slot, self.no_promote)?)
        })?;
        follow(context, &release)
    }
}

/// Shows a release's log until it has ended. A release that did not become good is this command's failure.
pub(super) fn follow(context: &Context, release: &ReleaseDir) -> Result {
    let name = format!("{}/{}", release.app(), release.id());
    let mut reader = Reader::new(
        std::io::stdout(),
        &format!("deployer log {name}"),
        output::is_colored(),
    );
    match follow::follow(context, release, &mut reader)? {
        Some(outcome) if outcome.is_good() => Ok(()),
        Some(_) => Err(Failure::silent(Code::ReleaseFailed)),
        None if reader.is_gone() => Ok(()),
        None if reader.knows_it_is_unfinished() => Err(Failure::silent(Code::ReleaseFailed)),
        None => Err(Failure::new(
            Code::ReleaseFailed,
            format!(
                "release {name} is unfinished: its worker was killed, or had no space left on the disk. Hint: `deployer recover {}` brings it to its end",
                release.app()
            ),
        )),
    }
}
