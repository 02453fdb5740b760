//! The forced command of a key's line: what sshd runs for that key, whatever its holder asked for.

use std::path::{Path, PathBuf};

use super::words::quoted;
use crate::model::{AppName, Grant, KeyName, Role, Slot};

/// `PROGRAM [--config FILE] ssh --key NAME --role ROLE [--app APP]… [--slot SLOT]…`: who it is, and the whole grant.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ForcedCommand {
    /// The program's path, absolute.
    pub program: PathBuf,
    /// The configuration's path, absolute; absent where it is the usual one.
    pub config: Option<PathBuf>,
    /// The key.
    pub key: KeyName,
    /// What it may do.
    pub grant: Grant,
}

/// A path that cannot stand in the file of keys.
#[derive(Debug, thiserror::Error)]
#[error(
    "the path {0:?} cannot stand in the file of keys: it must be absolute, in UTF-8, and without control characters, double quotes and backslashes"
)]
pub struct ForcedCommandError(PathBuf);

impl ForcedCommand {
    /// The command as one line for a shell, which is how sshd runs it. It has no double quote and no backslash but
    /// in `'\''`, and no control character.
    ///
    /// # Errors
    /// When one of the paths cannot be written so.
    pub fn to_line(&self) -> Result<String, ForcedCommandError> {
        let mut words = vec![plain(&self.program)?];
        if let Some(config) = &self.config {
            words.extend(["--config", plain(config)?]);
        }
        words.extend([
            "ssh",
            "--key",
            self.key.as_str(),
            "--role",
            self.grant.role.as_str(),
        ]);
        for app in &self.grant.apps {
            words.extend(["--app", app.as_str()]);
        }
        for slot in &self.grant.slots {
            words.extend(["--slot", slot.as_str()]);
        }
        Ok(words.into_iter().map(quoted).collect::<Vec<_>>().join(" "))
    }

    /// The forced command that `words` are; `None` where they are anything else, or more.
    pub fn read(words: &[String]) -> Option<Self> {
        let mut words = words.iter().map(String::as_str).peekable();
        let absolute = |path: &str| Some(PathBuf::from(path)).filter(|path| path.is_absolute());
        let program = absolute(words.next()?)?;
        let config = match words.next_if_eq(&"--config") {
            Some(_) => Some(absolute(words.next()?)?),
            None => None,
        };
        words.next_if_eq(&"ssh")?;
        words.next_if_eq(&"--key")?;
        let key: KeyName = words.next()?.parse().ok()?;
        words.next_if_eq(&"--role")?;
        let role: Role = words.next()?.parse().ok()?;
        let (mut apps, mut slots) = (Vec::new(), Vec::new());
        while let Some(option) = words.next() {
            match option {
                "--app" => apps.push(words.next()?.parse::<AppName>().ok()?),
                "--slot" => slots.push(words.next()?.parse::<Slot>().ok()?),
                _ => return None,
            }
        }
        Some(Self {
            program,
            config,
            key,
            grant: Grant { role, apps, slots },
        })
    }
}

fn plain(path: &Path) -> Result<&str, ForcedCommandError> {
    let text = path.to_str().filter(|text| {
        path.is_absolute() && !text.contains(|c: char| c.is_control() || c == '"' || c == '\\')
    });
    text.ok_or_else(|| ForcedCommandError(path.to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ssh::split;

    fn command() -> ForcedCommand {
        ForcedCommand {
            program: "/opt/it's here/deployer".into(),
            config: Some("/etc/other.toml".into()),
            key: "ada@laptop".parse().unwrap(),
            grant: Grant {
                role: Role::Operate,
                apps: vec!["shop".parse().unwrap(), "blog".parse().unwrap()],
                slots: vec![Slot::Green],
            },
        }
    }

    #[test]
    fn a_forced_command_is_read_as_it_was_written() {
        let line = command().to_line().unwrap();
        assert_eq!(
            line,
            r"'/opt/it'\''s here/deployer' --config /etc/other.toml ssh --key ada@laptop --role operate --app shop --app blog --slot green"
        );
        assert_eq!(
            ForcedCommand::read(&split(line.as_bytes()).unwrap()),
            Some(command())
        );
        let bare = ForcedCommand {
            config: None,
            ..command()
        };
        let line = bare.to_line().unwrap();
        assert_eq!(ForcedCommand::read(&split(line.as_bytes()).unwrap()), Some(bare));
    }

    #[test]
    fn anything_else_is_no_forced_command() {
        for other in [
            "",
            "/bin/deployer",
            "/bin/deployer status",
            "deployer ssh --key a --role read",
            "/bin/deployer ssh --key a",
            "/bin/deployer ssh --role read --key a",
            "/bin/deployer ssh --key a --role root",
            "/bin/deployer ssh --key -a --role read",
            "/bin/deployer ssh --key a --role read x",
            "/bin/deployer ssh --key a --role read --app",
            "/bin/deployer ssh --key a --role read --slot red",
            "/bin/deployer --config rel.toml ssh --key a --role read",
            "/bin/deployer --color always ssh --key a --role read",
        ] {
            assert_eq!(
                ForcedCommand::read(&split(other.as_bytes()).unwrap()),
                None,
                "{other}"
            );
        }
    }

    #[test]
    fn a_path_that_a_line_cannot_hold_is_refused() {
        for path in ["deployer", "/a\"b", "/a\\b", "/a\nb"] {
            let odd = ForcedCommand {
                program: path.into(),
                ..command()
            };
            assert!(odd.to_line().is_err(), "{path}");
        }
    }
}
