//! One release of an app at a time: waiting, superseding, cancelling.

use std::process::Child;
use std::time::Duration;

use crate::support::process::run;
use crate::support::{Repo, World, wait_for};

const DEADLINE: Duration = Duration::from_secs(60);

/// Commits a version whose probe takes its time: 3 s.
fn slow(repo: &Repo, version: &str) {
    repo.unwell(version, "SLOWSTART", "3000");
}

/// Begins to push `version`, which becomes `release`; gives the push while that is being probed.
fn begin_slow(world: &World, repo: &Repo, version: &str, slot: &str, release: u64) -> Child {
    slow(repo, version);
    let push = repo.begin_push(slot);
    wait_for("the release to be probed", DEADLINE, || {
        (step_of(world, release)? == "probe").then_some(())
    });
    push
}

fn step_of(world: &World, release: u64) -> Option<String> {
    let releases = world.json(&["releases"]);
    let all = releases["releases"].as_array()?.clone();
    let found = all.into_iter().find(|it| it["release"] == release)?;
    Some(
        found["outcome"]
            .as_str()
            .or(found["step"].as_str())
            .unwrap_or("waiting")
            .to_owned(),
    )
}

fn log(world: &World, release: u64) -> String {
    world.deployer(&["log", &release.to_string()]).good()
}

#[test]
fn later_push_waits_its_turn_and_is_told_whose_it_is() {
    let mut world = World::new("waits");
    let shop = world.app("shop", "");
    let (first, second) = (world.repo(&shop), world.repo(&shop));
    // Longer than the second one takes to be ready.
    first.unwell("v1", "SLOWSTART", "12000");
    let mut first_push = first.begin_push("blue");
    wait_for("release 1 to be probed", DEADLINE, || {
        (step_of(&world, 1)? == "probe").then_some(())
    });

    second.version("v2");
    let push = second.push("green");

    assert!(
        push.said().contains("waiting: release 1 (blue, now at "),
        "{}",
        push.said()
    );
    push.live();
    first_push.wait().expect("the first push ends");
    assert_eq!(step_of(&world, 1).as_deref(), Some("live"));
    assert_eq!(
        (world.version(), world.version_at(shop.blue)),
        ("v2".into(), "v1".into())
    );
}

#[test]
fn newer_push_to_the_same_slot_supersedes_a_waiting_one() {
    let mut world = World::new("superseded");
    let shop = world.app("shop", "");
    let repo = world.repo(&shop);
    slow(&repo, "v1");
    let mut pushes = vec![repo.begin_push("green")];
    wait_for("release 1 to be probed", DEADLINE, || {
        (step_of(&world, 1)? == "probe").then_some(())
    });
    repo.version("v2");
    pushes.push(repo.begin_push("green"));
    wait_for("release 2 to wait", DEADLINE, || {
        (step_of(&world, 2)? == "waiting").then_some(())
    });

    repo.version("v3");
    repo.push_with(&["green", "HEAD:main"]).live();

    for mut push in pushes {
        push.wait().expect("the push ends");
    }
    assert_eq!(step_of(&world, 2).as_deref(), Some("superseded"));
    assert!(
        log(&world, 2).contains("superseded: shop/green release 2 by release 3"),
        "{}",
        log(&world, 2)
    );
    assert_eq!(world.version(), "v3");
}

#[test]
fn command_that_needs_a_busy_app_says_what_it_waits_for() {
    let mut world = World::new("busy");
    let shop = world.app("shop", "");
    let repo = world.repo(&shop);
    repo.unwell("v1", "SLOWSTART", "12000");
    let mut push = repo.begin_push("blue");
    wait_for("release 1 to be probed", DEADLINE, || {
        (step_of(&world, 1)? == "probe").then_some(())
    });

    let prune = world.deployer(&["prune"]);

    assert_eq!(prune.code, Some(4), "{}", prune.stdout);
    assert!(
        prune.stderr.contains("shop is busy: release 1 is at probe"),
        "{}",
        prune.stderr
    );
    world.deployer(&["cancel", "1"]).good();
    push.wait().expect("the push ends");
}

