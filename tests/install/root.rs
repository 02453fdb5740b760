//! A root folder that is thrown away: this machine's own, with a layer above it that takes every change, in namespaces
//! of its own. What is installed there is really installed, for the processes in it alone.

use std::collections::BTreeMap;
use std::fs;
use std::io::{BufRead, BufReader};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use tempfile::TempDir;

/// The program under test.
pub(crate) const DEPLOYER: &str = env!("CARGO_BIN_EXE_deployer");

/// Seconds that a command in the root may take.
const DEADLINE: &str = "120";

/// Makes the layers, then waits in them. systemd is not there, and neither is what a deployer of this machine's own
/// has put into place.
const MAKE: &str = r#"
mount -t tmpfs -o mode=0755 tmpfs "$1"
mkdir "$1/upper" "$1/work" "$1/root"
mount -t overlay -o "lowerdir=/,upperdir=$1/upper,workdir=$1/work" overlay "$1/root"
cd "$1/root"
mount -t proc proc proc
mount --rbind /sys sys
mount --rbind /dev dev
mount -t tmpfs -o mode=0755 tmpfs run
ip link set lo up
exec chroot . sh -c '
  rm -rf /etc/deployer /var/lib/deployer* /usr/bin/deployer /usr/local/bin/deployer /usr/local/lib/deployer
  rm -rf /etc/systemd/system/*deployer* /etc/systemd/system/*/deployer* /etc/ssh/sshd_config.d/50-deployer.conf
  ! getent passwd deploy >/dev/null || userdel --force deploy
  echo ready
  exec sleep infinity'
"#;

/// The root. Gone, with every process in it, when this is dropped.
pub(crate) struct Root {
    holder: Child,
    inside: u32,
    folder: TempDir,
}

/// What a command in the root did.
#[derive(Debug)]
pub(crate) struct Said {
    pub(crate) code: Option<i32>,
    pub(crate) out: String,
    pub(crate) err: String,
}

impl Said {
    /// The standard output, of a command that must have exited with 0.
    #[track_caller]
    pub(crate) fn good(self) -> String {
        assert_eq!(self.code, Some(0), "{}{}", self.out, self.err);
        self.out
    }

    /// The standard error, of a command that must have failed.
    #[track_caller]
    pub(crate) fn refused(self) -> String {
        assert!(
            self.code.is_some_and(|code| code != 0),
            "{}{}",
            self.out,
            self.err
        );
        self.err
    }
}

impl Root {
    #[track_caller]
    pub(crate) fn new() -> Self {
        let folder = tempfile::Builder::new().prefix("deployer-root-").tempdir();
        let folder = folder.expect("a temporary folder");
        let mut holder = Command::new("unshare")
            .args([
                "--mount",
                "--pid",
                "--net",
                "--uts",
                "--ipc",
                "--fork",
                "--kill-child",
            ])
            .args(["--propagation", "private", "sh", "-euc", MAKE, "sh"])
            .arg(folder.path())
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .spawn()
            .expect("unshare starts");
        let mut said = BufReader::new(holder.stdout.take().expect("a pipe"));
        let mut line = String::new();
        said.read_line(&mut line)
            .expect("the root tells that it is ready");
        assert_eq!(
            line, "ready\n",
            "the root could not be made: the tests run as root"
        );
        let children = format!("/proc/{0}/task/{0}/children", holder.id());
        let inside = fs::read_to_string(children).expect("unshare has a child");
        let inside = inside.trim().parse().expect("one child");
        Self {
            holder,
            inside,
            folder,
        }
    }

    /// `command` in the root, as root, with an environment of its own.
    pub(crate) fn command(&self, command: &[&str]) -> Command {
        let mut enter = Command::new("nsenter");
        enter
            .args(["--target", &self.inside.to_string()])
            .args(["--mount", "--pid", "--net", "--uts", "--ipc", "--root", "--wd"])
            .args(["timeout", DEADLINE])
            .args(command)
            .env_clear()
            .env(
                "PATH",
                "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
            )
            .env("LC_ALL", "C.UTF-8");
        enter
    }

    /// Runs `command` in the root to its end.
    #[track_caller]
    pub(crate) fn run(&self, command: &[&str]) -> Said {
        let ended = self.command(command).stdin(Stdio::null()).output();
        let ended = ended.expect("nsenter starts");
        Said {
            code: ended.status.code(),
            out: String::from_utf8(ended.stdout).expect("UTF-8"),
            err: String::from_utf8(ended.stderr).expect("UTF-8"),
        }
    }

    /// Runs a shell's line in the root.
    #[track_caller]
    pub(crate) fn sh(&self, line: &str) -> Said {
        self.run(&["sh", "-euc", line])
    }

    /// The program under test in the root, as it was built.
    #[track_caller]
    pub(crate) fn deployer(&self, arguments: &[&str]) -> Said {
        self.run(&[&[DEPLOYER], arguments].concat())
    }

    /// A path of the root as this process sees it. Absolute links lead elsewhere: read them, do not follow them.
    pub(crate) fn path(&self, inside: &str) -> PathBuf {
        let root = PathBuf::from(format!("/proc/{}/root", self.inside));
        root.join(inside.trim_start_matches('/'))
    }

    /// What is in a file of the root.
    #[track_caller]
    pub(crate) fn read(&self, inside: &str) -> String {
        fs::read_to_string(self.path(inside)).unwrap_or_else(|error| panic!("{inside}: {error}"))
    }

    /// What differs in the root from this machine's own: paths, each with its kind, mode, owner, time and, of a link,
    /// target. A file that is gone is among them, as the layer above marks it.
    pub(crate) fn changes(&self) -> BTreeMap<PathBuf, String> {
        // unshare itself is in the namespace, and not in the root.
        let outside = PathBuf::from(format!("/proc/{}/root", self.holder.id()));
        let folder = self.folder.path().strip_prefix("/").expect("an absolute path");
        let upper = outside.join(folder).join("upper");
        let mut found = BTreeMap::new();
        list(&upper, &upper, &mut found);
        found
    }
}

fn list(upper: &Path, path: &Path, into: &mut BTreeMap<PathBuf, String>) {
    for entry in fs::read_dir(path).expect("a folder is listed").flatten() {
        let path = entry.path();
        let found = fs::symlink_metadata(&path).expect("a listed entry is there");
        let to = fs::read_link(&path).unwrap_or_default();
        // A folder's time changes with temporary files in it; its entries are listed themselves.
        let time = (!found.is_dir()).then_some((found.mtime(), found.mtime_nsec()));
        let owner = (found.uid(), found.gid());
        let told = format!("{:o} {owner:?} {time:?} {}", found.mode(), to.display());
        let below = path.strip_prefix(upper).expect("it is below the layer");
        into.insert(Path::new("/").join(below), told);
        if found.is_dir() {
            list(upper, &path, into);
        }
    }
}

impl Drop for Root {
    fn drop(&mut self) {
        let _ = self.holder.kill();
        let _ = self.holder.wait();
    }
}
