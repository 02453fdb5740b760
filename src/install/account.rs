//! Users and groups of the operating system: who they are, and the one that deployer works as.

use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use anyhow::{Context, Result, bail};

use super::found::{Found, Verb};
use super::tool;

/// The file name of the login shell of deployer's user: a link to the program, which knows itself by it.
pub(super) const SHELL_NAME: &str = "deployer-shell";

/// What userdel ends with while a process is the user's.
const IN_USE: i32 = 8;
/// How long the user's processes are waited for: a release's worker tidies up behind its release.
const PROCESSES_END: Duration = Duration::from_secs(10);

/// What a user may do with shells like these is nothing: they may be replaced.
const NO_SHELLS: [&str; 4] = ["nologin", "false", "git-shell", SHELL_NAME];

/// What getent ends with when there is no such entry.
const NOT_FOUND: i32 = 2;

/// Which field of a line of shadow(5) has the day on which the account expires, from 0.
const EXPIRY_FIELD: usize = 7;
/// Seconds of a day, which shadow(5) counts from 1970 on.
const DAY: u64 = 86_400;

/// A user of the operating system.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Account {
    /// The name.
    pub name: String,
    /// The user's number.
    pub uid: u32,
    /// The number of the first of the user's groups.
    pub gid: u32,
    /// The home.
    pub home: PathBuf,
    /// The login shell.
    pub shell: PathBuf,
}

impl Account {
    /// The user called `name`, wherever the system keeps its users; `None` where there is none.
    ///
    /// # Errors
    /// When the system does not tell.
    pub fn named(name: &str) -> Result<Option<Account>> {
        entry("passwd", name)?
            .map(|line| Account::parse(&line))
            .transpose()
    }

    /// The user with the number `uid`.
    ///
    /// # Errors
    /// As [`Account::named`].
    pub fn numbered(uid: u32) -> Result<Option<Account>> {
        Account::named(&uid.to_string())
    }

    fn parse(line: &str) -> Result<Account> {
        let fields: Vec<&str> = line.split(':').collect();
        let [name, _, uid, gid, _, home, shell] = fields[..] else {
            bail!("the system's entry of a user has not seven fields: {line}");
        };
        Ok(Account {
            name: name.to_owned(),
            uid: uid.parse().context("a user's number is no number")?,
            gid: gid.parse().context("a group's number is no number")?,
            home: home.into(),
            shell: shell.into(),
        })
    }
}

/// The entry of `key` in one of the system's databases.
fn entry(database: &str, key: &str) -> Result<Option<String>> {
    let said = tool::run("getent", &[database, key])?;
    match said.code {
        Some(0) => Ok(said.out.lines().next().map(str::to_owned)),
        Some(NOT_FOUND) => Ok(None),
        _ => bail!("the system does not tell of {key}: {}", said.last_words()),
    }
}

/// That the account of `user` has expired, with what ends that; none where it has not. The day is in the system's own
/// database, and both sshd and PAM go by it.
pub(super) fn expired(user: &str) -> Result<Option<String>> {
    let shadow = entry("shadow", user)?;
    let day = shadow
        .as_deref()
        .and_then(|line| line.split(':').nth(EXPIRY_FIELD));
    let day: Option<u64> = day.and_then(|day| day.parse().ok());
    let now = SystemTime::now().duration_since(UNIX_EPOCH)?.as_secs() / DAY;
    Ok(day
        .filter(|day| *day <= now)
        .map(|_| format!("the account of {user} has expired: `chage -E -1 {user}`")))
}

/// The user that deployer works as.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct User {
    /// The name.
    pub name: String,
    /// The home that a new one gets.
    pub home: PathBuf,
    /// The login shell: the program itself, which takes the command of a key and nothing else.
    pub shell: PathBuf,
}

impl User {
    pub(super) fn name(&self) -> String {
        format!("the user {}", self.name)
    }

    pub(super) fn look(&self) -> Result<Found> {
        let Some(account) = Account::named(&self.name)? else {
            return Ok(Found::ToDo(Verb::Create, String::new()));
        };
        if account.uid == 0 {
            bail!(
                "{} is root, whom nobody may be over ssh: `--user NAME` takes another user",
                self.name
            );
        }
        if account.shell != self.shell {
            self.may_lose(&account.shell)?;
            let how = format!(
                "login shell {} instead of {}",
                self.shell.display(),
                account.shell.display()
            );
            return Ok(Found::ToDo(Verb::Change, how));
        }
        // sshd takes a password that begins with ! for a locked account, which no key opens.
        if self.is_locked()? {
            return Ok(Found::ToDo(
                Verb::Change,
                "no password, instead of a locked account".into(),
            ));
        }
        Ok(Found::There)
    }

