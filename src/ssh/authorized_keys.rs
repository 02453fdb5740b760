//! The file of keys, as sshd reads it: deployer's own lines among those that people wrote, which stay as they are,
//! byte for byte and in their order.

use std::fs::{self, File};
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use super::forced::{ForcedCommand, ForcedCommandError};
use super::public_key::{PublicKey, is_type};
use super::words::split;
use crate::ground::durable;
use crate::ground::told::Hint;
use crate::model::{BYTE_ORDER_MARK, KeyName, escaped, is_utf16};

/// The most bytes that the file may have.
const SIZE_MAX: u64 = 4 << 20;

/// The file of keys cannot be read or changed.
#[derive(Debug, thiserror::Error)]
pub enum KeyFileError {
    /// The system refused.
    #[error("cannot {doing} {}: {cause}", path.display())]
    Io {
        /// What was being done.
        doing: &'static str,
        /// The file or folder.
        path: PathBuf,
        /// What the system answered.
        cause: io::Error,
    },
    /// It is something else, so that it is left alone.
    #[error(
        "{} is {what}; it is left alone, and nothing was changed{}",
        path.display(),
        Hint("`authorized_keys` in [ssh] of the configuration names another file")
    )]
    LeftAlone {
        /// The file or folder.
        path: PathBuf,
        /// What it is.
        what: &'static str,
    },
    /// There is a key of that name.
    #[error(
        "there is a key {name} already ({fingerprint}): `deployer key remove {name}` makes room for another one"
    )]
    NameTaken {
        /// The name.
        name: KeyName,
        /// The fingerprint of the key that has it.
        fingerprint: String,
    },
    /// The same key is there under another name.
    #[error(
        "this key is there already, as {name}: sshd would take the first of the two lines. `deployer key remove {name}` takes it away"
    )]
    KeyIsOf {
        /// Its name.
        name: KeyName,
    },
    /// The same key is in a line that deployer did not write.
    #[error(
        "this key is there already, in line {line}, which deployer did not write: sshd would take the first of the two. Remove that line by hand"
    )]
    KeyInLine {
        /// The line's number, from 1.
        line: usize,
    },
    /// A path cannot stand in the file.
    #[error(transparent)]
    Path(#[from] ForcedCommandError),
}

/// A line of deployer's own.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// Who it is, and what they may do.
    pub command: ForcedCommand,
    /// The key.
    pub key: PublicKey,
    /// Whether the key is an authority: then whoever has a certificate of it for the principal that is the entry's
    /// name comes in, and the key itself does not.
    pub authority: bool,
}

impl Entry {
    /// The key's name.
    pub fn name(&self) -> &KeyName {
        &self.command.key
    }

    /// `restrict,command="…" TYPE BASE64 NAME`; for an authority `cert-authority,principals="NAME"` stands before it.
    fn to_line(&self) -> Result<String, ForcedCommandError> {
        let name = self.name();
        let authority = match self.authority {
            true => format!("cert-authority,principals=\"{name}\","),
            false => String::new(),
        };
        let command = self.command.to_line()?;
        Ok(format!(
            "{authority}restrict,command=\"{command}\" {} {name}\n",
            self.key.to_line()
        ))
    }
}

/// A line that is neither empty nor a comment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeyLine {
    /// Its number, from 1.
    pub number: usize,
    /// What deployer wrote; `None` for a line of somebody else's.
    pub entry: Option<Entry>,
    /// The key, where there is one.
    pub key: Option<PublicKey>,
    /// What stands behind the key; printable, at most 80 characters.
    pub comment: String,
    /// What people should know of the line.
    pub remark: Option<&'static str>,
}

/// The file's content.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct AuthorizedKeys {
    /// Every line with its newline, as it was read.
    lines: Vec<Vec<u8>>,
}

impl AuthorizedKeys {
    /// The content `bytes`, whatever it is.
    pub fn parse(bytes: &[u8]) -> Self {
        let lines = bytes.split_inclusive(|byte| *byte == b'\n').map(<[u8]>::to_vec);
        Self {
            lines: lines.collect(),
        }
    }

