//! A registry that is stopped, full, hanging, or fails: at push and at pull.

use std::fs;

use crate::failures::{fails, live, live_with};
use crate::support::Options;

#[test]
fn registry_that_is_down() {
    let (mut world, _, repo) = live("registry-down", "");
    world.stop_registry();
    repo.version("v2");
    fails(&world, &repo, "green", "push", &["refused"]);

    world.start_registry();
    world.deployer(&["redeploy", "green"]).good();
    assert_eq!(world.version(), "v2");
}

#[test]
fn registry_without_space() {
    let (mut world, _, repo) = live("registry-full", "");
    world.stop_registry();
    fs::create_dir_all(world.path("registry")).unwrap();
    let tmpfs = crate::support::process::Tmpfs::mount(&world.path("registry"), "64k,nr_inodes=12");
    world.start_registry();
    repo.write("large", vec![7; 1 << 20]);
    repo.version("v2");

    fails(&world, &repo, "blue", "push", &["registry", "disk"]);

    world.stop_registry();
    drop(tmpfs);
}

#[test]
fn registry_that_does_not_take_the_password() {
    let options = Options {
        registry_password: Some("right+/?".into()),
        ..Options::default()
    };
    let (world, _, repo) = live_with("wrong-password", "", options);
    fs::write(world.path("registry-password"), "wrong-secret").unwrap();
    repo.version("v2");

    fails(&world, &repo, "blue", "push", &["deployer", "password"]);

    let log = world.deployer(&["log", "2"]).good();
    assert!(!log.contains("wrong-secret"), "{log}");
}
