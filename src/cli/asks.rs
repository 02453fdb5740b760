//! What each command asks of whoever comes over ssh: one table, in which a new command has no place until somebody
//! gives it one.

use super::select::ReleaseName;
use super::{Command, app, config, hook, key, proxy};
use crate::model::{AppName, Role, SlotName};

/// What a command asks.
#[derive(Debug)]
pub(super) enum Asks<'a> {
    /// It is never run over ssh; the command's name.
    Never(&'static str),
    /// Nothing: it shows what everybody may read.
    Nothing,
    /// A role, and the right to something.
    Role {
        /// The least role.
        role: Role,
        /// What it is, as people say it after "may not".
        what: &'static str,
        /// What it is done to.
        to: To<'a>,
    },
}

/// What a command is done to, as it was named.
#[derive(Debug)]
pub(super) enum To<'a> {
    /// The apps that there are for the key: the command itself sees no others.
    Visible,
    /// A slot.
    Slot(&'a SlotName),
    /// Both slots of an app.
    BothSlots(Option<&'a AppName>),
    /// The slot of a release.
    Release(&'a ReleaseName),
    /// The whole server.
    Server,
}

fn read<'a>(what: &'static str, to: To<'a>) -> Asks<'a> {
    let role = Role::Read;
    Asks::Role { role, what, to }
}

fn operate<'a>(what: &'static str, to: To<'a>) -> Asks<'a> {
    let role = Role::Operate;
    Asks::Role { role, what, to }
}

fn admin(what: &'static str) -> Asks<'static> {
    let (role, to) = (Role::Admin, To::Server);
    Asks::Role { role, what, to }
}

impl Command {
    /// What this command asks.
    pub(super) fn asks(&self) -> Asks<'_> {
        match self {
            Command::Status(_) => read("see what runs", To::Visible),
            Command::Releases(_) => read("see the history", To::Visible),
            Command::App(app::Command::List { .. } | app::Command::Show { .. }) => {
                read("see the apps", To::Visible)
            }
            Command::Log(args) => read("read the log of a release of", To::Release(&args.release)),
            Command::Logs(args) => read("read what is printed by", To::Slot(&args.slot)),
            Command::Redeploy(args) => Asks::Role {
                role: Role::Deploy,
                what: "redeploy",
                to: To::Slot(&args.slot),
            },
            Command::Promote(args) => operate("promote", To::Slot(&args.slot)),
            Command::Rollback(args) => match &args.slot {
                Some(slot) => operate("roll back", To::Slot(slot)),
                None => operate("undo a flip", To::BothSlots(args.app.as_ref())),
            },
            Command::Cancel(args) => operate("cancel a release of", To::Release(&args.release)),
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
            Command::Completions(_) => Asks::Nothing,
            Command::Proxy(proxy::Command::Run { .. }) => Asks::Never("proxy run"),
            Command::Proxy(proxy::Command::BeforeStart { .. }) => Asks::Never("proxy before-start"),
            Command::Hook(
                hook::Command::PreReceive { .. }
                | hook::Command::Update { .. }
                | hook::Command::PostReceive { .. },
            ) => Asks::Never("hook"),
            Command::Worker(_) => Asks::Never("worker"),
            Command::Install(_) => Asks::Never("install"),
            Command::Uninstall(_) => Asks::Never("uninstall"),
            Command::Files(_) => Asks::Never("files"),
            Command::Ssh(_) => Asks::Never("ssh"),
        }
    }
}
