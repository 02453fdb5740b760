//! `env_file`: lines of `NAME=value`.

use std::fs::File;
use std::io::Read;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use super::EngineError;
use crate::model::{hidden, text_of_file};

/// Largest env_file in bytes.
const SIZE_MAX: u64 = 1024 * 1024;

/// Reads an env_file as the start of an instance will, and gives nothing of it.
///
/// # Errors
/// [`EngineError::EnvFileUnreadable`], [`EngineError::EnvFileMode`], [`EngineError::EnvFile`].
pub fn check_env_file(path: &Path) -> Result<(), EngineError> {
    read(path).map(drop)
}

/// Reads `path`: a variable per line, the value up to the line's end as it stands (quotes are part of it); empty
/// lines and lines that begin with `#` are passed over.
pub(super) fn read(path: &Path) -> Result<Vec<(String, String)>, EngineError> {
    let unreadable = |reason| EngineError::EnvFileUnreadable {
        path: path.to_owned(),
        reason,
    };
    let file = File::open(path).map_err(unreadable)?;
    let mode = file.metadata().map_err(unreadable)?.mode();
    if mode & 0o077 != 0 {
        return Err(EngineError::EnvFileMode {
            path: path.to_owned(),
            mode: mode & 0o7777,
        });
    }
    let mut bytes = Vec::new();
    file.take(SIZE_MAX + 1)
        .read_to_end(&mut bytes)
        .map_err(unreadable)?;
    let bad = |line: usize, reason: String| EngineError::EnvFile {
        path: path.to_owned(),
        line,
        reason,
    };
    if bytes.len() as u64 > SIZE_MAX {
        return Err(bad(1, "the file is larger than 1 MiB".into()));
    }
    let text = text_of_file(&bytes).map_err(|error| bad(error.line(), error.to_string()))?;
    if !text.contains('\n') && text.trim_end().contains('\r') {
        return Err(bad(
            1,
            "the lines end with a carriage return alone: end them with a newline".into(),
        ));
    }
    let mut variables = Vec::new();
    for (at, line) in text.lines().enumerate() {
        // The last one may have a carriage return and no newline.
        let line = line.strip_suffix('\r').unwrap_or(line);
        if let Some(variable) = parse(line).map_err(|reason| bad(at + 1, reason))? {
            variables.push(variable);
        }
    }
    Ok(variables)
}

/// Only a space and a tab are blanks before a name: other ones would be passed over unseen.
fn parse(line: &str) -> Result<Option<(String, String)>, String> {
    let line = line.trim_start_matches([' ', '\t']);
    if line.is_empty() || line.starts_with('#') {
        return Ok(None);
    }
    let (name, value) = line.split_once('=').unwrap_or((line, ""));
    if let Some(hidden) = hidden(name) {
        return Err(format!("the name before = has {hidden}"));
    }
    if name.len() == line.len() {
        return Err("not of the form NAME=value".into());
    }
    if name.is_empty() {
        return Err("the name before = is empty".into());
    }
    if name.contains([' ', '\t']) {
        return Err("the name before = has a blank in it".into());
    }
    if line.contains('\0') {
        return Err("it has a NUL in it".into());
    }
    Ok(Some((name.to_owned(), value.to_owned())))
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    fn read_text(text: &str) -> Result<Vec<(String, String)>, EngineError> {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("env");
        std::fs::write(&path, text).unwrap();
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600)).unwrap();
        read(&path)
    }

    #[test]
    fn a_file_that_others_may_read_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("env");
        std::fs::write(&path, "A=hunter2").unwrap();
        for (mode, refused) in [(0o644, true), (0o640, true), (0o600, false), (0o400, false)] {
            std::fs::set_permissions(&path, std::fs::Permissions::from_mode(mode)).unwrap();
            match read(&path) {
                Ok(_) => assert!(!refused, "{mode:o}"),
                Err(error) => {
                    let told = error.to_string();
                    assert!(
                        refused && told.contains("chmod 600") && !told.contains("hunter2"),
                        "{told}"
                    );
                }
            }
        }
    }

    #[test]
    fn values_are_taken_as_they_stand() {
        let read = read_text("# comment\n\nA=1\r\n  B=\"x y\" # z\nC=\nD=a=b\n").unwrap();
        let wanted = [("A", "1"), ("B", "\"x y\" # z"), ("C", ""), ("D", "a=b")];
        assert_eq!(
            read,
            wanted.map(|(name, value)| (name.to_owned(), value.to_owned()))
        );
    }

    #[test]
    fn a_bad_line_is_told_by_its_number_and_not_its_text() {
        for bad in ["A=1\nhunter2", "A=1\n=hunter2", "A=1\nhunter2 x=y"] {
            let error = read_text(bad).unwrap_err().to_string();
            assert!(
                error.contains("line 2: ") && !error.contains("hunter2"),
                "{error}"
            );
        }
    }

    #[test]
    fn a_byte_order_mark_loses_no_variable_and_no_name_has_what_nobody_sees() {
        let all = [("A", "1"), ("B", "2")].map(|(name, value)| (name.to_owned(), value.to_owned()));
        for text in [
            "\u{feff}A=1\nB=2",
            "\u{feff}A=1\r\nB=2\r\n",
            "\u{feff}# x\nA=1\nB=2",
        ] {
            assert_eq!(read_text(text).unwrap(), all, "{text:?}");
        }
        // Within a value they are its own.
        let value = "\u{feff}p\u{200b}a\u{a0}ss\u{202e}\u{ad}";
        assert_eq!(read_text(&format!("A={value}")).unwrap()[0].1, value);
        for (line, code, place) in [
            ("\u{feff}B=hunter2", "U+FEFF", 1),
            ("B\u{200b}=hunter2", "U+200B", 2),
            ("\u{a0}B=hunter2", "U+00A0", 1),
            ("  B\u{202e}C=hunter2", "U+202E", 2),
            ("\u{a0}", "U+00A0", 1),
            ("hunter2\u{ad}", "U+00AD", 8),
            ("B\u{1b}=hunter2", "U+001B", 2),
        ] {
            let error = read_text(&format!("A=1\n{line}\n")).unwrap_err().to_string();
            let told =
                format!("line 2: the name before = has an invisible character, {code}, as character {place}");
            assert!(error.ends_with(&told) && !error.contains("hunter2"), "{error}");
        }
        let error = read_text("A=1\rB=2\r").unwrap_err().to_string();
        assert!(
            error.contains("line 1: the lines end with a carriage return alone"),
            "{error}"
        );
    }

    #[test]
    fn a_file_in_another_encoding_is_refused_as_what_it_is() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("env");
        for (bytes, told) in [
            (
                &b"\xff\xfeA\0=\x001\0"[..],
                "line 1: it is UTF-16, as some programs on Windows write: save it as UTF-8",
            ),
            (b"A=1\nB=\xe9", "line 2: it is not UTF-8: save it as UTF-8"),
        ] {
            std::fs::write(&path, bytes).unwrap();
            std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600)).unwrap();
            let error = read(&path).unwrap_err().to_string();
            assert!(error.ends_with(told), "{error}");
        }
    }

    #[test]
    fn a_missing_file_is_named() {
        let error = read(Path::new("/nowhere/env")).unwrap_err().to_string();
        assert!(error.contains("/nowhere/env"), "{error}");
    }
}
