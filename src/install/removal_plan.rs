//! The plan of what is taken away from a server, in the order in which it can go.

use std::collections::BTreeSet;
use std::ffi::OsStr;
use std::path::{Path, PathBuf};

use super::account::{NoUser, SHELL_NAME};
use super::door::Door;
use super::files::{EmptyFolder, Gone, Tree};
use super::installed::{self, Entry};
use super::plan::{
    DIFFERENCE, HAPROXY, PROXY, RECOVER, Texts, UNITS, configuration_folder, difference_path, leftovers,
    rarely_gone,
};
use super::program::{HAPROXY_DIFFERENCE, NGINX_INCLUDES, NoArguments, SUDOERS};
use super::reserved::Unreserved;
use super::server::Server;
use super::thing::{Set, Thing};
use super::units::{AtBoot, LOCAL_UNITS, Stopped, UnitsRead};
use crate::config;
use crate::model::Program;

/// Everything that [`super::plan::install`] put there and is no data, in the order in which it can go. With `purge`, then the data
/// and the user too. What is a package's stays: that goes with the package.
pub fn uninstall(server: &Server, texts: &Texts, purge: bool) -> Vec<Thing> {
    let mut things: Vec<Thing> = [RECOVER, PROXY]
        .into_iter()
        .flat_map(|unit| {
            [
                Thing::Stopped(Stopped { unit }),
                Thing::AtBoot(AtBoot { unit, starts: false }),
            ]
        })
        .collect();
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
    things.push(leftovers(server.installed.iter()));
    things.push(Thing::UnitsRead(UnitsRead {
        units: vec![PROXY, RECOVER, HAPROXY],
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
    things.push(rarely_gone(installed::PATH));
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
    let files = [SUDOERS].into_iter().chain(NGINX_INCLUDES);
    let mut things: Vec<Thing> = files.map(rarely_gone).collect();
    let name = Path::new(HAPROXY_DIFFERENCE)
        .file_name()
        .and_then(OsStr::to_str)
        .expect("it is a file");
    things.extend(no_difference(Path::new(HAPROXY_DIFFERENCE), name));
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
