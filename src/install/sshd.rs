//! What sshd says of its own configuration: whether it takes it, which files it reads, and what is in force for a user.

use std::fs::File;
use std::io::Write;
use std::path::Path;

use anyhow::{Context, Result};

use super::tool;

/// sshd's folder for its own safety. Its unit makes it, and without it sshd does not even look at its configuration.
pub(super) const RUN: &str = "/run/sshd";

/// Where a connection may come from: elsewhere (an address of documentation, RFC 5737), and this machine.
pub(super) const ORIGINS: [&str; 2] = ["192.0.2.1", "127.0.0.1"];

/// sshd's port where its configuration names none.
const PORT: &str = "22";

/// Why sshd does not take its configuration; none where it does, or cannot tell before it was started once.
pub(super) fn refusal() -> Result<Option<String>> {
    let said = tool::run("sshd", &["-t"])?;
    let is_unready = said.err.contains(RUN) && !Path::new(RUN).exists();
    Ok((!said.is_good() && !is_unready).then(|| said.last_words()))
}

/// Why sshd would not take `rules` beside its configuration `main`; none where it would, or cannot tell.
pub(super) fn refusal_of(rules: &str, main: &str) -> Result<Option<String>> {
    let named = |text: &str| -> std::io::Result<File> {
        let mut file = tempfile::tempfile()?;
        file.write_all(text.as_bytes())?;
        Ok(file)
    };
    let context = "cannot make a temporary file";
    let rules = named(rules).context(context)?;
    // Each include is a Match of its own: what one opens ends with it.
    let both = format!("Include {main}\nInclude {}\n", tool::path_of(&rules));
    let both = named(&both).context(context)?;
    let said = tool::run("sshd", &["-t", "-f", &tool::path_of(&both)])?;
    Ok((!said.is_good()).then(|| said.last_words()))
}

/// Whether sshd reads the file at `path` along with its configuration, however that is included.
pub(super) fn reads(path: &Path) -> Result<bool> {
    let said = tool::run("sshd", &["-t", "-ddd"])?;
    let path = path.to_string_lossy();
    Ok(said.err.lines().any(|line| line.contains(&*path)))
}

/// What is in force for connections of one user from one address, as `sshd -T` writes it: a keyword in lower case and
/// its value, or one line for each of several values.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct InForce {
    lines: Vec<(String, String)>,
}

impl InForce {
    /// What is in force for `user` from the address `from`; as an inner error, why sshd does not tell.
    pub(super) fn of(user: &str, from: &str) -> Result<Result<Self, String>> {
        let ask = |port: &str| -> Result<Result<Self, String>> {
            let said = tool::run("sshd", &["-T", "-C", &connection(user, from, port)])?;
            Ok(match said.is_good() {
                true => Ok(Self::parse(&said.out)),
                false => Err(said.last_words()),
            })
        };
        let first = ask(PORT)?;
        match first.as_ref().map(|rules| rules.first("port").map(str::to_owned)) {
            Ok(Some(port)) if port != PORT => ask(&port),
            _ => Ok(first),
        }
    }

    pub(super) fn parse(text: &str) -> Self {
        let line = |line: &str| {
            let (key, value) = line.trim().split_once(' ').unwrap_or((line.trim(), ""));
            (key.to_ascii_lowercase(), value.trim().to_owned())
        };
        Self {
            lines: text.lines().map(line).collect(),
        }
    }

    /// Each keyword with its value. A `Match` and a comment are none.
    pub(super) fn pairs(&self) -> impl Iterator<Item = (&str, &str)> {
        let rules = self
            .lines
            .iter()
            .filter(|(key, _)| key != "match" && !key.starts_with('#'));
        rules.map(|(key, value)| (key.as_str(), value.as_str()))
    }

    /// The value of a keyword that has one.
    pub(super) fn first<'a>(&'a self, key: &'a str) -> Option<&'a str> {
        self.all(key).next()
    }

    /// The values of a keyword.
    pub(super) fn all<'a>(&'a self, key: &'a str) -> impl Iterator<Item = &'a str> {
        let of_key = self.lines.iter().filter(move |(name, _)| name == key);
        of_key.map(|(_, value)| value.as_str())
    }
}

/// A connection for `sshd -C`: everything that a `Match` may ask for, since sshd tells nothing where something is missing.
pub(super) fn connection(user: &str, from: &str, port: &str) -> String {
    format!("user={user},host={from},addr={from},laddr={from},lport={port}")
}

/// Whether `pattern` of sshd's (`*` and `?`) is `text`.
pub(super) fn matches(text: &str, pattern: &str) -> bool {
    let (text, pattern): (Vec<char>, Vec<char>) = (text.chars().collect(), pattern.chars().collect());
    // ends[n]: what was read of the pattern can be the first n characters.
    let mut ends: Vec<bool> = vec![false; text.len() + 1];
    ends[0] = true;
    for wanted in pattern {
        let mut next = vec![false; text.len() + 1];
        for at in 0..=text.len() {
            next[at] = match wanted {
                '*' => ends[at] || (at > 0 && next[at - 1]),
                _ => at > 0 && ends[at - 1] && (wanted == '?' || wanted == text[at - 1]),
            };
        }
        ends = next;
    }
    ends[text.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns_are_matched_as_sshd_does() {
        for (text, pattern, is_match) in [
            ("deploy", "deploy", true),
            ("deploy", "dep*", true),
            ("deploy", "*", true),
            ("deploy", "d?ploy", true),
            ("deploy", "*y*", true),
            ("deploy", "dep", false),
            ("deploy", "?", false),
            ("deploy", "", false),
            ("", "*", true),
        ] {
            assert_eq!(matches(text, pattern), is_match, "{text} {pattern}");
        }
    }
}
