//! nginx, HAProxy and Caddy as their users run them: a main configuration that is the user's own and includes
//! deployer's part, and one site of the user's that has nothing to do with deployer.
//!
//! A program that is not installed fails its tests: `script/setup --test` installs all three. Where a developer does
//! without one, `DEPLOYER_TEST_WITHOUT=caddy` (or `nginx,caddy`) skips its tests, with a sentence.

use std::fs;
use std::net::SocketAddr;
use std::path::Path;
use std::process::Command;

use super::World;
use super::process::run;

/// A program that can be the proxy.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Program {
    Nginx,
    Haproxy,
    Caddy,
}

/// Which proxy a world has.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) enum Kind {
    /// The embedded proxy.
    #[default]
    Embedded,
    /// A program that flips by itself.
    Flip(Program),
    /// A program in front of the embedded proxy.
    Front(Program),
}

impl Kind {
    pub(crate) fn program(self) -> Option<Program> {
        match self {
            Kind::Embedded => None,
            Kind::Flip(program) | Kind::Front(program) => Some(program),
        }
    }

    pub(crate) fn has_embedded(self) -> bool {
        !matches!(self, Kind::Flip(_))
    }
}

impl Program {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Program::Nginx => "nginx",
            Program::Haproxy => "haproxy",
            Program::Caddy => "caddy",
        }
    }

    /// Whether a developer does without it; else it must be there.
    pub(crate) fn is_skipped(self) -> bool {
        let without = std::env::var("DEPLOYER_TEST_WITHOUT").unwrap_or_default();
        let is_skipped = without.split(',').any(|name| name == self.name());
        if is_skipped {
            println!("skipped: DEPLOYER_TEST_WITHOUT names {}", self.name());
        }
        is_skipped
    }

    /// The lines of `[proxy]` and the program's own section in a world's configuration.
    pub(super) fn lines(self, world: &World) -> String {
        let of = Files::of(self, world);
        let (main, pid, own) = (&of.main, &of.pid, &of.part);
        let commands = match self {
            Program::Nginx => format!(
                "check = [\"nginx\", \"-t\", \"-q\", \"-c\", {main:?}, \"-e\", \"stderr\"]\n\
                 reload = [\"nginx\", \"-s\", \"reload\", \"-c\", {main:?}, \"-e\", \"stderr\"]"
            ),
            // As Debian's unit reloads it: SIGUSR2 to the master.
            Program::Haproxy => format!(
                "check = [\"haproxy\", \"-c\", \"-f\", {main:?}, \"-f\", {own:?}]\n\
                 reload = [\"sh\", \"-c\", \"kill -USR2 $(cat {})\"]\nadmin = {:?}",
                pid.display(),
                of.admin_socket
            ),
            Program::Caddy => format!(
                "check = [\"caddy\", \"adapt\", \"--config\", {main:?}, \"--adapter\", \"caddyfile\"]\n\
                 reload = [\"caddy\", \"reload\", \"--config\", {main:?}, \"--adapter\", \"caddyfile\", \"--address\", \
                 \"{0}\"]\nadmin = \"{0}\"",
                world.program_admin()
            ),
        };
        format!("[proxy.{}]\n{commands}\n", self.name())
    }

    /// Writes its main configuration, with the user's own site.
    pub(super) fn prepare(self, world: &World) {
        let of = Files::of(self, world);
        // As `deployer install` makes it.
        fs::create_dir_all(&of.part).expect("the folder of deployer's part");
        fs::write(&of.main, self.main(world, &of)).expect("the main configuration is written");
    }

    fn main(self, world: &World, of: &Files) -> String {
        let (own, folder, pid) = (world.new_user_site(), world.path(""), of.pid.display());
        let (part, folder) = (of.part.display(), folder.display());
        match self {
            Program::Nginx => {
                let kinds = ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"];
                let paths = kinds.map(|kind| format!("{kind}_temp_path {folder}/nginx-{kind};"));
                format!(
                    "daemon off; user root root; pid {pid}; worker_processes 2; error_log stderr notice;\n\
                     events {{ worker_connections 4096; }}\nhttp {{ access_log off; {}\n\
                     server {{ listen {own}; return 200 \"mine\"; }}\ninclude {part}/*.conf; }}\n",
                    paths.join(" ")
                )
            }
            Program::Haproxy => format!(
                "global\n  maxconn 2000\n  pidfile {pid}\n\
                 defaults\n  mode http\n  timeout connect 5s\n  timeout client 50s\n  timeout server 50s\n\
                 frontend mine\n  bind {own}\n  http-request return status 200 content-type text/plain string mine\n"
            ),
            Program::Caddy => format!(
                "{{\n  admin {}\n  auto_https off\n}}\nhttp://{own} {{\n  respond mine\n}}\n\
                 import {part}/*.caddyfile\n",
                world.program_admin()
            ),
        }
    }

    /// The command that runs it in the foreground.
    pub(super) fn command(self, world: &World) -> Command {
        let of = Files::of(self, world);
        let mut command = Command::new(self.name());
        command.current_dir(world.path(""));
        match self {
            Program::Nginx => command.arg("-c").arg(&of.main).args(["-e", "stderr"]),
            Program::Haproxy => command
                .arg("-W")
                .arg("-S")
                .arg(&of.admin_socket)
                .arg("-p")
                .arg(&of.pid)
                .arg("-f")
                .arg(&of.main)
                .arg("-f")
                .arg(&of.part),
            Program::Caddy => {
                for name in ["HOME", "XDG_DATA_HOME", "XDG_CONFIG_HOME"] {
                    command.env(name, world.path("home"));
                }
                command
                    .args(["run", "--adapter", "caddyfile", "--config"])
                    .arg(&of.main)
            }
        };
        command
    }

    /// Says, in one sentence, that it is missing; its tests never pass without it.
    #[track_caller]
    pub(super) fn need(self) {
        let asked = match self {
            Program::Caddy => "version",
            _ => "-v",
        };
        let path = std::env::var("PATH").unwrap_or_default();
        let found = path
            .split(':')
            .chain(["/usr/sbin"])
            .any(|folder| Path::new(folder).join(self.name()).is_file());
        assert!(
            found,
            "{} is missing: script/setup --test installs it",
            self.name()
        );
        run(Command::new(self.name()).arg(asked), &[]).good();
    }
}

