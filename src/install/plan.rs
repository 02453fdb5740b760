//! The plan: what belongs on a server, in the order in which it is put there.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use super::account::{Member, User};
use super::collection::{PRUNE, PRUNE_TIMER};
use super::door::{Door, Rules};
use super::files::{self, File, Folder, Gone, Link, Owner};
use super::installed::{Entry, Listed};
use super::key_file::KeyFile;
use super::leftovers::Leftovers;
use super::login::Login;
use super::program::{self, NGINX_INCLUDES, SUDOERS, Sudo};
use super::reserved::Reserved;
use super::server::Server;
use super::thing::Thing;
use super::units::{AtBoot, LOCAL_UNITS, Running, UnitsRead};
use crate::config;
use crate::model::Program;
use crate::registry::{COLLECT_UNIT, usual_command};

/// The proxy's unit.
pub(super) const PROXY: &str = "deployer-proxy.service";
/// The unit that brings everything to its end after a boot.
pub(super) const RECOVER: &str = "deployer-recover.service";
pub(super) const UNITS: [(&str, &str); 4] = [
    (
        PROXY,
        include_str!("../../templates/systemd/deployer-proxy.service"),
    ),
    (
        RECOVER,
        include_str!("../../templates/systemd/deployer-recover.service"),
    ),
    (
        PRUNE,
        include_str!("../../templates/systemd/deployer-prune.service"),
    ),
    (
        PRUNE_TIMER,
        include_str!("../../templates/systemd/deployer-prune.timer"),
    ),
];
/// Units of other programs, which a drop-in of deployer's may be for.
pub(super) const PROGRAMS: [&str; 3] = ["nginx.service", "haproxy.service", "caddy.service"];
/// What stands in the units for what may differ.
const UNITS_PROGRAM: &str = "/usr/local/bin/deployer";
const UNITS_USER: &str = "deploy";
const UNITS_STATE: &str = "/var/lib/deployer";

/// Where an administrator's manual and completions are.
const LOCAL_SHARE: &str = "/usr/local/share";
/// Units of packages.
const PACKAGED_UNITS: &str = "/usr/lib/systemd/system";
/// In a unit's folder of further files: what differs from the unit.
pub(super) const DIFFERENCE: &str = "50-deployer.conf";

/// What recovery may do where another program is the proxy.
const RECOVER_BY_PROGRAM: &str = include_str!("../../templates/systemd/recover-by-program.conf");

const EXAMPLE: &str = include_str!("../../deployer.toml.example");
/// Whoever is in this group may use the Docker Engine.
const ENGINE_GROUP: &str = "docker";

/// What the command line makes of itself.
#[derive(Debug, Clone, Default)]
pub struct Texts {
    /// The pages of the manual's section 1: file names, and what is in them.
    pub manual: Vec<(String, Vec<u8>)>,
    /// Completions for bash.
    pub bash: Vec<u8>,
    /// Completions for zsh.
    pub zsh: Vec<u8>,
    /// Completions for fish.
    pub fish: Vec<u8>,
}

impl Texts {
    /// What they are, as one line tells of them.
    pub(super) fn told(&self) -> String {
        format!(
            "manual ({} pages) and completions (bash, zsh, fish) in {LOCAL_SHARE}",
            self.manual.len()
        )
    }

    /// The files that they are below `share`, with the folder in which zsh looks for a package's, or for others.
    fn files(&self, share: &Path, zsh: &str) -> Vec<(PathBuf, Vec<u8>)> {
        let manual = self
            .manual
            .iter()
            .map(|(name, text)| (share.join("man/man1").join(name), text.clone()));
        manual
            .chain([
                (
                    share.join("bash-completion/completions/deployer"),
                    self.bash.clone(),
                ),
                (share.join(zsh).join("_deployer"), self.zsh.clone()),
                (
                    share.join("fish/vendor_completions.d/deployer.fish"),
                    self.fish.clone(),
                ),
            ])
            .collect()
    }

    pub(super) fn local(&self) -> Vec<(PathBuf, Vec<u8>)> {
        self.files(Path::new(LOCAL_SHARE), "zsh/site-functions")
    }
}

