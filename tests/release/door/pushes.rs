//! Pushes, fetches and commands by keys, done for real.

use std::time::Duration;

use super::{NOT_ALLOWED, key};
use crate::support::process::{Output, run};
use crate::support::sshd::{Key, Sshd};
use crate::support::{Repo, World, wait_for};

/// `git ARGUMENTS` by the holder of `key`.
#[track_caller]
fn git(repo: &Repo, sshd: &Sshd, key: &Key, arguments: &[&str]) -> Output {
    let mut git = repo.command();
    git.env("GIT_SSH_COMMAND", sshd.client(key).join(" "))
        .args(arguments);
    run(&mut git, &[])
}

#[test]
fn a_key_pushes_by_every_way_to_write_the_remote() {
    let mut world = World::new("remotes");
    let shop = world.app("shop", "");
    let sshd = Sshd::start(&world, "");
    let laptop = key(&world, "laptop", &[]);
    let repo = world.repo(&shop);
    let whole = world.remote(&shop, "green");

    for (number, path) in ["/shop/green", "/green.git", whole.as_str()]
        .into_iter()
        .enumerate()
    {
        repo.version(&format!("v{number}"));
        let pushed = git(&repo, &sshd, &laptop, &["push", &sshd.url(path), "main"]);
        assert_eq!(pushed.code, Some(0), "{path}: {}", pushed.stderr);
        let live = format!("live: shop/green release {}", number + 1);
        assert!(pushed.stderr.contains(&live), "{path}: {}", pushed.stderr);
        assert_eq!(world.version(), format!("v{number}"));
    }
    // HOST:PATH, with the port in the command.
    let short = format!("{}:shop/green", sshd.host());
    let fetched = git(&repo, &sshd, &laptop, &["ls-remote", &short]);
    assert!(fetched.good().contains("refs/heads/main"));
}

#[test]
fn a_key_that_may_only_read_fetches_and_pushes_nothing() {
    let mut world = World::new("read-only");
    let shop = world.app("shop", "");
    let sshd = Sshd::start(&world, "");
    let reader = key(&world, "reader", &["--role", "read"]);
    let repo = world.repo(&shop);
    repo.version("v1");
    repo.push("green").live();
    let green = sshd.url("/shop/green");

    let clone = world.path("clone");
    let cloned = git(
        &repo,
        &sshd,
        &reader,
        &["clone", "-q", &green, clone.to_str().expect("UTF-8")],
    );
    cloned.good();
    assert_eq!(
        std::fs::read_to_string(clone.join("VERSION")).expect("the clone"),
        "v1"
    );
    let archived = git(
        &repo,
        &sshd,
        &reader,
        &["archive", "--format=tar", &format!("--remote={green}"), "main"],
    );
    assert!(archived.good().contains("Dockerfile"));

    repo.version("v2");
    let pushed = git(&repo, &sshd, &reader, &["push", &green, "main"]);
    assert_eq!(pushed.code, Some(128));
    assert!(
        pushed
            .stderr
            .contains("reader may not push to: that needs the role deploy"),
        "{}",
        pushed.stderr
    );
    assert_eq!(world.version(), "v1");
    let tip = world.state("git/shop/green.git/refs/heads/main");
    assert_ne!(
        std::fs::read_to_string(tip).expect("the branch").trim(),
        repo.git(&["rev-parse", "HEAD"]).good().trim()
    );
}

#[test]
fn a_rollback_by_key_takes_a_live_app_back_and_drops_no_request() {
    let mut world = World::new("key-rollback");
    let shop = world.app("shop", "");
    let sshd = Sshd::start(&world, "");
    let pusher = key(&world, "laptop", &["--slot", "green"]);
    let operator = key(
        &world,
        "operator",
        &["--role", "operate", "--app", "shop", "--slot", "green"],
    );
    let repo = world.repo(&shop);
    let green = sshd.url("/shop/green");
    for version in ["v1", "v2"] {
        repo.version(version);
        let pushed = git(&repo, &sshd, &pusher, &["push", &green, "main"]);
        assert!(pushed.stderr.contains("live: shop/green"), "{}", pushed.stderr);
    }
    let traffic = world.traffic();
    wait_for("traffic", Duration::from_secs(20), || {
        (traffic.so_far().of("v2") > 50).then_some(())
    });

    let refused = sshd.ssh(&pusher, "rollback green");
    assert_eq!(refused.code, NOT_ALLOWED, "{}", refused.stderr);
    assert_eq!(world.version(), "v2");
    let said = sshd.ssh(&operator, "rollback green").good();

    assert!(said.contains("live: shop/green release 3"), "{said}");
    assert_eq!(world.version(), "v1");
    wait_for("v1", Duration::from_secs(20), || {
        (traffic.so_far().of("v1") > 50).then_some(())
    });
    let outcome = traffic.stop();
    assert_eq!(outcome.failures(), 0, "{outcome}");
}
