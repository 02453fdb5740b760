//! Processes that the measurements start, and what the kernel says of a process with all that descends from it.

use std::fs::{self, File};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};
use rustix::process::{Pid, Signal, kill_process};

/// The kernel counts CPU time for user space in hundredths of a second, on every architecture.
const TICK: Duration = Duration::from_millis(10);
const START_DEADLINE: Duration = Duration::from_secs(30);
const END_DEADLINE: Duration = Duration::from_secs(5);

/// A process that runs until this is dropped.
pub(crate) struct Daemon {
    child: Child,
}

impl Daemon {
    /// Starts `command`; what it says goes to the file `log`.
    pub(crate) fn start(command: &mut Command, log: &Path) -> Result<Self> {
        let file = File::create(log)?;
        command
            .stdin(Stdio::null())
            .stdout(file.try_clone()?)
            .stderr(file);
        let child = command
            .spawn()
            .with_context(|| format!("cannot run {command:?}"))?;
        Ok(Self { child })
    }

    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    pub(crate) fn signal(&self, signal: Signal) -> Result<()> {
        let pid = Pid::from_child(&self.child);
        kill_process(pid, signal).context("the process takes no signal")
    }

    fn has_ended_within(&mut self, deadline: Duration) -> bool {
        let begun = Instant::now();
        while begun.elapsed() < deadline {
            if !matches!(self.child.try_wait(), Ok(None)) {
                return true;
            }
            std::thread::sleep(Duration::from_millis(10));
        }
        false
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        let _ = self.signal(Signal::TERM);
        if !self.has_ended_within(END_DEADLINE) {
            for pid in family(self.pid()).into_iter().rev() {
                let pid = i32::try_from(pid).ok().and_then(Pid::from_raw);
                let _ = pid.map(|pid| kill_process(pid, Signal::KILL));
            }
            let _ = self.child.wait();
        }
    }
}

/// Waits until `is_so`; `what` is missing when that takes too long, and the end of `log` is told.
pub(crate) fn wait_for(what: &str, log: &Path, mut is_so: impl FnMut() -> bool) -> Result<()> {
    let begun = Instant::now();
    while !is_so() {
        if begun.elapsed() > START_DEADLINE {
            let log = fs::read_to_string(log).unwrap_or_default();
            let last: Vec<_> = log.lines().rev().take(3).collect();
            bail!("{what} after {START_DEADLINE:?}: {}", last.join(" / "));
        }
        std::thread::sleep(Duration::from_millis(20));
    }
    Ok(())
}

/// User and system time of `pid` and its descendants until now.
pub(crate) fn cpu(pid: u32) -> Result<Duration> {
    let mut ticks = 0;
    for pid in family(pid) {
        let stat = fs::read_to_string(format!("/proc/{pid}/stat"))?;
        // The second field is the name, in parentheses, with whatever characters.
        let (_, fields) = stat.rsplit_once(')').context("stat has a name")?;
        let mut fields = fields.split_whitespace().skip(11);
        for _ in 0..2 {
            ticks += fields.next().context("stat has times")?.parse::<u32>()?;
        }
    }
    Ok(TICK * ticks)
}

/// Memory of `pid` and its descendants in MiB: proportional, so that what they share counts once.
pub(crate) fn memory(pid: u32) -> Result<f64> {
    let mut kibibytes = 0;
    for pid in family(pid) {
        let told = fs::read_to_string(format!("/proc/{pid}/smaps_rollup"))?;
        kibibytes += field(&told, "Pss:").context("the kernel tells no Pss")?;
    }
    Ok(mebibytes(kibibytes))
}

/// The number after `name` in one of the kernel's lists.
pub(crate) fn field(text: &str, name: &str) -> Option<u64> {
    let line = text.lines().find_map(|line| line.strip_prefix(name))?;
    line.split_whitespace().next()?.parse().ok()
}

pub(crate) fn mebibytes(kibibytes: u64) -> f64 {
    kibibytes as f64 / 1024.0
}

/// `pid` and its descendants.
fn family(pid: u32) -> Vec<u32> {
    let mut all = vec![pid];
    let threads = fs::read_dir(format!("/proc/{pid}/task"));
    for thread in threads.into_iter().flatten().flatten() {
        let children = fs::read_to_string(thread.path().join("children")).unwrap_or_default();
        let children = children.split_whitespace().filter_map(|pid| pid.parse().ok());
        all.extend(children.flat_map(family));
    }
    all
}
