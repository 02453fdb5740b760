//! What `deployer recover`, and what a command does by itself, when something was lost or taken away.

use std::fs;
use std::path::Path;
use std::process::Command;

use crate::support::docker::docker;
use crate::support::fail_points::{Kind, Point};
use crate::support::process::run;
use crate::support::{App, Options, Repo, World};

/// v1 on blue, and v2 on green, which is live.
fn two_slots(name: &str, lines: &str) -> (World, App, Repo) {
    let mut world = World::new(name);
    let shop = world.app("shop", lines);
    let repo = world.repo(&shop);
    for (version, slot) in [("v1", "blue"), ("v2", "green")] {
        repo.version(version);
        repo.push(slot).live();
    }
    (world, shop, repo)
}

/// Removes the containers of a slot behind deployer's back; gives the image that they ran.
fn remove_containers(world: &World, slot: &str) -> String {
    let mut image = String::new();
    for container in world.containers() {
        if container.slot == slot {
            image = container.image();
            docker(&["rm", "-f", &container.id]).good();
        }
    }
    image
}

#[track_caller]
fn is_well(world: &World) {
    let status = world.json(&["status"]);
    assert_eq!(status["apps"][0]["problems"], serde_json::json!([]));
}

#[test]
fn recovery_answers_when_what_it_started_again_is_ready() {
    let mut world = World::new("recover-probes");
    let shop = world.app("shop", "[app.shop.probe]\ndeadline = \"20s\"");
    let repo = world.repo(&shop);
    repo.unwell("v1", "SLOWSTART", "2500");
    repo.push("green").live();
    remove_containers(&world, "green");

    let said = world.deployer(&["recover"]).good();

    assert_eq!(world.version(), "v1", "{said}");
    assert!(said.contains("1 of 1 instances started again"), "{said}");
    assert!(!said.contains("not ready"), "{said}");
    is_well(&world);
}

#[test]
fn recovery_says_what_is_not_ready() {
    let mut world = World::new("recover-unready");
    let shop = world.app("shop", "env = {}\n[app.shop.probe]\ndeadline = \"1s\"");
    let repo = world.repo(&shop);
    repo.version("v1");
    repo.push("green").live();
    remove_containers(&world, "green");
    world.reconfigure("env = {}", "env = { FAIL = \"500\" }");

    let said = world.deployer(&["recover"]).good();

    let told = "green: instance 0 was started again and is not ready: it was not ready within 1.00 s (last answer: 500";
    assert!(said.contains(told), "{said}");
}

#[test]
fn promotion_pulls_an_image_that_was_removed_by_hand() {
    let (world, _, _) = two_slots("promote-pulls", "");
    let image = remove_containers(&world, "blue");
    docker(&["rmi", "-f", &image]).good();
    let traffic = world.traffic();

    world.deployer(&["promote", "blue"]).good();

    assert_eq!(world.version(), "v1");
    let outcome = traffic.stop();
    assert_eq!(outcome.failures(), 0, "{outcome}");
    is_well(&world);
}

#[test]
fn lost_state_is_told_by_the_journal_where_no_container_is_left() {
    let (world, shop, _) = two_slots("rebuild-gone", "");
    remove_containers(&world, "blue");
    fs::write(world.state("apps/shop/state.json"), "{").unwrap();

    let said = world.deployer(&["recover"]).good();

    assert!(said.contains("written anew"), "{said}");
    assert_eq!(world.version(), "v2");
    assert_eq!(world.version_at(shop.blue), "v1");
    is_well(&world);
}

#[test]
fn a_copy_of_the_state_folder_serves_again_without_containers_network_and_proxy() {
    let (mut world, shop, repo) = two_slots("disaster", "");
    let copy = world.path("copy");
    let copied = |from: &Path, to: &Path| {
        run(Command::new("cp").arg("-a").arg(from).arg(to), &[]).good();
    };
    world.stop_proxy();
    copied(&world.state(""), &copy);
    for image in [
        remove_containers(&world, "blue"),
        remove_containers(&world, "green"),
    ] {
        docker(&["rmi", "-f", &image]).good();
    }
    docker(&["network", "rm", &world.network()]).good();
    fs::remove_dir_all(world.state("")).unwrap();

    copied(&copy, &world.state(""));
    world.start_proxy();
    let said = world.deployer(&["recover"]).good();

    assert_eq!(world.version(), "v2", "{said}");
    assert_eq!(world.version_at(shop.blue), "v1", "{said}");
    is_well(&world);
    repo.version("v3");
    repo.push("green").live();
}

#[test]
fn lost_state_is_not_told_by_a_release_that_was_never_ready() {
    let options = Options {
        fail_points: true,
        ..Options::default()
    };
    let mut world = World::with("rebuild-unready", options);
    let shop = world.app("shop", "container_port = 8080");
    let repo = world.repo(&shop);
    repo.version("v1");
    repo.push("green").live();
    repo.unwell("v2", "SLOWSTART", "60000");
    world.fail_points().kill_at(&Point {
        kind: Kind::Worker,
        name: "journal.began.probe.durable".into(),
    });
    repo.push("blue");
    assert!(world.fail_points().was_reached());
    world.fail_points().go_on();
    assert_eq!(world.containers().len(), 2);
    fs::write(world.state("apps/shop/state.json"), "{").unwrap();

    let said = world.deployer(&["recover"]).good();

    let status = world.json(&["status"]);
    assert_eq!(status["apps"][0]["live"], "green", "{said}");
    assert_eq!(status["apps"][0]["slots"][0]["release"], serde_json::Value::Null);
    assert_eq!(world.containers().len(), 1);
    assert_eq!(world.version(), "v1");
    is_well(&world);
}

#[test]
fn app_whose_file_cannot_be_read_hides_no_other() {
    let mut world = World::new("status-one-unreadable");
    world.app("blog", "hosts = [\"blog.test\"]");
    let shop = world.app("shop", "");
    let repo = world.repo(&shop);
    repo.version("v1");
    repo.push("green").live();
    fs::write(world.state("apps/blog/app.json"), "{").unwrap();

    let text = world.deployer(&["status"]).good();

    assert!(text.contains("shop: green is live"), "{text}");
    assert!(text.contains("blog: what is live is not known"), "{text}");
    let status = world.json(&["status"]);
    let problem = status["apps"][0]["problems"][0]["message"]
        .as_str()
        .unwrap_or_default();
    assert!(problem.contains("apps/blog/app.json is not readable"), "{status}");
    assert_eq!(status["apps"][1]["problems"], serde_json::json!([]));
}

#[test]
fn redeploy_of_the_live_slot_without_promotion_takes_no_number() {
    let (world, _, _) = two_slots("redeploy-refused", "");

    let refused = world.deployer(&["redeploy", "green", "--no-promote"]);

    assert_eq!(refused.code, Some(1));
    assert!(
        refused
            .stderr
            .contains("cannot wait for promotion: push to blue instead"),
        "{}",
        refused.stderr
    );
    assert!(!world.state("apps/shop/releases/3").exists());
    world.deployer(&["redeploy", "blue", "--no-promote"]).good();
    assert_eq!(world.version(), "v2");
}