    /// The content as it stands in the file.
    pub fn to_bytes(&self) -> Vec<u8> {
        self.lines.concat()
    }

    /// The lines that are neither empty nor comments.
    pub fn key_lines(&self) -> impl Iterator<Item = KeyLine> {
        let numbered = self.lines.iter().enumerate();
        numbered.filter_map(|(index, line)| key_line(index + 1, line))
    }

    /// The lines of deployer's own.
    pub fn entries(&self) -> impl Iterator<Item = Entry> {
        self.key_lines().filter_map(|line| line.entry)
    }

    /// The entry of that name.
    pub fn entry(&self, name: &KeyName) -> Option<Entry> {
        self.entries().find(|entry| entry.name() == name)
    }

    /// Adds an entry at the end.
    ///
    /// # Errors
    /// When its name or its key is there already. An authority may be there several times, since the name in the
    /// certificate tells its entries apart.
    pub fn add(&mut self, entry: &Entry) -> Result<(), KeyFileError> {
        if let Some(named) = self.entry(entry.name()) {
            return Err(KeyFileError::NameTaken {
                name: named.name().clone(),
                fingerprint: named.key.fingerprint().to_owned(),
            });
        }
        let same = |line: &KeyLine| {
            let both_authorities =
                entry.authority && line.entry.as_ref().is_some_and(|other| other.authority);
            line.key.as_ref() == Some(&entry.key) && !both_authorities
        };
        if let Some(same) = self.key_lines().find(same) {
            return Err(match same.entry {
                Some(other) => KeyFileError::KeyIsOf {
                    name: other.name().clone(),
                },
                None => KeyFileError::KeyInLine { line: same.number },
            });
        }
        let line = entry.to_line()?;
        if let Some(last) = self.lines.last_mut().filter(|last| !last.ends_with(b"\n")) {
            last.push(b'\n');
        }
        self.lines.push(line.into_bytes());
        Ok(())
    }

    /// Takes the entry of that name away, and gives it. `None` where there is none.
    pub fn remove(&mut self, name: &KeyName) -> Option<Entry> {
        let entry = self.entry(name)?;
        let is_of_name = |line: &Vec<u8>| {
            let found = key_line(0, line).and_then(|line| line.entry);
            found.is_some_and(|entry| entry.name() == name)
        };
        self.lines.retain(|line| !is_of_name(line));
        Some(entry)
    }
}

/// What a line is; `None` for an empty one and a comment.
fn key_line(number: usize, line: &[u8]) -> Option<KeyLine> {
    let line = line.trim_ascii();
    if line.is_empty() || line.starts_with(b"#") {
        return None;
    }
    let unknown = KeyLine {
        number,
        entry: None,
        key: None,
        comment: String::new(),
        remark: Some("no key that deployer can read"),
    };
    if line.starts_with(BYTE_ORDER_MARK) {
        return Some(KeyLine {
            remark: Some(
                "begins with a byte order mark (U+FEFF), so that sshd does not take it: save the file without one",
            ),
            ..unknown
        });
    }
    let Some((options, kind, content, comment)) = str::from_utf8(line).ok().and_then(parts) else {
        return Some(unknown);
    };
    let Some(key) = PublicKey::in_line(kind, content) else {
        return Some(unknown);
    };
    let options = Options::read(options);
    let entry = options.forced_command().map(|command| Entry {
        command,
        key: key.clone(),
        authority: options.has("cert-authority"),
    });
    Some(KeyLine {
        remark: options.remark(entry.is_some()),
        comment: escaped(comment.as_bytes(), 80),
        key: Some(key),
        entry,
        ..unknown
    })
}

/// Options, type, content and comment of a line, as sshd tells them apart: options are there where the line does not
/// begin with a type, and end at the first blank outside of double quotes.
fn parts(line: &str) -> Option<(&str, &str, &str, &str)> {
    const BLANK: [char; 2] = [' ', '\t'];
    let first = line.split(BLANK).next()?;
    let (options, rest) = match is_type(first) {
        true => ("", line),
        false => line.split_at(end_of_options(line)),
    };
    let (kind, rest) = rest.trim_start_matches(BLANK).split_once(BLANK)?;
    let rest = rest.trim_start_matches(BLANK);
    let (content, comment) = rest.split_once(BLANK).unwrap_or((rest, ""));
    is_type(kind).then_some((options, kind, content, comment.trim()))
}

