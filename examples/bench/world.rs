//! The world that `script/bench` made: a configuration, a registry, a proxy; and working trees in it.

use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail, ensure};
use deployer::model::Settings;
use deployer::proxy::Control;

/// The app of the pushes and rollbacks: its Dockerfile adds a static binary and a folder to nothing at all.
const DOCKERFILE: &str =
    "FROM scratch\nCOPY app /app\nCOPY site /site\nWORKDIR /site\nEXPOSE 8080\nCMD [\"/app\"]\n";
const WORKER_DEADLINE: Duration = Duration::from_secs(60);

pub(crate) struct World {
    pub(crate) deployer: PathBuf,
    pub(crate) work: PathBuf,
    pub(crate) settings: Settings,
    pub(crate) proxy: Control,
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
        })
    }

    /// `deployer ARGUMENTS`, ready to run.
    pub(crate) fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(&self.deployer);
        command.arg("--config").arg(self.work.join("deployer.toml"));
        command.args(arguments);
        command
    }

    /// What `deployer ARGUMENTS` prints, when it succeeds.
    pub(crate) fn deployer(&self, arguments: &[&str]) -> Result<String> {
        good(&mut self.command(arguments))
    }

    /// Creates `app`, and a working tree with its two remotes and the usual files.
    pub(crate) fn app(&self, app: &str) -> Result<Tree> {
        self.deployer(&["app", "create", app])?;
        let tree = self.tree(app)?;
        for slot in ["green", "blue"] {
            let repository = self.settings.state.join(format!("git/{app}/{slot}.git"));
            tree.git(&["remote", "add", slot, &repository.to_string_lossy()])?;
        }
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
        Ok(tree)
    }

    /// This world's process `deployer … worker APP N`, while there is one.
    pub(crate) fn worker_of(&self, app: &str) -> Option<u32> {
        let config = self.work.join("deployer.toml");
        let words = [config.as_os_str().as_bytes(), b"worker", app.as_bytes()];
        let processes = fs::read_dir("/proc").ok()?.flatten();
        let mut pids = processes.filter_map(|entry| entry.file_name().to_str()?.parse::<u32>().ok());
        pids.find(|pid| {
            let line = fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
            let line: Vec<&[u8]> = line.split(|byte| *byte == 0).collect();
            line.windows(words.len()).any(|part| part == words)
        })
    }

    /// Waits until `app` has no worker: one tidies up when its release has ended, which must not be in the way of what
    /// is measured next.
    pub(crate) fn wait_for_worker(&self, app: &str) -> Result<()> {
        let begun = Instant::now();
        while self.worker_of(app).is_some() {
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

/// A working tree.
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

    /// Changes one file, and commits it.
    pub(crate) fn change(&self, version: &str) -> Result<()> {
        fs::write(self.path.join("site/VERSION"), version)?;
        self.git(&["add", "-A"])?;
        self.git(&["commit", "-q", "-m", version]).map(drop)
    }

    /// Changes one file and pushes it to `slot`, where it must go live.
    pub(crate) fn push(&self, slot: &str, version: &str) -> Result<()> {
        self.change(version)?;
        is_live(&self.git_command(&["push", slot, "main"]).output()?)
    }
}

/// A push is good when its last line says so: git's own exit code knows nothing of the release.
pub(crate) fn is_live(push: &Output) -> Result<()> {
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
