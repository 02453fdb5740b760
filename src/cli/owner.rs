//! Root acts as the owner of the state folder, so that `sudo deployer status` works and leaves nothing of root's there.

use std::ffi::OsString;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::Command;

use anyhow::Context as _;

use super::failure::Result;
use crate::install::{Account, OpenFolder};

/// Changes user, groups and capabilities, then runs a program in its own place. It is part of util-linux, which every
/// Linux has.
const SETPRIV: [&str; 2] = ["/usr/bin/setpriv", "/bin/setpriv"];

/// What of root's environment the command still gets: how to print, which configuration, whose key, and what git told
/// a hook.
const KEPT: [&str; 11] = [
    "PATH",
    "TERM",
    "LANG",
    "NO_COLOR",
    "COLUMNS",
    "DEPLOYER_CONFIG",
    "DEPLOYER_BY",
    "RUST_BACKTRACE",
    "GIT_DIR",
    "GIT_QUARANTINE_PATH",
    "GIT_PUSH_OPTION_COUNT",
];
const KEPT_PREFIX: &[u8] = b"GIT_PUSH_OPTION_";

/// Set by `sudo`: who called it.
const CALLER: &str = "SUDO_USER";

/// Where root gives this command and the state folder `state` is another user's, runs the same command line as that
/// user, in this process' place. Else returns. With `needs_low_ports`, the right to listen on ports below 1024 is kept.
///
/// # Errors
/// When root cannot become that user.
pub(super) fn become_owner(state: &Path, config: &Path, needs_low_ports: bool) -> Result {
    if !rustix::process::geteuid().is_root() {
        return Ok(());
    }
    let Some((uid, gid)) = owner(state)? else {
        return Ok(());
    };
    let mut command = as_owner(&account(uid, gid)?, needs_low_ports)?;
    if config.is_absolute() {
        command.current_dir("/");
    }
    let failed = command.exec();
    let what = format!("cannot run {:?} as the user {uid}", command.get_program());
    Err(anyhow::Error::from(failed).context(what).into())
}

/// The user and group whose folder the state folder is; none where it is root's, or root makes it.
///
/// # Errors
/// When others than root choose which folder it is, and it is not theirs: root would work in a folder of their choice.
fn owner(state: &Path) -> anyhow::Result<Option<(u32, u32)>> {
    let nearest = OpenFolder::nearest(state)?;
    match &nearest {
        Ok(folder) if folder.uid() != 0 => return Ok(Some((folder.uid(), folder.gid()))),
        Ok(folder) if !folder.may_be_replaced() => return Ok(None),
        Err(above) if !above.is_of_others() => return Ok(None),
        _ => {}
    }
    let (Ok(folder) | Err(folder)) = nearest;
    anyhow::bail!(
        "root does not work in the state folder {0}: others than root may write to a folder that it is in ({1}). \
         `install -d -o USER {0}` lets deployer work as USER there",
        state.display(),
        folder.path().parent().unwrap_or(folder.path()).display()
    )
}

/// The user with this number; one who has no name here is a number, with the folder's group and no home.
fn account(uid: u32, gid: u32) -> anyhow::Result<Account> {
    Ok(Account::numbered(uid)?.unwrap_or_else(|| Account {
        name: uid.to_string(),
        uid,
        gid,
        home: "/".into(),
        shell: "/".into(),
    }))
}

fn as_owner(account: &Account, needs_low_ports: bool) -> anyhow::Result<Command> {
    let setpriv = SETPRIV.into_iter().find(|path| Path::new(path).is_file());
    let setpriv = setpriv.with_context(|| {
        format!(
            "setpriv is missing, so root cannot act as {0}: give the command as {0}",
            account.name
        )
    })?;
    let program = std::env::current_exe().context("the program's own path is not known")?;
    let capabilities = match needs_low_ports {
        true => [
            "--inh-caps=-all,+net_bind_service",
            "--ambient-caps=+net_bind_service",
        ]
        .as_slice(),
        false => &["--inh-caps=-all"],
    };
    // Only who has a name is in any further group.
    let groups = match account.name == account.uid.to_string() {
        true => "--clear-groups",
        false => "--init-groups",
    };
    let mut command = Command::new(setpriv);
    command
        .arg(format!("--reuid={}", account.uid))
        .arg(format!("--regid={}", account.gid))
        .arg(groups)
        .args(capabilities)
        .arg("--")
        .arg(program)
        .args(std::env::args_os().skip(1))
        .env_clear()
        .envs(std::env::vars_os().filter(|(name, _)| is_kept(name)))
        // Who really gives the command, where sudo has not said so already.
        .env(CALLER, std::env::var_os(CALLER).unwrap_or_else(|| "root".into()))
        .env("HOME", &account.home)
        .env("USER", &account.name)
        .env("LOGNAME", &account.name);
    Ok(command)
}

fn is_kept(name: &OsString) -> bool {
    let bytes = name.as_encoded_bytes();
    KEPT.iter().any(|kept| name == kept) || bytes.starts_with(KEPT_PREFIX) || bytes.starts_with(b"LC_")
}
