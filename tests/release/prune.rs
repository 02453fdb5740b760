//! What is past its keeping goes, on the host and in the registry, and nothing else.

use std::fs::{self, File};
use std::io::Read;
use std::net::TcpListener;
use std::os::unix::fs::PermissionsExt;
use std::process::{Command, Stdio};
use std::time::Duration;

use crate::support::docker::docker;
use crate::support::process::run;
use crate::support::{App, Options, World, wait_for};

const DEADLINE: Duration = Duration::from_secs(60);

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
        .map(|index| listed["releases"][index]["digests"]["web"].clone())
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

/// The digests of the manifests that a registry with its data in the world's folder `data` has of shop.
fn manifests(world: &World, data: &str) -> Vec<String> {
    let folder = "docker/registry/v2/repositories/shop/_manifests/revisions/sha256";
    let listed = fs::read_dir(world.path(data).join(folder)).expect("the registry has had images of shop");
    let names = listed.map(|entry| entry.expect("an entry").path());
    let there = names.filter(|path| path.join("link").exists());
    there
        .map(|path| path.file_name().expect("a name").to_string_lossy().into_owned())
        .collect()
}

/// The releases that a prune has put off, and that it has pruned.
fn put_off_and_pruned(said: &serde_json::Value) -> (Vec<u64>, Vec<u64>) {
    let said = &said["pruned"]["shop"];
    let ids = |list: &serde_json::Value| -> Vec<u64> {
        let all = list.as_array().expect("a list").iter();
        all.map(|one| one.as_u64().or(one["release"].as_u64()).expect("a release"))
            .collect()
    };
    (ids(&said["put_off"]), ids(&said["images"]))
}

#[test]
fn images_of_a_former_registry_are_deleted_there_or_put_off() {
    let options = Options {
        registry_password: Some("of-the-former".into()),
        ..Options::default()
    };
    let mut world = World::with("prune-former", options);
    let shop = world.app("shop", "keep = 5");
    let repo = world.repo(&shop);
    repo.write("whose", format!("former {:?}", std::time::SystemTime::now()));
    for version in ["v1", "v2"] {
        repo.version(version);
        repo.push("green").live();
    }
    let (former, present) = (world.registry_address(), world.spare());
    let _present = world.start_registry_of("present", present, Some("of-the-present"));
    fs::write(world.path("registry-password"), "of-the-present").unwrap();
    world.reconfigure(
        &format!("address = \"{former}\""),
        &format!("address = \"{present}\""),
    );
    repo.version("v3");
    repo.push("green").live();
    world.reconfigure("keep = 5", "keep = 0");

    // The former registry wants a password, and is not given the present one's.
    let said = world.json(&["prune"]);
    assert_eq!(put_off_and_pruned(&said), (vec![1, 2], vec![]), "{said}");
    let reason = said["pruned"]["shop"]["put_off"][0]["reason"].to_string();
    assert!(
        reason.contains("wants a user and a password") && reason.contains("Hint: registries."),
        "{reason}"
    );
    assert_eq!(manifests(&world, "registry").len(), 2);

    // One that does not answer is asked once, however much there is to ask, and a rollback names it.
    world.stop_registry();
    let silent = TcpListener::bind(former).expect("the port of the registry that was stopped");
    let said = world.json(&["prune"]);
    assert_eq!(put_off_and_pruned(&said), (vec![1, 2], vec![]), "{said}");
    silent.set_nonblocking(true).unwrap();
    let asked = std::iter::from_fn(|| silent.accept().ok()).count();
    assert_eq!(asked, 1);
    drop(silent);
    let gone_back = world.deployer(&["rollback", "green", "--to", "1"]);
    assert_eq!(gone_back.code, Some(3), "{}", gone_back.stdout);
    for told in [
        format!("the registry {former} does not answer"),
        format!("`registry.address` is {present} by now"),
    ] {
        assert!(gone_back.stdout.contains(&told), "{told}: {}", gone_back.stdout);
    }

    // With its own credentials everything can be had again, and goes at last.
    world.start_registry();
    let password = world.path("former-password");
    fs::write(&password, "of-the-former").unwrap();
    fs::set_permissions(&password, PermissionsExt::from_mode(0o600)).unwrap();
    let section = format!(
        "[registries.\"{former}\"]\nusername = \"deployer\"\npassword_file = {password:?}\n\n[proxy]"
    );
    world.reconfigure("[proxy]", &section);
    world.deployer(&["rollback", "green", "--to", "1"]).good();
    assert_eq!(world.version(), "v1");
    assert_eq!(
        manifests(&world, "registry").len(),
        1,
        "release 2 went with the rollback"
    );
    assert_eq!(manifests(&world, "present").len(), 0, "release 3 too");
}

