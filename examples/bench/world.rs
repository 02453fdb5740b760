//! The world that `script/bench` made: a configuration, a registry, a proxy; and working trees in it.

use std::fs;
use std::future::Future;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail, ensure};
use deployer::model::Settings;
use deployer::proxy::Control;
use tokio::runtime::Runtime;

/// The app of the pushes and rollbacks: its Dockerfile adds a static binary and a folder to nothing at all.
const DOCKERFILE: &str =
    "FROM scratch\nCOPY app /app\nCOPY site /site\nWORKDIR /site\nEXPOSE 8080\nCMD [\"/app\"]\n";
const WORKER_DEADLINE: Duration = Duration::from_secs(60);

pub(crate) struct World {
    pub(crate) deployer: PathBuf,
    pub(crate) work: PathBuf,
    pub(crate) settings: Settings,
    pub(crate) proxy: Control,
    runtime: Runtime,
}

impl World {
    pub(crate) fn open(deployer: &Path, work: &Path) -> Result<Self> {
        let settings = deployer::config::load(&work.join("deployer.toml"))?;
        let proxy = Control::new(&settings.state.join("proxy/control.sock"));
        Ok(Self {
            deployer: deployer.to_owned(),
            work: work.to_owned(),
            settings,
            proxy,
            runtime: tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .build()?,
        })
    }

    /// Does what the library does asynchronously, and waits for it.
    pub(crate) fn wait<F: Future>(&self, what: F) -> F::Output {
        self.runtime.block_on(what)
    }

    /// Adds `sections` to the configuration.
    pub(crate) fn configure(&mut self, sections: &str) -> Result<()> {
        let path = self.config();
        fs::write(&path, fs::read_to_string(&path)? + sections)?;
        self.settings = deployer::config::load(&path)?;
        Ok(())
    }

    /// A folder of its own for the files of `part`.
    pub(crate) fn folder(&self, part: &str) -> Result<PathBuf> {
        let folder = self.work.join(part);
        fs::create_dir_all(&folder)?;
        Ok(folder)
    }

    /// The configuration's path.
    pub(crate) fn config(&self) -> PathBuf {
        self.work.join("deployer.toml")
    }

    /// `deployer ARGUMENTS`, ready to run.
    pub(crate) fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(&self.deployer);
        command.arg("--config").arg(self.config());
        command.args(arguments);
        command
    }

    /// What `deployer ARGUMENTS` prints, when it succeeds.
    pub(crate) fn deployer(&self, arguments: &[&str]) -> Result<String> {
        good(&mut self.command(arguments))
    }

    /// Creates `app`, and makes its two repositories the remotes `green` and `blue` of `tree`.
    pub(crate) fn create(&self, app: &str, tree: &Tree) -> Result<()> {
        self.deployer(&["app", "create", app])?;
        for slot in ["green", "blue"] {
            tree.git(&["remote", "add", slot, &self.remote(app, slot)])?;
        }
        Ok(())
    }

    /// The repository that a slot is pushed to.
    pub(crate) fn remote(&self, app: &str, slot: &str) -> String {
        let repository = self.settings.state.join(format!("git/{app}/{slot}.git"));
        repository.to_string_lossy().into_owned()
    }

    /// Creates `app` with a working tree of the usual files.
    pub(crate) fn app(&self, app: &str) -> Result<Tree> {
        let tree = self.tree(app)?;
        self.create(app, &tree)?;
        Ok(tree)
    }

    /// A working tree with the usual files and without a remote.
    pub(crate) fn tree(&self, name: &str) -> Result<Tree> {
        let path = self.work.join("trees").join(name);
        fs::create_dir_all(path.join("site"))?;
        fs::write(path.join("Dockerfile"), DOCKERFILE)?;
        fs::copy(self.work.join("server"), path.join("app"))?;
        for number in 0..8 {
            fs::write(
                path.join(format!("site/page-{number}.html")),
                format!("<h1>Page {number}</h1>\n").repeat(100),
            )?;
        }
        let tree = Tree { path };
        tree.git(&["init", "-q", "-b", "main"])?;
        tree.git(&["config", "gc.auto", "0"])?;
        tree.commit_all("the usual files")?;
        Ok(tree)
    }

    /// Waits until `app` has no worker: one tidies up when its release has ended, which must not be in the way of what
    /// is measured next.
    pub(crate) fn wait_for_worker(&self, app: &str) -> Result<()> {
        let begun = Instant::now();
        while worker_of(&self.config(), app).is_some() {
            ensure!(
                begun.elapsed() < WORKER_DEADLINE,
                "the worker of {app} does not end"
            );
            std::thread::sleep(Duration::from_millis(5));
        }
        Ok(())
    }

    /// The host that the proxy knows `app` by.
    pub(crate) fn host(&self, app: &str) -> Result<String> {
        let settings = self.settings.app(&app.parse()?);
        settings.hosts.first().cloned().context("the app has a host")
    }
}

/// The process `deployer --config CONFIG worker APP N`, while there is one.
pub(crate) fn worker_of(config: &Path, app: &str) -> Option<u32> {
    let words = [config.as_os_str().as_bytes(), b"worker", app.as_bytes()];
    let processes = fs::read_dir("/proc").ok()?.flatten();
    let mut pids = processes.filter_map(|entry| entry.file_name().to_str()?.parse::<u32>().ok());
    pids.find(|pid| {
        let line = fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
        let line: Vec<&[u8]> = line.split(|byte| *byte == 0).collect();
        line.windows(words.len()).any(|part| part == words)
    })
}

/// A working tree.
#[derive(Debug)]
pub(crate) struct Tree {
    pub(crate) path: PathBuf,
}

impl Tree {
    pub(crate) fn git(&self, arguments: &[&str]) -> Result<String> {
        good(&mut self.git_command(arguments))
    }

    pub(crate) fn git_command(&self, arguments: &[&str]) -> Command {
        let mut git = Command::new("git");
        git.current_dir(&self.path).args(arguments);
        git
    }

    /// Commits everything there is.
    pub(crate) fn commit_all(&self, message: &str) -> Result<()> {
        self.git(&["add", "-A"])?;
        self.git(&["commit", "-q", "-m", message]).map(drop)
    }

    /// Changes one file, and commits it.
    pub(crate) fn change(&self, version: &str) -> Result<()> {
        fs::write(self.path.join("site/VERSION"), version)?;
        self.git(&["add", "site/VERSION"])?;
        self.git(&["commit", "-q", "-m", version]).map(drop)
    }

    /// Commits the same tree again.
    pub(crate) fn change_nothing(&self, message: &str) -> Result<()> {
        self.git(&["commit", "-q", "--allow-empty", "-m", message])
            .map(drop)
    }

    /// Pushes what was committed to `slot`, where it must go live.
    pub(crate) fn push(&self, slot: &str) -> Result<()> {
        is_live(&self.git_command(&["push", slot, "main"]).output()?)
    }
}

/// A push is good when its last line says so: git's own exit code knows nothing of the release.
fn is_live(push: &Output) -> Result<()> {
    let told = String::from_utf8_lossy(&push.stderr);
    ensure!(
        told.lines().any(|line| line.starts_with("remote: live: ")),
        "the push failed:\n{told}"
    );
    Ok(())
}

fn good(command: &mut Command) -> Result<String> {
    let output = command
        .output()
        .with_context(|| format!("cannot run {command:?}"))?;
    if !output.status.success() {
        bail!("{command:?} failed:\n{}", String::from_utf8_lossy(&output.stderr));
    }
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

pub(crate) fn milliseconds(time: Duration) -> f64 {
    time.as_secs_f64() * 1000.0
}
