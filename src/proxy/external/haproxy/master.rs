//! HAProxy's master socket: one order for each connection, for the master or for one of its workers.

use std::io;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::UnixStream;

use super::map::Map;
use super::stat::Stat;
use crate::model::escaped;
use crate::proxy::error::ProxyError;

/// How long an answer may take.
const DEADLINE: Duration = Duration::from_secs(5);

/// The most bytes of an answer: `show stat` has some 400 for each instance.
const ANSWER_MAX: u64 = 16 << 20;

/// How long the master is asked again that breaks off, as it does over a reload.
const RELOADS: Duration = Duration::from_secs(5);

/// How often meanwhile.
const LOOK: Duration = Duration::from_millis(20);

/// The most characters of an answer that are repeated.
const LINE_MAX: usize = 200;

/// The socket of HAProxy's master (`-S`).
#[derive(Debug)]
pub(super) struct Master {
    path: PathBuf,
}

/// A process that serves connections.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Worker {
    pid: u32,
    /// Of before a reload: it takes no new connection, and ends with the last one that it has.
    pub(super) is_old: bool,
}

impl Master {
    pub(super) fn new(path: &str) -> Self {
        Self { path: path.into() }
    }

    /// All workers, the newest first.
    ///
    /// # Errors
    /// When the master does not answer.
    pub(super) async fn workers(&self) -> Result<Vec<Worker>, ProxyError> {
        Ok(workers(&self.ask("show proc").await?))
    }

    /// The worker that takes new connections.
    ///
    /// # Errors
    /// When the master does not answer, or has none.
    pub(super) async fn current(&self) -> Result<Worker, ProxyError> {
        let newest = self.workers().await?.into_iter().find(|worker| !worker.is_old);
        newest.ok_or_else(|| ProxyError::failed("HAProxy's master has no worker"))
    }

    /// The map of the file `path` as a worker has it; none where its configuration has no such map.
    ///
    /// # Errors
    /// When the worker does not answer.
    pub(super) async fn map(&self, worker: Worker, path: &Path) -> Result<Option<Map>, ProxyError> {
        let answer = self
            .ask_worker(worker, &format!("show map {}", path.display()))
            .await?;
        if answer.starts_with("Unknown map") {
            return Ok(None);
        }
        // Each line begins with the entry's address in memory.
        let entries = answer
            .lines()
            .filter(|line| line.starts_with("0x"))
            .filter_map(|line| Some(line.split_once(' ')?.1));
        Ok(Some(Map::parse(entries)))
    }

    /// Makes the map at `path` of a worker, which is `has`, into `wanted`.
    ///
    /// # Errors
    /// When the worker does not do it: then some of it may be done.
    pub(super) async fn change(
        &self,
        worker: Worker,
        path: &Path,
        has: &Map,
        wanted: &Map,
    ) -> Result<(), ProxyError> {
        for order in has.changes(wanted, path) {
            self.order(worker, &order).await?;
        }
        Ok(())
    }

    /// What a worker counts.
    ///
    /// # Errors
    /// When the worker does not answer.
    pub(super) async fn stats(&self, worker: Worker) -> Result<Vec<Stat>, ProxyError> {
        Ok(Stat::parse(&self.ask_worker(worker, "show stat").await?))
    }

    /// Has a worker do something that is answered by nothing.
    ///
    /// # Errors
    /// When it answers anything else, or not at all.
    pub(super) async fn order(&self, worker: Worker, order: &str) -> Result<(), ProxyError> {
        let answer = self.ask_worker(worker, order).await?;
        match answer.trim() {
            "" => Ok(()),
            answer => Err(ProxyError::failed(format!(
                "HAProxy answered `{order}` with: {}",
                escaped(answer.as_bytes(), LINE_MAX)
            ))),
        }
    }

    async fn ask_worker(&self, worker: Worker, order: &str) -> Result<String, ProxyError> {
        let answer = self.ask(&format!("@!{} {order}", worker.pid)).await?;
        match answer.starts_with("Can't find the target") {
            true => Err(ProxyError::failed(format!(
                "HAProxy's worker {} has ended",
                worker.pid
            ))),
            false => Ok(answer),
        }
    }

    /// The answer to one order. Every answer ends with a line, so an empty one has been broken off.
    async fn ask(&self, order: &str) -> Result<String, ProxyError> {
        let began = Instant::now();
        loop {
            let asked = tokio::time::timeout(DEADLINE, self.ask_once(order)).await;
            match asked.unwrap_or_else(|_| Err(Broken::Off(io::ErrorKind::TimedOut.into()))) {
                Ok(answer) => return Ok(answer),
                Err(Broken::Off(_)) if began.elapsed() < RELOADS => tokio::time::sleep(LOOK).await,
                Err(Broken::Off(error)) => {
                    return Err(ProxyError::BrokeOff {
                        reason: format!("HAProxy's master at {}: {error}", self.path.display()),
                    });
                }
                Err(Broken::Unreachable(error)) => return Err(self.unreachable(error)),
            }
        }
    }

    async fn ask_once(&self, order: &str) -> Result<String, Broken> {
        let mut stream = UnixStream::connect(&self.path)
            .await
            .map_err(Broken::Unreachable)?;
        let mut answer = Vec::new();
        stream
            .write_all(format!("{order}\n").as_bytes())
            .await
            .map_err(Broken::Off)?;
        stream.shutdown().await.map_err(Broken::Off)?;
        let read = stream.take(ANSWER_MAX).read_to_end(&mut answer).await;
        match read.map_err(Broken::Off)? {
            0 => Err(Broken::Off(io::ErrorKind::UnexpectedEof.into())),
            _ => Ok(String::from_utf8_lossy(&answer).into_owned()),
        }
    }

    fn unreachable(&self, cause: io::Error) -> ProxyError {
        let hint = match cause.kind() {
            io::ErrorKind::PermissionDenied => {
                "it must be deployer's to open, as in `-S PATH,mode,660,group,deploy`; `deployer install` sees to it"
            }
            _ => "does haproxy run, and with this socket (`-S`)? [proxy.haproxy] admin names another one",
        };
        ProxyError::Unreachable {
            who: format!("HAProxy's master does not answer at {}", self.path.display()),
            cause,
            hint: hint.to_owned(),
        }
    }
}

enum Broken {
    /// Nobody listens there.
    Unreachable(io::Error),
    /// The answer did not come.
    Off(io::Error),
}

/// The workers in the answer to `show proc`.
fn workers(answer: &str) -> Vec<Worker> {
    let mut is_old = false;
    let mut workers = Vec::new();
    for line in answer.lines() {
        match line.trim() {
            "# workers" => is_old = false,
            "# old workers" => is_old = true,
            line => {
                let mut words = line.split_whitespace();
                if let (Some(Ok(pid)), Some("worker")) = (words.next().map(str::parse), words.next()) {
                    workers.push(Worker { pid, is_old });
                }
            }
        }
    }
    workers
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn workers_of_before_a_reload_are_told_apart() {
        let answer = "\
#<PID>          <type>          <reloads>       <uptime>        <version>
13525           master          1 [failed: 0]   0d00h00m45s     2.6.12-1+deb12u4
# workers
17941           worker          0               0d00h00m03s     2.6.12-1+deb12u4
# old workers
13565           worker          1               0d00h00m45s     2.6.12-1+deb12u4
# programs
17999           mailer          1               0d00h00m45s     -
";
        let worker = |pid, is_old| Worker { pid, is_old };
        assert_eq!(workers(answer), [worker(17941, false), worker(13565, true)]);
    }
}
