//! nginx and HAProxy, set up to pass everything to one app and otherwise as their packages are.
//!
//! A program that is not installed fails the test, unless `DEPLOYER_TEST_WITHOUT` names it (`nginx,haproxy`).

use std::fs;
use std::net::{SocketAddr, SocketAddrV4, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};

use crate::support::{end, free_ports, until};

#[derive(Debug, Clone, Copy)]
pub(super) enum Program {
    Nginx,
    Haproxy,
}

/// A program that runs until this is dropped.
pub(super) struct Running {
    pub(super) address: SocketAddr,
    child: Child,
    _folder: tempfile::TempDir,
}

impl Drop for Running {
    fn drop(&mut self) {
        end(&mut self.child);
    }
}

impl Program {
    pub(super) const ALL: [Self; 2] = [Self::Nginx, Self::Haproxy];

    fn name(self) -> &'static str {
        match self {
            Self::Nginx => "nginx",
            Self::Haproxy => "haproxy",
        }
    }

    /// One that sends everything to `app`; none where a developer does without it.
    pub(super) fn start(self, app: SocketAddrV4) -> Option<Running> {
        let without = std::env::var("DEPLOYER_TEST_WITHOUT").unwrap_or_default();
        if without.split(',').any(|name| name == self.name()) {
            eprintln!("skipped: DEPLOYER_TEST_WITHOUT names {}", self.name());
            return None;
        }
        let folder = tempfile::tempdir().unwrap();
        let [port] = free_ports();
        let address = SocketAddr::from(([127, 0, 0, 1], port));
        let config = folder.path().join("config");
        let text = match self {
            Self::Nginx => nginx(folder.path(), address, app),
            Self::Haproxy => haproxy(address, app),
        };
        fs::write(&config, text).unwrap();
        // Debian has both where only root looks by itself.
        let path = format!(
            "{}:/usr/sbin:/usr/local/sbin",
            std::env::var("PATH").unwrap_or_default()
        );
        let flag = match self {
            Self::Nginx => "-c",
            Self::Haproxy => "-f",
        };
        let said = fs::File::create(folder.path().join("said")).unwrap();
        let child = Command::new("env")
            .arg(format!("PATH={path}"))
            .arg(self.name())
            .arg(flag)
            .arg(&config)
            .stdout(Stdio::null())
            .stderr(said)
            .spawn()
            .unwrap();
        let mut running = Running {
            address,
            child,
            _folder: folder,
        };
        until(&format!("{} to listen", self.name()), || {
            assert!(
                running.child.try_wait().unwrap().is_none(),
                "{} is not installed, or ends at once: `script/setup --test` installs it",
                self.name()
            );
            TcpStream::connect(address).is_ok()
        });
        Some(running)
    }
}

fn nginx(folder: &Path, address: SocketAddr, app: SocketAddrV4) -> String {
    let folder = folder.display();
    let temporary: String = ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"]
        .iter()
        .map(|kind| format!("{kind}_temp_path {folder}/{kind};\n"))
        .collect();
    format!(
        "daemon off;\nmaster_process off;\npid {folder}/pid;\nerror_log {folder}/log;\nevents {{}}\n\
         http {{\naccess_log off;\n{temporary}\
         upstream app {{ server {app}; keepalive 8; }}\n\
         server {{\nlisten {address};\nlocation / {{\nproxy_pass http://app;\nproxy_http_version 1.1;\n\
         proxy_set_header Connection \"\";\nproxy_set_header Host $http_host;\n}}\n}}\n}}\n"
    )
}

fn haproxy(address: SocketAddr, app: SocketAddrV4) -> String {
    format!(
        "defaults\n  mode http\n  timeout connect 5s\n  timeout client 10s\n  timeout server 10s\n\
         frontend front\n  bind {address}\n  default_backend back\nbackend back\n  server app {app}\n"
    )
}
