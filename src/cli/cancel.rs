//! `deployer cancel`

use super::failure::Result;
use super::runtime::block_on;
use super::select::{self, ReleaseName};
use super::{audited, output};
use crate::release::{Context, cancel};

/// Stop a release that waits or has not flipped yet; what it did is taken back
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// The release: 42, or APP/42
    pub(super) release: ReleaseName,
}

impl Args {
    pub(super) fn run(self, context: &Context) -> Result {
        let told = audited::audited(context, |subject| {
            let release = select::release(context, &self.release)?;
            subject.is_about(release.app(), None);
            Ok(block_on(cancel::cancel(&release))??)
        })?;
        output::lines([told])
    }
}
