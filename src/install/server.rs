//! The facts about a server that a plan is made from.

use std::collections::BTreeSet;
use std::ops::RangeInclusive;
use std::path::{Path, PathBuf};

use anyhow::{Result, bail};

use super::account::{Account, SHELL_NAME};
use super::collection::Collection;
use super::installed::{self, Entry};
use super::open_folder::OpenFolder;
use super::other::Other;
use crate::model::{PortSet, Program};

/// Where a Debian package has the program.
const PACKAGED: &str = "/usr/bin/deployer";
/// Where the program is copied to otherwise.
const LOCAL: &str = "/usr/local/bin/deployer";
/// The home of a user that deployer made: how one gets in, beside the state folder, which is what deployer keeps.
const HOME: &str = "/var/lib/deployer-home";
/// `proxy.folder` where the configuration names none.
const FOLDER: &str = "/var/lib/deployer-proxy";
/// The longest name of a user that useradd takes.
const USER_MAX: usize = 32;

/// Where a server has the program and what belongs to it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Place {
    /// The program.
    pub program: PathBuf,
    /// The link to it that is a login shell.
    pub shell: PathBuf,
    /// Whether program, units, manual and completions are a Debian package's.
    pub is_packaged: bool,
}

impl Place {
    /// The place for a program that runs from `program`: that of a package, else /usr/local.
    pub fn of(program: &Path) -> Place {
        let is_packaged = program == Path::new(PACKAGED);
        let (program, lib) = match is_packaged {
            true => (PACKAGED, "/usr/lib/deployer"),
            false => (LOCAL, "/usr/local/lib/deployer"),
        };
        Place {
            program: program.into(),
            shell: Path::new(lib).join(SHELL_NAME),
            is_packaged,
        }
    }
}

/// A server: what a plan is made from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Server {
    /// Where the program goes.
    pub place: Place,
    /// The program that runs.
    pub running: PathBuf,
    /// The user that deployer works as.
    pub user: String,
    /// The user's home.
    pub home: PathBuf,
    /// Whether the home is deployer's own, and so goes with the user.
    pub owns_home: bool,
    /// The state folder.
    pub state: PathBuf,
    /// The file of keys, where it is not the one in the user's home.
    pub keys: Option<PathBuf>,
    /// The proxy.
    pub proxy: ProxyPlan,
    /// What frees the registry's disk.
    pub collection: Collection,
    /// What install ever made here, by its list.
    pub installed: BTreeSet<Entry>,
    /// The folders with deployer's part of another program's configuration that are there, of every program that ever was
    /// the proxy.
    pub parts: Vec<PathBuf>,
}

/// Which proxy a server is to have.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ProxyPlan {
    /// The program that deployer.toml names, where it is not the embedded one.
    pub other: Option<Other>,
    /// The program that traffic goes through now, where there is one.
    pub in_use: Option<Program>,
    /// The commands that deployer gives both programs as root, where the configuration names no others.
    pub commands: Vec<Vec<String>>,
    /// Whether the embedded proxy runs: it is wanted, or traffic still goes through it.
    pub has_embedded: bool,
    /// `proxy.folder`, whichever the proxy is.
    pub folder: PathBuf,
    /// The ports that it listens on, and those that the next apps get.
    pub ports: PortSet,
}

/// The slot ports of the first fifty apps that are given none by the configuration.
const SLOT_PORTS: RangeInclusive<u16> = 50100..=50199;

impl ProxyPlan {
    /// `ports`, which the configuration and the apps have, and those that the next apps get. Ports below 1024 are given
    /// to nobody who does not ask for them.
    pub fn ports_with(ports: impl IntoIterator<Item = u16>) -> PortSet {
        let ports = ports.into_iter().filter(|port| *port >= 1024);
        SLOT_PORTS.chain(ports).collect()
    }
}

