//! An Engine of a test's own: a dockerd beside the machine's, that a test may stop and kill.
//!
//! It has a folder, a socket and a default bridge of its own. Not `--bridge=none`: a dockerd that starts with that
//! deletes `docker0`, which is the bridge of the machine's Engine.

use std::fmt::Write as _;
use std::fs;
use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use rustix::process::Signal;
use sha2::{Digest, Sha256};

use super::docker::Docker;
use super::lease::Lease;
use super::process::{Daemon, Output, run, signal};
use super::wait_for;

/// How long it may take to answer, or to end: it waits 15 s for containers that do not stop.
const DEADLINE: Duration = Duration::from_secs(60);

/// What kind of Engine.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct OwnEngine {
    /// Its containers go on while it is away.
    pub(crate) live_restore: bool,
}

/// A dockerd with its containerd. All that is its own goes when this is dropped; what a killed test left goes when
/// the next one takes the lease.
pub(crate) struct Engine {
    place: Place,
    kind: OwnEngine,
    log: PathBuf,
    daemon: Option<Daemon>,
}

impl Engine {
    /// Starts one and waits until it answers. Its output goes to `log`.
    #[track_caller]
    pub(crate) fn start(lease: &Lease, kind: OwnEngine, log: &Path) -> Self {
        let mut engine = Self {
            place: Place::of(lease),
            kind,
            log: log.to_owned(),
            daemon: None,
        };
        fs::create_dir_all(&engine.place.folder).expect("the Engine's folder");
        engine.place.make_bridge();
        engine.start_again();
        engine
    }

    /// Removes what a killed test has left: its bridges have the addresses that the lease's next test wants, whichever
    /// Engine that one uses.
    pub(crate) fn remove_left_over(lease: &Lease) {
        let place = Place::of(lease);
        if place.folder.exists() {
            place.sweep();
        }
    }

    /// The docker CLI for it.
    pub(crate) fn docker(&self) -> Docker {
        Docker::at(format!("unix://{}", self.path("docker.sock").display()))
    }

    /// Starts it after a stop or a kill, on what it held before, and waits until it answers; gives how long that took.
    #[track_caller]
    pub(crate) fn start_again(&mut self) -> Duration {
        let begun = Instant::now();
        assert!(self.daemon.is_none(), "the Engine runs");
        let mut daemon = Daemon::start(&mut self.command(), &self.log);
        wait_for("the Engine to answer", DEADLINE, || {
            assert!(daemon.is_running(), "dockerd ended:\n{}", daemon.log());
            (self.docker().run(&["ps", "-q"]).code == Some(0)).then_some(())
        });
        self.daemon = Some(daemon);
        begun.elapsed()
    }

    /// SIGTERM; waits until it has ended.
    #[track_caller]
    pub(crate) fn stop(&mut self) {
        let daemon = self.daemon.take().expect("the Engine runs");
        assert_eq!(daemon.stop(DEADLINE), Some(0), "dockerd's exit code");
    }

    /// SIGKILL; waits until its containerd has ended with it. Its containers go on without it.
    #[track_caller]
    pub(crate) fn kill(&mut self) {
        self.daemon.take().expect("the Engine runs").kill();
        let pid_file = self.path("exec/containerd/containerd.pid");
        let pid = fs::read_to_string(&pid_file).unwrap_or_default();
        wait_for("containerd to end with dockerd", DEADLINE, || {
            let mut all = all_processes().into_iter();
            let is_up = all.any(|process| process.pid.to_string() == pid.trim() && !process.has_ended);
            (!is_up).then_some(())
        });
        // A process that has ended keeps its number until its parent looks. The next dockerd would wait 15 s for it,
        // and give up.
        let _ = fs::remove_file(pid_file);
    }

    /// Where all that it has is.
    pub(crate) fn folder(&self) -> &Path {
        &self.place.folder
    }

    /// Takes its default bridge away, as the end of another dockerd takes docker0 away.
    pub(crate) fn remove_bridge(&self) {
        ip(&["link", "delete", &self.place.bridge()]).good();
    }

    /// Makes its default bridge again: without one it does not start.
    pub(crate) fn make_bridge(&self) {
        self.place.make_bridge();
    }

    fn path(&self, name: &str) -> PathBuf {
        self.place.folder.join(name)
    }

    fn command(&self) -> Command {
        let mut dockerd = administrator("dockerd");
        for (option, name) in [
            ("--data-root", "data"),
            ("--exec-root", "exec"),
            ("--pidfile", "pid"),
        ] {
            dockerd.arg(option).arg(self.path(name));
        }
        dockerd
            .args(["--host", self.docker().host(), "--bridge", &self.place.bridge()])
            .args(["--iptables=false", "--ip-masq=false", "--log-level=warn"]);
        if self.kind.live_restore {
            dockerd.arg("--live-restore");
        }
        dockerd
    }

    /// Removes its containers and networks, the way that leaves nothing in /run.
    fn empty(&self) {
        let docker = self.docker();
        for id in docker.run(&["ps", "-aq"]).stdout.lines() {
            docker.run(&["rm", "-f", "-v", id]);
        }
        docker.run(&["network", "prune", "-f"]);
    }
}

/// Where the Engine of a lease is.
struct Place {
    folder: PathBuf,
    /// The number of the lease.
    number: u16,
    subnet: String,
}

