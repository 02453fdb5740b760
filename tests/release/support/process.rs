//! Processes with a bound: commands that are waited for, and daemons that end with the test.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process, kill_process_group};

use super::wait_for;

/// How long any command of a test may take.
const COMMAND_DEADLINE: Duration = Duration::from_secs(180);

/// What a command did.
#[derive(Debug, Clone)]
pub(crate) struct Output {
    /// The exit code; none where a signal ended it.
    pub(crate) code: Option<i32>,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
    pub(crate) took: Duration,
}

impl Output {
    /// The standard output, of a command that must have exited with 0.
    #[track_caller]
    pub(crate) fn good(self) -> String {
        assert_eq!(self.code, Some(0), "{}{}", self.stdout, self.stderr);
        self.stdout
    }
}

/// Runs `command` to its end. Its output goes through files: a detached child that keeps them open holds nothing up.
#[track_caller]
pub(crate) fn run(command: &mut Command, input: &[u8]) -> Output {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let file = |name: &str| folder.path().join(name);
    fs::write(file("in"), input).expect("the input is written");
    command
        .stdin(File::open(file("in")).expect("the input opens"))
        .stdout(File::create(file("out")).expect("the output opens"))
        .stderr(File::create(file("err")).expect("the output opens"));
    let begun = Instant::now();
    let mut child = command
        .spawn()
        .unwrap_or_else(|error| panic!("{command:?} does not start: {error}"));
    let status = loop {
        if let Some(status) = child.try_wait().expect("a child can be waited for") {
            break status;
        }
        if begun.elapsed() > COMMAND_DEADLINE {
            let _ = child.kill();
            let _ = child.wait();
            panic!(
                "{command:?} took more than {COMMAND_DEADLINE:?}: {}",
                text(&file("err"))
            );
        }
        std::thread::sleep(Duration::from_millis(2));
    };
    Output {
        code: status.code(),
        stdout: text(&file("out")),
        stderr: text(&file("err")),
        took: begun.elapsed(),
    }
}

/// A daemon that ends, at the latest, when this is dropped.
pub(crate) struct Daemon {
    child: Child,
    log: PathBuf,
}

impl Daemon {
    /// Starts `command`, its output appended to `log`.
    pub(crate) fn start(command: &mut Command, log: &Path) -> Self {
        Self::start_with(command, Stdio::null(), log)
    }

    /// The same with a standard input.
    pub(crate) fn start_with(command: &mut Command, input: Stdio, log: &Path) -> Self {
        let open = || {
            File::options()
                .append(true)
                .create(true)
                .open(log)
                .expect("the log opens")
        };
        command.stdin(input).stdout(open()).stderr(open());
        let child = command
            .spawn()
            .unwrap_or_else(|error| panic!("{command:?} does not start: {error}"));
        Self {
            child,
            log: log.to_owned(),
        }
    }

    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// The output so far, of earlier daemons with this log too.
    pub(crate) fn log(&self) -> String {
        text(&self.log)
    }

    /// Whether it has not ended by itself.
    pub(crate) fn is_running(&mut self) -> bool {
        matches!(self.child.try_wait(), Ok(None))
    }

    /// SIGTERM, and the exit code within `deadline`.
    #[track_caller]
    pub(crate) fn stop(mut self, deadline: Duration) -> Option<i32> {
        signal(self.pid(), Signal::TERM);
        let ended = || self.child.try_wait().expect("a child can be waited for");
        wait_for("the daemon to end after SIGTERM", deadline, ended).code()
    }

    /// Waits until it has ended by itself; gives its exit code.
    #[track_caller]
    pub(crate) fn await_end(mut self, deadline: Duration) -> Option<i32> {
        let ended = || self.child.try_wait().expect("a child can be waited for");
        wait_for("the daemon to end by itself", deadline, ended).code()
    }

    /// SIGKILL.
    pub(crate) fn kill(self) {}
}

impl Drop for Daemon {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Sends `signal` to the process `pid`; one that is gone already is fine.
pub(crate) fn signal(pid: u32, signal: Signal) {
    let pid = i32::try_from(pid)
        .ok()
        .and_then(Pid::from_raw)
        .expect("a process id");
    let _ = kill_process(pid, signal);
}

/// Sends `signal` to every process of the group that `pid` leads.
pub(crate) fn signal_group(pid: u32, signal: Signal) {
    let group = i32::try_from(pid).ok().and_then(Pid::from_raw);
    let _ = kill_process_group(group.expect("a process id"), signal);
}

/// SIGKILL for every process of the group that `pid` leads.
pub(crate) fn kill_group(pid: u32) {
    signal_group(pid, Signal::KILL);
}

/// What the process `pid` was started with; nothing where it has ended.
pub(crate) fn words_of(pid: u32) -> Vec<String> {
    let line = fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
    let line = line.strip_suffix(b"\0").unwrap_or(&line);
    line.split(|byte| *byte == 0)
        .map(|word| String::from_utf8_lossy(word).into_owned())
        .collect()
}

/// The processes whose program is `program` and that name `config` in their arguments or environment.
pub(crate) fn processes_of(program: &Path, config: &Path) -> Vec<u32> {
    let names_config = |folder: &Path, file: &str| {
        let content = fs::read(folder.join(file)).unwrap_or_default();
        let config = config.as_os_str().as_encoded_bytes();
        content.windows(config.len()).any(|part| part == config)
    };
    let mut found = Vec::new();
    for entry in fs::read_dir("/proc").expect("/proc is read").flatten() {
        let Some(pid) = entry.file_name().to_str().and_then(|name| name.parse().ok()) else {
            continue;
        };
        let folder = entry.path();
        let is_program = fs::read_link(folder.join("exe")).is_ok_and(|exe| exe == program);
        if is_program && (names_config(&folder, "cmdline") || names_config(&folder, "environ")) {
            found.push(pid);
        }
    }
    found
}

/// A small file system of its own, mounted over a folder until it is dropped.
pub(crate) struct Tmpfs {
    over: std::path::PathBuf,
}

impl Tmpfs {
    /// Mounts `size` bytes (as `mount` writes sizes: `256k`) over the folder `over`.
    #[track_caller]
    pub(crate) fn mount(over: &Path, size: &str) -> Self {
        let options = format!("size={size},mode=0700");
        run(
            Command::new("mount")
                .args(["-t", "tmpfs", "-o", &options, "tmpfs"])
                .arg(over),
            &[],
        )
        .good();
        Self {
            over: over.to_owned(),
        }
    }
}

impl Drop for Tmpfs {
    fn drop(&mut self) {
        run(Command::new("umount").arg("--lazy").arg(&self.over), &[]);
    }
}

fn text(path: &Path) -> String {
    String::from_utf8_lossy(&fs::read(path).unwrap_or_default()).into_owned()
}
