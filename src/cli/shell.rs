//! The login shell of the user that everybody comes as: the program under another name, which runs the forced command
//! of a key and nothing else.
//!
//! sshd gives a forced command to the user's login shell, as `SHELL -c COMMAND`. A line in the file of keys that has no
//! forced command brings the client's own words here instead: they may look like a forced command, but then no
//! `SSH_ORIGINAL_COMMAND` comes with them, and all that they lead to is the greeting.

use std::ffi::OsString;
use std::path::Path;

use super::access::AccessOf;
use super::failure::{Code, Failure, Result};
use super::ssh::{self, LOGIN_SHELL};
use crate::ssh::{ForcedCommand, split};

/// Whether the program was started as the login shell: login(1) and sshd put a `-` before the name where it is to be
/// interactive.
pub(super) fn is_called() -> bool {
    let called = std::env::args_os().next().unwrap_or_default();
    let name = Path::new(&called).file_name().unwrap_or_default();
    name == LOGIN_SHELL || name.as_encoded_bytes().strip_prefix(b"-") == Some(LOGIN_SHELL.as_bytes())
}

/// Runs the forced command that the arguments are; `access_of` tells what a command line requires.
pub(super) fn run(access_of: AccessOf) -> Result {
    let arguments: Vec<OsString> = std::env::args_os().skip(1).collect();
    match forced_command(&arguments) {
        Some(command) => ssh::run(command, access_of),
        None => Err(Failure::new(
            Code::NotAllowed,
            "there is no shell here: this account is for keys that `deployer key add` wrote",
        )),
    }
}

fn forced_command(arguments: &[OsString]) -> Option<ForcedCommand> {
    let [option, command] = arguments else {
        return None;
    };
    if option != "-c" {
        return None;
    }
    ForcedCommand::read(&split(command.as_encoded_bytes()).ok()?)
}
