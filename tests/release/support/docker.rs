//! A Docker Engine as the tests see it: through the docker CLI, never through deployer's own code.

use std::fmt::Write as _;
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::Command;

use sha2::{Digest, Sha256};

use super::process::{Output, run};

/// The docker CLI for one Engine.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Docker {
    host: String,
}

/// A container of deployer's.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Container {
    pub(crate) id: String,
    pub(crate) name: String,
    pub(crate) app: String,
    pub(crate) slot: String,
    pub(crate) lane: String,
    /// Where it and the other instances of its service listen.
    pub(crate) endpoints: Vec<String>,
    pub(crate) release: u64,
    /// The digest of its image, as its label tells it.
    pub(crate) digest: String,
    /// `running`, `exited`, `created`…
    pub(crate) state: String,
    docker: Docker,
}

impl Container {
    /// The image that it runs.
    pub(crate) fn image(&self) -> String {
        self.inspect("{{.Image}}")
    }

    /// What the Engine tells of it, in a Go template's form.
    #[track_caller]
    pub(crate) fn inspect(&self, format: &str) -> String {
        let told = self.docker.run(&["inspect", "--format", format, &self.id]);
        told.good().trim().to_owned()
    }
}

impl Docker {
    /// The Engine of this machine.
    pub(crate) fn of_the_machine() -> Self {
        Self { host: host() }
    }

    /// The Engine at `host`: `unix://…`.
    pub(crate) fn at(host: String) -> Self {
        Self { host }
    }

    /// The Engine's address, as deployer's configuration wants it.
    pub(crate) fn host(&self) -> &str {
        &self.host
    }

    /// `docker ARGUMENTS`, whatever becomes of it.
    #[track_caller]
    pub(crate) fn run(&self, arguments: &[&str]) -> Output {
        run(self.command().args(arguments), &[])
    }

    /// Says, in one sentence, that there is no Engine; tests that need one never pass without.
    #[track_caller]
    pub(crate) fn need(&self) {
        // Not its version: it runs two other programs to tell that.
        let answer = self.run(&["ps", "-q", "--last", "1"]);
        let reason = answer.stderr.lines().next_back().unwrap_or_default();
        assert!(
            answer.code == Some(0),
            "no Docker Engine answers at {}: script/setup starts one ({reason})",
            self.host
        );
    }

    /// Every container of the deployer whose network is `network`, in any state.
    #[track_caller]
    pub(crate) fn containers(&self, network: &str) -> Vec<Container> {
        let format = "{{.ID}}\t{{.Names}}\t{{.Label \"deployer.app\"}}\t{{.Label \"deployer.slot\"}}\t\
                      {{.Label \"deployer.lane\"}}\t{{.Label \"deployer.release\"}}\t{{.Label \"deployer.digest\"}}\t\
                      {{.State}}\t{{.Label \"deployer.endpoints\"}}";
        let filter = format!("label=deployer.network={network}");
        let lines = self.run(&["ps", "-a", "--no-trunc", "--filter", &filter, "--format", format]);
        let container = |line: &str| {
            let [id, name, app, slot, lane, release, digest, state, endpoints]: [&str; 9] = line
                .split('\t')
                .collect::<Vec<_>>()
                .try_into()
                .expect("nine columns");
            Container {
                id: id.into(),
                name: name.into(),
                app: app.into(),
                slot: slot.into(),
                lane: lane.into(),
                endpoints: endpoints.split(',').map(str::to_owned).collect(),
                digest: digest.into(),
                release: release.parse().expect("the label deployer.release is a number"),
                state: state.into(),
                docker: self.clone(),
            }
        };
        lines.good().lines().map(container).collect()
    }

    /// Removes the containers, the network and the images of a test. Images go by name and never by id: another
    /// test's image may be the same one.
    pub(crate) fn remove_all(&self, network: &str, registry: &str) {
        let filter = format!("label=deployer.network={network}");
        let containers = self.run(&["ps", "-aq", "--filter", &filter]).stdout;
        self.run_with(&["rm", "-f", "-v"], containers.lines());
        self.remove_images(registry);
        self.run(&["network", "rm", network]);
    }

