//! The program as a login shell.

use std::ffi::OsStr;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::Command;

use super::{Keys, NOT_ALLOWED};
use crate::support::DEPLOYER;
use crate::support::process::{Output, run};

/// Runs the program at `path`, called by the name `called`.
#[track_caller]
fn shell(path: &Path, called: &str, arguments: &[&str], asked: Option<&str>) -> Output {
    let mut command = Command::new(path);
    command.arg0(called).args(arguments).env_clear();
    command.env("SSH_CONNECTION", "192.0.2.7 50000 192.0.2.1 22");
    command.envs(asked.map(|asked| ("SSH_ORIGINAL_COMMAND", asked)));
    run(&mut command, &[])
}

fn forced(keys: &Keys, program: &str) -> String {
    let config = keys.path("deployer.toml");
    format!(
        "{program} --config {} ssh --key laptop --role admin",
        config.display()
    )
}

#[test]
fn the_program_as_a_login_shell_runs_forced_commands() {
    let keys = Keys::new();
    let link = keys.path("deployer-shell");
    std::os::unix::fs::symlink(DEPLOYER, &link).expect("a link");
    let copied = keys.path("copy/deployer-shell");
    std::fs::create_dir(keys.path("copy")).expect("a folder");
    std::fs::copy(DEPLOYER, &copied).expect("a copy");

    for (path, called) in [
        (&link, "/usr/local/lib/deployer/deployer-shell"),
        (&link, "-deployer-shell"),
        (&copied, "deployer-shell"),
    ] {
        let said = shell(path, called, &["-c", &forced(&keys, DEPLOYER)], Some("app list")).good();
        assert!(said.contains("no app yet"), "{called}: {said}");
        let said = shell(path, called, &["-c", &forced(&keys, DEPLOYER)], None).good();
        assert!(
            said.starts_with("You are laptop, from 192.0.2.7."),
            "{called}: {said}"
        );
    }
}

#[test]
fn a_login_shell_runs_nothing_else() {
    let keys = Keys::new();
    let link = keys.path("deployer-shell");
    std::os::unix::fs::symlink(DEPLOYER, &link).expect("a link");
    let good = forced(&keys, DEPLOYER);
    let more = format!("{good} status");
    let two = format!("{good}; id");
    let other = format!("{DEPLOYER} status");

    for arguments in [
        &[][..],
        &["-l"],
        &["-c"],
        &["-c", "id"],
        &["-c", ""],
        &["-c", &more],
        &["-c", &two],
        &["-c", &other],
        &["-c", &good, "x"],
        &["-lc", &good],
        &["status"],
        &["ssh", "--key", "laptop", "--role", "admin"],
        &["/usr/lib/openssh/sftp-server"],
    ] {
        let ended = shell(&link, "-deployer-shell", arguments, Some("status"));
        assert_eq!(ended.code, NOT_ALLOWED, "{arguments:?}: {}", ended.stderr);
        assert!(ended.stdout.is_empty(), "{arguments:?}: {}", ended.stdout);
        assert_eq!(ended.stderr.lines().count(), 1, "{}", ended.stderr);
    }
    // By its own name it is no shell.
    let usual = shell(
        Path::new(DEPLOYER),
        OsStr::new("deployer").to_str().expect("text"),
        &["-c", &good],
        None,
    );
    assert_eq!(usual.code, Some(2), "{}", usual.stderr);
}
