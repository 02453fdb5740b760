//! `env_file`: lines of `NAME=value`.

use std::fs::File;
use std::io::Read;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use super::EngineError;

/// Largest env_file in bytes.
const SIZE_MAX: u64 = 1024 * 1024;

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
    let mut text = String::new();
    file.take(SIZE_MAX + 1)
        .read_to_string(&mut text)
        .map_err(unreadable)?;
    let bad = |line: usize, reason: &'static str| EngineError::EnvFile {
        path: path.to_owned(),
        line,
        reason,
    };
    if text.len() as u64 > SIZE_MAX {
        return Err(bad(1, "the file is larger than 1 MiB"));
    }
    let mut variables = Vec::new();
    for (at, line) in text.lines().enumerate() {
        if let Some(variable) = parse(line).map_err(|reason| bad(at + 1, reason))? {
            variables.push(variable);
        }
    }
    Ok(variables)
}

fn parse(line: &str) -> Result<Option<(String, String)>, &'static str> {
    let line = line.trim_start();
    if line.is_empty() || line.starts_with('#') {
        return Ok(None);
    }
    let (name, value) = line.split_once('=').ok_or("not of the form NAME=value")?;
    if name.is_empty() {
        return Err("the name before = is empty");
    }
    if name.contains(char::is_whitespace) {
        return Err("the name before = has a blank in it");
    }
    if line.contains('\0') {
        return Err("it has a NUL in it");
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
    fn a_missing_file_is_named() {
        let error = read(Path::new("/nowhere/env")).unwrap_err().to_string();
        assert!(error.contains("/nowhere/env"), "{error}");
    }
}
