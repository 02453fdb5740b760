//! Another program as the proxy: what belongs on a server for it.

use std::path::{Path, PathBuf};

use super::files::{File, Folder, Owner};
use super::program::{Arguments, Line, NGINX_INCLUDES, Present, difference};
use super::thing::Thing;
use crate::model::Program;

/// The user's own configuration of Caddy.
const CADDYFILE: &str = "/etc/caddy/Caddyfile";
/// What Debian's HAProxy takes for its root once it has read its configuration.
const HAPROXY_ROOT: &str = "/var/lib/haproxy";
/// Debian's master socket, which commands reach HAProxy by.
const HAPROXY_MASTER: &str = "/run/haproxy-master.sock";

/// Another program on a server that is to be the proxy.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Other {
    /// Which.
    pub program: Program,
    /// `proxy.folder`.
    pub folder: PathBuf,
    /// The folder of the embedded proxy's socket, where the program stands in front of that.
    pub socket_folder: Option<PathBuf>,
}

impl Other {
    pub(super) fn own(&self) -> PathBuf {
        self.folder.join(self.program.as_str())
    }

    /// Everything that belongs on a server for it, for deployer's user `user`.
    pub(super) fn things(&self, user: &str, deployer: &Path) -> Vec<Thing> {
        let folder = |path: PathBuf| {
            Thing::Folder(Folder {
                path,
                mode: 0o755,
                owner: Owner::of(user),
                keep: false,
            })
        };
        let mut things = vec![
            Thing::Present(Present {
                program: self.program,
            }),
            folder(self.folder.clone()),
            folder(self.own()),
        ];
        things.extend(self.include());
        things.push(roots_file(
            difference(self.program),
            self.unit_text(user, deployer),
        ));
        things
    }

    /// What the running program is looked at for, once systemd has read its unit.
    pub(super) fn running(&self, user: &str) -> Option<Thing> {
        (self.program == Program::Haproxy).then(|| {
            Thing::Arguments(Arguments {
                options: self.options(user),
            })
        })
    }

    /// HAProxy's further arguments.
    fn options(&self, user: &str) -> String {
        format!(
            "-S {HAPROXY_MASTER},mode,660,group,{user} -f {}",
            self.own().display()
        )
    }

    /// Lines of HAProxy's unit: Debian's HAProxy changes its root, and looks for the socket from there.
    fn socket_within(&self) -> String {
        let Some(folder) = &self.socket_folder else {
            return String::new();
        };
        let folder = folder.display();
        format!(
            "BindReadOnlyPaths=-{folder}:{HAPROXY_ROOT}{folder}\n\n[Unit]\nWants=deployer-proxy.service\nAfter=deployer-proxy.service\n"
        )
    }

    fn include(&self) -> Option<Thing> {
        let own = self.own();
        let own = own.display();
        match self.program {
            Program::Nginx => Some(roots_file(
                nginx_include().into(),
                format!("# Written by `deployer install`.\ninclude {own}/*.conf;\n"),
            )),
            Program::Haproxy => None,
            Program::Caddy => Some(Thing::Line(Line {
                path: CADDYFILE.into(),
                line: format!("import {own}/*.caddyfile"),
            })),
        }
    }

    /// Lines of the program's unit. A start never fails by them, nor waits for long.
    fn unit_text(&self, user: &str, deployer: &Path) -> String {
        let (program, deployer) = (self.program.as_str(), deployer.display());
        let mut text = format!(
            "# Written by `deployer install`: a slot port that somebody else has is left out, and {} starts.\n[Service]\n\
             ExecStartPre=-+/usr/bin/timeout --kill-after=1 10 {deployer} proxy before-start {program}\n",
            self.program.name()
        );
        if self.program == Program::Haproxy {
            text += &format!(
                "# HAProxy reads deployer's part too, and can be told things.\nEnvironment=\"EXTRAOPTS={}\"\n{}",
                self.options(user),
                self.socket_within()
            );
        }
        text
    }
}

/// The first of [`NGINX_INCLUDES`] that nginx reads here.
fn nginx_include() -> &'static str {
    let folder_is_there = |path: &&&str| Path::new(path).parent().is_some_and(Path::is_dir);
    NGINX_INCLUDES
        .iter()
        .find(folder_is_there)
        .unwrap_or(&NGINX_INCLUDES[1])
}

fn roots_file(path: PathBuf, text: String) -> Thing {
    Thing::File(File {
        path,
        text: text.into_bytes(),
        mode: 0o644,
        owner: Owner::root(),
        kept_for: None,
    })
}