fn end_of_options(line: &str) -> usize {
    let mut quoted = false;
    let mut before = '\0';
    for (at, c) in line.char_indices() {
        match c {
            '"' if before != '\\' => quoted = !quoted,
            ' ' | '\t' if !quoted => return at,
            _ => {}
        }
        before = c;
    }
    line.len()
}

/// A line's options: their names, lower case, with their values.
struct Options(Vec<(String, Option<String>)>);

impl Options {
    fn read(text: &str) -> Self {
        let mut options = Vec::new();
        let mut rest = text;
        while !rest.is_empty() {
            let end = end_of_option(rest);
            let (name, value) = match rest[..end].split_once('=') {
                Some((name, value)) => (name, Some(unquoted(value))),
                None => (&rest[..end], None),
            };
            options.push((name.to_ascii_lowercase(), value));
            rest = rest[end..].strip_prefix(',').unwrap_or_default();
        }
        Self(options)
    }

    fn has(&self, name: &str) -> bool {
        self.0.iter().any(|(option, _)| option == name)
    }

    fn command(&self) -> Option<&str> {
        let command = self.0.iter().find(|(option, _)| option == "command")?;
        command.1.as_deref()
    }

    fn forced_command(&self) -> Option<ForcedCommand> {
        ForcedCommand::read(&split(self.command()?.as_bytes()).ok()?)
    }

    fn remark(&self, is_own: bool) -> Option<&'static str> {
        match (is_own, self.command()) {
            (true, _) if self.has("restrict") => None,
            (true, _) => Some("without `restrict`, so that it may forward ports and more: add the key anew"),
            (false, Some(_)) => Some("not deployer's: it runs a command of its own"),
            (false, None) => Some(
                "not deployer's: no forced command, so that it may do all that the user's login shell lets it",
            ),
        }
    }
}

/// The end of the option that `text` begins with: a comma outside of double quotes, or the end.
fn end_of_option(text: &str) -> usize {
    let mut quoted = false;
    let mut before = '\0';
    for (at, c) in text.char_indices() {
        match c {
            '"' if before != '\\' => quoted = !quoted,
            ',' if !quoted => return at,
            _ => {}
        }
        before = c;
    }
    text.len()
}

fn unquoted(value: &str) -> String {
    let inside = value.strip_prefix('"').and_then(|value| value.strip_suffix('"'));
    inside.unwrap_or(value).replace("\\\"", "\"")
}

/// What the file at `path` holds; nothing where it is not there.
///
/// # Errors
/// When it cannot be read, is no regular file of its own, or is larger than 4 MiB.
pub fn read(path: &Path) -> Result<AuthorizedKeys, KeyFileError> {
    let Some(found) = look_at(path)? else {
        return Ok(AuthorizedKeys::default());
    };
    if !found.is_file() {
        return Err(left_alone(path, "no regular file"));
    }
    let mut bytes = Vec::new();
    let file = File::open(path).map_err(failed("read", path))?;
    file.take(SIZE_MAX + 1)
        .read_to_end(&mut bytes)
        .map_err(failed("read", path))?;
    if bytes.len() as u64 > SIZE_MAX {
        return Err(left_alone(path, "larger than 4 MiB"));
    }
    if is_utf16(&bytes) {
        return Err(left_alone(
            path,
            "UTF-16, which sshd does not read: save it as UTF-8",
        ));
    }
    Ok(AuthorizedKeys::parse(&bytes))
}

/// Puts `keys` into the file at `path`, mode 0600: a reader sees what was there before or what is there then, and
/// nothing between. The folder is made, mode 0700, where it is missing. That nobody else writes meanwhile is the
/// caller's to see to.
///
/// # Errors
/// When the file or its folder is a symbolic link or something else, or the disk refuses. Then nothing has changed.
pub fn write(path: &Path, keys: &AuthorizedKeys) -> Result<(), KeyFileError> {
    if look_at(path)?.is_some_and(|found| !found.is_file()) {
        return Err(left_alone(path, "no regular file"));
    }
    let folder = path.parent().unwrap_or(Path::new("/"));
    make_folder(folder)?;
    durable::sweep(folder);
    durable::replace(path, 0o600, &keys.to_bytes()).map_err(failed("write", path))
}

