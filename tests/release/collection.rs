//! Collections of the registry, and prunes, that are killed: releases go on, and the next one finishes.

use std::fs;
use std::process::{Child, Stdio};
use std::time::Duration;

use rustix::process::Signal;

use crate::support::fail_points::{Kind, Point};
use crate::support::process::signal;
use crate::support::{Options, World, wait_for};

const DEADLINE: Duration = Duration::from_secs(60);

fn world(name: &str) -> World {
    let options = Options {
        fail_points: true,
        ..Options::default()
    };
    World::with(name, options)
}

fn begin(world: &World, words: &[&str]) -> Child {
    let mut command = world.command();
    command.args(words).stdout(Stdio::null()).stderr(Stdio::null());
    command.spawn().expect("deployer starts")
}

fn point(name: &str) -> Point {
    Point {
        kind: Kind::Command,
        name: name.into(),
    }
}

#[test]
fn a_killed_collection_keeps_no_release_from_going_live_and_the_next_one_collects() {
    let mut world = world("collection-kill");
    let shop = world.app("shop", "keep = 0");
    let repo = world.repo(&shop);
    repo.version("v1");
    repo.push("green").live();
    world.configure_collection();

    // deployer, before its command began.
    world.fail_points().kill_at(&point("collection.locked"));
    assert_eq!(world.deployer(&["prune", "--registry"]).code, None);
    world.fail_points().go_on();
    world.deployer(&["redeploy", "green"]).good();

    // deployer, while its command runs: that goes on, and holds releases off until it has ended.
    let mut collecting = begin(&world, &["prune", "--registry"]);
    world.await_collection();
    collecting.kill().unwrap();
    collecting.wait().unwrap();
    let mut releasing = begin(&world, &["redeploy", "green"]);
    wait_for("the release to wait", DEADLINE, || {
        let log = world.deployer(&["log", "3"]).stdout;
        log.contains("waiting: `deployer prune --registry`").then_some(())
    });
    world.let_collect();
    world.start_registry();
    assert!(releasing.wait().unwrap().success());

    // The command itself: what it started goes on, and is waited for.
    let collecting = begin(&world, &["prune", "--registry"]);
    world.await_collection();
    let children = format!("/proc/{0}/task/{0}/children", collecting.id());
    let command = wait_for("the command", DEADLINE, || {
        let children = fs::read_to_string(&children).ok()?;
        children.split_whitespace().next()?.parse().ok()
    });
    signal(command, Signal::KILL);
    fs::write(world.path("stopped"), "").unwrap();
    let ended = collecting.wait_with_output().unwrap();
    assert_eq!(ended.status.code(), Some(1));
    world.deployer(&["redeploy", "green"]).good();

    // deployer, after its command.
    world.fail_points().kill_at(&point("collection.ended"));
    let mut collecting = begin(&world, &["prune", "--registry"]);
    world.await_collection();
    world.let_collect();
    world.start_registry();
    assert_eq!(collecting.wait().unwrap().code(), None);
    world.fail_points().go_on();

    world.collect_registry();
    repo.version("v2");
    repo.push("green").live();
    assert_eq!(world.version(), "v2");
}

#[test]
fn a_prune_that_is_killed_anywhere_is_finished_by_the_next_one() {
    let mut world = world("prune-kill");
    let shop = world.app("shop", "keep = 50");
    let repo = world.repo(&shop);
    let release = |count: u32| {
        for _ in 0..count {
            repo.write("Own", format!("{:?}", std::time::SystemTime::now()));
            repo.version("v");
            repo.push("green").live();
        }
    };
    let tags = |world: &World| {
        let path = "/v2/shop/tags/list";
        let listed = world.get_at(world.registry_address(), "localhost", path).unwrap();
        let listed: serde_json::Value = serde_json::from_str(&listed.text()).expect("JSON");
        let host = world.docker().run(&[
            "images",
            "--format",
            "{{.Tag}}",
            &format!("{}/shop", world.registry_address()),
        ]);
        let host = host.good().lines().filter(|tag| *tag != "<none>").count();
        (listed["tags"].as_array().map_or(0, Vec::len), host)
    };
    release(3);
    world.reconfigure("keep = 50", "keep = 1");
    // The first one makes what every later one finds there.
    world.deployer(&["prune"]).good();
    world.reconfigure("keep = 1", "keep = 50");
    release(1);
    world.reconfigure("keep = 50", "keep = 1");
    let points = world.fail_points().trace(|| {
        world.deployer(&["prune"]).good();
    });
    assert_eq!(tags(&world), (2, 2));
    let is_once = |point: &&Point| point.kind == Kind::Command && !point.name.contains('#');
    let points: Vec<Point> = points.iter().filter(is_once).cloned().collect();
    assert!(points.len() >= 4, "{points:?}");
    println!("{points:?}");

    // Every third one, and all with DEPLOYER_KILL=all.
    let is_everything_wanted = std::env::var("DEPLOYER_KILL").is_ok_and(|word| word == "all");
    let (first, step) = match is_everything_wanted {
        true => (0, 1),
        false => (std::process::id() as usize % 3, 3),
    };
    for point in points.into_iter().skip(first).step_by(step) {
        world.reconfigure("keep = 1", "keep = 50");
        release(1);
        world.reconfigure("keep = 50", "keep = 1");
        world.fail_points().kill_at(&point);
        let killed = world.deployer(&["prune"]);
        assert_eq!(killed.code, None, "{point}: {}", killed.stdout);
        world.fail_points().go_on();
        world.deployer(&["prune"]).good();
        assert_eq!(tags(&world), (2, 2), "{point}");
        let problems = world.json(&["status"])["apps"][0]["problems"].clone();
        assert_eq!(problems, serde_json::json!([]), "{point}");
    }
    world.deployer(&["rollback", "green"]).good();
}
