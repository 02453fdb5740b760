//! nginx's workers: after a reload those with the former configuration accept for a moment beside the new ones.

use std::fs;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use super::super::CHECK;
use super::super::view::{VERSION_HOST, View};
use crate::proxy::exchange;

/// The answer's headers at [`VERSION_HOST`].
const VERSION: &str = "deployer-configuration";
const WORKER: &str = "deployer-worker";

/// How nginx names a worker that accepts connections. One that ends has a longer name.
const ACCEPTS: &str = "nginx: worker process";

/// Ticks, of which Linux has 100 a second here, between a worker and the one that it replaces: nginx waits 100 ms
/// between the start of the new ones and the end of the former ones, and starts all new ones within a few.
const GENERATION: u64 = 8;

/// How long is waited for former workers to stop accepting: far longer than it takes.
const STOPS: Duration = Duration::from_secs(5);

/// The same where they cannot be seen, since nginx runs in a container.
const UNSEEN: Duration = Duration::from_millis(500);

/// How often is looked, and how long after the last look its name is true.
const LOOK: Duration = Duration::from_millis(10);

/// Comes back when no worker with a former configuration than that of `view` accepts connections, as far as that can be
/// seen.
pub(super) async fn former_ones_accept_nothing(listen: SocketAddr, view: &View) {
    let began = Instant::now();
    while began.elapsed() < STOPS {
        match worker(listen, view).await.map(Process::of) {
            None => {}
            Some(None) => return tokio::time::sleep(UNSEEN).await,
            Some(Some(new)) if !new.has_elders() => return tokio::time::sleep(LOOK).await,
            Some(Some(_)) => {}
        }
        tokio::time::sleep(LOOK).await;
    }
}

/// The process id of a worker that has the configuration of `view`: of any of them.
pub(super) async fn worker(listen: SocketAddr, view: &View) -> Option<u32> {
    let asked = exchange::ask(listen, VERSION_HOST, "/", &[(CHECK, &view.check)]).await;
    let (_, headers) = asked.ok()?;
    let told = |name: &str| headers.get(name)?.to_str().ok();
    (told(VERSION)? == view.version).then_some(())?;
    told(WORKER)?.parse().ok()
}

/// What is known of a process of nginx.
#[derive(Debug)]
struct Process {
    parent: u32,
    /// In ticks since the boot.
    started: u64,
}

impl Process {
    /// The process `pid`, where it is one of nginx.
    fn of(pid: u32) -> Option<Self> {
        let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
        let (name, rest) = stat.rsplit_once(") ")?;
        name.ends_with("(nginx").then_some(())?;
        // proc(5): the words behind the name begin with the third.
        let words: Vec<&str> = rest.split_ascii_whitespace().collect();
        Some(Self {
            parent: words.get(1)?.parse().ok()?,
            started: words.get(19)?.parse().ok()?,
        })
    }

    /// Whether a worker of the same nginx that began clearly earlier accepts connections.
    fn has_elders(&self) -> bool {
        let all = fs::read_dir("/proc").into_iter().flatten().flatten();
        let mut pids = all.filter_map(|entry| entry.file_name().to_str()?.parse().ok());
        pids.any(|pid| {
            Self::of(pid).is_some_and(|other| {
                other.parent == self.parent && other.started + GENERATION < self.started && accepts(pid)
            })
        })
    }
}

fn accepts(pid: u32) -> bool {
    let title = fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
    let end = title.iter().rposition(|byte| !b"\0 ".contains(byte));
    &title[..end.map_or(0, |end| end + 1)] == ACCEPTS.as_bytes()
}