fn make_folder(folder: &Path) -> Result<(), KeyFileError> {
    match look_at(folder)? {
        Some(found) if found.is_dir() => return Ok(()),
        Some(_) => return Err(left_alone(folder, "no folder")),
        None => {}
    }
    durable::make_folder(folder, 0o700).map_err(failed("make", folder))
}

/// What stands at `path`, which must be no symbolic link: whoever can set one could have another file replaced.
fn look_at(path: &Path) -> Result<Option<fs::Metadata>, KeyFileError> {
    match fs::symlink_metadata(path) {
        Ok(found) if found.is_symlink() => Err(left_alone(path, "a symbolic link")),
        Ok(found) => Ok(Some(found)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(failed("look at", path)(error)),
    }
}

fn failed(doing: &'static str, path: &Path) -> impl FnOnce(io::Error) -> KeyFileError {
    let path = path.to_owned();
    move |cause| KeyFileError::Io { doing, path, cause }
}

fn left_alone(path: &Path, what: &'static str) -> KeyFileError {
    let path = path.to_owned();
    KeyFileError::LeftAlone { path, what }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{Grant, Role};

    const KEY: &str = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIAABAgMEBQYHCAkKCwwNDg8QERITFBUWFxgZGhscHR4f";
    const OTHER: &str = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAICAhIiMkJSYnKCkqKywtLi8wMTIzNDU2Nzg5Ojs8PT4/";

    fn entry(name: &str, key: &str) -> Entry {
        Entry {
            command: ForcedCommand {
                program: "/usr/bin/deployer".into(),
                config: None,
                key: name.parse().unwrap(),
                grant: Grant {
                    role: Role::Deploy,
                    apps: vec!["shop".parse().unwrap()],
                    slots: vec![],
                },
            },
            key: PublicKey::read(key.as_bytes()).unwrap(),
            authority: false,
        }
    }

    #[test]
    fn an_entry_is_found_as_it_was_added() {
        let mut keys = AuthorizedKeys::default();
        keys.add(&entry("laptop", KEY)).unwrap();
        let text = String::from_utf8(keys.to_bytes()).unwrap();
        assert_eq!(
            text,
            format!(
                "restrict,command=\"/usr/bin/deployer ssh --key laptop --role deploy --app shop\" {KEY} laptop\n"
            )
        );
        let found = AuthorizedKeys::parse(text.as_bytes()).entry(&"laptop".parse().unwrap());
        assert_eq!(found, Some(entry("laptop", KEY)));
    }

    #[test]
    fn lines_of_others_stay_byte_for_byte_and_in_order() {
        let by_hand = format!(
            "# by hand\n\n  \t\nfrom=\"10.0.0.*\",command=\"echo \\\"a, b\\\"\"  {OTHER} ada\tx\r\nrubbish \u{fffd}\n"
        );
        let mut by_hand = by_hand.into_bytes();
        by_hand.extend(b"caf\xe9 not utf-8\n#last, without a newline");
        let mut keys = AuthorizedKeys::parse(&by_hand);
        assert_eq!(keys.to_bytes(), by_hand);

        keys.add(&entry("laptop", KEY)).unwrap();
        let with = keys.to_bytes();
        assert!(with.starts_with(&by_hand) && with[by_hand.len()] == b'\n');
        assert!(keys.remove(&"desk".parse().unwrap()).is_none());
        assert_eq!(
            keys.remove(&"laptop".parse().unwrap()),
            Some(entry("laptop", KEY))
        );
        by_hand.push(b'\n');
        assert_eq!(keys.to_bytes(), by_hand);
    }

    #[test]
    fn a_line_behind_a_byte_order_mark_is_no_key_since_sshd_takes_none() {
        let own = entry("laptop", KEY);
        let mut keys = AuthorizedKeys::parse(format!("\u{feff}{}", own.to_line().unwrap()).as_bytes());
        assert_eq!(keys.entries().count(), 0);
        let line = keys.key_lines().next().unwrap();
        assert!(
            line.remark
                .is_some_and(|remark| remark.contains("byte order mark (U+FEFF)")),
            "{line:?}"
        );
        keys.add(&own).unwrap();
        assert_eq!(keys.entries().count(), 1);

        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("authorized_keys");
        let text = format!("{KEY} ada\n")
            .encode_utf16()
            .flat_map(u16::to_le_bytes)
            .collect::<Vec<u8>>();
        fs::write(&path, &text).unwrap();
        let refused = read(&path).unwrap_err().to_string();
        assert!(
            refused.contains("is UTF-16, which sshd does not read"),
            "{refused}"
        );
        assert_eq!(fs::read(&path).unwrap(), text);
    }

    #[test]
    fn a_line_of_somebody_elses_is_told_apart() {
        let own = entry("laptop", KEY).to_line().unwrap();
        let text = format!(
            "{OTHER} ada\nrestrict,command=\"/usr/bin/backup\" {OTHER}\nssh-ed25519 AAAA\n{own}from=\"::1\",{own}{}",
            own.replace("restrict,", "")
        );
        let keys = AuthorizedKeys::parse(text.as_bytes());
        let lines: Vec<KeyLine> = keys.key_lines().collect();
        let remarks: Vec<_> = lines.iter().map(|line| line.remark.unwrap_or("")).collect();
        assert!(remarks[0].contains("no forced command") && remarks[1].contains("command of its own"));
        assert!(remarks[2].contains("no key") && remarks[5].contains("without `restrict`"));
        assert_eq!((remarks[3], remarks[4]), ("", ""));
        assert_eq!(lines[0].comment, "ada");
        assert_eq!(keys.entries().count(), 3);
    }

    #[test]
    fn a_name_and_a_key_are_there_once() {
        let mut keys = AuthorizedKeys::parse(format!("no-pty {OTHER} by hand\n").as_bytes());
        keys.add(&entry("laptop", KEY)).unwrap();
        assert!(matches!(
            keys.add(&entry("laptop", OTHER)),
            Err(KeyFileError::NameTaken { .. })
        ));
        assert!(matches!(
            keys.add(&entry("desk", KEY)),
            Err(KeyFileError::KeyIsOf { .. })
        ));
        assert!(matches!(
            keys.add(&entry("desk", OTHER)),
            Err(KeyFileError::KeyInLine { line: 1 })
        ));
    }

    #[test]
    fn an_authority_may_have_a_line_for_each_name() {
        let authority = |name: &str| Entry {
            authority: true,
            ..entry(name, KEY)
        };
        let mut keys = AuthorizedKeys::default();
        keys.add(&authority("ops")).unwrap();
        keys.add(&authority("ci")).unwrap();
        let text = String::from_utf8(keys.to_bytes()).unwrap();
        assert!(text.starts_with("cert-authority,principals=\"ops\",restrict,command=\""));
        assert_eq!(keys.entry(&"ci".parse().unwrap()), Some(authority("ci")));
        assert!(matches!(
            keys.add(&entry("plain", KEY)),
            Err(KeyFileError::KeyIsOf { .. })
        ));
    }

    #[test]
    fn a_link_in_place_of_the_file_or_its_folder_is_left_alone() {
        let folder = tempfile::tempdir().unwrap();
        let path = |name: &str| folder.path().join(name);
        fs::write(path("target"), "as it was").unwrap();
        std::os::unix::fs::symlink(path("target"), path("link")).unwrap();
        fs::create_dir(path("folder")).unwrap();
        std::os::unix::fs::symlink(path("folder"), path("folder-link")).unwrap();
        let keys = AuthorizedKeys::default();
        for refused in [path("link"), path("folder-link/authorized_keys"), path("folder")] {
            let ended = write(&refused, &keys);
            assert!(
                matches!(ended, Err(KeyFileError::LeftAlone { .. })),
                "{refused:?}"
            );
        }
        assert!(matches!(read(&path("link")), Err(KeyFileError::LeftAlone { .. })));
        assert_eq!(fs::read(path("target")).unwrap(), b"as it was");
    }
}
