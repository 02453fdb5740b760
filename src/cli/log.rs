//! `deployer log`

use super::failure::Result;
use super::select::{self, ReleaseName};
use super::{output, redeploy};
use crate::release::Context;
use crate::store::LogReader;

/// Show a release's own log
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// The release: 42, or APP/42
    pub(super) release: ReleaseName,
    /// Follow it until the release has ended
    #[arg(short, long)]
    follow: bool,
}

impl Args {
    pub(super) fn run(self, context: &Context) -> Result {
        let release = select::release(context, &self.release)?;
        if self.follow {
            return redeploy::follow(context, &release);
        }
        let mut log = LogReader::new(&release);
        loop {
            let lines = log.lines()?;
            if lines.is_empty() {
                return Ok(());
            }
            output::lines(lines)?;
        }
    }
}
