//! Preparing is one thing and taking effect another: nothing waits for a build, and the last decision about what is live
//! holds.

use std::process::Child;
use std::time::Duration;

use crate::support::fail_points::{Kind, Point};
use crate::support::{App, Options, Repo, World, wait_for};

const DEADLINE: Duration = Duration::from_secs(60);

/// Releases 1 and 2 are live on green one after another, v1 and v2.
fn world(name: &str) -> (World, App, Repo) {
    let options = Options {
        fail_points: true,
        ..Options::default()
    };
    let mut world = World::with(name, options);
    let shop = world.app("shop", "");
    let repo = world.repo(&shop);
    for version in ["v1", "v2"] {
        repo.version(version);
        repo.push("green").live();
    }
    (world, shop, repo)
}

/// Begins to push v3 to `slot` as release 3, whose build goes on until [`let_build_end`].
fn begin_to_build(world: &World, repo: &Repo, slot: &str) -> Child {
    repo.version("v3");
    world.fail_points().hold_at(&Point {
        kind: Kind::Worker,
        name: "journal.began.build.durable".into(),
    });
    let push = repo.begin_push(slot);
    wait_for("the release to be built", DEADLINE, || {
        world.fail_points().was_reached().then_some(())
    });
    assert_eq!(under_way(world)["step"], "build");
    push
}

fn let_build_end(world: &World, mut push: Child) -> String {
    world.fail_points().go_on();
    push.wait().expect("the push ends");
    wait_for("the worker to end", DEADLINE, || {
        under_way(world).is_null().then_some(())
    });
    log(world, 3)
}

fn log(world: &World, release: u64) -> String {
    world.deployer(&["log", &release.to_string()]).good()
}

/// The first release that has not ended.
fn under_way(world: &World) -> serde_json::Value {
    world.json(&["status"])["apps"][0]["under_way"][0].clone()
}

fn is_whole(world: &World) {
    assert_eq!(
        world.json(&["status"])["apps"][0]["problems"],
        serde_json::json!([])
    );
}

#[test]
fn rollback_during_a_build_is_done_at_once_and_the_build_does_not_take_it_back() {
    let (world, _, repo) = world("back-while-built");
    let traffic = world.traffic();
    let push = begin_to_build(&world, &repo, "green");

    let said = world.deployer(&["rollback", "green"]).good();

    assert!(!said.contains("waiting"), "{said}");
    assert_eq!(world.version(), "v1");
    let said = let_build_end(&world, push);
    assert!(
        said.contains("superseded: shop/green release 3 by release 4, which was asked for later"),
        "{said}"
    );
    assert!(said.contains("`deployer redeploy shop/green`"), "{said}");
    assert_eq!(world.version(), "v1");
    assert!(world.containers().iter().all(|container| container.release == 4));
    let outcome = traffic.stop();
    assert_eq!(outcome.failures(), 0, "{outcome}");
    is_whole(&world);
    world.deployer(&["redeploy", "green"]).good();
    assert_eq!(world.version(), "v3");
}

#[test]
fn push_stays_on_standby_where_the_other_slot_went_back_while_it_was_built() {
    let (world, shop, repo) = world("back-beside-build");
    let push = begin_to_build(&world, &repo, "blue");

    world.deployer(&["rollback", "green"]).good();

    let said = let_build_end(&world, push);
    assert!(
        said.contains("it stays on standby, since release 4, which was asked for later, is live"),
        "{said}"
    );
    assert!(said.contains("standby: shop/blue release 3"), "{said}");
    assert_eq!(
        (world.version(), world.version_at(shop.blue)),
        ("v1".into(), "v3".into())
    );
    is_whole(&world);
    world.deployer(&["promote", "blue"]).good();
    assert_eq!(world.version(), "v3");
}

