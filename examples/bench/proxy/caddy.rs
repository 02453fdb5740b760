//! Caddy: a site for each host. A flip posts the new configuration to its admin address.

use std::fmt::Write as _;
use std::fs;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Result, anyhow, ensure};

use super::contestant::{Setup, Way};
use crate::http::{Request, request};
use crate::process::Daemon;

const DEADLINE: Duration = Duration::from_secs(10);

pub(super) struct Caddy {
    process: Daemon,
    log: PathBuf,
    admin: SocketAddr,
}

pub(super) fn start(setup: &Setup) -> Result<Caddy> {
    let admin = SocketAddr::from((Ipv4Addr::LOCALHOST, setup.ports[0]));
    let file = setup.folder.join("Caddyfile");
    fs::write(&file, sites(setup, admin))?;
    let mut command = Command::new("caddy");
    command.arg("run").arg("--config").arg(file);
    command.args(["--adapter", "caddyfile"]);
    // What it keeps, it keeps here.
    for name in ["HOME", "XDG_DATA_HOME", "XDG_CONFIG_HOME"] {
        command.env(name, &setup.folder);
    }
    let log = setup.folder.join("caddy.log");
    let process = Daemon::start(&mut command, &log)?;
    Ok(Caddy { process, log, admin })
}

impl Way for Caddy {
    fn process(&self) -> &Daemon {
        &self.process
    }

    fn log(&self) -> &Path {
        &self.log
    }

    fn flip(&mut self, setup: &Setup) -> Result<()> {
        let load = Request {
            method: "POST".to_owned(),
            path: "/load".to_owned(),
            host: self.admin.to_string(),
            headers: vec![("Content-Type".to_owned(), "text/caddyfile".to_owned())],
            body: sites(setup, self.admin).into_bytes(),
            ..Request::default()
        };
        let reply =
            request(self.admin, &load, DEADLINE).map_err(|failure| anyhow!("Caddy's admin: {failure}"))?;
        ensure!(
            reply.status == 200,
            "Caddy refuses its configuration: {}",
            reply.text()
        );
        Ok(())
    }
}

fn sites(setup: &Setup, admin: SocketAddr) -> String {
    let mut text = format!("{{\n  admin {admin}\n  auto_https off\n  log {{\n    level ERROR\n  }}\n}}\n");
    let (port, kept) = (setup.port, setup.kept());
    for (host, upstream) in setup.apps() {
        let _ = writeln!(
            text,
            "http://{host}:{port} {{
  bind 127.0.0.1
  reverse_proxy {upstream} {{
    header_up X-Request-Id {{http.request.uuid}}
    transport http {{
      keepalive_idle_conns_per_host {kept}
    }}
  }}
}}"
        );
    }
    text
}
