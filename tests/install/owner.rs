//! What root does, the owner of the state folder does.

use std::process::Stdio;

use crate::root::Root;

const INSTALLED: &str = "/usr/local/bin/deployer";

#[test]
fn commands_that_root_gives_leave_nothing_of_roots_in_the_state_folder() {
    let root = Root::new();
    root.deployer(&["install"]).good();

    // From a folder that the user may not enter.
    root.sh("ssh-keygen -q -t ed25519 -N '' -f /root/laptop").good();
    root.sh(&format!(
        "umask 077; cd /root; {INSTALLED} key add laptop <laptop.pub"
    ))
    .good();
    root.sh(&format!("umask 077; cd /root; {INSTALLED} app create shop"))
        .good();

    assert_eq!(
        root.sh(&format!("cd /root; {INSTALLED} app list")).good(),
        "shop\n"
    );
    let of_others = root
        .sh("find /var/lib/deployer /var/lib/deployer-home ! -user deploy")
        .good();
    assert_eq!(of_others, "");
    // Who really gave the command is written down.
    let audited = root.run(&[INSTALLED, "audit", "--json"]).good();
    assert!(audited.contains(r#""user":"root""#), "{audited}");
    assert_eq!(
        root.sh("find /var/lib/deployer -name app.json")
            .good()
            .lines()
            .count(),
        1
    );
}

#[test]
fn a_proxy_that_root_starts_runs_as_the_owner_on_the_public_port() {
    let root = Root::new();
    root.deployer(&["install"]).good();
    let mut proxy = root.command(&[INSTALLED, "proxy", "run"]);
    proxy
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null());
    let mut proxy = proxy.spawn().expect("the proxy starts");

    let code = root
        .sh("until curl --silent --output /dev/null --write-out '%{http_code}' http://127.0.0.1/; do sleep 0.05; done")
        .good();

    // No app, so nothing to answer with; it is the proxy that says so, on port 80.
    assert!(code.ends_with("404") || code.ends_with("503"), "{code}");
    let who = root
        .sh("for p in /proc/[0-9]*; do case $(readlink $p/exe) in */deployer) stat -c %U $p; grep CapEff $p/status;; esac; done")
        .good();
    assert_eq!(who, "deploy\nCapEff:\t0000000000000400\n");
    proxy.kill().expect("the proxy is killed");
    proxy.wait().expect("the proxy ends");
}
