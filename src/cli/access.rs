//! What a command requires of the key that asks for it over ssh.

use super::select::ReleaseName;
use crate::model::{AppName, Role, SlotName};

/// What a command requires.
#[derive(Debug)]
pub(super) enum Access {
    /// It is never run over ssh; the name of the command or the option.
    Never(&'static str),
    /// Nothing: every key may.
    Everybody,
    /// A role, and a grant that covers the target.
    Role {
        /// The least role.
        role: Role,
        /// What the command does, as people say it after "may not".
        what: &'static str,
        /// What it is done to.
        to: NamedTarget,
    },
}

/// What a command is done to, as the command line names it.
#[derive(Debug)]
pub(super) enum NamedTarget {
    /// The apps that the key can see: the command itself sees no others.
    Visible,
    /// A slot.
    Slot(SlotName),
    /// Both slots of an app; without a name, of the only one.
    BothSlots(Option<AppName>),
    /// The slot of a release.
    Release(ReleaseName),
    /// The whole server.
    Server,
}

/// Reads a command line, without the program's name, and tells what it requires.
pub(super) type AccessOf = fn(&[String]) -> Result<Access, clap::Error>;
