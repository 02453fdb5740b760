//! `deployer log`

use super::failure::Result;
use super::select::{self, ReleaseName};
use super::{output, redeploy};
use crate::release::log::LogReader;
use crate::release::{Context, messages};

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
        while let Some(lines) = log.lines()? {
            output::lines(lines.iter().map(|line| messages::log_line(line).text))?;
        }
        Ok(())
    }
}