impl Default for ProxyPlan {
    /// The embedded one alone.
    fn default() -> Self {
        Self {
            other: None,
            in_use: None,
            commands: Vec::new(),
            has_embedded: true,
            folder: FOLDER.into(),
            ports: Self::ports_with([]),
        }
    }
}

impl Server {
    /// The facts about this server, for the program `running`, a user that may still have to be made, and the
    /// configuration's state folder, file of keys, proxy and registry.
    ///
    /// # Errors
    /// When the user's name or a path cannot stand in a unit.
    pub fn find(
        running: &Path,
        user: &str,
        state: &Path,
        keys: Option<&Path>,
        proxy: ProxyPlan,
        collection: Collection,
    ) -> Result<Server> {
        check_name(user)?;
        if let Some(other) = &proxy.other {
            check_path("proxy.folder", &other.folder)?;
        }
        for (what, path) in [("the state folder", Some(state)), ("the file of keys", keys)] {
            path.map_or(Ok(()), |path| check_path(what, path))?;
        }
        let account = Account::named(user)?;
        let installed = installed::read()?;
        let parts = parts(&installed, &proxy.folder, account.as_ref())?;
        let home = account.map_or(HOME.into(), |account| account.home);
        Ok(Server {
            place: Place::of(running),
            running: running.to_owned(),
            user: user.to_owned(),
            owns_home: home == Path::new(HOME),
            home,
            state: state.to_owned(),
            keys: keys.map(Path::to_owned),
            proxy,
            collection,
            installed,
            parts,
        })
    }

    /// Refuses a state folder that holds something of another user's: it would be out of deployer's reach, or somebody
    /// would lose it. With `takes_nobodys`, one whose owner is no user any more is taken.
    ///
    /// # Errors
    /// When it is another's, or cannot be looked at.
    pub fn check_state(&self, takes_nobodys: bool) -> Result<()> {
        let account = Account::named(&self.user)?;
        if takes_nobodys
            && let Some(folder) = OpenFolder::at(&self.state)?
            && Account::numbered(folder.uid())?.is_none()
        {
            return Ok(());
        }
        check_owner(&self.state, &self.user, account.as_ref())
    }

    /// The file of keys that sshd is to read.
    pub(super) fn key_file(&self) -> PathBuf {
        let usual = || self.home.join(".ssh/authorized_keys");
        self.keys.clone().unwrap_or_else(usual)
    }

    /// Refuses a second installation: the two would take each other's units, user and rules of sshd.
    ///
    /// # Errors
    /// When deployer is on this server as a package and by hand too.
    pub fn check_alone(&self) -> Result<()> {
        if self.place.is_packaged && Path::new(LOCAL).exists() {
            bail!(
                "deployer is at {LOCAL} too, put there by hand: `{LOCAL} uninstall --yes` takes that away and keeps all \
                 data; then `{PACKAGED} install`, and `deployer app create` for each app, since the hooks name the program"
            );
        }
        if !self.place.is_packaged && Path::new(PACKAGED).exists() {
            bail!(
                "deployer is at {PACKAGED} already, as a Debian package: install a newer package, or `apt-get remove \
                 deployer` first, which keeps all data"
            );
        }
        Ok(())
    }
}

fn check_name(user: &str) -> Result<()> {
    let good = user.starts_with(|c: char| c.is_ascii_lowercase() || c == '_')
        && user
            .bytes()
            .all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b"_-".contains(&b))
        && user.len() <= USER_MAX;
    if !good {
        bail!(
            "{user:?} is no user's name: {USER_MAX} characters at most of a-z, 0-9, _ and -, beginning with a letter"
        );
    }
    if user == "root" {
        bail!("root is whom nobody may be over ssh: `--user NAME` takes another user");
    }
    Ok(())
}

