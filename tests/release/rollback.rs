//! Going back.

use std::time::{Duration, Instant};

use crate::support::docker::docker;
use crate::support::{World, wait_for};

#[test]
fn rollback_without_a_slot_undoes_the_last_flip_and_drops_no_request() {
    let mut world = World::new("undo-flip");
    let shop = world.app("shop", "");
    let repo = world.repo(&shop);
    repo.version("v1");
    repo.push("blue").live();
    repo.version("v2");
    repo.push("green").live();
    let traffic = world.traffic();
    wait_for("traffic", Duration::from_secs(20), || {
        (traffic.so_far().of("v2") > 50).then_some(())
    });

    let said = world.deployer(&["rollback"]).good();

    let after = Instant::now();
    assert_eq!(world.version(), "v1", "{said}");
    wait_for("v1", Duration::from_secs(20), || {
        (traffic.so_far().of("v1") > 50).then_some(())
    });
    let outcome = traffic.stop();
    assert_eq!(outcome.failures(), 0, "{outcome}");
    assert!(!outcome.is_late("v2", after));

    world.deployer(&["rollback"]).good();
    assert_eq!(world.version(), "v2");
}

#[test]
fn rollback_of_the_live_slot_needs_no_registry_and_drops_no_request() {
    let mut world = World::new("rollback-slot");
    let shop = world.app("shop", "");
    let repo = world.repo(&shop);
    for version in ["v1", "v2", "v3"] {
        repo.version(version);
        repo.push("green").live();
    }
    world.stop_registry();
    let traffic = world.traffic();
    wait_for("traffic", Duration::from_secs(20), || {
        (traffic.so_far().of("v3") > 50).then_some(())
    });

    let said = world.deployer(&["rollback", "green"]).good();
    assert_eq!(world.version(), "v2", "{said}");
    world.deployer(&["rollback", "shop/green"]).good();
    assert_eq!(world.version(), "v1");
    let last = world.deployer(&["rollback", "green"]);
    assert_eq!(last.code, Some(1));
    assert!(last.stderr.contains("no earlier release"), "{}", last.stderr);
    world.deployer(&["rollback", "green", "--to", "3"]).good();
    assert_eq!(world.version(), "v3");

    let outcome = traffic.stop();
    assert_eq!(outcome.failures(), 0, "{outcome}");
}

#[test]
fn rollback_of_the_standby_does_not_touch_what_is_live() {
    let mut world = World::new("rollback-standby");
    let shop = world.app("shop", "");
    let repo = world.repo(&shop);
    for (version, slot) in [("v1", "green"), ("v2", "green"), ("v3", "blue")] {
        repo.version(version);
        repo.push(slot).live();
    }

    world.deployer(&["rollback", "green"]).good();

    assert_eq!(world.version(), "v3");
    assert_eq!(world.version_at(shop.green), "v1");
}

#[test]
fn nothing_to_go_back_to_is_said() {
    let mut world = World::new("no-rollback");
    let shop = world.app("shop", "");
    assert!(world.deployer(&["rollback"]).stderr.contains("no flip yet"));
    assert!(
        world
            .deployer(&["rollback", "green"])
            .stderr
            .contains("green runs nothing")
    );
    let repo = world.repo(&shop);
    repo.version("v1");
    repo.push("green").live();

    for (arguments, code) in [
        (&["rollback"][..], 1),
        (&["rollback", "green"], 1),
        (&["rollback", "green", "--to", "7"], 5),
    ] {
        let output = world.deployer(arguments);
        assert_eq!(output.code, Some(code), "{arguments:?}: {}", output.stderr);
    }
    assert_eq!(world.version(), "v1");
}

#[test]
fn a_stopped_standby_is_started_again_by_a_rollback() {
    let mut world = World::new("stopped-standby");
    let shop = world.app("shop", "standby = \"stopped\"");
    let repo = world.repo(&shop);
    repo.version("v1");
    repo.push("blue").live();
    repo.version("v2");
    repo.push("green").live();
    let states: Vec<_> = world
        .containers()
        .into_iter()
        .map(|it| (it.slot, it.state))
        .collect();
    assert!(states.contains(&("blue".into(), "exited".into())), "{states:?}");
    assert_eq!(
        restart_policies(&world),
        [("blue".into(), "no".into()), ("green".into(), "always".into())]
    );
    let traffic = world.traffic();

    world.deployer(&["rollback"]).good();

    assert_eq!(world.version(), "v1");
    let outcome = traffic.stop();
    assert_eq!(outcome.failures(), 0, "{outcome}");
    let states: Vec<_> = world
        .containers()
        .into_iter()
        .map(|it| (it.slot, it.state))
        .collect();
    assert!(states.contains(&("green".into(), "exited".into())), "{states:?}");
    assert_eq!(
        restart_policies(&world),
        [("blue".into(), "always".into()), ("green".into(), "no".into())]
    );
}

/// What the Engine does with each slot's container when it starts: a stopped standby stays stopped.
fn restart_policies(world: &World) -> Vec<(String, String)> {
    let policy = |id: &str| docker(&["inspect", "--format", "{{.HostConfig.RestartPolicy.Name}}", id]).good();
    let mut all: Vec<_> = world
        .containers()
        .into_iter()
        .map(|it| (it.slot, policy(&it.id).trim().to_owned()))
        .collect();
    all.sort();
    all
}
