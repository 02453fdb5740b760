//! The door: what sshd lets whoever comes as deployer's user do, in a file of its own beside sshd's configuration.
//!
//! The forced command of a key decides; these rules are the second lock. sshd is asked about its configuration before
//! and after, and a file that it does not take is taken back.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use jiff::Timestamp;

use super::files::{File, Gone, Owner};
use super::found::{Found, Verb};
use super::sshd::{self, InForce, ORIGINS, RUN};
use super::{tool, units};
use crate::ground::failpoint;

/// sshd's own configuration.
const SSHD_CONFIG: &str = "/etc/ssh/sshd_config";
/// The folder of further files that Debian's includes.
const FOLDER: &str = "/etc/ssh/sshd_config.d";
/// sshd's unit, as Debian and others call it.
const UNITS: [&str; 2] = ["ssh.service", "sshd.service"];
/// What systemctl ends with for a unit that is not there.
const NO_SUCH_UNIT: i32 = 5;

/// Whether sshd has rules for the user, or is to have none of deployer's.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Door {
    /// Whom the rules are for; none where they are to be taken away.
    pub rules: Option<Rules>,
}

/// Whom sshd has rules for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rules {
    /// The user.
    pub user: String,
    /// The file of keys, where it is not the one in the user's home.
    pub keys: Option<PathBuf>,
}

impl Door {
    pub(super) fn name(&self) -> String {
        path().display().to_string()
    }

    fn file(&self) -> Option<File> {
        self.rules.as_ref().map(|rules| file(rules.text().into_bytes()))
    }

    pub(super) fn look(&self) -> Result<Found> {
        let (Some(file), Some(rules)) = (self.file(), &self.rules) else {
            return Ok(match gone().look()? {
                Found::Gone => unread()?.unwrap_or(Found::Gone),
                other => other,
            });
        };
        if tool::find("sshd").is_none() {
            return Ok(Found::LeftOut(
                "there is no sshd here; install openssh-server, then `deployer install` again".into(),
            ));
        }
        if let Some(refusal) = sshd::refusal()? {
            return Ok(Found::LeftOut(format!(
                "sshd refuses its configuration: {refusal}"
            )));
        }
        match file.look()? {
            Found::There => Ok(match rules.look_whether_in_force()? {
                Found::There => unread()?.unwrap_or(Found::There),
                other => other,
            }),
            other => Ok(other),
        }
    }

    pub(super) fn make(&self) -> Result<Option<String>> {
        if !Path::new(RUN).exists() {
            fs::create_dir(RUN).with_context(|| format!("cannot make {RUN}"))?;
        }
        if let Some(rules) = &self.rules
            && let Some(refusal) = sshd::refusal_of(&rules.text(), SSHD_CONFIG)?
        {
            bail!(
                "sshd refuses what {} is to say: {refusal}. It was not written; sshd is as before",
                path().display()
            );
        }
        match self.file() {
            Some(file) => file.make()?,
            None if gone().look()?.is_to_do() => gone().make()?,
            None => None,
        };
        failpoint::at("sshd.rules");
        reload()
    }
}

/// Where the rules are.
pub(super) fn path() -> PathBuf {
    Path::new(FOLDER).join("50-deployer.conf")
}

fn file(text: Vec<u8>) -> File {
    File {
        path: path(),
        text,
        mode: 0o644,
        owner: Owner::root(),
        kept_for: None,
    }
}

fn gone() -> Gone {
    Gone {
        path: path(),
        is_rare: false,
    }
}

impl Rules {
    fn text(&self) -> String {
        let text = include_str!("../../templates/sshd/50-deployer.conf")
            .replace("Match User deploy\n", &format!("Match User {}\n", self.user));
        match &self.keys {
            None => text,
            Some(keys) => text.replace(
                "AuthorizedKeysFile .ssh/authorized_keys\n",
                &format!("AuthorizedKeysFile {}\n", keys.display()),
            ),
        }
    }

