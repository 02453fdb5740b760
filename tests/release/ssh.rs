//! Over a real sshd: a push from elsewhere, a rollback from elsewhere, and a pusher who goes away.

use std::fs;
use std::path::Path;
use std::process::{Child, Stdio};
use std::time::Duration;

use rustix::process::Signal;

use crate::support::process::{processes_of, run, signal};
use crate::support::sshd::{Key, Sshd};
use crate::support::{App, DEPLOYER, Options, Repo, World, wait_for};

const DEADLINE: Duration = Duration::from_secs(60);

/// An sshd that lets one key in, by a line that deployer did not write.
fn sshd(world: &World) -> (Sshd, Key) {
    let sshd = Sshd::start(world, "");
    let key = Key::new(world.path("user-key"));
    sshd.let_in(world, &key);
    (sshd, key)
}

#[test]
fn push_and_rollback_over_ssh() {
    let mut world = World::new("ssh");
    let shop = world.app("shop", "");
    let (sshd, key) = sshd(&world);
    let repo = world.repo(&shop);
    let green = sshd.url(&world.remote(&shop, "green"));
    let push = |version: &str| {
        repo.version(version);
        let mut push = repo.command();
        push.env("GIT_SSH_COMMAND", sshd.client(&key).join(" "))
            .args(["push", &green, "main"]);
        run(&mut push, &[]).stderr
    };

    assert!(push("v1").contains("live: shop/green release 1"));
    assert!(push("v2").contains("live: shop/green release 2"));
    assert_eq!(world.version(), "v2");

    let rollback = format!("{DEPLOYER} --config {} rollback green", world.config().display());
    let said = sshd.ssh(&key, &rollback).good();

    assert!(said.contains("live: shop/green release 3"), "{said}");
    assert_eq!(world.version(), "v1");
}

/// A push over ssh that is left running, with nobody who reads along, and the process id of its ssh.
fn begin_push(world: &World, sshd: &Sshd, key: &Key, repo: &Repo, shop: &App) -> (Child, u32) {
    let mut push = repo.command();
    push.env("GIT_SSH_COMMAND", sshd.client(key).join(" "));
    push.args(["push", &sshd.url(&world.remote(shop, "green")), "main"]);
    push.stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null());
    let push = push.spawn().expect("git starts");
    let ssh = wait_for("ssh", DEADLINE, || {
        processes_of(Path::new("/usr/bin/ssh"), &world.path("user-key")).pop()
    });
    (push, ssh)
}

fn await_live(world: &World, version: &str) {
    wait_for("the release to be live", DEADLINE, || {
        (world.json(&["status"])["apps"][0]["live"] == "green").then_some(())
    });
    wait_for("the worker to end", DEADLINE, || {
        world.workers().is_empty().then_some(())
    });
    assert_eq!(world.version(), version);
    assert_eq!(
        world.json(&["status"])["apps"][0]["problems"],
        serde_json::json!([])
    );
}

#[test]
fn release_goes_on_when_its_pushers_ssh_is_killed() {
    let mut world = World::new("ssh-killed");
    let shop = world.app("shop", "");
    let (sshd, key) = sshd(&world);
    let repo = world.repo(&shop);
    repo.unwell("v1", "SLOWSTART", "1500");
    let (mut push, ssh) = begin_push(&world, &sshd, &key, &repo, &shop);
    wait_for("the worker", DEADLINE, || {
        (world.workers().len() == 2).then_some(())
    });

    signal(ssh, Signal::KILL);

    let status = push.wait().expect("git ends");
    assert!(!status.success(), "git knows that its ssh is gone");
    await_live(&world, "v1");
}

#[test]
fn release_ends_when_its_pusher_is_killed_with_a_mebibyte_unread() {
    let options = Options {
        engine: "builder = \"classic\"".into(),
        ..Options::default()
    };
    let mut world = World::with("ssh-unread", options);
    let shop = world.app("shop", "");
    let (sshd, key) = sshd(&world);
    let repo = world.repo(&shop);
    // 1,600 lines, which a pusher is shown all, are 1.07 MiB.
    repo.write("VERSION", "v1")
        .write("SLOWSTART", "1500")
        .write(
            "Dockerfile",
            format!(
                "FROM {}\nARG PRINT=1600\nRUN [\"/app\"]\nCOPY . /\nEXPOSE 8080\n",
                world.image()
            ),
        )
        .commit("v1");
    let (mut push, ssh) = begin_push(&world, &sshd, &key, &repo, &shop);
    wait_for("the worker", DEADLINE, || {
        (world.workers().len() == 2).then_some(())
    });
    signal(ssh, Signal::STOP);
    let log = world.state("apps/shop/releases/1/log");
    wait_for("a mebibyte of build output", DEADLINE, || {
        (fs::metadata(&log).ok()?.len() > 1 << 20).then_some(())
    });

    signal(ssh, Signal::KILL);

    push.wait().expect("git ends");
    await_live(&world, "v1");
}

#[test]
fn release_goes_on_when_its_pusher_goes_away() {
    let mut world = World::new("ssh-gone");
    let shop = world.app("shop", "");
    let (sshd, key) = sshd(&world);
    let repo = world.repo(&shop);
    repo.unwell("v1", "SLOWSTART", "1500");
    let mut push = repo.command();
    push.env("GIT_SSH_COMMAND", sshd.client(&key).join(" "));
    push.args(["push", &sshd.url(&world.remote(&shop, "green")), "main"]);
    push.stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null());
    let mut push = push.spawn().expect("git starts");
    wait_for("the worker", DEADLINE, || {
        (world.workers().len() == 2).then_some(())
    });

    signal(push.id(), Signal::KILL);

    push.wait().expect("git is gone");
    wait_for("the release to be live", DEADLINE, || {
        (world.json(&["status"])["apps"][0]["live"] == "green").then_some(())
    });
    assert_eq!(world.version(), "v1");
}
