//! systemd's units: started at boot or not, running or not.

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Result, bail};
use jiff::Timestamp;

use super::found::{Found, Verb};
use super::tool;

/// There while systemd is what the machine was booted with.
const BOOTED: &str = "/run/systemd/system";

/// How long a new proxy may take until it has taken over; it needs some hundredths of a second.
const TAKEOVER_DEADLINE: Duration = Duration::from_secs(30);
/// Between two looks at whether it has.
const TAKEOVER_PAUSE: Duration = Duration::from_millis(50);

/// Whether systemd runs this machine. Units can be enabled without it, and not started.
pub(super) fn is_booted() -> bool {
    Path::new(BOOTED).is_dir() && tool::find("systemctl").is_some()
}

const NO_SYSTEMCTL: &str = "there is no systemctl here";

/// What `systemctl is-enabled` says; empty where the unit is not there.
fn enablement(unit: &str) -> Result<String> {
    Ok(tool::run("systemctl", &["is-enabled", unit])?
        .out
        .trim()
        .to_owned())
}

/// Units of an administrator, and what differs from units.
pub(super) const LOCAL_UNITS: &str = "/etc/systemd/system";
/// How the names of deployer's own files beside units end.
const OURS: &str = "deployer.conf";

/// Why systemd goes by another text of `unit` than the one on the disk; none where it does not, or there is no such unit.
///
/// systemd tells by itself of a file that has changed, and not of the first one in a folder that was not there when it
/// last read its units.
fn unread(unit: &str) -> Result<Option<String>> {
    let told = tool::run(
        "systemctl",
        &["show", "--property=LoadState,NeedDaemonReload,DropInPaths", unit],
    )?;
    let property = |name: &str| {
        let mut lines = told.out.lines().filter_map(|line| line.split_once('='));
        lines.find(|(key, _)| *key == name).map_or("", |(_, value)| value)
    };
    if property("LoadState") != "loaded" {
        return Ok(None);
    }
    if property("NeedDaemonReload") == "yes" {
        return Ok(Some(format!("{unit} has changed")));
    }
    let folder = Path::new(LOCAL_UNITS).join(format!("{unit}.d"));
    let is_ours = |path: &PathBuf| {
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        path.parent() == Some(&folder) && name.ends_with(OURS)
    };
    let read = property("DropInPaths").split_whitespace().map(PathBuf::from);
    let read: BTreeSet<PathBuf> = read.filter(is_ours).collect();
    let entries = fs::read_dir(&folder).into_iter().flatten().flatten();
    let there: BTreeSet<PathBuf> = entries.map(|entry| entry.path()).filter(is_ours).collect();
    let differs = read.symmetric_difference(&there).next();
    Ok(differs.map(|path| format!("{} has changed", path.display())))
}

/// When `unit`, which runs, was started or reloaded last; none where it does not run, or could not be reloaded.
pub(super) fn told_last(unit: &str) -> Result<Option<Timestamp>> {
    let told = tool::run(
        "systemctl",
        &[
            "show",
            "--property=ActiveState,ReloadResult,StateChangeTimestampMonotonic",
            unit,
        ],
    )?;
    let property = |name: &str| {
        let mut lines = told.out.lines().filter_map(|line| line.split_once('='));
        lines.find(|(key, _)| *key == name).map_or("", |(_, value)| value)
    };
    let runs = property("ActiveState") == "active" && property("ReloadResult") == "success";
    let micros = property("StateChangeTimestampMonotonic")
        .parse()
        .ok()
        .filter(|_| runs);
    let now = rustix::time::clock_gettime(rustix::time::ClockId::Monotonic);
    let since_boot = Duration::new(now.tv_sec as u64, now.tv_nsec as u32);
    Ok(micros.map(|micros| Timestamp::now() - since_boot.saturating_sub(Duration::from_micros(micros))))
}

/// That systemd goes by units as they are on the disk: a restart that anybody asks for uses them. Nothing is said where it
/// does.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UnitsRead {
    /// The units.
    pub units: Vec<&'static str>,
}

impl UnitsRead {
    pub(super) fn name(&self) -> String {
        "systemd's units".to_owned()
    }

    pub(super) fn look(&self) -> Result<Found> {
        if !is_booted() {
            return Ok(Found::Gone);
        }
        for unit in &self.units {
            if let Some(why) = unread(unit)? {
                return Ok(Found::ToDo(Verb::Reload, why));
            }
        }
        Ok(Found::Gone)
    }

    pub(super) fn make(&self) -> Result<Option<String>> {
        tool::must("systemctl", &["daemon-reload"])?;
        Ok(None)
    }
}

