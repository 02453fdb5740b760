//! The plan of what is taken away from a server, in the order in which it can go.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use super::account::{NoUser, SHELL_NAME};
use super::collection::{self, PRUNE, PRUNE_TIMER, TIMER_STAMP};
use super::door::Door;
use super::files::{EmptyFolder, Gone, Tree};
use super::installed::{self, Entry};
use super::plan::{
    DIFFERENCE, PROGRAMS, PROXY, RECOVER, Texts, UNITS, configuration_folder, difference_path, leftovers,
    rarely_gone,
};
use super::program::{self, NGINX_INCLUDES, NoArguments, SUDOERS};
use super::reserved::Unreserved;
use super::server::Server;
use super::thing::{Set, Thing};
use super::uncollected;
use super::units::{AtBoot, LOCAL_UNITS, Stopped, UnitsRead};
use crate::config;
use crate::model::Program;
use crate::registry::COLLECT_UNIT;

/// Everything that [`super::plan::install`] put there and is no data, in the order in which it can go. With `purge`, then the data
/// and the user too. What is a package's stays: that goes with the package.
pub fn uninstall(server: &Server, texts: &Texts, purge: bool) -> Vec<Thing> {
    // Before the folders that they keep from being empty.
    let mut things = vec![leftovers(server, server.installed.iter())];
    things.extend(collection::stopped());
    for unit in [RECOVER, PROXY] {
        things.push(Thing::Stopped(Stopped { unit }));
        things.push(Thing::AtBoot(AtBoot { unit, starts: false }));
    }
    things.push(Thing::Door(Door { rules: None }));
    things.push(Thing::Unreserved(Unreserved {
        ports: server.proxy.ports.clone(),
    }));
    for (unit, _) in UNITS {
        things.extend(no_difference(&difference_path(unit), DIFFERENCE));
        if !server.place.is_packaged {
            things.push(gone(Path::new(LOCAL_UNITS).join(unit)));
        }
    }
    things.push(rarely_gone(TIMER_STAMP.into()));
    things.push(Thing::Gone(Gone {
        path: uncollected::path(),
        is_rare: true,
    }));
    things.extend(no_program(server));
    things.push(gone(server.place.shell.clone()));
    things.push(empty(
        server
            .place
            .shell
            .parent()
            .expect("a link stands in a folder")
            .to_owned(),
        &[SHELL_NAME],
    ));
    if !server.place.is_packaged {
        let files = texts.local().into_iter().map(|(path, _)| gone(path));
        things.push(set(texts.told(), files));
    }
    things.extend(listed_files(server));
    things.push(Thing::UnitsRead(UnitsRead {
        units: [PROXY, RECOVER, PRUNE, PRUNE_TIMER, COLLECT_UNIT]
            .into_iter()
            .chain(PROGRAMS)
            .collect(),
    }));
    things.push(Thing::NoArguments(NoArguments {
        folders: server.parts.clone(),
    }));
    if purge {
        things.extend(data(server));
    }
    things
}

/// What goes once all of [`uninstall`] has gone, since it is what that is done again with.
pub fn uninstall_last(server: &Server, purge: bool) -> Vec<Thing> {
    let mut things = Vec::new();
    if purge {
        things.push(gone(config::DEFAULT_PATH.into()));
    }
    things.push(rarely_gone(installed::PATH.into()));
    if purge {
        things.push(empty(configuration_folder(), &["deployer.toml", installed::NAME]));
    }
    if !server.place.is_packaged {
        things.push(gone(server.place.program.clone()));
    }
    things
}

/// Files that are on the list: those of an older program, too. Those that this plan removes anyway are gone by then. The
/// program itself goes last, and what is a package's goes with that.
fn listed_files(server: &Server) -> Vec<Thing> {
    let is_last = |path: &Path| path == server.place.program || path.starts_with("/usr/lib/deployer");
    let files = server.installed.iter().filter_map(|entry| match entry {
        Entry::File(path) if !is_last(path) => Some(path),
        _ => None,
    });
    files
        .map(|path| {
            Thing::Gone(Gone {
                path: path.clone(),
                is_rare: true,
            })
        })
        .collect()
}

/// What another program read of deployer's, whichever it was.
fn no_program(server: &Server) -> Vec<Thing> {
    let files = [SUDOERS].into_iter().chain(NGINX_INCLUDES).map(PathBuf::from);
    let mut things: Vec<Thing> = files.map(rarely_gone).collect();
    for program in Program::ALL {
        things.extend(no_difference(&program::difference(program), program::DIFFERENCE));
    }
    things.extend(server.parts.iter().map(|part| tree(part)));
    let listed = server.installed.iter().filter_map(|entry| match entry {
        Entry::Part(path) => path.parent(),
        Entry::File(_) => None,
    });
    // Those of parts that an uninstall which was broken off has removed, too.
    let above: BTreeSet<&Path> = listed
        .chain(server.parts.iter().filter_map(|part| part.parent()))
        .collect();
    for folder in above {
        let is_ours = |program: &Program| server.parts.contains(&folder.join(program.as_str()));
        let ours: Vec<&str> = Program::ALL
            .iter()
            .filter(|program| is_ours(program))
            .map(|program| program.as_str())
            .collect();
        things.push(empty(folder.to_owned(), &ours));
    }
    things
}

/// No file that differs from a unit, and no folder of such files where there are no others.
fn no_difference(path: &Path, name: &'static str) -> [Thing; 2] {
    let folder = path.parent().expect("it is in a folder").to_owned();
    [
        Thing::Gone(Gone {
            path: path.to_owned(),
            is_rare: true,
        }),
        empty(folder, &[name]),
    ]
}

/// The data and the user, in the order in which they can go.
fn data(server: &Server) -> Vec<Thing> {
    let mut things = vec![
        tree(&server.state),
        Thing::NoUser(NoUser {
            name: server.user.clone(),
            shell: server.place.shell.clone(),
        }),
    ];
    if server.owns_home {
        things.push(tree(&server.home));
    }
    things
}

fn tree(path: &Path) -> Thing {
    Thing::Tree(Tree {
        path: path.to_owned(),
    })
}

fn set(name: String, things: impl Iterator<Item = Thing>) -> Thing {
    let things = things.collect();
    Thing::Set(Set { name, things })
}

fn gone(path: PathBuf) -> Thing {
    Thing::Gone(Gone { path, is_rare: false })
}

fn empty(path: PathBuf, ours: &[&'static str]) -> Thing {
    Thing::EmptyFolder(EmptyFolder {
        path,
        ours: ours.to_vec(),
    })
}