/// Where a program's files are in a world.
struct Files {
    main: std::path::PathBuf,
    pid: std::path::PathBuf,
    /// Deployer's part.
    part: std::path::PathBuf,
    admin_socket: std::path::PathBuf,
}

impl Files {
    fn of(program: Program, world: &World) -> Self {
        let name = program.name();
        Self {
            main: world.path(&format!("{name}.main")),
            pid: world.path(&format!("{name}.pid")),
            part: world.part_of(program),
            admin_socket: world.path(&format!("{name}.sock")),
        }
    }
}

impl World {
    /// Starts a program beside the proxy that the world has, as its user has it, and tells the configuration how it is
    /// checked and reloaded.
    #[track_caller]
    pub(crate) fn add_program(&mut self, program: Program) {
        let mut text = fs::read_to_string(self.config()).expect("the configuration is read");
        text += &format!("\n{}", program.lines(self));
        fs::write(self.config(), text).expect("the configuration is written");
        self.start(program);
    }

    /// The folder of deployer's part of a program's configuration.
    pub(crate) fn part_of(&self, program: Program) -> std::path::PathBuf {
        self.path("state-proxy").join(program.name())
    }

    /// Where the user's own site answers `mine`, whatever deployer does.
    pub(crate) fn user_site(&self) -> SocketAddr {
        self.address(14)
    }

    /// The same of a program that is about to start: a second one has a site of its own.
    pub(super) fn new_user_site(&self) -> SocketAddr {
        match self.program {
            Some(_) => self.address(13),
            None => self.user_site(),
        }
    }

    /// Where Caddy is told things.
    fn program_admin(&self) -> SocketAddr {
        self.address(15)
    }
}