    /// Refuses to take a shell away that somebody may log in with.
    fn may_lose(&self, shell: &Path) -> Result<()> {
        let name = shell.file_name().unwrap_or_default();
        if NO_SHELLS.iter().any(|harmless| name == *harmless) {
            return Ok(());
        }
        bail!(
            "the user {0} is there and has the login shell {1}, which it would lose: `--user NAME` takes another user; \
             where {0} is to be deployer's alone, `usermod --shell /usr/sbin/nologin {0}` first",
            self.name,
            shell.display()
        )
    }

    fn is_locked(&self) -> Result<bool> {
        let shadow = entry("shadow", &self.name)?;
        let password = shadow.as_deref().and_then(|line| line.split(':').nth(1));
        Ok(password.is_some_and(|password| password.starts_with('!')))
    }

    pub(super) fn make(&self) -> Result<Option<String>> {
        let (name, home, shell) = (self.name.as_str(), text(&self.home)?, text(&self.shell)?);
        if Account::named(name)?.is_none() {
            let group = match entry("group", name)? {
                Some(_) => vec!["--gid", name],
                None => vec!["--user-group"],
            };
            let rest = [
                "--system",
                "--no-create-home",
                "--home-dir",
                home,
                "--shell",
                shell,
                "--password",
                "*",
                name,
            ];
            tool::must("useradd", &[group.as_slice(), &rest].concat())?;
            return Ok(None);
        }
        tool::must("usermod", &["--shell", shell, name])?;
        if self.is_locked()? {
            tool::must("usermod", &["--password", "*", name])?;
        }
        Ok(None)
    }
}

fn text(path: &Path) -> Result<&str> {
    path.to_str()
        .with_context(|| format!("{} is not UTF-8", path.display()))
}

/// A user in a group beside its first one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Member {
    /// The user.
    pub user: String,
    /// The group.
    pub group: String,
}

impl Member {
    pub(super) fn name(&self) -> String {
        format!("{} in the group {}", self.user, self.group)
    }

    pub(super) fn look(&self) -> Result<Found> {
        let Some(group) = entry("group", &self.group)? else {
            let why = format!(
                "there is no group {} here; install docker.io, or docker-ce, then `deployer install` again",
                self.group
            );
            return Ok(Found::LeftOut(why));
        };
        let members = group.rsplit(':').next().unwrap_or_default();
        if members.split(',').any(|member| member == self.user) {
            return Ok(Found::There);
        }
        Ok(Found::ToDo(Verb::Change, String::new()))
    }

    pub(super) fn make(&self) -> Result<Option<String>> {
        tool::must("usermod", &["--append", "--groups", &self.group, &self.user])?;
        Ok(None)
    }
}

/// A user who is to be no more. The files stay.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NoUser {
    /// The name.
    pub name: String,
    /// The user's login shell where it is deployer's: another one has another owner, and stays.
    pub shell: PathBuf,
}

impl NoUser {
    pub(super) fn name(&self) -> String {
        format!("the user {}", self.name)
    }

    pub(super) fn look(&self) -> Result<Found> {
        Ok(match Account::named(&self.name)? {
            None => Found::Gone,
            Some(account) if account.shell == self.shell => Found::ToDo(Verb::Remove, String::new()),
            Some(account) => Found::LeftOut(format!(
                "it has the login shell {}, which is not deployer's",
                account.shell.display()
            )),
        })
    }

    pub(super) fn make(&self) -> Result<Option<String>> {
        tool::must_when_free("userdel", &[&self.name], IN_USE, PROCESSES_END)?;
        Ok(None)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_account_is_read_from_the_systems_line() {
        let account =
            Account::parse("deploy:x:998:997:x y:/var/lib/deployer-home:/usr/sbin/nologin").unwrap();
        assert_eq!((account.uid, account.gid), (998, 997));
        assert_eq!(account.home, Path::new("/var/lib/deployer-home"));
        assert_eq!(account.shell, Path::new("/usr/sbin/nologin"));
        assert!(Account::parse("deploy:x:998").is_err());
    }
}
