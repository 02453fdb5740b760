//! `deployer completions`

use clap::Command;
use clap_complete::Shell;

use super::failure::Result;

/// Print completions for a shell
///
/// For bash: `deployer completions bash > /etc/bash_completion.d/deployer`
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// The shell
    shell: Shell,
}

impl Args {
    pub(super) fn run(self, mut command: Command) -> Result {
        clap_complete::generate(self.shell, &mut command, "deployer", &mut std::io::stdout());
        Ok(())
    }
}
