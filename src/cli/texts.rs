//! What the command line makes of itself: the manual and the completions.

use clap::{Command, CommandFactory};
use clap_complete::Shell;

use super::{Cli, Result};
use crate::install::Texts;

/// The manual and the completions of this program.
pub(super) fn texts() -> Result<Texts> {
    let mut manual = Vec::new();
    let mut root = Cli::command().disable_help_subcommand(true);
    root.build();
    pages(&root, "deployer", &mut manual).map_err(anyhow::Error::from)?;
    Ok(Texts {
        manual,
        bash: completions(Shell::Bash),
        zsh: completions(Shell::Zsh),
        fish: completions(Shell::Fish),
    })
}

/// The page of `command`, called `name`, and those of its commands: `deployer-app-create.1`.
fn pages(command: &Command, name: &str, into: &mut Vec<(String, Vec<u8>)>) -> std::io::Result<()> {
    let mut page = Vec::new();
    let shown = command.clone().display_name(name.to_owned());
    let source = concat!("deployer ", env!("CARGO_PKG_VERSION"));
    clap_mangen::Man::new(shown)
        .source(source)
        .manual("deployer")
        .render(&mut page)?;
    into.push((format!("{name}.1"), page));
    for sub in command.get_subcommands().filter(|sub| !sub.is_hide_set()) {
        pages(sub, &format!("{name}-{}", sub.get_name()), into)?;
    }
    Ok(())
}

fn completions(shell: Shell) -> Vec<u8> {
    let mut text = Vec::new();
    clap_complete::generate(shell, &mut Cli::command(), "deployer", &mut text);
    text
}
