//! The door: what sshd lets whoever comes as deployer's user do, in a file of its own beside sshd's configuration.
//!
//! The forced command of a key decides; these rules are the second lock. sshd is asked about its configuration before
//! and after, and a file that it does not take is taken back.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};

use super::files::{File, Gone, Owner};
use super::thing::Found;
use super::{tool, units};

/// sshd's own configuration.
const SSHD_CONFIG: &str = "/etc/ssh/sshd_config";
/// The folder of further files that Debian's includes.
const FOLDER: &str = "/etc/ssh/sshd_config.d";
/// sshd's folder for its own safety. Its unit makes it, and without it sshd does not even look at its configuration.
const RUN: &str = "/run/sshd";
/// What is in force for the user once the file is read, as `sshd -T` writes it.
const IN_FORCE: [&str; 4] = [
    "authenticationmethods publickey",
    "disableforwarding yes",
    "permittty no",
    "permituserrc no",
];

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
        self.rules.as_ref().map(|rules| File {
            path: path(),
            text: rules.text().into_bytes(),
            mode: 0o644,
            owner: Owner::root(),
            kept_for: None,
        })
    }

    pub(super) fn look(&self) -> Result<Found> {
        let (Some(file), Some(rules)) = (self.file(), &self.rules) else {
            return gone().look();
        };
        if tool::find("sshd").is_none() {
            return Ok(Found::LeftOut(
                "there is no sshd here; install openssh-server, then `deployer install` again".into(),
            ));
        }
        if let Some(refusal) = refusal()? {
            return Ok(Found::LeftOut(format!(
                "sshd refuses its configuration: {refusal}"
            )));
        }
        if !is_included() {
            return Ok(Found::LeftOut(format!(
                "{SSHD_CONFIG} does not include it; put `Include {FOLDER}/*.conf` into its first line, then `deployer \
                 install` again"
            )));
        }
        match file.look()? {
            Found::There => in_force(&rules.user),
            other => Ok(other),
        }
    }

    pub(super) fn make(&self) -> Result<Option<String>> {
        let before = fs::read(path()).ok();
        if !Path::new(RUN).exists() {
            fs::create_dir(RUN).with_context(|| format!("cannot make {RUN}"))?;
        }
        match self.file() {
            Some(file) => file.make()?,
            None => gone().make()?,
        };
        if self.rules.is_some()
            && let Some(refusal) = refusal()?
        {
            take_back(before)?;
            bail!(
                "sshd refuses {}: {refusal}. It is taken back; sshd is as before",
                path().display()
            );
        }
        reload()
    }
}

/// Where the rules are.
fn path() -> PathBuf {
    Path::new(FOLDER).join("50-deployer.conf")
}

fn gone() -> Gone {
    Gone {
        path: path(),
        is_rare: false,
    }
}

fn take_back(before: Option<Vec<u8>>) -> Result<()> {
    let put = match before {
        Some(text) => fs::write(path(), text),
        None => fs::remove_file(path()),
    };
    put.with_context(|| format!("cannot take {} back", path().display()))
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
}

/// Why sshd does not take its configuration; none where it does, or cannot tell before it was started once.
fn refusal() -> Result<Option<String>> {
    let said = tool::run("sshd", &["-t"])?;
    let is_unready = said.err.contains(RUN) && !Path::new(RUN).exists();
    Ok((!said.is_good() && !is_unready).then(|| said.last_words()))
}

/// Whether sshd's configuration includes the folder.
fn is_included() -> bool {
    let text = fs::read_to_string(SSHD_CONFIG).unwrap_or_default();
    text.lines().any(|line| {
        let mut words = line.split_whitespace();
        words
            .next()
            .is_some_and(|word| word.eq_ignore_ascii_case("include"))
            && words.any(|word| word.trim_matches('"').starts_with(FOLDER))
    })
}

/// Whether the rules are what sshd goes by: another line that it reads before wins.
fn in_force(user: &str) -> Result<Found> {
    let of = format!("user={user},host=localhost,addr=127.0.0.1");
    let said = tool::run("sshd", &["-T", "-C", &of])?;
    if !said.is_good() {
        return Ok(Found::There);
    }
    let missing = IN_FORCE
        .iter()
        .find(|rule| !said.out.lines().any(|line| line == **rule));
    Ok(missing.map_or(Found::There, |rule| {
        Found::LeftOut(format!(
            "it is there, and another line of sshd's configuration comes before its `{rule}`; `sshd -T -C {of}` shows \
             what is in force"
        ))
    }))
}

/// sshd reads its configuration again. Connections stay.
fn reload() -> Result<Option<String>> {
    if !units::is_booted() {
        return Ok(Some(
            "systemd does not run here; an sshd that runs reads it after `kill -HUP \"$(cat /run/sshd.pid)\"`".into(),
        ));
    }
    let said = tool::run("systemctl", &["try-reload-or-restart", "ssh.service"])?;
    Ok((!said.is_good()).then(|| format!("sshd has not read it yet: {}", said.last_words())))
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
}
