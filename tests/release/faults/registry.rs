//! A registry that is stopped, full, hanging, or fails: at push and at pull.

use std::fs;

use crate::failures::{fails, live, live_with};
use crate::support::docker::docker;
use crate::support::forwarder::{Chosen, Fault, Forwarder};
use crate::support::{Options, Repo, World};

/// What the registry is asked for at a push: to take a blob, the blob itself, and the manifest.
const NEW_BLOB: Chosen = Chosen("POST ", "/blobs/uploads/");
const BLOB: Chosen = Chosen("PATCH ", "/blobs/uploads/");
const MANIFEST: Chosen = Chosen("PUT ", "/manifests/");
/// And at a pull.
const PULLED: Chosen = Chosen("GET ", "/manifests/");
/// Whatever it is asked for.
const ANYTHING: Chosen = Chosen("", "/v2/");

/// Bytes that pass before a request hangs.
const SOME: u64 = 40;

/// A world with v1 live behind a forwarder, and a registry that is given up after two seconds.
fn behind_a_forwarder(name: &str) -> (World, Repo, Forwarder) {
    let mut world = World::with(
        name,
        Options {
            registry_behind: true,
            registry: "transfer_timeout = \"2s\"".into(),
            ..Options::default()
        },
    );
    let forwarder = Forwarder::start(world.registry_address(), world.registry_listens());
    let shop = world.app("shop", "");
    let repo = world.repo(&shop);
    // Layers of its own: one that another world has on this host is not pulled.
    repo.write("whose", format!("{name} {:?}", std::time::SystemTime::now()));
    repo.version("v1");
    repo.push("green").live();
    (world, repo, forwarder)
}

/// Each of these faults must fail a push with a message that tells so, drop no request, leave nothing, and be over
/// with the fault.
fn each_fails_a_push(name: &str, faults: &[(Fault, &[&str])]) {
    let (world, repo, forwarder) = behind_a_forwarder(name);
    let address = world.registry_address().to_string();
    let traffic = world.traffic();
    for (number, (fault, told)) in faults.iter().enumerate() {
        // A layer of its own, since one that the registry has is not sent again.
        repo.write("number", number.to_string());
        repo.version("v2");
        forwarder.fail(*fault);
        let told: Vec<&str> = told.iter().copied().chain([address.as_str()]).collect();
        fails(&world, &repo, "green", "push", &told);
        assert!(forwarder.pass() > 0, "{fault:?} was not met");
    }

    world.deployer(&["redeploy", "green"]).good();

    assert_eq!(world.version(), "v2");
    assert_eq!(world.containers().len(), 1);
    let outcome = traffic.stop();
    assert_eq!(outcome.failures(), 0, "{outcome}");
}

#[test]
fn registry_that_answers_500_at_a_push() {
    let failed = &["failed while trying to push", "its own log has the cause"][..];
    each_fails_a_push("push-500", &[(Fault::Answers500(MANIFEST), failed)]);
}

#[test]
fn registry_that_hangs_at_a_push() {
    let silent = &["made no progress for 2 s", "registry.transfer_timeout"][..];
    each_fails_a_push(
        "push-hangs",
        &[
            (Fault::Hangs(NEW_BLOB, 0), silent),
            (Fault::Hangs(BLOB, SOME), silent),
            (Fault::Hangs(MANIFEST, SOME), silent),
            (Fault::Hangs(ANYTHING, 0), silent),
        ],
    );
}

#[test]
fn registry_that_does_not_give_back_what_was_pushed() {
    let (world, repo, forwarder) = behind_a_forwarder("push-pull");
    let traffic = world.traffic();

    repo.version("v2");
    forwarder.fail(Fault::Answers500(PULLED));
    // Its containers were made meanwhile.
    let told = ["while trying to pull", "1 new instance removed again"];
    fails(&world, &repo, "green", "pull", &told);
    assert!(forwarder.pass() > 0, "the fault was not met");

    world.deployer(&["redeploy", "green"]).good();
    assert_eq!(world.version(), "v2");
    let outcome = traffic.stop();
    assert_eq!(outcome.failures(), 0, "{outcome}");
}

