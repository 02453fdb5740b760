//! A root folder that is thrown away: this machine's own, with a layer above it that takes every change, in namespaces
//! of its own. What is installed there is really installed, for the processes in it alone.

use std::collections::BTreeMap;
use std::fs;
use std::io::{BufRead, BufReader};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use tempfile::TempDir;

/// The program under test.
pub(crate) const DEPLOYER: &str = env!("CARGO_BIN_EXE_deployer");

/// The socket of the machine's Docker Engine.
const ENGINE: &str = "/var/run/docker.sock";

/// Seconds that a command in the root may take.
const DEADLINE: &str = "120";

/// Makes the layers, goes into them, and takes out what a deployer of this machine's own has put into place.
const MAKE: &str = r#"
mount -t tmpfs -o mode=0755 tmpfs "$1"
mkdir "$1/upper" "$1/work" "$1/root"
mount -t overlay -o "lowerdir=/,upperdir=$1/upper,workdir=$1/work" overlay "$1/root"
cd "$1/root"
mount -t proc proc proc
mount -t sysfs sysfs sys
mount -t tmpfs -o mode=0755 tmpfs run
mkdir run/upper run/old
mount --bind "$1/upper" run/upper
if [ -n "$2" ]; then
  touch run/docker.sock
  mount --bind "$2" run/docker.sock
  # The layer below must not change under the layer above.
  data=$(docker -H "unix://$2" info --format '{{.DockerRootDir}}')
  mkdir -p ".$data"
  mount -o bind,ro "$data" ".$data"
fi
mount -t tmpfs -o mode=0755 tmpfs dev
for node in null zero full random urandom tty; do touch dev/$node; mount --bind /dev/$node dev/$node; done
ln -s /proc/self/fd dev/fd
ln -s pts/ptmx dev/ptmx
mkdir dev/pts dev/shm
touch dev/console
ip link set lo up
pivot_root . run/old
umount -l run/old
rm -rf /etc/deployer /var/lib/deployer* /usr/bin/deployer /usr/local/bin/deployer /usr/local/lib/deployer
rm -rf /etc/systemd/system/*deployer* /etc/systemd/system/*/deployer* /etc/ssh/sshd_config.d/50-deployer.conf
! getent passwd deploy >/dev/null || userdel --force deploy
"#;

/// Waits in the root. systemd is not there.
const WAIT: &str = "echo ready; exec sleep infinity";

/// Boots the root with this machine's systemd, to a target of its own: nothing of the machine's is started, and Docker
/// and the cleaning of /tmp, in which the program under test may be, never are.
const BOOT: &str = r#"
mount -t cgroup2 cgroup2 /sys/fs/cgroup
cd /etc/systemd/system
for unit in docker.service docker.socket containerd.service systemd-tmpfiles-setup.service systemd-tmpfiles-clean.timer; do
  ln -sf /dev/null $unit
done
printf '[Unit]\nAllowIsolate=yes\n' >deployer-test.target
cd /
echo ready
exec env -i container=other PATH="$PATH" /lib/systemd/systemd --system --unit=deployer-test.target >/dev/null 2>&1
"#;

/// Where control groups of version 2 are: alone, or beside those of version 1.
const CGROUPS: [&str; 2] = ["/sys/fs/cgroup", "/sys/fs/cgroup/unified"];

/// What went away is waited for this long.
const END_DEADLINE: Duration = Duration::from_secs(10);

/// The root. Gone, with every process in it, when this is dropped.
pub(crate) struct Root {
    holder: Child,
    inside: u32,
    /// The control group of a systemd.
    group: Option<PathBuf>,
    _folder: TempDir,
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
    /// A root without systemd, as in a container.
    #[track_caller]
    pub(crate) fn new() -> Self {
        Self::make(WAIT, None, "")
    }

    /// The same, with the machine's Docker Engine within reach. What that runs has the machine's network, not the root's.
    #[track_caller]
    pub(crate) fn with_engine() -> Self {
        Self::make(WAIT, None, ENGINE)
    }

    /// A root that systemd was booted in, and runs.
    #[track_caller]
    pub(crate) fn booted() -> Self {
        Self::boot("")
    }

    /// The same, with the machine's Docker Engine within reach.
    #[track_caller]
    pub(crate) fn booted_with_engine() -> Self {
        Self::boot(ENGINE)
    }

    #[track_caller]
    fn boot(engine: &str) -> Self {
        let groups = CGROUPS
            .map(Path::new)
            .into_iter()
            .find(|folder| folder.join("cgroup.procs").exists());
        let groups = groups.expect("this machine has control groups of version 2");
        let root = Self::make(
            BOOT,
            Some(groups.join(format!("deployer-test-{}", std::process::id()))),
            engine,
        );
        let state = root.run(&[
            "sh",
            "-c",
            "until systemctl is-system-running 2>/dev/null; do sleep 0.05; done",
        ]);
        assert!(state.good().ends_with("running\n"), "systemd runs in the root");
        root
    }

    #[track_caller]
    fn make(then: &str, group: Option<PathBuf>, engine: &str) -> Self {
        let folder = tempfile::Builder::new().prefix("deployer-root-").tempdir();
        let folder = folder.expect("a temporary folder");
        // The kernel ends all of it when this process is killed.
        let mut holder = Command::new("setpriv");
        holder.args(["--pdeathsig", "KILL"]);
        let mut namespaces = vec![
            "--mount",
            "--pid",
            "--net",
            "--uts",
            "--ipc",
            "--fork",
            "--kill-child",
        ];
        if let Some(group) = &group {
            fs::create_dir(group).expect("a control group is made");
            holder
                .args(["sh", "-euc", r#"echo $$ >"$0/cgroup.procs"; exec "$@""#])
                .arg(group);
            namespaces.push("--cgroup");
        }
        let mut holder = holder
            .arg("unshare")
            .args(namespaces)
            .args([
                "--propagation",
                "private",
                "sh",
                "-euc",
                &format!("{MAKE}{then}"),
                "sh",
            ])
            .arg(folder.path())
            .arg(engine)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .spawn()
            .expect("setpriv starts");
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
            group,
            _folder: folder,
        }
    }

    /// `command` in the root, as root, with an environment of its own.
    pub(crate) fn command(&self, command: &[&str]) -> Command {
        let mut enter = Command::new("nsenter");
        enter
            .args(["--target", &self.inside.to_string()])
            .args(["--mount", "--pid", "--net", "--uts", "--ipc", "--root", "--wd"])
            .args(self.group.iter().map(|_| "--cgroup"))
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
        let upper = self.path("/run/upper");
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
        let begun = Instant::now();
        while let Some(group) = self.group.as_deref().filter(|group| group.exists()) {
            remove_group(group);
            if begun.elapsed() > END_DEADLINE {
                break;
            }
        }
    }
}

/// Removes a control group with those in it, once their processes have ended.
fn remove_group(group: &Path) {
    for entry in fs::read_dir(group).into_iter().flatten().flatten() {
        if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            remove_group(&entry.path());
        }
    }
    let _ = fs::remove_dir(group);
}
