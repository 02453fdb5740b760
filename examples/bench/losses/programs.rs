//! nginx, HAProxy and Caddy as their users run them: a main configuration that includes deployer's part.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::Result;
use deployer::model::Program;

use crate::process::Daemon;

/// Where a program's files are, and what it listens at beside deployer's part.
pub(super) struct Place {
    pub(super) folder: PathBuf,
    /// A port for a site of the user's own.
    pub(super) spare: u16,
    /// A port at which Caddy is told things.
    pub(super) admin: u16,
}

impl Place {
    fn main(&self) -> PathBuf {
        self.folder.join("main")
    }

    fn pid(&self) -> PathBuf {
        self.folder.join("pid")
    }

    fn socket(&self) -> PathBuf {
        self.folder.join("admin.sock")
    }

    /// The folder of deployer's part, as the settings have it by default.
    fn part(&self, program: Program) -> PathBuf {
        self.folder.join("state-proxy").join(program.as_str())
    }
}

/// The program's own section of deployer's configuration.
pub(super) fn settings(program: Program, place: &Place) -> String {
    let (main, part) = (place.main(), place.part(program));
    let (pid, socket, admin) = (place.pid(), place.socket(), place.admin);
    let lines = match program {
        Program::Nginx => format!(
            "check = [\"nginx\", \"-t\", \"-q\", \"-c\", {main:?}, \"-e\", \"stderr\"]\n\
             reload = [\"nginx\", \"-s\", \"reload\", \"-c\", {main:?}, \"-e\", \"stderr\"]"
        ),
        Program::Haproxy => format!(
            "check = [\"haproxy\", \"-c\", \"-f\", {main:?}, \"-f\", {part:?}]\n\
             reload = [\"sh\", \"-c\", \"kill -USR2 $(cat {})\"]\nadmin = {socket:?}",
            pid.display()
        ),
        Program::Caddy => format!(
            "check = [\"caddy\", \"adapt\", \"--config\", {main:?}, \"--adapter\", \"caddyfile\"]\n\
             reload = [\"caddy\", \"reload\", \"--config\", {main:?}, \"--adapter\", \"caddyfile\", \"--address\", \
             \"127.0.0.1:{admin}\"]\nadmin = \"127.0.0.1:{admin}\""
        ),
    };
    format!("[proxy.{}]\n{lines}\n", program.as_str())
}

/// Starts it, without deployer's part as yet.
pub(super) fn start(program: Program, place: &Place, log: &Path) -> Result<Daemon> {
    fs::create_dir_all(place.part(program))?;
    fs::write(place.main(), main(program, place)?)?;
    let main = place.main();
    let mut command = Command::new(program.as_str());
    match program {
        Program::Nginx => command.arg("-c").arg(main).args(["-e", "stderr"]),
        Program::Haproxy => command
            .args(["-W", "-S"])
            .arg(place.socket())
            .arg("-p")
            .arg(place.pid())
            .arg("-f")
            .arg(main)
            .arg("-f")
            .arg(place.part(program)),
        Program::Caddy => {
            // What it keeps, it keeps here.
            for name in ["HOME", "XDG_DATA_HOME", "XDG_CONFIG_HOME"] {
                command.env(name, &place.folder);
            }
            command
                .args(["run", "--adapter", "caddyfile", "--config"])
                .arg(main)
        }
    };
    Daemon::start(&mut command, log)
}

fn main(program: Program, place: &Place) -> Result<String> {
    let (part, folder) = (place.part(program), place.folder.display());
    let (part, pid) = (part.display(), place.pid());
    let (pid, site) = (pid.display(), format!("127.0.0.1:{}", place.spare));
    Ok(match program {
        Program::Nginx => {
            let user = match rustix::process::geteuid().is_root() {
                true => "user root root;",
                false => "",
            };
            let kinds = ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"];
            let paths = kinds.map(|kind| format!("{kind}_temp_path {folder}/nginx-{kind};"));
            format!(
                "daemon off; {user} pid {pid}; worker_processes auto; worker_rlimit_nofile 16384; error_log stderr error;\n\
                 events {{ worker_connections 8192; }}\nhttp {{ access_log off; {}\n\
                 server {{ listen {site}; return 200 \"mine\"; }}\ninclude {part}/*.conf; }}\n",
                paths.join(" ")
            )
        }
        Program::Haproxy => {
            let cores = std::thread::available_parallelism()?;
            format!(
                "global\n  nbthread {cores}\n  maxconn 8000\n  pidfile {pid}\n\
                 defaults\n  mode http\n  timeout connect 5s\n  timeout client 50s\n  timeout server 50s\n\
                 frontend mine\n  bind {site}\n  http-request return status 200 content-type text/plain string mine\n"
            )
        }
        Program::Caddy => format!(
            "{{\n  admin 127.0.0.1:{}\n  auto_https off\n  log {{\n    level ERROR\n  }}\n}}\n\
             http://{site} {{\n  respond mine\n}}\nimport {part}/*.caddyfile\n",
            place.admin
        ),
    })
}
