//! What of the client's environment reaches what is run for it: nothing but git's protocol version.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use rustix::process::Signal;

use super::key;
use crate::support::process::{processes_of, run, signal};
use crate::support::sshd::Sshd;
use crate::support::{DEPLOYER, World, wait_for};

/// What a client sends to an sshd that takes everything.
const SENT: [(&str, &str); 8] = [
    ("DEPLOYER_BY", r#"{"key":"root"}"#),
    ("DEPLOYER_CONFIG", "/nowhere"),
    ("GIT_TRACE", "1"),
    ("GIT_EXEC_PATH", "/nowhere"),
    ("GIT_CONFIG_COUNT", "x"),
    ("SUDO_USER", "somebody"),
    ("BASH_ENV", "/nowhere"),
    ("LANG", "xx_YY"),
];

fn environment(pid: u32) -> BTreeMap<String, String> {
    let text = fs::read(format!("/proc/{pid}/environ")).unwrap_or_default();
    let text = String::from_utf8(text).expect("UTF-8");
    let variables = text.split('\0').filter_map(|variable| variable.split_once('='));
    variables
        .map(|(name, value)| (name.to_owned(), value.to_owned()))
        .collect()
}

#[test]
fn nothing_of_the_clients_environment_reaches_what_is_run() {
    let mut world = World::new("environment");
    let shop = world.app("shop", "");
    let sshd = Sshd::start(&world, "AcceptEnv *");
    let key = key(&world, "laptop", &["--app", "shop", "--slot", "green"]);
    let before = processes_of(Path::new(DEPLOYER), &world.config());

    let mut watch = sshd.command(&key, &["-o", "SendEnv=*"], "status --watch");
    let mut watch = watch
        .envs(SENT)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .spawn()
        .expect("ssh starts");
    let pid = wait_for("the command", Duration::from_secs(30), || {
        let mut running = processes_of(Path::new(DEPLOYER), &world.config());
        running.retain(|pid| !before.contains(pid));
        let is_command = |pid: &u32| !environment(*pid).contains_key("SSH_CONNECTION");
        running.into_iter().find(is_command)
    });
    let found = environment(pid);
    let folder = fs::read_link(format!("/proc/{pid}/cwd")).expect("its folder");
    signal(watch.id(), Signal::KILL);
    signal(pid, Signal::KILL);
    watch.wait().expect("ssh has ended");

    let names: Vec<&str> = found.keys().map(String::as_str).collect();
    assert_eq!(names, ["DEPLOYER_BY", "HOME", "LANG", "PATH"]);
    assert_eq!(
        found["DEPLOYER_BY"],
        r#"{"key":"laptop","from":"127.0.0.1","apps":["shop"],"slots":["green"]}"#
    );
    assert_eq!(found["LANG"], "C.UTF-8");
    assert_eq!(
        found["PATH"],
        "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
    );
    assert_eq!(folder, Path::new("/"));

    let repo = world.repo(&shop);
    let ask = |protocol: &str| {
        let mut ask = repo.command();
        ask.env(
            "GIT_SSH_COMMAND",
            format!("{} -o SendEnv=*", sshd.client(&key).join(" ")),
        );
        ask.envs([("GIT_TRACE_PACKET", "1"), ("GIT_PROTOCOL", protocol)]);
        ask.args([
            "-c",
            &format!("protocol.version={protocol}"),
            "ls-remote",
            &sshd.url("/shop/green"),
        ]);
        run(&mut ask, &[]).stderr
    };
    assert!(ask("2").contains("< version 2"));
    assert!(!ask("0").contains("< version 2"));
}