#[test]
fn cancelled_release_leaves_nothing_and_the_next_push_works() {
    let mut world = World::new("cancel");
    let shop = world.app("shop", "");
    let repo = world.repo(&shop);
    repo.version("v1");
    repo.push("green").live();
    let mut push = begin_slow(&world, &repo, "v2", "green", 2);

    let said = world.deployer(&["cancel", "2"]).good();

    push.wait().expect("the push ends");
    assert!(said.contains("release 2 is cancelled at probe"), "{said}");
    assert_eq!(world.version(), "v1");
    assert!(world.containers().iter().all(|container| container.release == 1));
    assert_eq!(world.deployer(&["cancel", "2"]).code, Some(1));
    repo.version("v3");
    repo.push("green").live();
}

#[test]
fn what_a_waiting_rollback_goes_back_to_is_not_pruned() {
    let mut world = World::new("waiting-rollback");
    let shop = world.app("shop", "keep = 1");
    let repo = world.repo(&shop);
    for version in ["v1", "v2"] {
        repo.version(version);
        repo.push("green").live();
    }
    let mut push = begin_slow(&world, &repo, "v3", "green", 3);

    let said = world.deployer(&["rollback", "green", "--to", "1"]).good();

    assert!(said.contains("waiting: release 3"), "{said}");
    push.wait().expect("git ends");
    assert_eq!(step_of(&world, 3).as_deref(), Some("live"));
    assert_eq!(world.version(), "v1");
}

#[test]
fn undoing_a_flip_goes_to_what_was_live_or_nowhere() {
    let mut world = World::new("undo-waits");
    let shop = world.app("shop", "");
    let repo = world.repo(&shop);
    for (version, slot) in [("v1", "blue"), ("v2", "green")] {
        repo.version(version);
        repo.push(slot).live();
    }
    let mut push = begin_slow(&world, &repo, "v3", "blue", 3);

    let undo = world.deployer(&["rollback"]);

    push.wait().expect("git ends");
    assert_eq!(undo.code, Some(3), "{}", undo.stdout);
    assert!(
        undo.stdout.contains("blue runs release 3 by now"),
        "{}",
        undo.stdout
    );
    assert!(
        undo.stdout.contains("Release 3 is still live, on blue"),
        "{}",
        undo.stdout
    );
    assert_eq!(world.version(), "v3");
}

#[test]
fn rollback_of_a_slot_goes_back_from_what_it_ran_or_nowhere() {
    let mut world = World::new("rollback-waits");
    let shop = world.app("shop", "");
    let repo = world.repo(&shop);
    for version in ["v1", "v2"] {
        repo.version(version);
        repo.push("green").live();
    }
    let mut push = begin_slow(&world, &repo, "v3", "green", 3);

    let rollback = world.deployer(&["rollback", "green"]);

    push.wait().expect("git ends");
    assert_eq!(rollback.code, Some(3), "{}", rollback.stdout);
    let why = "green runs release 3 by now, and no longer release 2";
    assert!(rollback.stdout.contains(why), "{}", rollback.stdout);
    assert_eq!(world.version(), "v3");
}

#[test]
fn undoing_a_flip_does_nothing_once_another_flip_came() {
    let mut world = World::new("undo-flipped");
    let shop = world.app("shop", "");
    let repo = world.repo(&shop);
    for (version, slot) in [("v1", "blue"), ("v2", "green")] {
        repo.version(version);
        repo.push(slot).live();
    }
    let mut push = begin_slow(&world, &repo, "v3", "green", 3);

    let undo = world.deployer(&["rollback"]);

    push.wait().expect("git ends");
    assert_eq!(undo.code, Some(3), "{}", undo.stdout);
    let why = "release 3 on green is live by now, and no longer release 2 on green";
    assert!(undo.stdout.contains(why), "{}", undo.stdout);
    assert_eq!(world.version(), "v3");
}

#[test]
fn push_that_comes_to_its_number_after_a_newer_one_is_no_release() {
    let mut world = World::new("out-of-order");
    let shop = world.app("shop", "");
    let repo = world.repo(&shop);
    let older = repo.version("v1");
    let newer = repo.version("v2");
    repo.push("green").live();
    let nothing = "0".repeat(40);

    // As git calls the hook of the older push, whose turn on the processor came late.
    let line = format!("{nothing} {older} refs/heads/main\n");
    let mut hook = world.command();
    hook.args(["hook", "post-receive", "--slot", "shop/green"]);
    let late = run(&mut hook, line.as_bytes()).good();

    assert!(
        late.contains("a newer push moved main of shop/green to commit "),
        "{late}"
    );
    assert!(
        late.contains(&newer[..8]) && late.contains("which is release 1"),
        "{late}"
    );
    assert_eq!(world.version(), "v2");
}
