//! The Docker Engine as the tests see it: through the docker CLI, never through deployer's own code.

use std::fmt::Write as _;
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::Command;

use sha2::{Digest, Sha256};

use super::process::{Output, run};

/// A container of deployer's.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Container {
    pub(crate) id: String,
    pub(crate) name: String,
    pub(crate) app: String,
    pub(crate) slot: String,
    pub(crate) release: u64,
    /// `running`, `exited`, `created`…
    pub(crate) state: String,
}

impl Container {
    /// The image that it runs.
    pub(crate) fn image(&self) -> String {
        docker(&["inspect", "--format", "{{.Image}}", &self.id])
            .good()
            .trim()
            .to_owned()
    }
}

/// The Engine's address, as deployer's configuration wants it.
pub(crate) fn host() -> String {
    std::env::var("DOCKER_HOST").unwrap_or_else(|_| "unix:///var/run/docker.sock".into())
}

/// `docker ARGUMENTS`, whatever becomes of it.
#[track_caller]
pub(crate) fn docker(arguments: &[&str]) -> Output {
    run(command().args(arguments), &[])
}

/// Says, in one sentence, that there is no Engine; tests that need one never pass without.
#[track_caller]
pub(crate) fn need_engine() {
    let answer = docker(&["version", "--format", "{{.Server.Version}}"]);
    let reason = answer.stderr.lines().next_back().unwrap_or_default();
    assert!(
        answer.code == Some(0),
        "no Docker Engine answers at {}: script/setup starts one ({reason})",
        host()
    );
}

/// Every container of the deployer whose network is `network`, in any state.
pub(crate) fn containers(network: &str) -> Vec<Container> {
    let format = "{{.ID}}\t{{.Names}}\t{{.Label \"deployer.app\"}}\t{{.Label \"deployer.slot\"}}\t\
                  {{.Label \"deployer.release\"}}\t{{.State}}";
    let filter = format!("label=deployer.network={network}");
    let lines = docker(&["ps", "-a", "--no-trunc", "--filter", &filter, "--format", format]).good();
    let container = |line: &str| {
        let [id, name, app, slot, release, state]: [&str; 6] = line
            .split('\t')
            .collect::<Vec<_>>()
            .try_into()
            .expect("six columns");
        Container {
            id: id.into(),
            name: name.into(),
            app: app.into(),
            slot: slot.into(),
            release: release.parse().expect("the label deployer.release is a number"),
            state: state.into(),
        }
    };
    lines.lines().map(container).collect()
}

/// Removes the containers, the network and the images of a test. Images go by name and never by id: another test's
/// image may be the same one.
pub(crate) fn remove_all(network: &str, registry: &str) {
    let filter = format!("label=deployer.network={network}");
    for id in docker(&["ps", "-aq", "--filter", &filter]).stdout.lines() {
        docker(&["rm", "-f", "-v", id]);
    }
    let format = "{{.Repository}}\t{{.Tag}}\t{{.Digest}}";
    for line in docker(&["images", "--digests", "--format", format])
        .stdout
        .lines()
    {
        let [repository, tag, digest]: [&str; 3] = line
            .split('\t')
            .collect::<Vec<_>>()
            .try_into()
            .expect("three columns");
        if repository.starts_with(&format!("{registry}/")) {
            docker(&["rmi", &format!("{repository}:{tag}")]);
            docker(&["rmi", &format!("{repository}@{digest}")]);
        }
    }
    docker(&["network", "rm", network]);
}

/// The name of an image that holds the test app as `/app` and nothing else, made once per machine and source.
pub(crate) fn test_app_image() -> String {
    let sources = ["app.rs", "websocket.rs"].map(|name| repository().join("tests/app").join(name));
    let mut hash = Sha256::new();
    for source in &sources {
        hash.update(fs::read(source).expect("the test app's source"));
    }
    let name = hash.finalize()[..6]
        .iter()
        .fold("deployer-test-app:".to_owned(), |mut name, byte| {
            write!(name, "{byte:02x}").expect("text can be written to");
            name
        });

    let folder = Path::new(env!("CARGO_TARGET_TMPDIR"));
    let lock = File::create(folder.join("test-app.lock")).expect("the lock of the test app");
    lock.lock().expect("the lock of the test app");
    if docker(&["image", "inspect", "--format", "{{.Id}}", &name]).code != Some(0) {
        import(&compile(&sources[0], folder), &name);
    }
    name
}

fn compile(source: &Path, folder: &Path) -> PathBuf {
    let program = folder.join("test-app");
    let mut rustc = Command::new("rustc");
    rustc
        .current_dir(repository())
        .args(["--edition", "2024", "-O", "-C", "strip=symbols"]);
    rustc
        .args(["-C", "target-feature=+crt-static", "-o"])
        .arg(&program)
        .arg(source);
    run(&mut rustc, &[]).good();
    program
}

fn import(program: &Path, name: &str) {
    let mut archive = tar::Builder::new(Vec::new());
    archive
        .append_path_with_name(program, "app")
        .expect("the test app is read");
    // Where orders and scratch files go: an image from nothing has no folder at all.
    archive
        .append_dir("tmp", program.parent().expect("a folder"))
        .expect("a folder is added");
    let archive = archive.into_inner().expect("an archive in memory");
    let mut import = command();
    import.args([
        "import",
        "--change",
        "WORKDIR /",
        "--change",
        "CMD [\"/app\"]",
        "-",
        name,
    ]);
    run(&mut import, &archive).good();
}

fn command() -> Command {
    let mut command = Command::new("docker");
    command
        .args(["-H", &host()])
        .env_remove("DOCKER_HOST")
        .env_remove("DOCKER_CONTEXT");
    command
}

fn repository() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}
