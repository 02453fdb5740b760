//! How much memory the processes of a world have had.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use crate::support::World;

/// Between two looks. The kernel keeps each process's peak, so that only the last moments of one can be missed.
const BREATH: Duration = Duration::from_millis(25);

/// Looks again and again at the processes that work in or on a world's folder: its deployer, and git for it.
pub(super) struct Peaks {
    stop: Arc<AtomicBool>,
    thread: JoinHandle<BTreeMap<String, u64>>,
}

impl Peaks {
    pub(super) fn watch(world: &World) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let (stopped, folder) = (Arc::clone(&stop), world.path(""));
        let thread = thread::spawn(move || {
            let mut peaks = BTreeMap::new();
            while !stopped.load(Ordering::Relaxed) {
                look(&folder, &mut peaks);
                thread::sleep(BREATH);
            }
            peaks
        });
        Self { stop, thread }
    }

    /// Panics where a process had `max` bytes or more at any time, or no worker was seen.
    #[track_caller]
    pub(super) fn assert_below(self, max: u64) {
        let peaks = self.assert_all_below(max);
        let worker = peaks.keys().any(|command| command.starts_with("deployer worker"));
        assert!(worker, "the worker was not seen: {peaks:?}");
    }

    /// Panics where a process had `max` bytes or more at any time.
    #[track_caller]
    pub(super) fn assert_all_below(self, max: u64) -> BTreeMap<String, u64> {
        self.stop.store(true, Ordering::Relaxed);
        let peaks = self.thread.join().expect("the processes were looked at");
        println!("most memory, in bytes: {peaks:#?}");
        for (command, peak) in &peaks {
            assert!(*peak < max, "{command} had {peak} bytes, {max} are the most");
        }
        peaks
    }
}

/// Notes the highest peak of each kind of process.
fn look(folder: &Path, peaks: &mut BTreeMap<String, u64>) {
    for entry in fs::read_dir("/proc").expect("/proc is read").flatten() {
        let process = entry.path();
        let line = fs::read(process.join("cmdline")).unwrap_or_default();
        let words: Vec<String> = line
            .split(|byte| *byte == 0)
            .map(|word| String::from_utf8_lossy(word).into_owned())
            .collect();
        let at_home = fs::read_link(process.join("cwd")).is_ok_and(|cwd| cwd.starts_with(folder));
        let names_it = words.iter().any(|word| Path::new(word).starts_with(folder));
        if let (Some(kind), true) = (kind(&process, &words), at_home || names_it)
            && let Some(peak) = peak(&process)
        {
            let known = peaks.entry(kind).or_default();
            *known = peak.max(*known);
        }
    }
}

/// The program and the first of its words that is a command: `git index-pack`, `deployer worker`.
fn kind(process: &Path, words: &[String]) -> Option<String> {
    let program = fs::read_link(process.join("exe")).ok()?;
    let program = program.file_name()?.to_str()?;
    let is_command = |word: &&String| !word.is_empty() && !word.starts_with(['-', '/']);
    let command = words.iter().skip(1).find(is_command).map_or("", String::as_str);
    // The pusher's own side has what it has.
    let is_pushers = matches!(command, "push" | "pack-objects");
    let is_meant = program == "deployer" || program.starts_with("git") && !is_pushers;
    is_meant.then(|| format!("{program} {command}"))
}

fn peak(process: &Path) -> Option<u64> {
    let status = fs::read_to_string(process.join("status")).ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"))?;
    let kib: u64 = line.trim().trim_end_matches(" kB").parse().ok()?;
    Some(kib << 10)
}
