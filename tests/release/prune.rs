//! What is past its keeping goes, on the host and in the registry, and nothing else.

use crate::support::docker::docker;
use crate::support::{App, World};

/// The tags of an app's repository, on the host and in the registry.
fn tags(world: &World, app: &App) -> (Vec<String>, Vec<String>) {
    let repository = format!("{}/{}", world.registry_address(), app.name);
    let format = "{{.Tag}}";
    let host = docker(&[
        "images",
        "--filter",
        &format!("reference={repository}"),
        "--format",
        format,
    ])
    .good();
    let registry = world
        .get_at(
            world.registry_address(),
            "localhost",
            &format!("/v2/{}/tags/list", app.name),
        )
        .expect("the registry answers");
    let registry: serde_json::Value = serde_json::from_str(&registry.text()).expect("JSON");
    let there = registry["tags"].as_array().into_iter().flatten();
    let named = |tag: &str| tag.rsplit('-').next().unwrap_or_default().to_owned();
    let mut host: Vec<String> = host.lines().filter(|tag| *tag != "<none>").map(named).collect();
    let mut kept: Vec<String> = there.filter_map(|tag| tag.as_str()).map(named).collect();
    host.sort();
    kept.sort();
    (host, kept)
}

#[test]
fn releases_past_their_keeping_go_and_kept_ones_can_be_gone_back_to() {
    let mut world = World::new("prune");
    let shop = world.app("shop", "keep = 1");
    let repo = world.repo(&shop);
    for version in ["v1", "v2", "v3", "v4"] {
        repo.version(version);
        repo.push("green").live();
    }

    let wanted: Vec<String> = ["3", "4"].map(str::to_owned).into();
    assert_eq!(tags(&world, &shop), (wanted.clone(), wanted));
    let gone = world.deployer(&["rollback", "green", "--to", "1"]);
    assert_eq!(gone.code, Some(1));
    assert!(
        gone.stderr
            .contains("release 1 cannot be gone back to: it was pruned"),
        "{}",
        gone.stderr
    );

    world.deployer(&["rollback", "green"]).good();
    assert_eq!(world.version(), "v3");
}

#[test]
fn image_that_a_kept_release_shares_stays() {
    let mut world = World::new("prune-shared");
    let shop = world.app("shop", "keep = 1");
    let repo = world.repo(&shop);
    repo.version("same");
    repo.push("blue").live();
    repo.push("green").live();
    // The same commit again: the same image under other tags.
    for _ in 0..3 {
        world.deployer(&["redeploy", "green"]).good();
    }
    let listed = world.json(&["releases"]);
    let digests: Vec<_> = (0..4)
        .map(|index| listed["releases"][index]["digest"].clone())
        .collect();
    assert!(digests.iter().all(|digest| *digest == digests[0]), "{digests:?}");

    world.deployer(&["rollback"]).good();
    assert_eq!(world.version(), "same");
    docker(&["image", "inspect", &world.containers()[0].image()]).good();
}

#[test]
fn dry_run_removes_nothing() {
    let mut world = World::new("prune-dry");
    let shop = world.app("shop", "keep = 5");
    let repo = world.repo(&shop);
    for version in ["v1", "v2", "v3"] {
        repo.version(version);
        repo.push("green").live();
    }
    world.reconfigure("keep = 5", "keep = 0");
    let before = tags(&world, &shop);

    let said = world.deployer(&["prune", "--dry-run"]).good();
    assert!(said.contains("images of releases 1, 2 would go"), "{said}");
    assert_eq!(tags(&world, &shop), before);

    let said = world.json(&["prune"]);
    assert_eq!(said["pruned"]["shop"]["images"], serde_json::json!([1, 2]));
    assert_eq!(tags(&world, &shop).0, ["3"]);
    assert_eq!(world.version(), "v3");
}
