//! What lets deployer's user write its part of another program's configuration, have the program check and read it,
//! and nothing else.

use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

use super::files::{File, Owner};
use super::found::Found;
use super::units::LOCAL_UNITS;
use super::{tool, units};
use crate::model::Program;

/// What lets deployer's user give two commands as root.
pub(super) const SUDOERS: &str = "/etc/sudoers.d/deployer";
/// Where the line may be that has nginx read deployer's part: the last file of the last folder that it reads, since
/// the first server of a port is for whatever host has no other.
pub(super) const NGINX_INCLUDES: [&str; 2] = [
    "/etc/nginx/sites-enabled/zz-deployer.conf",
    "/etc/nginx/conf.d/zz-deployer.conf",
];
/// What differs in the units of nginx, HAProxy and Caddy: HAProxy reads deployer's part by it, and each leaves out slot
/// ports that somebody else has when it starts.
pub(super) fn difference(program: Program) -> PathBuf {
    Path::new(LOCAL_UNITS)
        .join(format!("{}.service.d", program.as_str()))
        .join(DIFFERENCE)
}

/// Its name in the unit's folder.
pub(super) const DIFFERENCE: &str = "deployer.conf";
/// Files that win over HAProxy's [`difference`], where they name extra options.
const HAPROXY_DEFAULTS: [&str; 2] = ["/etc/default/haproxy", "/etc/sysconfig/haproxy"];

/// A program that somebody else installs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Present {
    /// Which.
    pub program: Program,
}

impl Present {
    pub(super) fn name(&self) -> String {
        format!("the program {}", self.program.as_str())
    }

    pub(super) fn look(&self) -> Result<Found> {
        Ok(match tool::find(self.program.as_str()) {
            Some(_) => Found::There,
            None => Found::LeftOut(
                "deployer.toml names it as the proxy, and it is not here: install it, then `deployer install` again"
                    .into(),
            ),
        })
    }

    pub(super) fn make(&self) -> Result<Option<String>> {
        Ok(None)
    }
}

/// The right to give a few commands as root, and no others.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sudo {
    /// Who may.
    pub user: String,
    /// What: the program's name and its arguments.
    pub commands: Vec<Vec<String>>,
}

impl Sudo {
    pub(super) fn name(&self) -> String {
        SUDOERS.to_owned()
    }

    pub(super) fn look(&self) -> Result<Found> {
        if tool::find("sudo").is_none() {
            let told: Vec<String> = self.commands.iter().map(|words| words.join(" ")).collect();
            return Ok(Found::LeftOut(format!(
                "there is no sudo here, and {} cannot give `{}` as root: install sudo, then `deployer install` again; or \
                 name other commands in deployer.toml",
                self.user,
                told.join("`, `")
            )));
        }
        if let Some(missing) = self.commands.iter().find(|words| absolute(words).is_none()) {
            return Ok(Found::LeftOut(format!(
                "there is no {} here",
                missing.first().map_or("", String::as_str)
            )));
        }
        self.file().look()
    }

    pub(super) fn make(&self) -> Result<Option<String>> {
        // A file that sudo cannot read would keep everybody from using it.
        let mut new = tempfile::tempfile().context("cannot make a temporary file")?;
        new.write_all(self.text().as_bytes())
            .context("cannot write a temporary file")?;
        tool::must("visudo", &["-cf", &tool::path_of(&new)])?;
        self.file().make()
    }

    fn file(&self) -> File {
        File {
            path: SUDOERS.into(),
            text: self.text().into_bytes(),
            mode: 0o440,
            owner: Owner::root(),
            kept_for: None,
        }
    }

    fn text(&self) -> String {
        let mut text =
            "# Written by `deployer install`: deployer has its proxy check and read its configuration, and the registry's disk \
             freed.\n"
                .to_owned();
        // Some systems have sudo want a terminal; deployer never has one.
        text += &format!("Defaults:{} !requiretty\n", self.user);
        for command in self.commands.iter().filter_map(|words| absolute(words)) {
            text += &format!("{} ALL=(root) NOPASSWD: {command}\n", self.user);
        }
        text
    }
}

/// The command by the program's absolute path, as sudo's rules name it; none where the program is not there.
fn absolute(words: &[String]) -> Option<String> {
    let (program, arguments) = words.split_first()?;
    let path = tool::find(program)?;
    let words = [path.to_str()?.to_owned()]
        .into_iter()
        .chain(arguments.iter().map(|word| escaped(word)));
    Some(words.collect::<Vec<_>>().join(" "))
}

/// A word of a command for sudo's rules: what means something there is taken literally.
fn escaped(word: &str) -> String {
    let mut escaped = String::new();
    for character in word.chars() {
        if !(character.is_ascii_alphanumeric() || "/._-+@".contains(character)) {
            escaped.push('\\');
        }
        escaped.push(character);
    }
    escaped
}

