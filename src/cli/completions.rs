//! `deployer completions`

use clap::CommandFactory;
use clap_complete::Shell;

use super::{Cli, Result};

/// Print completions for a shell
///
/// For bash: `deployer completions bash > /etc/bash_completion.d/deployer`
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// The shell
    shell: Shell,
}

impl Args {
    pub(super) fn run(self) -> Result {
        clap_complete::generate(
            self.shell,
            &mut Cli::command(),
            "deployer",
            &mut std::io::stdout(),
        );
        Ok(())
    }
}