#[test]
fn promotion_during_a_build_of_its_slot_holds() {
    let (world, shop, repo) = world("promote-while-built");
    repo.version("w1");
    let said = repo.push_with(&["-o", "no-promote", "blue", "HEAD:main"]).said();
    assert!(said.contains("standby: shop/blue release 3"), "{said}");
    repo.version("w2");
    world.fail_points().hold_at(&Point {
        kind: Kind::Worker,
        name: "journal.began.build.durable".into(),
    });
    let mut push = repo.begin_push("blue");
    wait_for("the release to be built", DEADLINE, || {
        world.fail_points().was_reached().then_some(())
    });

    world.deployer(&["promote", "blue"]).good();
    assert_eq!(world.version(), "w1");

    world.fail_points().go_on();
    push.wait().expect("the push ends");
    assert!(log(&world, 4).contains("superseded: shop/blue release 4 by release 5"));
    assert_eq!(
        (world.version(), world.version_at(shop.blue)),
        ("w1".into(), "w1".into())
    );
    is_whole(&world);
}

#[test]
fn build_is_left_alone_by_prune_recover_and_a_release_of_the_other_slot() {
    let (world, shop, repo) = world("beside-build");
    world.reconfigure("[app.shop]", "[app.shop]\nkeep = 1");
    let push = begin_to_build(&world, &repo, "green");
    let other = world.repo(&shop);
    other.version("w1");

    let pushed = other.push("blue");
    let said = pushed.said();
    pushed.live();
    let pruned = world.deployer(&["prune"]).good();
    world.deployer(&["recover"]).good();
    let removed = world.deployer(&["app", "remove", "shop", "--yes"]);

    assert!(!said.contains("waiting: "), "{said}");
    assert!(
        pruned.contains("put off until the next prune: release 3 (green) is being prepared")
            || pruned.contains("nothing is past its keeping"),
        "{pruned}"
    );
    assert_eq!(removed.code, Some(4), "{}", removed.stderr);
    assert!(
        removed.stderr.contains("shop is busy: release 3 is at build"),
        "{}",
        removed.stderr
    );
    let said = let_build_end(&world, push);
    assert!(said.contains("standby: shop/green release 3"), "{said}");
    assert_eq!(
        (world.version(), world.version_at(shop.green)),
        ("w1".into(), "v3".into())
    );
    is_whole(&world);
}

#[test]
fn build_is_cancelled_at_once_while_another_release_takes_effect() {
    let (world, shop, repo) = world("cancel-build");
    let other = world.repo(&shop);
    other.unwell("w1", "SLOWSTART", "12000");
    let mut slow = other.begin_push("blue");
    wait_for("release 3 to be probed", DEADLINE, || {
        (under_way(&world)["step"] == "probe").then_some(())
    });
    repo.version("w2");
    let mut push = repo.begin_push("green");
    let all = || world.json(&["status"])["apps"][0]["under_way"].clone();
    wait_for("release 4 to be ready", DEADLINE, || {
        (all()[1]["waits"] == "to-take-effect").then_some(())
    });
    assert!(log(&world, 4).contains("waiting: release 3 (blue, now at probe) takes effect first"));
    let status = world.deployer(&["status"]).good();
    assert!(
        status.contains("release 4") && status.contains("is ready, and waits to take effect"),
        "{status}"
    );

    let said = world.deployer(&["cancel", "4"]).good();

    assert!(said.contains("release 4 is cancelled"), "{said}");
    assert_eq!(under_way(&world)["step"], "probe");
    push.wait().expect("the push ends");
    slow.wait().expect("the push ends");
    assert_eq!(world.version(), "w1");
    assert!(world.containers().iter().all(|container| container.release != 4));
    is_whole(&world);
}

#[test]
fn push_that_waits_for_a_prune_is_told_so() {
    let (world, _, repo) = world("beside-prune");
    // One slot's lock is taken, and the other one's just now.
    world.fail_points().hold_at(&Point {
        kind: Kind::Command,
        name: "slot-lock.taken#2".into(),
    });
    let mut prune = world.command();
    let mut prune = prune.arg("prune").spawn().expect("it starts");
    wait_for("the prune", DEADLINE, || {
        world.fail_points().was_reached().then_some(())
    });
    repo.version("v3");
    let mut push = repo.begin_push("blue");

    wait_for("the push to say what it waits for", DEADLINE, || {
        let log = world.deployer(&["log", "3"]).stdout;
        log.contains("waiting: `deployer prune` works on the app and comes first")
            .then_some(())
    });

    world.fail_points().go_on();
    assert!(prune.wait().expect("it ends").success());
    assert!(push.wait().expect("git ends").success());
    assert_eq!(world.version(), "v3");
}