/// A line in a file of the user's, which only the user writes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Line {
    /// The file.
    pub path: PathBuf,
    /// The line.
    pub line: String,
}

impl Line {
    pub(super) fn name(&self) -> String {
        format!("a line in {}", self.path.display())
    }

    pub(super) fn look(&self) -> Result<Found> {
        let text = fs::read_to_string(&self.path).unwrap_or_default();
        if text.lines().any(|line| line.trim() == self.line) {
            return Ok(Found::There);
        }
        Ok(Found::LeftOut(format!(
            "the file is yours; write `{}` into it, outside of any site's braces",
            self.line
        )))
    }

    pub(super) fn make(&self) -> Result<Option<String>> {
        Ok(None)
    }
}

/// HAProxy runs with deployer's part: it takes new arguments only when it is started again.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Arguments {
    /// What it is to be started with beside its usual arguments.
    pub options: String,
}

impl Arguments {
    pub(super) fn name(&self) -> String {
        format!("haproxy with {}", self.options)
    }

    pub(super) fn look(&self) -> Result<Found> {
        if let Some(path) = HAPROXY_DEFAULTS.into_iter().find(|path| sets_options(path)) {
            return Ok(Found::LeftOut(format!(
                "{path} is yours and sets EXTRAOPTS: write {} into it too, then `systemctl restart haproxy` once",
                self.options
            )));
        }
        if !units::is_booted() {
            return Ok(Found::LeftOut(format!(
                "systemd does not run here; start it with {}",
                self.options
            )));
        }
        let Some(arguments) = haproxy_runs_with()? else {
            return Ok(Found::LeftOut(
                "it does not run; `systemctl start haproxy` starts it".into(),
            ));
        };
        let mut wanted = self.options.split(' ');
        Ok(match wanted.all(|word| arguments.iter().any(|is| is == word)) {
            true => Found::There,
            false => Found::LeftOut(
                "it was started without; `systemctl restart haproxy` once, when it suits you: a reload takes no new \
                 arguments"
                    .into(),
            ),
        })
    }

    pub(super) fn make(&self) -> Result<Option<String>> {
        Ok(None)
    }
}

/// The arguments of the HAProxy that runs as systemd's; none where none does.
fn haproxy_runs_with() -> Result<Option<Vec<String>>> {
    let told = tool::must("systemctl", &["show", "--property=MainPID", "haproxy.service"])?;
    let pid = told.out.trim().trim_start_matches("MainPID=").to_owned();
    if pid.is_empty() || pid == "0" {
        return Ok(None);
    }
    let arguments = fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
    let words = arguments.split(|byte| *byte == 0);
    Ok(Some(
        words
            .map(|word| String::from_utf8_lossy(word).into_owned())
            .collect(),
    ))
}

/// HAProxy does not run with deployer's part any more: it could not be reloaded without that.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NoArguments {
    /// Folders with deployer's part.
    pub folders: Vec<PathBuf>,
}

impl NoArguments {
    pub(super) fn name(&self) -> String {
        "haproxy".to_owned()
    }

    pub(super) fn look(&self) -> Result<Found> {
        if !units::is_booted() {
            return Ok(Found::Gone);
        }
        let arguments = haproxy_runs_with()?.unwrap_or_default();
        let is_ours = |word: &&String| self.folders.iter().any(|folder| folder == Path::new(word));
        Ok(match arguments.iter().find(is_ours) {
            None => Found::Gone,
            Some(folder) => Found::LeftOut(format!(
                "it was started with {folder}, which is gone, and a reload would fail: `systemctl restart haproxy` once"
            )),
        })
    }

    pub(super) fn make(&self) -> Result<Option<String>> {
        Ok(None)
    }
}

/// Whether a file of variables has extra options for HAProxy that are no comment.
fn sets_options(path: &str) -> bool {
    let text = fs::read_to_string(Path::new(path)).unwrap_or_default();
    text.lines()
        .any(|line| line.trim_start().starts_with("EXTRAOPTS="))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sudos_rules_take_every_word_literally() {
        for (word, written) in [
            ("-t", "-t"),
            ("/var/lib/deployer-proxy", "/var/lib/deployer-proxy"),
            ("a b", "a\\ b"),
            ("a,b:c=d", "a\\,b\\:c\\=d"),
            ("*", "\\*"),
        ] {
            assert_eq!(escaped(word), written);
        }
    }

    #[test]
    fn a_commented_option_is_none() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let path = file.path().to_str().unwrap();
        fs::write(path, "#EXTRAOPTS=\"-de\"\n").unwrap();
        assert!(!sets_options(path));
        fs::write(path, "EXTRAOPTS=\"-de\"\n").unwrap();
        assert!(sets_options(path));
    }
}
