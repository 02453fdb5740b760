//! The settings that say where everything is that runs: a change of them loses nothing.

use std::fs;

use crate::failures::{live, live_with};
use crate::support::fail_points::Kind;
use crate::support::process::Output;
use crate::support::{Options, World};

/// Every command that changes something, but for a push.
const ACTING: [&[&str]; 8] = [
    &["redeploy", "green"],
    &["promote", "green"],
    &["rollback", "green"],
    &["recover"],
    &["prune"],
    &["app", "create", "cart"],
    &["app", "remove", "shop", "--yes"],
    &["proxy", "switch", "embedded"],
];

/// `deployer ARGUMENTS` must be refused, with each of `told`.
#[track_caller]
fn refused(world: &World, arguments: &[&str], told: &[&str]) -> Output {
    let output = world.deployer(arguments);
    assert_eq!(
        output.code,
        Some(1),
        "{arguments:?}: {}{}",
        output.stdout,
        output.stderr
    );
    for told in told {
        assert!(
            output.stderr.contains(told),
            "{told:?} is not told by {arguments:?}:\n{}",
            output.stderr
        );
    }
    output
}

fn identity(world: &World) -> serde_json::Value {
    let text = fs::read_to_string(world.state("identity.json")).expect("it is written");
    serde_json::from_str(&text).expect("it is JSON")
}

#[test]
fn a_changed_network_subnet_or_engine_is_refused_while_something_runs() {
    let mut world = World::new("identity");
    let shop = world.app("shop", "");
    // Nothing runs yet: everything may be changed.
    let subnet = world.subnet();
    world.reconfigure(&format!("subnet = \"{subnet}\""), "subnet = \"10.212.0.0/16\"");
    world.deployer(&["config", "check"]).good();
    world.deployer(&["prune"]).good();
    world.reconfigure("subnet = \"10.212.0.0/16\"", &format!("subnet = \"{subnet}\""));
    let repo = world.repo(&shop);
    repo.version("v1");
    repo.push("green").live();
    let (containers, written) = (world.containers(), identity(&world));

    let network = world.network();
    let host = world.docker().host().to_owned();
    for (key, was, now) in [
        ("network", network.as_str(), "another"),
        ("subnet", subnet.as_str(), "10.212.0.0/16"),
        ("host", host.as_str(), "unix:///nowhere/docker.sock"),
    ] {
        let (was, now) = (format!("{key} = \"{was}\""), format!("{key} = \"{now}\""));
        world.reconfigure(&was, &now);
        let told = [
            format!("engine.{now}"),
            was.clone(),
            "shop/green release 1 (live)".into(),
        ];
        let told = told.each_ref().map(String::as_str);
        for arguments in ACTING.into_iter().chain([&["config", "check"][..]]) {
            refused(&world, arguments, &told);
        }
        let pushed = repo.version(&format!("changed {key}"));
        let push = repo.push("green");
        let is_told = told.iter().all(|told| push.said().contains(told));
        let is_declined = push.output.stderr.contains("[remote rejected]");
        assert!(is_told && is_declined, "{pushed}: {:?}", push.output);

        // Who only looks sees what runs.
        let status = world.json(&["status"])["apps"][0].clone();
        assert_eq!(status["slots"][1]["services"]["web"]["running"], 1, "{status}");
        assert_eq!(status["problems"].as_array().map(Vec::len), Some(1), "{status}");
        let problem = &status["problems"][0];
        assert_eq!(problem["kind"], "settings", "{status}");
        assert_eq!(
            problem["about"]["settings"],
            serde_json::json!([format!("engine.{key}")])
        );
        assert!(problem["message"].as_str().unwrap().contains(told[0]), "{status}");
        let hint = problem["hints"][0].as_str().unwrap();
        assert!(
            hint.contains(&format!("write {was} into [engine] again")),
            "{hint}"
        );
        world.deployer(&["logs", "green"]).good();
        world.reconfigure(&now, &was);
    }
    assert_eq!((world.containers(), identity(&world)), (containers, written));
    assert_eq!(world.version(), "v1");
    // The pushes were declined before anything of them was taken, so that the same one is tried again.
    repo.push("green").live();
    assert_eq!(world.version(), "changed host");
    if let Some(path) = host.strip_prefix("unix://") {
        // The same socket by another name.
        let link = world.path("engine.sock");
        std::os::unix::fs::symlink(path, &link).unwrap();
        world.reconfigure(
            &format!("host = {host:?}"),
            &format!("host = \"unix://{}\"", link.display()),
        );
        world.deployer(&["config", "check"]).good();
    }
}

