//! What a push does.

use std::time::{Duration, Instant};

use crate::support::{World, wait_for};

#[test]
fn first_push_goes_live() {
    let mut world = World::new("first-push");
    let shop = world.app("shop", "");
    let repo = world.repo(&shop);
    let commit = repo.version("v1");

    let push = repo.push("green");

    let verdict = push.verdict().to_owned();
    assert_eq!(push.live(), 1);
    assert!(
        verdict.contains(&commit[..8]) && verdict.contains("image ") && verdict.contains("0 cut"),
        "{verdict}"
    );
    assert_eq!(world.version(), "v1");
    assert_eq!(world.version_at(shop.green), "v1");
}

#[test]
fn pusher_sees_every_step_and_the_build_as_they_happen() {
    let mut world = World::new("steps");
    let shop = world.app("shop", "");
    let repo = world.repo(&shop);
    repo.version("v1");

    let said = repo.push("green").said();

    let mut rest = said.as_str();
    for step in [
        "checkout", "build", "push", "pull", "start", "probe", "flip", "drain", "retire", "record", "live:",
    ] {
        let at = rest
            .find(&format!("\n {step}"))
            .or_else(|| rest.find(&format!("\n{step}")));
        rest = &rest[at.unwrap_or_else(|| panic!("{step} is not in its place in\n{said}")) + 1..];
    }
    assert!(
        said.contains("| ") && said.contains("COPY . /"),
        "the build's output is not there:\n{said}"
    );
}

#[test]
fn push_to_the_standby_drops_no_request() {
    let mut world = World::new("standby-traffic");
    let shop = world.app("shop", "");
    let repo = world.repo(&shop);
    repo.version("v1");
    repo.push("blue").live();
    let traffic = world.traffic();
    wait_for("traffic", Duration::from_secs(20), || {
        (traffic.so_far().of("v1") > 50).then_some(())
    });

    repo.version("v2");
    repo.push("green").live();
    let after = Instant::now();
    wait_for("v2", Duration::from_secs(20), || {
        (traffic.so_far().of("v2") > 50).then_some(())
    });
    let outcome = traffic.stop();

    assert_eq!(outcome.failures(), 0, "{outcome}");
    assert!(
        !outcome.is_late("v1", after),
        "v1 answered a request begun after the push had ended"
    );
    assert_eq!(world.version_at(shop.blue), "v1");
    assert_eq!(world.version_at(shop.green), "v2");
}

#[test]
fn push_to_the_live_slot_with_three_instances_drops_no_request() {
    let mut world = World::new("live-traffic");
    let shop = world.app("shop", "instances = 3");
    let repo = world.repo(&shop);
    repo.version("v1");
    repo.push("green").live();
    let traffic = world.traffic();
    wait_for("traffic", Duration::from_secs(20), || {
        (traffic.so_far().of("v1") > 50).then_some(())
    });

    repo.version("v2");
    repo.push("green").live();
    let after = Instant::now();
    wait_for("v2", Duration::from_secs(20), || {
        (traffic.so_far().of("v2") > 50).then_some(())
    });
    let outcome = traffic.stop();

    assert_eq!(outcome.failures(), 0, "{outcome}");
    assert!(
        !outcome.is_late("v1", after),
        "v1 answered a request begun after the push had ended"
    );
    let containers = world.containers();
    assert_eq!(containers.len(), 3, "{containers:?}");
    assert!(
        containers
            .iter()
            .all(|container| container.release == 2 && container.state == "running")
    );
}

#[test]
fn requests_are_balanced_over_the_instances() {
    let mut world = World::new("balance");
    let shop = world.app("shop", "instances = 2");
    let repo = world.repo(&shop);
    repo.version("v1");
    repo.push("green").live();

    let answers: std::collections::HashSet<String> = (0..20)
        .map(|_| world.get("/instance").expect("an answer").text())
        .collect();

    assert_eq!(answers.len(), 2, "{answers:?}");
}

#[test]
fn push_without_promotion_waits_on_the_standby() {
    let mut world = World::new("no-promote");
    let shop = world.app("shop", "");
    let repo = world.repo(&shop);
    repo.version("v1");
    repo.push("blue").live();
    repo.version("v2");

    let push = repo.push_with(&["-o", "no-promote", "green", "main"]);

    assert!(
        push.verdict().starts_with("standby: shop/green release 2"),
        "{}",
        push.said()
    );
    assert_eq!(world.version(), "v1");
    assert_eq!(world.version_at(shop.green), "v2");

    world.deployer(&["promote", "green"]).good();
    assert_eq!(world.version(), "v2");
}

#[test]
fn push_without_promotion_to_the_live_slot_is_refused() {
    let mut world = World::new("no-promote-live");
    let shop = world.app("shop", "");
    let repo = world.repo(&shop);
    repo.version("v1");
    repo.push("green").live();
    repo.version("v2");

    let said = repo.push_with(&["-o", "no-promote", "green", "main"]).failed();

    assert!(said.contains("push to blue instead"), "{said}");
    assert_eq!(world.version(), "v1");
}

#[test]
fn other_branches_and_deletions_make_no_release() {
    let mut world = World::new("branches");
    let shop = world.app("shop", "");
    let repo = world.repo(&shop);
    repo.version("v1");
    repo.push("green").live();

    let other = repo.push_with(&["green", "main:refs/heads/topic"]);
    assert!(
        other
            .said()
            .contains("no release: shop/green releases the branch main"),
        "{}",
        other.said()
    );
    let tag = repo.push_with(&["green", "main:refs/tags/v1"]);
    assert!(tag.said().contains("no release"), "{}", tag.said());
    let deleted = repo.push_with(&["green", ":main"]);
    assert!(
        deleted.said().contains("no release: the branch main was deleted"),
        "{}",
        deleted.said()
    );
    assert!(
        deleted.said().contains("Release 1 is still live"),
        "{}",
        deleted.said()
    );

    assert_eq!(world.version(), "v1");
    let releases = world.json(&["releases"]);
    assert_eq!(
        releases["releases"].as_array().map(Vec::len),
        Some(1),
        "{releases}"
    );
}

#[test]
fn tags_and_forced_pushes_are_released() {
    let mut world = World::new("forced");
    let shop = world.app("shop", "");
    let repo = world.repo(&shop);
    repo.version("v1");
    repo.git(&["tag", "-a", "-m", "one", "one"]).good();
    repo.push_with(&["green", "one^{}:refs/heads/main"]).live();
    assert_eq!(world.version(), "v1");

    repo.version("v2");
    repo.push("green").live();
    repo.git(&["reset", "-q", "--hard", "one"]).good();
    repo.push_with(&["--force", "green", "main"]).live();

    assert_eq!(world.version(), "v1");
}

#[test]
fn commit_that_the_other_slot_runs_is_released_too() {
    let mut world = World::new("same-commit");
    let shop = world.app("shop", "");
    let repo = world.repo(&shop);
    repo.version("v1");
    repo.push("blue").live();
    repo.push("green").live();
    assert_eq!(world.version_at(shop.green), "v1");

    let again = world.deployer(&["redeploy", "green"]).good();

    assert!(
        again.contains("note: the slot runs commit") && again.contains("live: shop/green release 3"),
        "{again}"
    );
    assert!(repo.push("green").output.stderr.contains("Everything up-to-date"));
}
