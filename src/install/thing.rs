//! One thing on a server: how it should be, how it is, and making it so.

use std::fmt;
use std::path::PathBuf;

use anyhow::Result;

use super::account::{Member, NoUser, User};
use super::door::{self, Door};
use super::files::{EmptyFolder, File, Folder, Gone, Link, Program, Tree};
use super::found::Found;
use super::installed::Listed;
use super::key_file::KeyFile;
use super::leftovers::Leftovers;
use super::login::Login;
use super::program::{Arguments, Line, NoArguments, Present, SUDOERS, Sudo};
use super::reserved::{self, Reserved, Unreserved};
use super::uncollected::Uncollected;
use super::units::{AtBoot, Running, Stopped, UnitsRead};

/// A thing that should be as it says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Thing {
    /// The user of the operating system that deployer works as.
    User(User),
    /// The user in a group.
    Member(Member),
    /// No such user.
    NoUser(NoUser),
    /// A copy of the program that runs.
    Program(Program),
    /// A folder.
    Folder(Folder),
    /// A file.
    File(File),
    /// A symbolic link.
    Link(Link),
    /// No such file.
    Gone(Gone),
    /// No such folder, unless somebody has put something into it.
    EmptyFolder(EmptyFolder),
    /// No such folder, whatever is in it.
    Tree(Tree),
    /// Several things of one kind, told of in one line.
    Set(Set),
    /// sshd's rules for the user.
    Door(Door),
    /// The file of keys, as sshd takes it.
    KeyFile(KeyFile),
    /// That nothing keeps the user out.
    Login(Login),
    /// A program that somebody else installs.
    Present(Present),
    /// The right to give a few commands as root.
    Sudo(Sudo),
    /// A line in a file of the user's.
    Line(Line),
    /// HAProxy's arguments.
    Arguments(Arguments),
    /// HAProxy without deployer's arguments.
    NoArguments(NoArguments),
    /// The list of what install makes.
    Listed(Listed),
    /// No files of an install that was killed.
    Leftovers(Leftovers),
    /// systemd goes by the units as they are.
    UnitsRead(UnitsRead),
    /// Ports that the kernel gives to no outgoing connection.
    Reserved(Reserved),
    /// No such ports any more.
    Unreserved(Unreserved),
    /// A unit that is started at boot, or is not.
    AtBoot(AtBoot),
    /// A unit that runs, with this program.
    Running(Running),
    /// A unit that does not run.
    Stopped(Stopped),
    /// A registry whose disk nothing frees.
    Uncollected(Uncollected),
}

/// `match` on every kind, all of which have the same three methods.
macro_rules! each {
    ($thing:expr, $kind:ident => $do:expr) => {
        match $thing {
            Thing::User($kind) => $do,
            Thing::Member($kind) => $do,
            Thing::NoUser($kind) => $do,
            Thing::Program($kind) => $do,
            Thing::Folder($kind) => $do,
            Thing::File($kind) => $do,
            Thing::Link($kind) => $do,
            Thing::Gone($kind) => $do,
            Thing::EmptyFolder($kind) => $do,
            Thing::Tree($kind) => $do,
            Thing::Set($kind) => $do,
            Thing::Door($kind) => $do,
            Thing::KeyFile($kind) => $do,
            Thing::Login($kind) => $do,
            Thing::Present($kind) => $do,
            Thing::Sudo($kind) => $do,
            Thing::Line($kind) => $do,
            Thing::Arguments($kind) => $do,
            Thing::NoArguments($kind) => $do,
            Thing::Listed($kind) => $do,
            Thing::Leftovers($kind) => $do,
            Thing::UnitsRead($kind) => $do,
            Thing::Reserved($kind) => $do,
            Thing::Unreserved($kind) => $do,
            Thing::AtBoot($kind) => $do,
            Thing::Running($kind) => $do,
            Thing::Stopped($kind) => $do,
            Thing::Uncollected($kind) => $do,
        }
    };
}

impl Thing {
    /// How it is. Touches nothing.
    ///
    /// # Errors
    /// When it cannot be told, or when making it would take something away from somebody else.
    pub fn look(&self) -> Result<Found> {
        each!(self, kind => kind.look())
    }

    /// Makes it as it should be. Gives what had to be left out of that, if anything.
    ///
    /// # Errors
    /// When that fails.
    pub fn make(&self) -> Result<Option<String>> {
        each!(self, kind => kind.make())
    }

    /// The file or link that it puts on the server for good, where it is one.
    pub(super) fn puts(&self) -> Option<PathBuf> {
        match self {
            Thing::Program(program) => Some(program.to.clone()),
            Thing::Link(link) => Some(link.path.clone()),
            Thing::File(file) if file.kept_for.is_none() => Some(file.path.clone()),
            Thing::Sudo(_) => Some(SUDOERS.into()),
            Thing::Door(_) => Some(door::path()),
            Thing::Reserved(_) => Some(reserved::FILE.into()),
            _ => None,
        }
    }

    /// Whether nothing is said where it is gone already.
    pub(super) fn is_rare(&self) -> bool {
        match self {
            Thing::Gone(gone) => gone.is_rare,
            // What is off and stays so.
            Thing::AtBoot(at_boot) => !at_boot.starts,
            Thing::KeyFile(_)
            | Thing::Login(_)
            | Thing::Stopped(_)
            | Thing::UnitsRead(_)
            | Thing::Leftovers(_)
            | Thing::NoArguments(_)
            | Thing::Uncollected(_)
            | Thing::EmptyFolder(_) => true,
            _ => false,
        }
    }
}

impl fmt::Display for Thing {
    fn fmt(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
        each!(self, kind => to.write_str(&kind.name()))
    }
}

/// Several things of one kind, told of in one line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Set {
    /// What they are together.
    pub name: String,
    /// Each.
    pub things: Vec<Thing>,
}

impl Set {
    fn name(&self) -> String {
        self.name.clone()
    }

    /// What the first is found like that something is to be done about; else what the first is.
    fn look(&self) -> Result<Found> {
        let mut first = Found::There;
        for thing in self.things.iter().rev() {
            first = match (thing.look()?, first) {
                (found, other) if other.is_to_do() && !found.is_to_do() => other,
                (found, _) => found,
            };
        }
        Ok(first)
    }

    fn make(&self) -> Result<Option<String>> {
        let mut notes = Vec::new();
        for thing in &self.things {
            if thing.look()?.is_to_do() {
                notes.extend(thing.make()?);
            }
        }
        Ok((!notes.is_empty()).then(|| notes.join("; ")))
    }
}