#[test]
fn another_state_folder_is_refused_beside_what_the_former_one_runs() {
    let (world, _, repo) = live("identity-state", "");
    let (was, now) = (world.path("state"), world.path("elsewhere"));
    world.reconfigure(&format!("state = {was:?}"), &format!("state = {now:?}"));
    let told = [
        was.to_str().unwrap(),
        now.to_str().unwrap(),
        "shop/green release 1",
    ];

    for arguments in [
        &["app", "create", "shop"][..],
        &["recover"],
        &["prune"],
        &["proxy", "run"],
        &["config", "check"],
    ] {
        refused(&world, arguments, &told);
    }
    repo.version("v2");
    let said = repo.push("green").said();
    assert!(told.iter().all(|told| said.contains(told)), "{said}");
    let status = world.deployer(&["status"]).good();
    assert!(told.iter().all(|told| status.contains(told)), "{status}");
    let problem = world.json(&["status"])["problems"][0].clone();
    assert_eq!(
        problem["about"]["settings"],
        serde_json::json!(["state"]),
        "{problem}"
    );
    assert_eq!(world.version(), "v1");

    // The folder itself may move.
    fs::remove_dir_all(&now).unwrap();
    fs::rename(&was, &now).unwrap();
    world.deployer(&["config", "check"]).good();
    assert_eq!(
        world.json(&["status"])["apps"][0]["problems"],
        serde_json::json!([])
    );
}

#[test]
fn a_state_of_before_is_known_by_what_runs_and_written_down_whenever_it_is_killed() {
    let options = Options {
        fail_points: true,
        ..Options::default()
    };
    let (world, _, _) = live_with("identity-old", "", options);
    let file = world.state("identity.json");
    let installation = identity(&world)["content"]["installation"].clone();
    let points = world.fail_points();
    let all = points.trace(|| {
        fs::remove_file(&file).unwrap();
        world.deployer(&["prune"]).good();
    });
    let is_ours = |name: &str| name.starts_with("identity.json.");
    let ours: Vec<_> = all.iter().filter(|point| is_ours(&point.name)).collect();
    assert_eq!(ours.len(), 4, "{all:?}");
    for point in ours {
        assert_eq!(point.kind, Kind::Command);
        fs::remove_file(&file).unwrap();
        points.kill_at(point);
        assert_eq!(world.deployer(&["prune"]).code, None, "{point}");
        assert!(points.was_reached(), "{point}");
        points.go_on();
        world.deployer(&["prune"]).good();
        assert_eq!(
            identity(&world)["content"]["installation"],
            installation,
            "{point}"
        );
        let names = fs::read_dir(world.path("state"))
            .unwrap()
            .map(|entry| entry.unwrap().file_name());
        let half: Vec<_> = names
            .filter(|name| name.to_str().unwrap().starts_with(".deployer-"))
            .collect();
        assert!(half.is_empty(), "{point}: {half:?}");
        world.recovers(&point.to_string());
    }

    // A network that was changed before anything was written down; a record that cannot be read.
    fs::write(&file, "damaged").unwrap();
    let network = world.network();
    world.reconfigure(&format!("network = {network:?}"), "network = \"another\"");
    let told = [
        "engine.network = \"another\"",
        network.as_str(),
        "shop/green release 1 (live)",
    ];
    refused(&world, &["config", "check"], &told);
    refused(&world, &["recover"], &told);
    world.reconfigure("network = \"another\"", &format!("network = {network:?}"));
    world.recovers("the network is as it was");
    assert_eq!(identity(&world)["content"]["installation"], installation);
}

#[test]
fn a_second_installation_beside_the_first_has_a_network_of_its_own() {
    let (world, _, _) = live("identity-second", "");
    let config = fs::read_to_string(world.config()).unwrap();
    let text = config.replace(
        &format!("state = {:?}", world.path("state")),
        &format!("state = {:?}", world.path("second")),
    );
    let as_second = |text: &str, arguments: &[&str]| {
        fs::write(world.config(), text).unwrap();
        let output = world.deployer(arguments);
        fs::write(world.config(), &config).unwrap();
        output
    };
    assert_eq!(as_second(&text, &["app", "create", "shop"]).code, Some(1));
    let own = text.replace(
        &format!("network = {:?}", world.network()),
        "network = \"second\"",
    );
    as_second(&own, &["app", "create", "shop"]).good();
    // What nothing runs under may still be changed, but not to what another one has.
    assert_eq!(as_second(&text, &["prune"]).code, Some(1));
    as_second(&own, &["prune"]).good();
    world.recovers("a second one was there");
}