/// A unit that is started at boot, or is not.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AtBoot {
    /// The unit.
    pub unit: &'static str,
    /// Whether it is started.
    pub starts: bool,
}

impl AtBoot {
    pub(super) fn name(&self) -> String {
        format!("{} at boot", self.unit)
    }

    pub(super) fn look(&self) -> Result<Found> {
        if tool::find("systemctl").is_none() {
            return Ok(Found::LeftOut(NO_SYSTEMCTL.into()));
        }
        Ok(match (self.starts, enablement(self.unit)?.as_str()) {
            (true, "enabled") => Found::There,
            (true, masked @ ("masked" | "masked-runtime")) => Found::LeftOut(format!(
                "it is {masked}; `systemctl unmask {}` lets it be enabled",
                self.unit
            )),
            (true, _) => Found::ToDo(Verb::Enable, String::new()),
            (false, "enabled" | "enabled-runtime") => Found::ToDo(Verb::Disable, String::new()),
            (false, _) => Found::Gone,
        })
    }

    pub(super) fn make(&self) -> Result<Option<String>> {
        let verb = if self.starts { "enable" } else { "disable" };
        tool::must("systemctl", &["--quiet", verb, self.unit])?;
        Ok(None)
    }
}

/// A unit that runs, with this program.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Running {
    /// The unit.
    pub unit: &'static str,
    /// Its program: a process of an older one is told to hand over to it.
    pub program: PathBuf,
    /// What does the same by hand, where systemd does not run.
    pub by_hand: String,
}

impl Running {
    pub(super) fn name(&self) -> String {
        self.unit.to_owned()
    }

    pub(super) fn look(&self) -> Result<Found> {
        if !is_booted() {
            return Ok(Found::LeftOut(format!(
                "systemd does not run here; {}",
                self.by_hand
            )));
        }
        let told = tool::must(
            "systemctl",
            &["show", "--property=LoadState,ActiveState,MainPID", self.unit],
        )?;
        let property = |name: &str| {
            let of = told.out.lines().filter_map(|line| line.split_once('='));
            of.into_iter()
                .find(|(key, _)| *key == name)
                .map_or("", |(_, value)| value)
        };
        if property("LoadState") == "masked" {
            return Ok(Found::LeftOut("it is masked".into()));
        }
        if property("ActiveState") != "active" {
            return Ok(Found::ToDo(Verb::Start, String::new()));
        }
        if !self.is_of(property("MainPID")) {
            return Ok(Found::ToDo(Verb::Reload, "the new program takes over".into()));
        }
        Ok(match unread(self.unit)? {
            Some(_) => Found::ToDo(Verb::Reload, "its unit has changed".into()),
            None => Found::There,
        })
    }

    /// Whether the process runs the program as it is now. One that has ended meanwhile is systemd's to start again.
    fn is_of(&self, pid: &str) -> bool {
        let runs = fs::metadata(format!("/proc/{pid}/exe"));
        let should = fs::metadata(&self.program);
        match (runs, should) {
            (Ok(runs), Ok(should)) => (runs.dev(), runs.ino()) == (should.dev(), should.ino()),
            _ => true,
        }
    }

    pub(super) fn make(&self) -> Result<Option<String>> {
        tool::must("systemctl", &["daemon-reload"])?;
        let said = tool::run("systemctl", &["reload-or-restart", self.unit])?;
        if said.is_good() && self.comes_up()? {
            return Ok(None);
        }
        bail!(
            "{0} did not come up: `journalctl -u {0} -n 20` says why; then `systemctl start {0}`",
            self.unit
        );
    }

    /// Waits for the new process: a reload is answered before it has taken over.
    fn comes_up(&self) -> Result<bool> {
        let begun = Instant::now();
        while self.look()?.is_to_do() {
            if begun.elapsed() > TAKEOVER_DEADLINE {
                return Ok(false);
            }
            std::thread::sleep(TAKEOVER_PAUSE);
        }
        Ok(true)
    }
}

/// A unit that does not run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Stopped {
    /// The unit.
    pub unit: &'static str,
}

impl Stopped {
    pub(super) fn name(&self) -> String {
        self.unit.to_owned()
    }

    pub(super) fn look(&self) -> Result<Found> {
        if !is_booted() {
            let why = "systemd does not run here; what was started by hand is stopped by hand";
            return Ok(Found::LeftOut(why.into()));
        }
        let said = tool::run("systemctl", &["is-active", self.unit])?;
        Ok(match said.out.trim() {
            "inactive" | "failed" | "unknown" => Found::Gone,
            _ => Found::ToDo(Verb::Stop, String::new()),
        })
    }

    pub(super) fn make(&self) -> Result<Option<String>> {
        tool::must("systemctl", &["stop", self.unit])?;
        Ok(None)
    }
}
