//! nginx: a server and an upstream for each host. A flip is a new configuration and a reload.

use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Result, ensure};

use super::contestant::{Setup, Way};
use crate::process::Daemon;

const NAME: &str = "nginx";

pub(super) struct Nginx {
    process: Daemon,
    log: PathBuf,
}

pub(super) fn start(setup: &Setup) -> Result<Nginx> {
    let (process, log) = run(&setup.folder, NAME, &servers(setup))?;
    Ok(Nginx { process, log })
}

impl Way for Nginx {
    fn process(&self) -> &Daemon {
        &self.process
    }

    fn log(&self) -> &Path {
        &self.log
    }

    fn flip(&mut self, setup: &Setup) -> Result<()> {
        configure(&setup.folder, NAME, &servers(setup))?;
        let reloaded = command(&setup.folder, NAME).args(["-s", "reload"]).output()?;
        let said = String::from_utf8_lossy(&reloaded.stderr);
        ensure!(reloaded.status.success(), "nginx did not reload: {said}");
        Ok(())
    }
}

/// Starts an nginx of this name with what stands in its `http` section; gives its log too.
pub(super) fn run(folder: &Path, name: &str, http: &str) -> Result<(Daemon, PathBuf)> {
    configure(folder, name, http)?;
    let log = folder.join(format!("{name}.log"));
    let process = Daemon::start(&mut command(folder, name), &log)?;
    Ok((process, log))
}

fn command(folder: &Path, name: &str) -> Command {
    let mut command = Command::new("nginx");
    let configuration = folder.join(format!("{name}.conf"));
    command.arg("-p").arg(folder).arg("-c").arg(configuration);
    command.args(["-e", "stderr"]);
    command
}

/// Workers of the same user, because the folder is nobody else's; no access log, since no contestant writes one.
fn configure(folder: &Path, name: &str, http: &str) -> Result<()> {
    let user = if rustix::process::geteuid().is_root() {
        "user root root;"
    } else {
        ""
    };
    let kinds = ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"];
    let folders: String = kinds
        .iter()
        .map(|kind| format!("{kind}_temp_path {}/{name}-{kind};\n", folder.display()))
        .collect();
    let text = format!(
        "daemon off; {user} pid {folder}/{name}.pid; worker_processes auto; worker_rlimit_nofile 16384;
         events {{ worker_connections 8192; }}
         http {{
         access_log off; keepalive_requests 100000000; server_names_hash_max_size 8192; server_names_hash_bucket_size 64;
         {folders}
         {http}
         }}\n",
        folder = folder.display()
    );
    fs::write(folder.join(format!("{name}.conf")), text)?;
    Ok(())
}

/// The same headers as deployer's, and no temporary files.
fn servers(setup: &Setup) -> String {
    let mut text = "proxy_http_version 1.1; proxy_max_temp_file_size 0; proxy_set_header Connection \"\";
        proxy_set_header Host $host; proxy_set_header X-Forwarded-For $proxy_add_x_forwarded_for;
        proxy_set_header X-Forwarded-Proto $scheme; proxy_set_header X-Forwarded-Host $host;
        proxy_set_header X-Request-Id $request_id;\n"
        .to_owned();
    let (port, kept) = (setup.port, setup.kept());
    let mut backlog = " backlog=4096";
    for (host, upstream) in setup.apps() {
        let _ = writeln!(
            text,
            "upstream {host} {{ server {upstream}; keepalive {kept}; keepalive_requests 100000000; }}
             server {{
               listen 127.0.0.1:{port}{backlog}; server_name {host}; location / {{ proxy_pass http://{host}; }}
             }}"
        );
        // Of one address, it is said once.
        backlog = "";
    }
    text
}
