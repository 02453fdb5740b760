//! The manual and the completions, made from the command line's definition.

use clap::Command;
use clap_complete::Shell;

use super::failure::Result;
use crate::install::Texts;

/// The manual and the completions of this program, whose command line is `command`.
pub(super) fn texts(command: &Command) -> Result<Texts> {
    let mut manual = Vec::new();
    let mut root = command.clone().disable_help_subcommand(true);
    root.build();
    pages(&root, "deployer", &mut manual).map_err(anyhow::Error::from)?;
    Ok(Texts {
        manual,
        bash: completions(command, Shell::Bash),
        zsh: completions(command, Shell::Zsh),
        fish: completions(command, Shell::Fish),
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

fn completions(command: &Command, shell: Shell) -> Vec<u8> {
    let mut text = Vec::new();
    clap_complete::generate(shell, &mut command.clone(), "deployer", &mut text);
    text
}
