//! `deployer worker`: the detached process that a hook or a command starts for its release.

use super::failure::Result;
use super::runtime::block_on;
use crate::model::{AppName, ReleaseId};
use crate::release::{Context, worker};

/// Bring a release to its end (started by the hook and the commands, with the worker's lock as standard input)
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    app: AppName,
    release: ReleaseId,
}

impl Args {
    pub(super) fn run(self, context: &Context) -> Result {
        let release = context.store.release(&self.app, self.release);
        let lock = release.work_from_stdin()?;
        Ok(block_on(worker::work(context, &self.app, self.release, &lock))??)
    }
}