/// Everything that belongs on a server, in the order in which it can be made.
pub fn install(server: &Server, texts: &Texts) -> Vec<Thing> {
    let mut things = user(server);
    things.extend(configuration(server));
    let is_listed_here = things.len();
    if !server.place.is_packaged {
        things.push(Thing::Program(files::Program {
            from: server.running.clone(),
            to: server.place.program.clone(),
        }));
    }
    things.push(Thing::Link(Link {
        path: server.place.shell.clone(),
        to: server.place.program.clone(),
    }));
    things.extend(folders(server));
    if !server.place.is_packaged {
        things.extend(
            texts
                .local()
                .into_iter()
                .map(|(path, text)| roots_file(path, text)),
        );
    }
    things.extend(units(server));
    things.push(Thing::Reserved(Reserved {
        ports: server.proxy.ports.clone(),
    }));
    if let Some(other) = &server.proxy.other {
        things.extend(other.things(&server.user, &server.place.program));
    }
    things.extend(server.collection.unit());
    things.extend(sudo(server));
    things.extend(left_by_others(server));
    things.push(Thing::UnitsRead(UnitsRead {
        units: [RECOVER, PRUNE, PRUNE_TIMER, COLLECT_UNIT]
            .into_iter()
            .chain(PROGRAMS)
            .collect(),
    }));
    things.extend(
        server
            .proxy
            .other
            .as_ref()
            .and_then(|other| other.running(&server.user)),
    );
    things.push(Thing::Door(Door {
        rules: Some(Rules {
            user: server.user.clone(),
            keys: server.keys.clone(),
        }),
    }));
    things.extend(way_in(server));
    if server.proxy.has_embedded {
        things.push(Thing::Running(Running {
            unit: PROXY,
            program: server.place.program.clone(),
            by_hand: format!("by hand, as root: `{} proxy run`", server.place.program.display()),
        }));
    }
    things.extend(server.collection.timer(&server.place.program));
    let listed = listed(server, &things);
    things.push(leftovers(server, listed.entries.union(&server.installed)));
    things.insert(is_listed_here, Thing::Listed(listed));
    things
}

/// What deployer's user may do as root; none where it needs nothing.
fn sudo(server: &Server) -> Option<Thing> {
    let mut commands = server.proxy.commands.clone();
    if server.collection.needs_root() {
        // Behind `sudo -n`.
        commands.push(usual_command().split_off(2));
    }
    (!commands.is_empty()).then(|| {
        Thing::Sudo(Sudo {
            user: server.user.clone(),
            commands,
        })
    })
}

/// No new files in the folders of these, and in that of the file of keys.
pub(super) fn leftovers<'a>(server: &Server, entries: impl Iterator<Item = &'a Entry>) -> Thing {
    let folders = entries.filter_map(|entry| match entry {
        Entry::File(path) => path.parent().map(Path::to_owned),
        Entry::Part(_) => None,
    });
    Thing::Leftovers(Leftovers {
        folders: folders
            .chain([configuration_folder()])
            .chain(server.key_file().parent().map(Path::to_owned))
            .collect(),
    })
}

/// The list of everything that these things put on the server, and that is no data.
fn listed(server: &Server, things: &[Thing]) -> Listed {
    let files = things.iter().filter_map(Thing::puts).map(Entry::File);
    let part = server.proxy.other.as_ref().map(|other| Entry::Part(other.own()));
    let entries: BTreeSet<Entry> = files.chain(part).collect();
    Listed { entries }
}

/// What sshd and PAM look at once somebody comes.
fn way_in(server: &Server) -> [Thing; 2] {
    let (user, keys) = (server.user.clone(), server.key_file());
    [
        Thing::KeyFile(KeyFile {
            path: keys.clone(),
            user: user.clone(),
        }),
        Thing::Login(Login {
            user,
            keys,
            shell: server.place.shell.clone(),
        }),
    ]
}

