//! Base images of other registries, and what builds and instances are told of their release.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;

use crate::support::docker::Docker;
use crate::support::process::Daemon;
use crate::support::{App, Repo, World};

const PASSWORD: &str = "p>>>???~~~";

/// What the app's Dockerfile declares and keeps.
const DECLARED: &str = "ARG DEPLOYER_COMMIT=none DEPLOYER_RELEASE\nARG DEPLOYER_SLOT \\\n  DEPLOYER_TIME SOURCE_DATE_EPOCH\n\
    ENV BUILT=\"$DEPLOYER_COMMIT $DEPLOYER_RELEASE $DEPLOYER_SLOT $DEPLOYER_TIME $SOURCE_DATE_EPOCH\"\n";

/// A registry beside the one that releases go through, which wants a password.
struct Other {
    base: String,
    address: String,
    docker: Docker,
    daemon: Option<Daemon>,
}

impl Other {
    fn new(world: &World) -> Self {
        let (address, docker) = (world.spare().to_string(), world.docker());
        docker.remove_images(&address);
        Self {
            base: format!("{address}/base:1"),
            address,
            docker,
            daemon: None,
        }
    }

    /// Puts a base image into it whose variable BASE is `version`. This host has it too then.
    fn publish(&mut self, world: &World, version: &str) {
        let docker = world.docker();
        drop(self.daemon.take());
        let open = world.start_registry_of("other", world.spare(), None);
        self.make(world, version);
        docker.run(&["push", "-q", &self.base]).good();
        drop(open);
        self.daemon = Some(world.start_registry_of("other", world.spare(), Some(PASSWORD)));
    }

    /// Makes a base image on this host alone.
    fn make(&self, world: &World, version: &str) {
        let docker = world.docker();
        let container = docker.run(&["create", world.image()]).good();
        let change = format!("ENV BASE={version}");
        docker
            .run(&["commit", "--change", &change, container.trim(), &self.base])
            .good();
        docker.run(&["rm", container.trim()]).good();
    }
}

impl Drop for Other {
    fn drop(&mut self) {
        self.docker.remove_images(&self.address);
    }
}

/// Writes the section of the other registry, with the password's file, which is given back.
fn log_in(world: &World) -> PathBuf {
    let file = world.path("other-password");
    fs::write(&file, PASSWORD).unwrap();
    fs::set_permissions(&file, fs::Permissions::from_mode(0o600)).unwrap();
    let section = format!(
        "[registries.\"{}\"]\nusername = \"deployer\"\npassword_file = {file:?}\n",
        world.spare()
    );
    world.reconfigure("[proxy]\n", &format!("{section}\n[proxy]\n"));
    file
}

fn commit(repo: &Repo, base: &str, version: &str) -> String {
    let dockerfile = format!("FROM {base}\n{DECLARED}COPY . /\nEXPOSE 8080\n");
    repo.write("VERSION", version)
        .write("Dockerfile", dockerfile)
        .commit(version)
}

/// The value of a variable in the environment of what is live.
#[track_caller]
fn variable(world: &World, name: &str) -> String {
    let all = world.get("/env").expect("an answer").text();
    let value = all
        .lines()
        .find_map(|line| line.strip_prefix(name)?.strip_prefix('='));
    value.unwrap_or_else(|| panic!("no {name} in\n{all}")).to_owned()
}

#[test]
fn base_images_come_from_other_registries_and_anew_where_asked_and_a_release_knows_itself() {
    let mut world = World::new("base-images");
    let mut other = Other::new(&world);
    let password_file = log_in(&world);
    let shop: App = world.app("shop", "gate = \"release\"");
    let repo = world.repo(&shop);
    let base = other.base.clone();
    other.publish(&world, "one");
    world.docker().run(&["rmi", "-f", &base]).good();

    let first = commit(&repo, &base, "v1");
    repo.push("green").live();
    assert_eq!(variable(&world, "BASE"), "one");
    let built = format!("{first} 1 green 2023-11-14T22:13:21Z 1700000001");
    assert_eq!(variable(&world, "BUILT"), built);
    for (name, value) in [
        ("DEPLOYER_APP", "shop"),
        ("DEPLOYER_SLOT", "green"),
        ("DEPLOYER_RELEASE", "1"),
        ("DEPLOYER_COMMIT", &first),
        ("DEPLOYER_INSTANCE", "0"),
    ] {
        assert_eq!(variable(&world, name), value);
    }

    // The tag has moved at its registry, and this host has the former image under it.
    other.publish(&world, "two");
    other.make(&world, "one");
    let said = world.deployer(&["redeploy", "green", "--pull"]).good();
    assert!(said.contains("-2, base images pulled anew"), "{said}");
    assert_eq!(variable(&world, "BASE"), "two");
    let releases = world.json(&["releases"]);
    let pulled: Vec<_> = (0..2)
        .map(|at| releases["releases"][at]["pull"].clone())
        .collect();
    assert_eq!(pulled, [true, false], "{releases}");

    other.daemon = None;
    commit(&repo, &base, "v2");
    let declined = repo.push_with(&["-o", "pull", "green", "main"]).failed();
    let wanted = format!("the base image {base} could not be pulled anew: ");
    assert!(
        declined.contains(&wanted) && declined.contains("connection refused"),
        "{declined}"
    );
    let hint =
        "Hint: this host has it too: `deployer redeploy shop/green` without --pull builds with that one";
    assert!(declined.contains(hint), "{declined}");
    assert_eq!(world.version(), "v1");
    world.reconfigure("gate = \"release\"", "build_deadline = \"1m\"");
    world.deployer(&["app", "create", "shop"]).good();
    let failed = repo.push_with(&["-o", "pull", "green", "main"]).failed();
    assert!(failed.contains(&wanted), "{failed}");
    let releases = world.json(&["releases"]);
    let pulled: Vec<_> = (0..2)
        .map(|at| releases["releases"][at]["pull"].clone())
        .collect();
    assert_eq!(pulled, [true, true], "{releases}");
    world.deployer(&["redeploy", "green"]).good();
    assert_eq!(
        (world.version(), variable(&world, "BASE")),
        ("v2".into(), "two".into())
    );

    fs::set_permissions(&password_file, fs::Permissions::from_mode(0o644)).unwrap();
    let open = world.deployer(&["redeploy", "green"]);
    assert_eq!(open.code, Some(3), "{}", open.stdout);
    assert!(
        open.stdout.contains("is open to others (mode 0644)"),
        "{}",
        open.stdout
    );
    assert!(!open.stdout.contains(PASSWORD));

    world.deployer(&["rollback", "green", "--to", "1"]).good();
    assert_eq!(variable(&world, "BUILT"), built);
    let shown = world.containers()[0].release.to_string();
    assert_eq!(
        (
            variable(&world, "DEPLOYER_RELEASE"),
            variable(&world, "DEPLOYER_COMMIT")
        ),
        (shown, first)
    );
}