    /// Removes the images of a test's registry.
    #[track_caller]
    pub(crate) fn remove_images(&self, registry: &str) {
        let format = "{{.Repository}}\t{{.Tag}}\t{{.Digest}}";
        let images = self.run(&["images", "--digests", "--format", format]).stdout;
        let mut names = Vec::new();
        for line in images.lines() {
            let [repository, tag, digest]: [&str; 3] = line
                .split('\t')
                .collect::<Vec<_>>()
                .try_into()
                .expect("three columns");
            if repository.starts_with(&format!("{registry}/")) {
                names.push(format!("{repository}:{tag}"));
                names.push(format!("{repository}@{digest}"));
            }
        }
        self.run_with(&["rmi"], names.iter().map(String::as_str));
    }

    /// `docker ARGUMENTS NAMES`, once for all of them, and not at all where there is none.
    fn run_with<'a>(&self, arguments: &[&'a str], names: impl Iterator<Item = &'a str>) {
        let all: Vec<&str> = arguments.iter().copied().chain(names).collect();
        if all.len() > arguments.len() {
            self.run(&all);
        }
    }

    /// The name of an image that holds the test app as `/app` and nothing else, made once per Engine and source.
    pub(crate) fn test_app_image(&self) -> String {
        let folder = Path::new(env!("CARGO_TARGET_TMPDIR"));
        let lock = File::create(folder.join("test-app.lock")).expect("the lock of the test app");
        lock.lock().expect("the lock of the test app");
        let digest = test_app_digest();
        let name = format!("deployer-test-app:{digest}");
        if self.run(&["image", "inspect", "--format", "{{.Id}}", &name]).code != Some(0) {
            self.import(&test_app(&digest, folder), &name);
        }
        name
    }

    fn import(&self, program: &Path, name: &str) {
        let mut archive = tar::Builder::new(Vec::new());
        archive
            .append_path_with_name(program, "app")
            .expect("the test app is read");
        // Where orders and scratch files go: an image from nothing has no folder at all.
        archive
            .append_dir("tmp", program.parent().expect("a folder"))
            .expect("a folder is added");
        let archive = archive.into_inner().expect("an archive in memory");
        let mut import = self.command();
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

    fn command(&self) -> Command {
        let mut command = Command::new("docker");
        command
            .args(["-H", &self.host])
            .env_remove("DOCKER_HOST")
            .env_remove("DOCKER_CONTEXT");
        command
    }
}

/// The address of the machine's Engine, as deployer's configuration wants it.
pub(crate) fn host() -> String {
    std::env::var("DOCKER_HOST").unwrap_or_else(|_| "unix:///var/run/docker.sock".into())
}

/// `docker ARGUMENTS` at the machine's Engine, whatever becomes of it.
#[track_caller]
pub(crate) fn docker(arguments: &[&str]) -> Output {
    Docker::of_the_machine().run(arguments)
}

/// See [`Docker::test_app_image`]; in the machine's Engine.
pub(crate) fn test_app_image() -> String {
    Docker::of_the_machine().test_app_image()
}

/// The sources of the test app: the program's, and what it includes.
fn test_app_sources() -> [PathBuf; 2] {
    ["app.rs", "websocket.rs"].map(|name| repository().join("tests/app").join(name))
}

fn test_app_digest() -> String {
    let mut hash = Sha256::new();
    for source in test_app_sources() {
        hash.update(fs::read(source).expect("the test app's source"));
    }
    let mut digest = String::new();
    for byte in &hash.finalize()[..6] {
        write!(digest, "{byte:02x}").expect("text can be written to");
    }
    digest
}

/// The test app's program in `folder`, compiled where it is not there yet.
fn test_app(digest: &str, folder: &Path) -> PathBuf {
    let program = folder.join(format!("test-app-{digest}"));
    if program.exists() {
        return program;
    }
    let new = folder.join("test-app.new");
    let mut rustc = Command::new("rustc");
    rustc
        .current_dir(repository())
        .args(["--edition", "2024", "-O", "-C", "strip=symbols"]);
    rustc
        .args(["-C", "target-feature=+crt-static", "-o"])
        .arg(&new)
        .arg(&test_app_sources()[0]);
    run(&mut rustc, &[]).good();
    fs::rename(&new, &program).expect("the test app's program is put in its place");
    program
}

fn repository() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}
