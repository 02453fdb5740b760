//! `deployer redeploy`

use super::failure::{Code, Failure, Result};
use super::{audited, output};
use crate::ground::told::Told;
use crate::model::{Asked, SlotName};
use crate::release::follow::{self, Reader};
use crate::release::intake::commands;
use crate::release::{Context, Outcome};
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
    /// Ask the registries for the base images anew, instead of taking those that this host has
    #[arg(long)]
    pull: bool,
}

impl Args {
    pub(super) fn run(self, context: &Context) -> Result {
        let release = audited::begun(context, |subject| {
            let (app, slot) = subject.slot(context, &self.slot)?;
            let asked = Asked {
                no_promote: self.no_promote,
                pull: self.pull,
            };
            Ok(commands::redeploy(context, &app, slot, asked)?)
        })?;
        follow(context, &release)
    }
}

/// Shows a release's log until it has ended. A release that did not become good is this command's failure.
pub(super) fn follow(context: &Context, release: &ReleaseDir) -> Result {
    let mut reader = reader(release);
    match follow::follow(context, release, &mut reader)? {
        None if reader.is_gone() => Ok(()),
        outcome => good(release, &reader, outcome.as_ref()),
    }
}

/// The same for whoever needs to know how it ended, whether or not anybody still reads.
pub(super) fn follow_to_the_end(context: &Context, release: &ReleaseDir) -> Result {
    let mut reader = reader(release).stays();
    let outcome = follow::follow(context, release, &mut reader)?;
    good(release, &reader, outcome.as_ref())
}

fn reader(release: &ReleaseDir) -> Reader<'static> {
    let log = format!("deployer log {}/{}", release.app(), release.id());
    Reader::new(std::io::stdout(), &log, output::is_colored())
}

fn good(release: &ReleaseDir, reader: &Reader<'_>, outcome: Option<&Outcome>) -> Result {
    match outcome {
        Some(outcome) if outcome.is_good() => Ok(()),
        Some(_) => Err(Failure::silent(Code::ReleaseFailed)),
        None if reader.knows_it_is_unfinished() => Err(Failure::silent(Code::ReleaseFailed)),
        None => Err(Failure::new(
            Code::ReleaseFailed,
            Told::new(format!(
                "release {}/{} is unfinished: its worker was killed, or had no space left on the disk",
                release.app(),
                release.id(),
            ))
            .hint(format!(
                "`deployer recover {}` brings it to its end",
                release.app()
            )),
        )),
    }
}