#[test]
fn after_two_changes_of_registry_each_image_is_deleted_and_gone_back_to_where_it_is() {
    let mut world = World::new("prune-twice");
    let shop = world.app("shop", "keep = 5");
    let repo = world.repo(&shop);
    repo.write("whose", format!("twice {:?}", std::time::SystemTime::now()));
    let addresses = [world.registry_address(), world.spare(), world.second_spare()];
    let moves = |from: usize, to: usize| {
        let line = |at: usize| format!("address = \"{}\"", addresses[at]);
        world.reconfigure(&line(from), &line(to));
    };
    let releases = |versions: &[&str]| {
        for version in versions {
            repo.version(version);
            repo.push("green").live();
        }
    };
    releases(&["v1", "v2"]);
    let second = world.start_registry_of("second", addresses[1], None);
    moves(0, 1);
    releases(&["v3", "v4"]);
    let _third = world.start_registry_of("third", addresses[2], None);
    moves(1, 2);
    releases(&["v5"]);

    // Without the first registry: the image is on the host, and its name says where it is from.
    second.kill();
    world.stop_registry();
    world.deployer(&["rollback", "green", "--to", "2"]).good();
    assert_eq!(world.version(), "v2");
    let first = format!("{}/shop@sha256:", addresses[0]);
    let log = world.deployer(&["log", "6"]).good();
    assert!(log.contains(&first), "{log}");
    let runs = world.containers()[0].inspect("{{.Config.Image}}");
    assert!(runs.starts_with(&first), "{runs}");

    // Each goes where it is; what the second one has waits for that.
    world.start_registry();
    world.reconfigure("keep = 5", "keep = 0");
    let said = world.json(&["prune"]);
    assert_eq!(put_off_and_pruned(&said), (vec![3, 4], vec![1, 2, 5]), "{said}");
    let put_off = &said["pruned"]["shop"]["put_off"];
    assert_eq!(put_off[0]["registry"], addresses[1].to_string(), "{said}");
    let left = |world: &World| ["registry", "second", "third"].map(|data| manifests(world, data).len());
    assert_eq!(left(&world), [1, 2, 0], "what runs is in the first one");
    let _second = world.start_registry_of("second", addresses[1], None);
    let said = world.json(&["prune"]);
    assert_eq!(put_off_and_pruned(&said), (vec![], vec![3, 4]), "{said}");
    assert_eq!(left(&world), [1, 0, 0]);
    assert_eq!(world.version(), "v2");
}

/// The kilobytes of the registry's data.
fn size(world: &World) -> u64 {
    let said = run(Command::new("du").arg("-sk").arg(world.path("registry")), &[]).good();
    let kilobytes = said.split_whitespace().next().expect("a number");
    kilobytes.parse().expect("a number")
}

#[test]
fn collecting_frees_the_registrys_disk_while_no_release_uses_it() {
    let mut world = World::new("collect");
    let shop = world.app("shop", "keep = 0");
    let repo = world.repo(&shop);
    for version in ["v1", "v2", "v3"] {
        // Random, so that its layer is as large.
        let mut content = vec![0; 1 << 20];
        File::open("/dev/urandom")
            .unwrap()
            .read_exact(&mut content)
            .unwrap();
        repo.write("large", content);
        repo.version(version);
        repo.push("green").live();
    }
    // Counted when the release had ended, where nobody waited for it.
    let told = |world: &World| {
        let size = world.json(&["status"])["registry"].clone();
        (size["bytes"].as_u64().map(|bytes| bytes >> 10), size)
    };
    let before = size(&world);
    wait_for("the registry's size to be told", DEADLINE, || {
        (told(&world).0 == Some(before)).then_some(())
    });
    let (_, status) = told(&world);
    assert_eq!(
        status["storage"],
        world.path("registry").to_str().unwrap(),
        "{status}"
    );
    assert_eq!(status["collected"], serde_json::Value::Null, "{status}");
    let unconfigured = world.deployer(&["prune", "--registry"]);
    assert!(
        unconfigured.code == Some(1) && unconfigured.stderr.contains("docs/guides/registry.md"),
        "{}",
        unconfigured.stderr
    );

    // The command stops the registry, collects, and starts it again: here by the hand of the test.
    world.configure_collection();
    let mut collecting = world.command();
    collecting.args(["prune", "--registry"]).stdout(Stdio::null());
    let mut collecting = collecting.spawn().expect("deployer starts");
    world.await_collection();
    let mut releasing = world.command();
    releasing.args(["redeploy", "green"]).stdout(Stdio::null());
    let mut releasing = releasing.spawn().expect("deployer starts");
    wait_for("the release to wait", DEADLINE, || {
        let log = world.deployer(&["log", "4"]).stdout;
        log.contains("waiting: `deployer prune --registry`").then_some(())
    });
    let under_way = world.json(&["status"])["apps"][0]["under_way"][0].clone();
    assert_eq!(under_way["step"], "push", "{under_way}");
    world.let_collect();
    assert!(
        releasing.try_wait().unwrap().is_none(),
        "the release did not wait"
    );
    world.start_registry();
    assert!(collecting.wait().unwrap().success());
    assert!(releasing.wait().unwrap().success());

    let after = size(&world);
    assert!(after + 1900 < before, "{before} kB before, {after} kB after");
    let (_, status) = told(&world);
    let collected = status["collected"]["bytes"].as_u64().expect("it was collected") >> 10;
    assert!(collected + 1900 < before, "{status}");
    let line = format!("registry {}: ", world.registry_address());
    let text = world.deployer(&["status"]).good();
    assert!(
        text.contains(&line) && text.contains(" when it was collected on "),
        "{text}"
    );
    assert_eq!(world.version(), "v3");
}
