//! The commands around a release: what they print, and for whom.

use std::time::Duration;

use crate::support::{World, wait_for};

#[test]
fn every_json_has_its_version() {
    let mut world = World::new("json");
    let shop = world.app("shop", "");
    let repo = world.repo(&shop);
    repo.version("v1");
    repo.push("green").live();

    for (arguments, name) in [
        (&["app", "list"][..], "apps"),
        (&["app", "show"], "app"),
        (&["status"], "apps"),
        (&["releases"], "releases"),
        (&["proxy", "routes"], "routes"),
        (&["prune", "--dry-run"], "pruned"),
    ] {
        let json = world.json(arguments);
        assert_eq!(json["version"], 1, "{arguments:?}: {json}");
        assert!(!json[name].is_null(), "{arguments:?}: {json}");
    }
    let status = world.json(&["status"]);
    let green = &status["apps"][0]["slots"][1];
    assert_eq!(
        (
            &green["slot"],
            &green["release"],
            &green["services"]["web"]["running"]
        ),
        (&"green".into(), &1.into(), &1.into())
    );
    let steps = world.json(&["releases"])["releases"][0]["steps"]
        .as_array()
        .map(Vec::len);
    assert_eq!(steps, Some(10));
}

#[test]
fn colour_is_only_for_those_who_ask() {
    let mut world = World::new("colour");
    let shop = world.app("shop", "");
    let repo = world.repo(&shop);
    repo.version("v1");
    repo.push("green").live();

    assert!(!world.deployer(&["status"]).good().contains('\u{1b}'));
    assert!(
        world
            .deployer(&["--color", "always", "status"])
            .good()
            .contains('\u{1b}')
    );
}

#[test]
fn logs_show_what_the_instances_print() {
    let mut world = World::new("logs");
    let shop = world.app("shop", "instances = 2");
    let repo = world.repo(&shop);
    repo.version("v1");
    repo.push("green").live();

    let logs = wait_for("both instances' lines", Duration::from_secs(20), || {
        let logs = world.deployer(&["logs", "green", "--tail", "1"]).good();
        (logs.matches("listening on 8080").count() == 2).then_some(logs)
    });
    assert!(
        logs.contains("0: listening") && logs.contains("1: listening"),
        "{logs}"
    );
    let since = |when: &str| world.deployer(&["logs", "green", "--since", when]);
    assert_eq!(since("10m").good().matches("listening on 8080").count(), 2);
    assert_eq!(since("2037-01-01").good(), "");
    let wrong = since("yesterday");
    assert_eq!(wrong.code, Some(2));
    assert!(
        wrong.stderr.contains("a time back (10m, 2h, 7d)"),
        "{}",
        wrong.stderr
    );
    assert_eq!(world.deployer(&["logs", "blue"]).code, Some(5));
}

#[test]
fn removed_app_leaves_nothing() {
    let mut world = World::new("remove");
    let shop = world.app("shop", "");
    let repo = world.repo(&shop);
    repo.version("v1");
    repo.push("green").live();

    let unsure = world.deployer(&["app", "remove", "shop"]);
    assert_eq!(unsure.code, Some(2));
    assert!(unsure.stderr.contains("--yes"), "{}", unsure.stderr);
    assert_eq!(world.version(), "v1");

    world.deployer(&["app", "remove", "shop", "--yes"]).good();

    assert!(world.containers().is_empty());
    assert!(!world.state("apps/shop").exists() && !world.state("git/shop").exists());
    assert_eq!(world.get("/").expect("an answer").status, 503);
    world.deployer(&["app", "create", "shop"]).good();
    repo.push("green").live();
}

#[test]
fn several_apps_are_told_apart_by_host_and_name() {
    let mut world = World::new("apps");
    let shop = world.app("shop", "hosts = [\"shop.test\"]");
    let blog = world.app("blog", "");
    for (app, version) in [(&shop, "shop-1"), (&blog, "blog-1")] {
        let repo = world.repo(app);
        repo.version(version);
        repo.push("green").live();
    }
    let third = world.configure("wiki", "");
    let refused = world.deployer(&["app", "create", "wiki"]);

    let answer = |host: &str| {
        world
            .get_at(world.public(), host, "/version")
            .expect("an answer")
            .text()
    };
    assert_eq!(
        (answer("shop.test"), answer("elsewhere.test")),
        ("shop-1".into(), "blog-1".into())
    );
    assert_eq!(refused.code, Some(1), "{} {}", third.name, refused.stdout);
    assert!(refused.stderr.contains("hosts"), "{}", refused.stderr);
}

#[test]
fn slot_without_its_app_is_asked_for_where_there_are_several() {
    let mut world = World::new("which-app");
    world.app("shop", "hosts = [\"shop.test\"]");
    world.app("blog", "");

    let output = world.deployer(&["promote", "green"]);

    assert_eq!(output.code, Some(2));
    assert!(
        output.stderr.contains("more than one app (blog, shop)"),
        "{}",
        output.stderr
    );
}

#[test]
fn completions_are_printed_without_a_configuration() {
    let output = crate::support::process::run(
        std::process::Command::new(crate::support::DEPLOYER).args([
            "--config",
            "/nowhere",
            "completions",
            "bash",
        ]),
        &[],
    );
    assert!(output.good().contains("rollback"));
}
