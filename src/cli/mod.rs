//! The command line: one file a command, with its arguments and its run.

mod access;
mod access_table;
mod acts;
mod app;
mod arguments;
mod audit;
mod audited;
mod caller;
mod cancel;
mod check;
mod completions;
mod config;
mod failure;
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
mod runtime;
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

use clap::{CommandFactory, Parser};

use arguments::{Cli, Command};
use failure::{Failure, Result};
use runtime::block_on;

use crate::model::SlotName;
use crate::release::{Context, identity};
use crate::store::ActionOutcome;

/// What no file or folder that this program makes, or has git make, lets anybody else do.
const UMASK: u32 = 0o077;

/// Reads the arguments, runs the command, and says what went wrong.
pub fn main() -> ExitCode {
    rustix::process::umask(rustix::fs::Mode::from_raw_mode(UMASK));
    if shell::is_called() {
        return end(shell::run(access_table::access_of));
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
        let caller::Caller { by, scope } = caller::caller()?;
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
        Command::Check(args) => args.run(),
        Command::Key(command) => command.run(&context()?),
        Command::Proxy(command) => command.run(&context()?),
        Command::Config(command) => command.run(&context()?),
        Command::Recover(args) => args.run(&context()?),
        Command::Prune(args) => args.run(&context()?),
        Command::Install(args) => args.run(&path, &Cli::command()),
        Command::Uninstall(args) => args.run(&path, &Cli::command()),
        Command::Completions(args) => args.run(Cli::command()),
        Command::Files(args) => args.run(&Cli::command()),
        Command::Worker(args) => args.run(&context()?),
        Command::Ssh(args) => args.run(cli.config.as_deref(), access_table::access_of),
    }
}

/// Refuses what would change something under other settings than those that are in force; the audit log is told.
fn may_act(context: &mut Context, pushed_to: Option<&SlotName>) -> Result {
    if let Err(error) = block_on(identity::may_act(context))? {
        let failure = Failure::from(error);
        let subject = audited::Subject::default();
        audited::note(
            context,
            &subject,
            ActionOutcome::Failed,
            failure.message().as_deref(),
        );
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
