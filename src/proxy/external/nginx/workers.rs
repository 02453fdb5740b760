//! nginx's workers: after a reload those with the former configuration accept for a moment beside the new ones.

use std::fs;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use super::super::door::{self, CHECK};
use super::super::view::{VERSION_HOST, View};

/// The answer's header at [`VERSION_HOST`]: the process id of the worker that answers.
const WORKER: &str = "deployer-worker";

/// How nginx names a worker that accepts connections. One that ends has a longer name.
const ACCEPTS: &[u8] = b"nginx: worker process";

/// How long is waited for former workers to stop accepting. nginx tells them to 100 ms after the new ones began.
const STOPS: Duration = Duration::from_secs(5);

/// The same where they are not known: nginx runs in a container, or had nothing of deployer's before.
const UNSEEN: Duration = Duration::from_millis(500);

/// How often is looked; a worker that is named so has closed its sockets long before the next look.
const LOOK: Duration = Duration::from_millis(10);

/// The process id of any worker; none where nginx does not answer by deployer's part of its configuration.
pub(super) async fn any(listen: SocketAddr, view: &View) -> Option<u32> {
    let asked = door::ask(view.door, listen, VERSION_HOST, "/", &[(CHECK, &view.check)]).await;
    let (_, headers) = asked.ok()?;
    headers.get(WORKER)?.to_str().ok()?.parse().ok()
}

/// The process ids of all workers that accept connections; none where they cannot be seen.
pub(super) async fn accepting(listen: SocketAddr, view: &View) -> Option<Vec<u32>> {
    let master = parent(any(listen, view).await?)?;
    let all = fs::read_dir("/proc").ok()?.flatten();
    let pids = all.filter_map(|entry| entry.file_name().to_str()?.parse().ok());
    let workers: Vec<u32> = pids
        .filter(|pid| parent(*pid) == Some(master) && accepts(*pid))
        .collect();
    (!workers.is_empty()).then_some(workers)
}

/// Comes back when none of the `former` workers accepts a connection, as far as that can be seen.
pub(super) async fn accept_no_more(former: Option<Vec<u32>>) {
    let Some(former) = former else {
        return tokio::time::sleep(UNSEEN).await;
    };
    let began = Instant::now();
    while former.iter().any(|pid| accepts(*pid)) && began.elapsed() < STOPS {
        tokio::time::sleep(LOOK).await;
    }
    tokio::time::sleep(LOOK).await;
}

/// The parent of a process of nginx; none where `pid` is none of nginx here.
fn parent(pid: u32) -> Option<u32> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // proc(5): the process id, the name in brackets, the state, the parent.
    let (name, rest) = stat.rsplit_once(") ")?;
    name.ends_with("(nginx").then_some(())?;
    rest.split_ascii_whitespace().nth(1)?.parse().ok()
}

fn accepts(pid: u32) -> bool {
    let name = fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
    // nginx fills what its arguments took.
    let end = name.iter().rposition(|byte| !b"\0 ".contains(byte));
    &name[..end.map_or(0, |end| end + 1)] == ACCEPTS
}