/// What another kind of proxy needed. What traffic goes through stays as it is until it is switched.
fn left_by_others(server: &Server) -> Vec<Thing> {
    let wanted = server.proxy.other.as_ref().map(|other| other.program);
    let is_needed = |program| wanted == Some(program) || server.proxy.in_use == Some(program);
    let needs_root = sudo(server).is_some();
    let files = [
        (SUDOERS, needs_root),
        (NGINX_INCLUDES[0], is_needed(Program::Nginx)),
        (NGINX_INCLUDES[1], is_needed(Program::Nginx)),
    ];
    let files = files.map(|(path, is_needed)| (path.into(), is_needed));
    let units = Program::ALL.map(|program| (program::difference(program), is_needed(program)));
    let left = files.into_iter().chain(units).filter(|(_, is_needed)| !is_needed);
    left.map(|(path, _)| rarely_gone(path)).collect()
}

pub(super) fn rarely_gone(path: PathBuf) -> Thing {
    Thing::Gone(Gone { path, is_rare: true })
}

fn user(server: &Server) -> Vec<Thing> {
    vec![
        Thing::User(User {
            name: server.user.clone(),
            home: server.home.clone(),
            shell: server.place.shell.clone(),
        }),
        Thing::Member(Member {
            user: server.user.clone(),
            group: ENGINE_GROUP.into(),
        }),
    ]
}

fn folders(server: &Server) -> Vec<Thing> {
    let own = |path: PathBuf| {
        Thing::Folder(Folder {
            path,
            mode: 0o700,
            owner: Owner::of(&server.user),
            keep: false,
        })
    };
    let home = server.owns_home.then(|| own(server.home.clone()));
    let rest = [
        server.home.join(".ssh"),
        server.state.clone(),
        server.state.join("proxy"),
    ];
    home.into_iter().chain(rest.map(own)).collect()
}

fn configuration(server: &Server) -> [Thing; 2] {
    let path = Path::new(config::DEFAULT_PATH);
    let owner = Owner {
        user: "root".into(),
        group_of: server.user.clone(),
    };
    [
        Thing::Folder(Folder {
            path: configuration_folder(),
            mode: 0o750,
            owner: owner.clone(),
            keep: true,
        }),
        Thing::File(File {
            path: path.to_owned(),
            text: EXAMPLE.into(),
            mode: 0o640,
            owner,
            kept_for: Some(server.user.clone()),
        }),
    ]
}

pub(super) fn configuration_folder() -> PathBuf {
    let folder = Path::new(config::DEFAULT_PATH).parent();
    folder.expect("the configuration stands in a folder").to_owned()
}

fn units(server: &Server) -> Vec<Thing> {
    let mut things = Vec::new();
    for (unit, template) in UNITS {
        if !server.place.is_packaged {
            things.push(roots_file(
                Path::new(LOCAL_UNITS).join(unit),
                unit_text(template, &server.place.program),
            ));
        }
        let path = difference_path(unit);
        things.push(match difference(server, unit) {
            Some(text) => roots_file(path, text.into_bytes()),
            None => Thing::Gone(Gone { path, is_rare: true }),
        });
    }
    let at_boot = |unit, starts| Thing::AtBoot(AtBoot { unit, starts });
    things.push(at_boot(PROXY, server.proxy.has_embedded));
    things.push(at_boot(RECOVER, true));
    things
}

fn unit_text(template: &str, program: &Path) -> Vec<u8> {
    let program = program.to_str().expect("a place's path is UTF-8");
    template.replace(UNITS_PROGRAM, program).into_bytes()
}

pub(super) fn difference_path(unit: &str) -> PathBuf {
    Path::new(LOCAL_UNITS).join(format!("{unit}.d")).join(DIFFERENCE)
}

/// What differs on this server from the unit as it is written: the user, and the folder that it writes to.
fn difference(server: &Server, unit: &str) -> Option<String> {
    if unit == PRUNE_TIMER {
        return None;
    }
    let other = server.proxy.other.as_ref().filter(|_| unit == RECOVER);
    if server.user == UNITS_USER && server.state == Path::new(UNITS_STATE) && other.is_none() {
        return None;
    }
    let user = &server.user;
    let mut text = format!(
        "# Written by `deployer install`: what differs from the unit on this server.\n[Service]\nUser={user}\nGroup=\n"
    );
    let writes = match unit {
        PROXY => server.state.join("proxy"),
        _ => server.state.clone(),
    };
    text += &format!("ReadWritePaths=\nReadWritePaths={}\n", writes.display());
    if let Some(other) = other {
        text += &format!("ReadWritePaths={}\n{RECOVER_BY_PROGRAM}", other.folder.display());
    }
    Some(text)
}

