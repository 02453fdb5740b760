//! What each command requires of a key: one table, which does not compile until a new command is in it.

use clap::Parser;

use super::access::{Access, NamedTarget};
use super::arguments::{Cli, Command};
use super::{app, config, hook, key, proxy};
use crate::model::Role;

/// What the command line `words` requires, which begins with the command.
///
/// # Errors
/// When clap does not take it, or answers it: the help and the version.
pub(super) fn access_of(words: &[String]) -> Result<Access, clap::Error> {
    let cli = Cli::try_parse_from(std::iter::once("deployer").chain(words.iter().map(String::as_str)))?;
    Ok(match cli.config {
        Some(_) => Access::Never("--config"),
        None => cli.command.access(),
    })
}

fn read(what: &'static str, to: NamedTarget) -> Access {
    let role = Role::Read;
    Access::Role { role, what, to }
}

fn operate(what: &'static str, to: NamedTarget) -> Access {
    let role = Role::Operate;
    Access::Role { role, what, to }
}

fn admin(what: &'static str) -> Access {
    let (role, to) = (Role::Admin, NamedTarget::Server);
    Access::Role { role, what, to }
}

impl Command {
    /// What this command requires.
    fn access(&self) -> Access {
        match self {
            Command::Status(_) => read("see what runs", NamedTarget::Visible),
            Command::Releases(_) => read("see the history", NamedTarget::Visible),
            Command::App(app::Command::List { .. } | app::Command::Show { .. }) => {
                read("see the apps", NamedTarget::Visible)
            }
            Command::Log(args) => read(
                "read the log of a release of",
                NamedTarget::Release(args.release.clone()),
            ),
            Command::Logs(args) => read("read what is printed by", NamedTarget::Slot(args.slot.clone())),
            Command::Redeploy(args) => Access::Role {
                role: Role::Deploy,
                what: "redeploy",
                to: NamedTarget::Slot(args.slot.clone()),
            },
            Command::Promote(args) => operate("promote", NamedTarget::Slot(args.slot.clone())),
            Command::Rollback(args) => match &args.slot {
                Some(slot) => operate("roll back", NamedTarget::Slot(slot.clone())),
                None => operate("undo a flip", NamedTarget::BothSlots(args.app.clone())),
            },
            Command::Cancel(args) => {
                operate("cancel a release of", NamedTarget::Release(args.release.clone()))
            }
            Command::App(app::Command::Create { .. }) => admin("create an app"),
            Command::App(app::Command::Remove { .. }) => admin("remove an app"),
            Command::Key(key::Command::Add { .. } | key::Command::Remove { .. }) => admin("change the keys"),
            Command::Key(key::Command::List { .. } | key::Command::Show { .. }) => admin("see the keys"),
            Command::Proxy(proxy::Command::Routes { .. }) => admin("see every route"),
            Command::Proxy(proxy::Command::Switch { .. }) => admin("change the kind of proxy"),
            Command::Config(config::Command::Check) => admin("see the configuration"),
            Command::Recover(_) => admin("recover"),
            Command::Prune(_) => admin("prune"),
            Command::Audit(_) => admin("see who did what"),
            Command::Completions(_) => Access::Everybody,
            Command::Proxy(proxy::Command::Run { .. }) => Access::Never("proxy run"),
            Command::Proxy(proxy::Command::BeforeStart { .. }) => Access::Never("proxy before-start"),
            Command::Hook(
                hook::Command::PreReceive { .. }
                | hook::Command::Update { .. }
                | hook::Command::PostReceive { .. },
            ) => Access::Never("hook"),
            // It reads whatever folder it is told to.
            Command::Check(_) => Access::Never("check"),
            Command::Worker(_) => Access::Never("worker"),
            Command::Install(_) => Access::Never("install"),
            Command::Uninstall(_) => Access::Never("uninstall"),
            Command::Files(_) => Access::Never("files"),
            Command::Ssh(_) => Access::Never("ssh"),
        }
    }
}
