//! Memory: the proxy's when nothing happens, and the peak of a worker.

use std::fs;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use anyhow::{Result, ensure};

use crate::process::{self, field, mebibytes};
use crate::report::{Line, Report, Samples};
use crate::world::{World, worker_of};

const PAUSE: Duration = Duration::from_millis(10);

/// The proxy's memory when nothing happens.
pub(crate) fn proxy(world: &World, when: &str, report: &mut Report) -> Result<()> {
    let pid = world.wait(world.proxy.info())?.pid;
    let memory = Samples(vec![process::memory(pid)?]);
    report.line(Line::new(format!("proxy's memory (PSS), idle, {when}"), "MiB", &memory).at_most(20.0));
    Ok(())
}

/// Looks at the worker of an app until it is told to stop.
pub(crate) struct Watch {
    stop: Arc<AtomicBool>,
    thread: JoinHandle<u64>,
}

impl Watch {
    pub(crate) fn start(world: &World, app: &str) -> Self {
        let (config, app) = (world.config(), app.to_owned());
        let stop = Arc::new(AtomicBool::new(false));
        let thread = thread::spawn({
            let stop = Arc::clone(&stop);
            move || {
                let (mut pid, mut peak) = (None, 0);
                while !stop.load(Ordering::Relaxed) {
                    pid = pid.or_else(|| worker_of(&config, &app));
                    peak = peak.max(pid.and_then(high_water).unwrap_or_default());
                    thread::sleep(PAUSE);
                }
                peak
            }
        });
        Self { stop, thread }
    }

    /// The most memory that the worker ever had, in MiB.
    pub(crate) fn stop(self) -> Result<f64> {
        self.stop.store(true, Ordering::Relaxed);
        let peak = self.thread.join().expect("the watch does not panic");
        ensure!(peak > 0, "the worker was never seen");
        Ok(mebibytes(peak))
    }
}

/// The kernel's own high-water mark of a process, in KiB.
fn high_water(pid: u32) -> Option<u64> {
    field(&fs::read_to_string(format!("/proc/{pid}/status")).ok()?, "VmHWM:")
}