/// A file for everybody to read, which only root writes.
fn roots_file(path: PathBuf, text: Vec<u8>) -> Thing {
    Thing::File(File {
        path,
        text,
        mode: 0o644,
        owner: Owner::root(),
        kept_for: None,
    })
}

/// What a Debian package holds beside the program: paths below the root, and what is in them.
pub fn package(texts: &Texts) -> Vec<(PathBuf, Vec<u8>)> {
    let program = super::Place::of(Path::new("/usr/bin/deployer")).program;
    let units = UNITS.map(|(unit, template)| {
        (
            Path::new(PACKAGED_UNITS).join(unit),
            unit_text(template, &program),
        )
    });
    let texts = texts.files(Path::new("/usr/share"), "zsh/vendor-completions");
    units.into_iter().chain(texts).collect()
}

#[cfg(test)]
mod tests {
    use super::super::removal_plan::{uninstall, uninstall_last};
    use super::*;

    fn server(program: &str, user: &str, state: &str) -> Server {
        Server {
            place: super::super::Place::of(Path::new(program)),
            running: program.into(),
            user: user.into(),
            home: "/var/lib/deployer-home".into(),
            owns_home: true,
            state: state.into(),
            keys: None,
            proxy: super::super::ProxyPlan::default(),
            collection: super::super::Collection::None,
            installed: BTreeSet::new(),
            parts: Vec::new(),
        }
    }

    fn names(things: &[Thing]) -> Vec<String> {
        things.iter().map(Thing::to_string).collect()
    }

    #[test]
    fn the_units_say_what_may_differ() {
        for (unit, template) in UNITS.iter().filter(|(unit, _)| *unit != PRUNE_TIMER) {
            assert!(template.contains(UNITS_PROGRAM), "{unit}");
            assert!(template.contains(&format!("\nUser={UNITS_USER}\n")), "{unit}");
        }
        assert!(
            UNITS[0]
                .1
                .contains(&format!("\nReadWritePaths={UNITS_STATE}/proxy\n"))
        );
    }

    #[test]
    fn only_another_user_or_state_folder_needs_more_than_the_unit() {
        assert_eq!(
            difference(&server("/usr/bin/deployer", "deploy", UNITS_STATE), PROXY),
            None
        );
        let other = server("/usr/bin/deployer", "ship", "/srv/ship");
        let text = difference(&other, PROXY).unwrap();
        assert!(text.contains("\nUser=ship\n") && text.contains("\nReadWritePaths=/srv/ship/proxy\n"));
        assert!(
            difference(&other, RECOVER)
                .unwrap()
                .contains("\nReadWritePaths=/srv/ship\n")
        );
    }

    #[test]
    fn what_is_a_packages_is_neither_written_nor_removed() {
        let packaged = server("/usr/bin/deployer", "deploy", UNITS_STATE);
        let texts = Texts {
            manual: vec![("deployer.1".into(), Vec::new())],
            ..Texts::default()
        };
        let held = package(&texts);
        for plan in [
            install(&packaged, &texts),
            uninstall(&packaged, &texts, true),
            uninstall_last(&packaged, true),
        ] {
            for name in names(&plan) {
                assert!(name != "/usr/bin/deployer", "{name}");
                assert!(
                    held.iter().all(|(path, _)| path.to_str() != Some(name.as_str())),
                    "{name}"
                );
            }
        }
    }

    #[test]
    fn data_goes_only_with_purge() {
        let local = server("/root/deployer", "deploy", UNITS_STATE);
        let data = [
            "/var/lib/deployer",
            "/etc/deployer/deployer.toml",
            "the user deploy",
        ];
        let plan = |purge| {
            let mut things = uninstall(&local, &Texts::default(), purge);
            things.extend(uninstall_last(&local, purge));
            names(&things)
        };
        let (kept, purged) = (plan(false), plan(true));
        for one in data {
            assert!(!kept.iter().any(|name| name == one), "{one}");
            assert!(purged.iter().any(|name| name == one), "{one}");
        }
    }
}
