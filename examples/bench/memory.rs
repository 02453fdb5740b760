//! Memory: a worker's peak with a large build context, and the proxy's when nothing happens.

use std::fs;
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};

use crate::report::{Goal, Line, Report, Samples};
use crate::world::{World, is_live};

const APP: &str = "big";
/// 20,000 files of 53,687 bytes are 1 GiB.
const FOLDERS: u64 = 200;
const FILES_PER_FOLDER: u64 = 100;
const FILE_BYTES: usize = 53_687;
/// What cannot be compressed needs no try, and random files have no deltas.
const GIT: [&str; 8] = [
    "-c",
    "core.compression=0",
    "-c",
    "pack.window=0",
    "-c",
    "core.bigFileThreshold=1",
    "-c",
    "gc.auto=0",
];

/// The worker's peak during a push of a context of 1 GiB in 20,000 files.
pub(crate) fn worker(world: &World, report: &mut Report) -> Result<()> {
    let tree = world.app(APP)?;
    let begun = Instant::now();
    write_files(&tree.path.join("data"))?;
    fs::write(tree.path.join("site/VERSION"), "big")?;
    tree.git(&[GIT.as_slice(), &["add", "-A"]].concat())?;
    tree.git(&["commit", "-q", "-m", "big"])?;
    eprintln!(
        "memory: 1 GiB committed in {:.0} s",
        begun.elapsed().as_secs_f64()
    );

    let log = tree.path.join("../big.log");
    let mut push = tree.git_command(&[GIT.as_slice(), &["push", "green", "main"]].concat());
    let begun = Instant::now();
    let mut push = push.stderr(fs::File::create(&log)?).spawn()?;
    let mut peak = Peak::default();
    while push.try_wait()?.is_none() {
        peak.look(world);
        std::thread::sleep(Duration::from_millis(2));
    }
    let output = std::process::Output {
        status: push.wait()?,
        stdout: Vec::new(),
        stderr: fs::read(&log)?,
    };
    is_live(&output)?;
    ensure!(peak.whole > 0, "the worker was never seen");
    eprintln!(
        "memory: pushed in {:.0} s; at the peak {:.1} MiB of the worker's memory were its own, {:.1} MiB pages of files",
        begun.elapsed().as_secs_f64(),
        mebibytes(peak.anonymous),
        mebibytes(peak.file)
    );
    report.line(Line {
        what: "worker's peak memory, context of 1 GiB in 20,000 files",
        unit: "MiB",
        ours: Samples(vec![mebibytes(peak.whole)]),
        against: None,
        goal: Goal::Below(60.0),
    });
    Ok(())
}

/// The proxy's memory when nothing happens: its share of what it has in common with others, and all of its own.
pub(crate) async fn proxy(world: &World, when: &'static str, report: &mut Report) -> Result<()> {
    let pid = world.proxy.info().await?.pid;
    let told = fs::read_to_string(format!("/proc/{pid}/smaps_rollup"))?;
    let pss = field(&told, "Pss:").context("the kernel tells no Pss")?;
    report.line(Line {
        what: match when {
            "freshly started" => "proxy's memory (PSS), idle, freshly started",
            _ => "proxy's memory (PSS), idle, after these measurements",
        },
        unit: "MiB",
        ours: Samples(vec![mebibytes(pss)]),
        against: None,
        goal: Goal::Below(20.0),
    });
    Ok(())
}

/// Bytes that no compression makes smaller (xorshift64*), other ones in each file.
fn write_files(folder: &Path) -> Result<()> {
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    for number in 0..FOLDERS {
        let folder = folder.join(number.to_string());
        fs::create_dir_all(&folder)?;
        for number in 0..FILES_PER_FOLDER {
            let mut bytes = Vec::with_capacity(FILE_BYTES + 8);
            while bytes.len() < FILE_BYTES {
                state ^= state >> 12;
                state ^= state << 25;
                state ^= state >> 27;
                bytes.extend(state.wrapping_mul(0x2545_f491_4f6c_dd1d).to_le_bytes());
            }
            bytes.truncate(FILE_BYTES);
            fs::write(folder.join(number.to_string()), bytes)?;
        }
    }
    Ok(())
}

/// The most memory that the worker was seen with, in KiB.
#[derive(Debug, Default)]
struct Peak {
    pid: Option<u32>,
    /// The kernel's own high-water mark.
    whole: u64,
    anonymous: u64,
    file: u64,
}

impl Peak {
    fn look(&mut self, world: &World) {
        let Some(pid) = self.pid.or_else(|| world.worker_of(APP)) else {
            return;
        };
        self.pid = Some(pid);
        let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
        let Some(whole) = field(&status, "VmHWM:") else {
            return;
        };
        if whole > self.whole {
            self.whole = whole;
            self.anonymous = field(&status, "RssAnon:").unwrap_or_default();
            self.file = field(&status, "RssFile:").unwrap_or_default();
        }
    }
}

/// The number after `name` in one of the kernel's lists.
fn field(text: &str, name: &str) -> Option<u64> {
    let line = text.lines().find_map(|line| line.strip_prefix(name))?;
    line.split_whitespace().next()?.parse().ok()
}

fn mebibytes(kibibytes: u64) -> f64 {
    kibibytes as f64 / 1024.0
}
