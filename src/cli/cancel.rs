//! `deployer cancel`

use super::select::{self, ReleaseName};
use super::{Result, output, wait};
use crate::release::{Context, cancel};

/// Stop a release that waits or has not flipped yet; what it did is taken back
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// The release: 42, or APP/42
    pub(super) release: ReleaseName,
}

impl Args {
    pub(super) fn run(self, context: &Context) -> Result {
        let release = select::release(context, &self.release)?;
        output::lines([wait(cancel::cancel(&release))??])
    }
}