impl Place {
    fn of(lease: &Lease) -> Self {
        let number = lease.number();
        Self {
            // Short: the path of a unix socket may have 107 bytes.
            folder: std::env::temp_dir().join(format!("deployer-test-engine-{number}")),
            number,
            subnet: lease.subnet(),
        }
    }

    /// The name of its default bridge.
    fn bridge(&self) -> String {
        format!("deptest{}", self.number)
    }

    /// The default bridge, with an address that is in no lease's subnet.
    #[track_caller]
    fn make_bridge(&self) {
        let [high, low] = self.number.to_be_bytes();
        let address = format!("{}/24", Ipv4Addr::new(10, 240 + high, low, 1));
        let bridge = self.bridge();
        ip(&["link", "add", "name", &bridge, "type", "bridge"]).good();
        ip(&["address", "add", &address, "dev", &bridge]).good();
        ip(&["link", "set", &bridge, "up"]).good();
    }

    /// Ends every process that is its own, and removes its mounts, its folder and its bridges.
    fn sweep(&self) {
        // Not `wait_for`: this may run after a failed assertion.
        let deadline = Instant::now() + DEADLINE;
        // One that ends may have begun another, which makes folders anew that were removed.
        loop {
            let mut left = self.processes();
            left.retain(|process| !process.has_ended);
            if left.is_empty() || Instant::now() > deadline {
                break;
            }
            for process in left {
                signal(process.pid, Signal::KILL);
                if let Some(socket) = shim_socket(&process.arguments) {
                    let _ = fs::remove_file(socket);
                }
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        let folder = self.folder.to_str().expect("a path in UTF-8");
        let mounts = fs::read_to_string("/proc/self/mounts").unwrap_or_default();
        let mine = mounts.lines().filter_map(|line| line.split(' ').nth(1));
        for mount in mine.filter(|mount| mount.starts_with(folder)) {
            run(Command::new("umount").args(["--lazy", mount]), &[]);
        }
        // A process that ends still writes.
        while fs::remove_dir_all(&self.folder).is_err() && self.folder.exists() && Instant::now() < deadline {
            std::thread::sleep(Duration::from_millis(20));
        }
        ip(&["link", "delete", &self.bridge()]);
        for line in ip(&["-o", "-4", "address", "show", "to", &self.subnet])
            .stdout
            .lines()
        {
            if let Some(bridge) = line.split_whitespace().nth(1) {
                ip(&["link", "delete", bridge]);
            }
        }
    }

    /// dockerd, containerd, the shims, and what runs in the containers.
    fn processes(&self) -> Vec<Process> {
        let named = format!("{}/", self.folder.display());
        let mut found: Vec<Process> = Vec::new();
        let mut others = all_processes();
        // A child after its parent: what a shim has started names no folder.
        let is_mine = |process: &Process, found: &[Process]| {
            let is_child = found.iter().any(|parent| parent.pid == process.parent);
            process.arguments.contains(&named) || is_child
        };
        while let Some(at) = others.iter().position(|process| is_mine(process, &found)) {
            found.push(others.swap_remove(at));
        }
        found
    }
}

/// The socket of a containerd-shim with these arguments: it stays where the shim is killed.
fn shim_socket(arguments: &str) -> Option<PathBuf> {
    let words: Vec<&str> = arguments.split('\0').collect();
    let after = |option: &str| {
        let at = words.iter().position(|word| *word == option)?;
        words.get(at + 1).copied()
    };
    let of = format!(
        "{}/{}/{}",
        after("-address")?,
        after("-namespace")?,
        after("-id")?
    );
    let mut name = String::new();
    for byte in Sha256::digest(of) {
        write!(name, "{byte:02x}").expect("text can be written to");
    }
    Some(Path::new("/run/containerd/s").join(name))
}

impl Drop for Engine {
    fn drop(&mut self) {
        let failed = std::thread::panicking();
        if self.daemon.is_none() && !failed {
            self.start_again();
        }
        if self.daemon.is_some() {
            self.empty();
        }
        if !failed {
            self.stop();
        }
        self.daemon = None;
        self.place.sweep();
    }
}

struct Process {
    pid: u32,
    parent: u32,
    has_ended: bool,
    /// Separated by NUL.
    arguments: String,
}

fn all_processes() -> Vec<Process> {
    let mut all = Vec::new();
    for entry in fs::read_dir("/proc").expect("/proc is read").flatten() {
        let Some(pid) = entry.file_name().to_str().and_then(|name| name.parse().ok()) else {
            continue;
        };
        let stat = fs::read_to_string(entry.path().join("stat")).unwrap_or_default();
        let arguments = fs::read(entry.path().join("cmdline")).unwrap_or_default();
        // PID (NAME) STATE PARENT …; a name may hold spaces and brackets.
        let after_name = stat.rsplit_once(')').map_or("", |(_, rest)| rest);
        let (state, rest) = after_name.trim_start().split_once(' ').unwrap_or_default();
        let parent = rest.split(' ').next().and_then(|parent| parent.parse().ok());
        all.push(Process {
            pid,
            parent: parent.unwrap_or(0),
            has_ended: matches!(state, "" | "Z" | "X"),
            arguments: String::from_utf8_lossy(&arguments).into_owned(),
        });
    }
    all
}

fn ip(arguments: &[&str]) -> Output {
    run(administrator("ip").args(arguments), &[])
}

/// A program that not every PATH leads to.
fn administrator(program: &str) -> Command {
    let path = std::env::var("PATH").unwrap_or_default();
    let mut command = Command::new(program);
    command.env("PATH", path + ":/usr/sbin:/sbin");
    command
}
