//! The command line as clap reads it: every command with its arguments.

use std::path::PathBuf;

use clap::{Parser, Subcommand};

use super::failure::Code;
use super::{
    app, audit, cancel, check, completions, config, files, hook, install, key, log, logs, output, promote,
    proxy, prune, recover, redeploy, releases, rollback, ssh, status, uninstall, worker,
};

/// Ship by `git push` to your own server: blue/green releases with nothing dropped.
///
/// `git push green main` checks the tree out, builds its image, starts it beside what runs, probes it, and
/// flips the proxy to it. `deployer rollback green` takes it back.
///
/// A slot is written `green` or `blue`; `shop/green` where there is more than one app.
#[derive(Debug, Parser)]
#[command(name = "deployer", version, after_help = exit_codes(), propagate_version = true)]
pub(super) struct Cli {
    /// The configuration file [default: $DEPLOYER_CONFIG, else /etc/deployer/deployer.toml]
    #[arg(long, global = true, value_name = "FILE")]
    pub(super) config: Option<PathBuf>,
    /// When to colour what is printed; NO_COLOR is honoured
    #[arg(long, global = true, value_name = "WHEN", default_value = "auto")]
    pub(super) color: output::Color,
    #[command(subcommand)]
    pub(super) command: Command,
}

/// The exit codes, as the help tells them.
fn exit_codes() -> String {
    let lines = Code::meanings().map(|(code, meaning)| format!("\n  {code}  {meaning}"));
    format!("Exit codes:{}", lines.collect::<String>())
}

#[derive(Debug, Subcommand)]
pub(super) enum Command {
    #[command(subcommand)]
    App(app::Command),
    #[command(subcommand)]
    Hook(hook::Command),
    Status(status::Args),
    Releases(releases::Args),
    Audit(audit::Args),
    Log(log::Args),
    Logs(logs::Args),
    Redeploy(redeploy::Args),
    Promote(promote::Args),
    Rollback(rollback::Args),
    Cancel(cancel::Args),
    Check(check::Args),
    #[command(subcommand)]
    Key(key::Command),
    #[command(subcommand)]
    Proxy(proxy::Command),
    #[command(subcommand)]
    Config(config::Command),
    Recover(recover::Args),
    Prune(prune::Args),
    Install(install::Args),
    Uninstall(uninstall::Args),
    Completions(completions::Args),
    #[command(hide = true)]
    Files(files::Args),
    #[command(hide = true)]
    Worker(worker::Args),
    #[command(hide = true)]
    Ssh(ssh::Args),
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    #[test]
    fn the_arguments_are_well_formed() {
        super::Cli::command().debug_assert();
    }
}
