//! The login shell of the user that everybody logs in as: this program under another name, which runs a key's forced
//! command and nothing else.
//!
//! sshd runs a forced command as `SHELL -c COMMAND`. For a line in the file of keys without a forced command it passes
//! the client's own command instead. That may look like a forced command, but sshd then sets no
//! `SSH_ORIGINAL_COMMAND`, so it only leads to the greeting.

use std::ffi::OsString;
use std::path::Path;

use super::access::AccessOf;
use super::failure::{Code, Failure, Result};
use super::ssh::{self, LOGIN_SHELL};
use crate::ssh::{ForcedCommand, split};

/// Whether the program was started as the login shell. login(1) and sshd put a `-` before the name of an interactive
/// one.
pub(super) fn is_called() -> bool {
    let called = std::env::args_os().next().unwrap_or_default();
    let name = Path::new(&called).file_name().unwrap_or_default();
    name == LOGIN_SHELL || name.as_encoded_bytes().strip_prefix(b"-") == Some(LOGIN_SHELL.as_bytes())
}

/// Runs the forced command in the arguments; `access_of` tells what a command line requires.
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