/// Units and sshd have a quoting of their own; a path that needs none is within reach of everybody.
fn check_path(what: &str, path: &Path) -> Result<()> {
    let text = path.to_str().unwrap_or_default();
    let good = path.is_absolute()
        && path.components().count() > 2
        && text
            .bytes()
            .all(|b| b.is_ascii_alphanumeric() || b"/._-+@".contains(&b));
    if !good {
        bail!(
            "{what} {} cannot stand in a unit or a rule of sshd: it must be an absolute path of A-Z, a-z, 0-9, ., _, -, + \
             and @, and not right below /",
            path.display()
        );
    }
    Ok(())
}

/// The folders with deployer's part that are there: those on the list, and those of before there was one, which are the
/// user's, or of a user who is no more.
fn parts(installed: &BTreeSet<Entry>, folder: &Path, account: Option<&Account>) -> Result<Vec<PathBuf>> {
    let mut found = BTreeSet::new();
    for entry in installed {
        if let Entry::Part(path) = entry
            && OpenFolder::at(path)?.is_some()
        {
            found.insert(path.clone());
        }
    }
    for path in [folder, Path::new(FOLDER)] {
        for path in Program::ALL.map(|program| path.join(program.as_str())) {
            let Some(part) = OpenFolder::at(&path)? else {
                continue;
            };
            let is_users = account.is_some_and(|account| account.uid == part.uid());
            if is_users || (part.uid() != 0 && Account::numbered(part.uid())?.is_none()) {
                found.insert(path);
            }
        }
    }
    Ok(found.into_iter().collect())
}

/// What is in the folder of another user would be out of deployer's reach afterwards.
fn check_owner(state: &Path, user: &str, account: Option<&Account>) -> Result<()> {
    let Some(folder) = OpenFolder::at(state)? else {
        return Ok(());
    };
    if account.is_some_and(|account| account.uid == folder.uid()) || folder.names(1)?.is_empty() {
        return Ok(());
    }
    let remedy = match account {
        Some(_) => format!("`chown -R {user}: {}`", state.display()),
        None => format!(
            "`useradd --system --home-dir {HOME} --shell /usr/sbin/nologin {user}` and `chown -R {user}: {}`",
            state.display()
        ),
    };
    let remedy = format!("with nothing of deployer running, {remedy}, then this again");
    match Account::numbered(folder.uid())? {
        Some(Account { name: owner, .. }) => bail!(
            "the state folder {} is {owner}'s and holds something: `--user {owner}` where deployer worked as {owner}; else, \
             {remedy}",
            state.display()
        ),
        None => bail!(
            "the state folder {} holds something and is the user's with the number {}, who has no name here, as after it \
             was copied from another machine: {remedy}",
            state.display(),
            folder.uid()
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_paths_that_units_misread_are_refused() {
        for good in ["deploy", "_ship", "a-1"] {
            check_name(good).unwrap();
        }
        for bad in [
            "",
            "-a",
            "Deploy",
            "a b",
            "a\nMatch all",
            "root",
            "1a",
            &"a".repeat(33),
        ] {
            check_name(bad).unwrap_err();
        }
        for good in ["/var/lib/deployer", "/srv/a+b/c@d"] {
            check_path("the state folder", Path::new(good)).unwrap();
        }
        for bad in [
            "/",
            "/srv",
            "state",
            "/srv/a b",
            "/srv/50%",
            "/srv/a\"b",
            "/srv/a\nb",
        ] {
            check_path("the state folder", Path::new(bad)).unwrap_err();
        }
    }

    #[test]
    fn a_program_of_a_package_stays_where_it_is() {
        let packaged = Place::of(Path::new("/usr/bin/deployer"));
        assert!(packaged.is_packaged);
        assert_eq!(packaged.shell, Path::new("/usr/lib/deployer/deployer-shell"));
        let built = Place::of(Path::new("/root/deployer/target/release/deployer"));
        assert_eq!(built.program, Path::new("/usr/local/bin/deployer"));
        assert_eq!(built, Place::of(Path::new("/usr/local/bin/deployer")));
    }
}
