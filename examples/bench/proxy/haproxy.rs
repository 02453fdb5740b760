//! HAProxy: a map from hosts to backends. A flip is a new configuration, checked, and SIGUSR2 to its master, as
//! Debian's unit does it.

use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Result, ensure};
use rustix::process::Signal;

use super::contestant::{Setup, Way};
use crate::process::Daemon;

pub(super) struct Haproxy {
    process: Daemon,
    log: PathBuf,
}

pub(super) fn start(setup: &Setup) -> Result<Haproxy> {
    configure(setup)?;
    let log = setup.folder.join("haproxy.log");
    let process = Daemon::start(command(setup).arg("-W"), &log)?;
    Ok(Haproxy { process, log })
}

impl Way for Haproxy {
    fn process(&self) -> &Daemon {
        &self.process
    }

    fn log(&self) -> &Path {
        &self.log
    }

    fn flip(&mut self, setup: &Setup) -> Result<()> {
        configure(setup)?;
        let checked = command(setup).args(["-c", "-q"]).status()?;
        ensure!(checked.success(), "HAProxy refuses its configuration");
        self.process.signal(Signal::USR2)
    }
}

fn command(setup: &Setup) -> Command {
    let mut command = Command::new("haproxy");
    command.arg("-f").arg(setup.folder.join("haproxy.cfg"));
    command
}

/// The same headers as deployer's. The listening sockets pass from one process to the next.
fn configure(setup: &Setup) -> Result<()> {
    let folder = setup.folder.display();
    let cores = std::thread::available_parallelism()?;
    let mut text = format!(
        "global
  nbthread {cores}
  maxconn 8000
  stats socket {folder}/haproxy.sock mode 600 level admin expose-fd listeners
defaults
  mode http
  timeout connect 2s
  timeout client 75s
  timeout server 60s
  option forwardfor
  http-reuse always
  unique-id-format %{{+X}}o%Ts%rt%ci%cp
  unique-id-header X-Request-Id
frontend public
  bind 127.0.0.1:{port} backlog 4096
  http-request set-header X-Forwarded-Proto http
  http-request set-header X-Forwarded-Host %[req.hdr(host)]
  use_backend %[req.hdr(host),field(1,:),lower,map({folder}/haproxy.map)]
",
        port = setup.port
    );
    let mut map = String::new();
    for (host, upstream) in setup.apps() {
        let _ = writeln!(map, "{host} {host}");
        let _ = writeln!(
            text,
            "backend {host}\n  server one {upstream} pool-max-conn {}",
            setup.kept()
        );
    }
    fs::write(setup.folder.join("haproxy.map"), map)?;
    fs::write(setup.folder.join("haproxy.cfg"), text)?;
    Ok(())
}