    /// Whether the rules are what sshd goes by: it may not read the file, or another line that it reads before wins.
    fn look_whether_in_force(&self) -> Result<Found> {
        for from in ORIGINS {
            let in_force = match InForce::of(&self.user, from)? {
                Ok(in_force) => in_force,
                // Told of as the way in.
                Err(_) => return Ok(Found::There),
            };
            let unmet = self.unmet(&in_force);
            let Some((rule, instead)) = unmet.first() else {
                continue;
            };
            if !sshd::reads(&path())? {
                return Ok(Found::LeftOut(format!(
                    "it is there, and {SSHD_CONFIG} does not include it; put `Include {FOLDER}/*.conf` into its first line, \
                     then `deployer install` again"
                )));
            }
            let more = match unmet.len() {
                1 => String::new(),
                several => format!(" and of {} more", several - 1),
            };
            let of = sshd::connection(&self.user, from, "22");
            return Ok(Found::LeftOut(format!(
                "it is there, and another line of sshd's configuration comes before its `{rule}`{more}: `{instead}` is in \
                 force. `sshd -T -C {of}` shows all; take the other line out, or put a Match for others above it"
            )));
        }
        Ok(Found::There)
    }

    /// The rules that are not in force, as sshd writes them, each with what is instead. A keyword that this sshd does not
    /// know is none of its.
    fn unmet(&self, in_force: &InForce) -> Vec<(String, String)> {
        let wanted = InForce::parse(&self.text());
        let differs = |(key, value): (&str, &str)| {
            let is = in_force.first(key)?;
            (is != value).then(|| (format!("{key} {value}"), format!("{key} {is}")))
        };
        wanted.pairs().filter_map(differs).collect()
    }
}

/// sshd reads its configuration again. Connections stay.
/// What is to be done where an sshd runs that was told of nothing since its rules changed: an install that was killed may
/// have changed them. A clock that was set back is no reason, as nothing would ever be.
fn unread() -> Result<Option<Found>> {
    if !units::is_booted() {
        return Ok(None);
    }
    let changed = |path: &Path| Some(fs::metadata(path).ok()?).map(|is| (is.ctime(), is.ctime_nsec()));
    let changed = [path().as_path(), Path::new(FOLDER)]
        .into_iter()
        .filter_map(changed)
        .max();
    let Some(changed) = changed.and_then(|(seconds, nanos)| Timestamp::new(seconds, nanos as i32).ok())
    else {
        return Ok(None);
    };
    for unit in UNITS {
        if let Some(read) = units::told_last(unit)?
            && read < changed
            && changed < Timestamp::now()
        {
            let how = "sshd has not read what changed".to_owned();
            return Ok(Some(Found::ToDo(Verb::Reload, how)));
        }
    }
    Ok(None)
}

fn reload() -> Result<Option<String>> {
    if !units::is_booted() {
        return Ok(Some(
            "systemd does not run here; an sshd that runs reads it after `kill -HUP \"$(cat /run/sshd.pid)\"`".into(),
        ));
    }
    for unit in UNITS {
        let said = tool::run("systemctl", &["try-reload-or-restart", unit])?;
        let is_unknown = said.code == Some(NO_SUCH_UNIT);
        if !said.is_good() && !is_unknown {
            return Ok(Some(format!("sshd has not read it yet: {}", said.last_words())));
        }
    }
    Ok(None)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_rules_are_for_the_user_alone() {
        let (user, keys) = ("ship".into(), Some("/etc/deployer/keys".into()));
        let rules = Rules { user, keys }.text();
        let lines: Vec<&str> = rules.lines().filter(|line| !line.starts_with('#')).collect();
        assert_eq!(lines[0], "Match User ship");
        assert!(
            lines.contains(&"    AuthorizedKeysFile /etc/deployer/keys"),
            "{rules}"
        );
        assert!(lines[1..].iter().all(|line| line.starts_with("    ")), "{rules}");
    }

    #[test]
    fn a_rule_that_is_not_in_force_is_found_whichever_it_is() {
        let rules = Rules {
            user: "deploy".into(),
            keys: None,
        };
        let in_force = rules
            .text()
            .to_lowercase()
            .replace("git_protocol", "GIT_PROTOCOL");
        assert_eq!(rules.unmet(&InForce::parse(&in_force)), []);
        let other = in_force.replace("forcecommand none", "forcecommand /bin/false");
        let unmet = [(
            "forcecommand none".to_owned(),
            "forcecommand /bin/false".to_owned(),
        )];
        assert_eq!(rules.unmet(&InForce::parse(&other)), unmet);
        // An older sshd.
        let other = in_force.replace("kbdinteractiveauthentication no", "");
        assert_eq!(rules.unmet(&InForce::parse(&other)), []);
    }
}
