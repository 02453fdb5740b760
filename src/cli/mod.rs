//! The command line: one file a command, with its arguments and its run.

mod acts;
mod app;
mod asks;
mod audit;
mod audited;
mod by;
mod cancel;
mod completions;
mod config;
mod exit;
mod files;
mod hook;
mod install;
mod key;
mod log;
mod logs;
mod output;
mod owner;
mod passwd;
mod promote;
mod proxy;
mod prune;
mod recover;
mod redeploy;
#[cfg(test)]
mod reference_tests;
mod releases;
mod rollback;
mod select;
mod shell;
mod since;
mod ssh;
mod status;
mod texts;
mod uninstall;
mod worker;

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Parser, Subcommand};

use crate::model::SlotName;
use crate::release::{Context, identity};
use crate::store::ActionOutcome;

pub use exit::{Code, Failure};

type Result<T = ()> = std::result::Result<T, Failure>;

/// Ship by `git push` to your own server: blue/green releases with nothing dropped.
///
/// `git push green main` checks the tree out, builds its image, starts it beside what runs, probes it, and
/// flips the proxy to it. `deployer rollback green` takes it back.
///
/// A slot is written `green` or `blue`; `shop/green` where there is more than one app.
#[derive(Debug, Parser)]
#[command(name = "deployer", version, after_help = exit_codes(), propagate_version = true)]
pub struct Cli {
    /// The configuration file [default: $DEPLOYER_CONFIG, else /etc/deployer/deployer.toml]
    #[arg(long, global = true, value_name = "FILE")]
    config: Option<PathBuf>,
    /// When to colour what is printed; NO_COLOR is honoured
    #[arg(long, global = true, value_name = "WHEN", default_value = "auto")]
    color: output::Color,
    #[command(subcommand)]
    command: Command,
}

/// The exit codes, as the help tells them.
fn exit_codes() -> String {
    let lines = Code::meanings().map(|(code, meaning)| {
        format!(
            "
  {code}  {meaning}"
        )
    });
    format!("Exit codes:{}", lines.collect::<String>())
}

#[derive(Debug, Subcommand)]
enum Command {
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

/// What no file or folder that this program makes, or has git make, lets anybody else do.
const UMASK: u32 = 0o077;

/// Reads the arguments, runs the command, and says what went wrong.
pub fn main() -> ExitCode {
    rustix::process::umask(rustix::fs::Mode::from_raw_mode(UMASK));
    if shell::is_called() {
        return end(shell::run());
    }
    let cli = Cli::parse();
    // Refused only where one is installed already, which then serves as well.
    let _ = rustls::crypto::ring::default_provider().install_default();
    output::set_color(cli.color);
    end(run(cli))
}

fn end(ended: Result) -> ExitCode {
    match ended {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => failure.report(),
    }
}

fn run(cli: Cli) -> Result {
    let path = crate::config::find(cli.config.as_deref());
    let acts = cli.command.acts();
    let pushed_to = match &cli.command {
        Command::Hook(hook::Command::PostReceive { slot }) => Some(slot.clone()),
        _ => None,
    };
    let needs_low_ports = matches!(cli.command, Command::Proxy(proxy::Command::Run { .. }));
    let context = || -> Result<Context> {
        let settings = crate::config::load(&path)?;
        owner::become_owner(&settings.state, &path, needs_low_ports)?;
        let by::Caller { by, scope } = by::caller()?;
        let mut context = Context::new(settings, absolute(&path)?, by, scope);
        context.command = audited::words(std::env::args_os().skip(1));
        if acts {
            may_act(&mut context, pushed_to.as_ref())?;
        }
        Ok(context)
    };
    match cli.command {
        Command::App(command) => command.run(&context()?),
        Command::Hook(command) => command.run(&context()?),
        Command::Status(args) => args.run(&context()?),
        Command::Releases(args) => args.run(&context()?),
        Command::Audit(args) => args.run(&context()?),
        Command::Log(args) => args.run(&context()?),
        Command::Logs(args) => args.run(&context()?),
        Command::Redeploy(args) => args.run(&context()?),
        Command::Promote(args) => args.run(&context()?),
        Command::Rollback(args) => args.run(&context()?),
        Command::Cancel(args) => args.run(&context()?),
        Command::Key(command) => command.run(&context()?),
        Command::Proxy(command) => command.run(&context()?),
        Command::Config(command) => command.run(&context()?),
        Command::Recover(args) => args.run(&context()?),
        Command::Prune(args) => args.run(&context()?),
        Command::Install(args) => args.run(&path),
        Command::Uninstall(args) => args.run(&path),
        Command::Completions(args) => args.run(),
        Command::Files(args) => args.run(),
        Command::Worker(args) => args.run(&context()?),
        Command::Ssh(args) => args.run(cli.config.as_deref()),
    }
}

/// Refuses what would change something under other settings than those that are in force; the audit log is told.
fn may_act(context: &mut Context, pushed_to: Option<&SlotName>) -> Result {
    if let Err(error) = wait(identity::may_act(context))? {
        let failure = Failure::from(error);
        let subject = audited::Subject::default();
        audited::note(context, &subject, ActionOutcome::Failed, failure.message());
        let redeploy = pushed_to.map(|slot| {
            format!("the branch has moved, and nothing is released: once that is mended, `deployer redeploy {slot}` does it")
        });
        output::lines(redeploy)?;
        return Err(failure);
    }
    Ok(())
}

/// The whole path of the configuration: a hook and a worker run in other folders.
fn absolute(path: &std::path::Path) -> Result<PathBuf> {
    Ok(std::path::absolute(path).map_err(anyhow::Error::from)?)
}

/// Runs a command's asynchronous part.
fn wait<T>(work: impl Future<Output = T>) -> Result<T> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    Ok(runtime.map_err(anyhow::Error::from)?.block_on(work))
}

#[cfg(test)]
mod tests {
    #[test]
    fn the_arguments_are_well_formed() {
        use clap::CommandFactory;
        super::Cli::command().debug_assert();
    }
}
