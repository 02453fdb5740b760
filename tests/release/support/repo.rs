//! A developer's working tree and its pushes, with a real git.

use std::cell::Cell;
use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use super::process::{Output, run};

/// How a verdict begins, however a release ends.
const VERDICTS: [&str; 9] = [
    "live: ",
    "standby: ",
    "failed: ",
    "cancelled: ",
    "interrupted: ",
    "superseded: ",
    "unfinished: ",
    "no release: ",
    "declined: ",
];

/// A git repository with the remotes `green` and `blue`.
pub(crate) struct Repo {
    path: PathBuf,
    home: PathBuf,
    image: String,
    environment: Option<(&'static str, PathBuf)>,
    commits: Cell<u32>,
}

/// What a push printed and how it ended.
#[derive(Debug, Clone)]
pub(crate) struct Push {
    pub(crate) output: Output,
    /// What the server said, line by line, without git's `remote: `.
    pub(crate) remote: Vec<String>,
}

impl Push {
    /// The line that says how the release ended; hints may follow it. Empty where there is none.
    pub(crate) fn verdict(&self) -> &str {
        let is_verdict = |line: &&String| VERDICTS.iter().any(|word| line.starts_with(word));
        self.remote
            .iter()
            .rev()
            .find(is_verdict)
            .map_or("", String::as_str)
    }

    /// What the server said, as one text.
    pub(crate) fn said(&self) -> String {
        self.remote.join("\n")
    }

    /// The number of the release, as the verdict names it.
    #[track_caller]
    pub(crate) fn release(&self) -> u64 {
        let mut words = self
            .verdict()
            .split_whitespace()
            .skip_while(|word| *word != "release");
        let number = words
            .nth(1)
            .and_then(|word| word.trim_end_matches(':').parse().ok());
        number.unwrap_or_else(|| {
            panic!(
                "no release in the verdict {:?} of\n{}",
                self.verdict(),
                self.said()
            )
        })
    }

    /// The number of the release, which must have gone live.
    #[track_caller]
    pub(crate) fn live(self) -> u64 {
        assert!(
            self.verdict().starts_with("live: "),
            "not live:\n{}\n{}",
            self.said(),
            self.output.stderr
        );
        self.release()
    }

    /// What the server said of a release that must have failed.
    #[track_caller]
    pub(crate) fn failed(self) -> String {
        assert!(
            self.verdict().starts_with("failed: "),
            "not failed:\n{}\n{}",
            self.said(),
            self.output.stderr
        );
        self.said()
    }
}

impl Repo {
    /// A new repository at `path`; its commits build on `image`.
    pub(crate) fn new(
        path: PathBuf,
        home: &Path,
        image: &str,
        remotes: &[(&str, String)],
        environment: Option<(&'static str, PathBuf)>,
    ) -> Self {
        fs::create_dir_all(&path).expect("the working tree's folder");
        let repo = Self {
            path,
            home: home.to_owned(),
            image: image.to_owned(),
            environment,
            commits: Cell::new(0),
        };
        repo.git(&["init", "-q", "-b", "main"]).good();
        for (name, url) in remotes {
            repo.git(&["remote", "add", name, url]).good();
        }
        repo
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// `git ARGUMENTS` in the working tree, in an environment that has nothing of the machine's.
    #[track_caller]
    pub(crate) fn git(&self, arguments: &[&str]) -> Output {
        run(self.command().args(arguments), &[])
    }

    /// The command `git`, for what [`Self::git`] cannot do.
    pub(crate) fn command(&self) -> Command {
        self.shell("git")
    }

    /// Another command in the working tree, in git's environment.
    pub(crate) fn shell(&self, program: &str) -> Command {
        // Commits a second apart each, so that equal trees still are different commits.
        let date = format!("{} +0000", 1_700_000_000 + self.commits.get());
        let mut git = Command::new(program);
        git.current_dir(&self.path)
            .env_clear()
            .env("PATH", std::env::var_os("PATH").unwrap_or_default())
            .env("HOME", &self.home)
            .envs(self.environment.clone())
            .env("GIT_CONFIG_GLOBAL", "/dev/null")
            .env("GIT_CONFIG_NOSYSTEM", "1")
            .env("GIT_TERMINAL_PROMPT", "0");
        for role in ["AUTHOR", "COMMITTER"] {
            git.env(format!("GIT_{role}_NAME"), "Tess Ter")
                .env(format!("GIT_{role}_EMAIL"), "tess@localhost")
                .env(format!("GIT_{role}_DATE"), &date);
        }
        git
    }

    /// Writes a file of the tree, its folders included.
    pub(crate) fn write(&self, name: &str, content: impl AsRef<[u8]>) -> &Self {
        let path = self.path.join(name);
        fs::create_dir_all(path.parent().expect("a folder")).expect("the file's folder");
        fs::write(&path, content).expect("the file is written");
        self
    }

    /// Makes a symbolic link in the tree.
    pub(crate) fn link(&self, name: &str, target: &str) -> &Self {
        symlink(target, self.path.join(name)).expect("the link is made");
        self
    }

    /// Removes a file of the tree, where it is there.
    pub(crate) fn remove(&self, name: &str) -> &Self {
        let _ = fs::remove_file(self.path.join(name));
        self
    }

    /// Commits the tree as it is, changed or not; gives the commit's id.
    #[track_caller]
    pub(crate) fn commit(&self, message: &str) -> String {
        self.commits.set(self.commits.get() + 1);
        self.git(&["add", "-A"]).good();
        self.git(&["commit", "-q", "--allow-empty", "-m", message]).good();
        self.git(&["rev-parse", "HEAD"]).good().trim().to_owned()
    }

    /// Commits a healthy test app that answers `version`; gives the commit's id.
    #[track_caller]
    pub(crate) fn version(&self, version: &str) -> String {
        self.remove("FAIL").remove("SLOWSTART").remove("LISTEN");
        self.write("VERSION", version)
            .write("Dockerfile", self.dockerfile(""))
            .commit(version)
    }

    /// Commits a test app that answers `version` and misbehaves as the file `setting` says (see tests/app/app.rs).
    #[track_caller]
    pub(crate) fn unwell(&self, version: &str, setting: &str, value: &str) -> String {
        self.remove("FAIL").remove("SLOWSTART").remove("LISTEN");
        self.write(setting, value);
        self.write("VERSION", version)
            .write("Dockerfile", self.dockerfile(""))
            .commit(version)
    }

    /// The test app's Dockerfile, `lines` added.
    pub(crate) fn dockerfile(&self, lines: &str) -> String {
        format!("FROM {}\nCOPY . /\nEXPOSE 8080\n{lines}", self.image)
    }

    /// `git push REMOTE HEAD:main`, left running, with nobody who reads along.
    #[track_caller]
    pub(crate) fn begin_push(&self, remote: &str) -> Child {
        let mut push = self.command();
        push.args(["push", "--quiet", remote, "HEAD:main"]);
        push.stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null());
        push.spawn().expect("git starts")
    }

    /// `git push REMOTE main`
    #[track_caller]
    pub(crate) fn push(&self, remote: &str) -> Push {
        self.push_with(&[remote, "main"])
    }

    /// `git push ARGUMENTS`
    #[track_caller]
    pub(crate) fn push_with(&self, arguments: &[&str]) -> Push {
        let output = run(self.command().arg("push").args(arguments), &[]);
        let said = |line: &str| Some(line.strip_prefix("remote: ")?.trim_end().to_owned());
        let lines = output.stderr.split(['\n', '\r']).filter_map(said);
        let remote = lines.filter(|line| !line.is_empty()).collect();
        Push { output, remote }
    }
}