/// Takes the image of a release away from the host, so that going back to it has to pull.
fn forget_image(world: &World, release: u64) {
    let listed = world.json(&["releases"]);
    let mut all = listed["releases"].as_array().expect("a list").iter();
    let past = all.find(|past| past["release"] == release).expect("the release");
    let repository = format!("{}/shop", world.registry_address());
    let digest = past["digests"]["web"].as_str().expect("a digest");
    let named = docker(&[
        "image",
        "inspect",
        "--format",
        "{{.Id}}",
        &format!("{repository}@{digest}"),
    ])
    .good();
    // By its id, so that all of it goes, whatever its names are.
    docker(&["rmi", "--force", named.trim()]).good();
    let left = docker(&["image", "inspect", named.trim()]);
    assert_ne!(left.code, Some(0), "the image of release {release} is still here");
}

/// A rollback to a release whose image is gone must fail at its pull, saying so, and change nothing.
#[track_caller]
fn rollback_fails(world: &World, told: &[&str]) {
    let before = world.containers();
    let output = world.deployer(&["rollback", "green"]);
    assert_eq!(output.code, Some(3), "{}{}", output.stdout, output.stderr);
    for told in told
        .iter()
        .chain(&["at pull: ", "Release 2 is still live, on green", "Hint: "])
    {
        assert!(
            output.stdout.contains(told),
            "{told:?} is not told in\n{}",
            output.stdout
        );
    }
    assert_eq!(world.version(), "v2");
    assert_eq!(world.containers(), before);
}

/// A world in which v2 is live on green, and going back to v1 has to pull its image.
fn must_pull_to_go_back(name: &str) -> (World, Forwarder) {
    let (world, repo, forwarder) = behind_a_forwarder(name);
    repo.version("v2");
    repo.push("green").live();
    forget_image(&world, 1);
    (world, forwarder)
}

#[track_caller]
fn goes_back(world: &World) {
    world.deployer(&["rollback", "green"]).good();
    assert_eq!(world.version(), "v1");
    assert_eq!(world.containers().len(), 1);
}

#[test]
fn registry_that_fails_at_a_pull() {
    let silent = &[
        "made no progress for 2 s while trying to pull",
        "registry.transfer_timeout",
    ][..];
    // Whatever is asked for: the Engine may have kept a manifest of an image that it has not got any more.
    for (fault, told) in [
        (Fault::Answers500(ANYTHING), &["while trying to pull"][..]),
        (Fault::Hangs(ANYTHING, 0), silent),
    ] {
        // A world for each: the Engine goes on with a pull that hung, and may have the image a moment later.
        let (world, forwarder) = must_pull_to_go_back("pull-fails");
        let traffic = world.traffic();

        forwarder.fail(fault);
        rollback_fails(&world, told);
        assert!(forwarder.pass() > 0, "{fault:?} was not met");
        goes_back(&world);

        let outcome = traffic.stop();
        assert_eq!(outcome.failures(), 0, "{outcome}");
    }
}

#[test]
fn registry_that_is_down_at_a_pull() {
    let (world, forwarder) = must_pull_to_go_back("pull-refused");
    let traffic = world.traffic();
    drop(forwarder);
    rollback_fails(&world, &["registry", "connection refused"]);

    let _forwarder = Forwarder::start(world.registry_address(), world.registry_listens());
    goes_back(&world);

    let outcome = traffic.stop();
    assert_eq!(outcome.failures(), 0, "{outcome}");
}

#[test]
fn an_image_that_the_registry_has_lost_is_told_with_what_helps() {
    let mut world = World::new("lost");
    let shop = world.app("shop", "");
    let repo = world.repo(&shop);
    // Layers of its own: one that another world has on this host is not pulled.
    repo.write("whose", format!("lost {:?}", std::time::SystemTime::now()));
    let commit = repo.version("v1");
    repo.push("green").live();
    for version in ["v2", "v3"] {
        repo.version(version);
        repo.push("green").live();
    }
    forget_image(&world, 1);
    world.stop_registry();
    fs::remove_dir_all(world.path("registry")).expect("the registry's folder");
    world.start_registry();

    let output = world.deployer(&["rollback", "green", "--to", "1"]);

    let said = output.stdout;
    assert_eq!(output.code, Some(3), "{said}{}", output.stderr);
    let builds = format!(
        "`git push --force green {}:main` builds its commit anew",
        &commit[..8]
    );
    let lost = "neither on this host any more nor in the registry";
    let kept = "images are still there of release 2 (on this host): `deployer rollback shop/green --to 2`";
    for told in [
        lost,
        "trying again cannot help",
        &builds,
        kept,
        "Release 3 is still live",
    ] {
        assert!(said.contains(told), "{told:?} is not told in\n{said}");
    }
    assert!(!said.contains("same command"), "{said}");
    assert_eq!(world.version(), "v3");
}

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
