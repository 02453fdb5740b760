//! The state folder's files: sealed, replaced whole, and kept aside where they cannot be read.

use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use serde::Serialize;
use serde::de::DeserializeOwned;

use super::StoreError;
use crate::ground::durable;
use crate::ground::sealed::{self, Unopened};

/// Makes `folder` and its parents, readable by their owner alone, each durable.
pub(super) fn create_folder(folder: &Path) -> Result<(), StoreError> {
    durable::make_folder(folder, 0o700).map_err(StoreError::io("make", folder))
}

/// Replaces `path` by `bytes`, readable by its owner alone.
pub(super) fn write(path: &Path, bytes: &[u8]) -> Result<(), StoreError> {
    durable::replace(path, 0o600, bytes).map_err(StoreError::io("write", path))
}

/// Makes a folder's entries durable.
pub(super) fn sync_folder(folder: &Path) -> Result<(), StoreError> {
    durable::sync_folder(folder).map_err(StoreError::io("write", folder))
}

/// Opens `path` to append to, made if it is not there, readable by its owner alone.
pub(super) fn append(path: &Path) -> Result<File, StoreError> {
    OpenOptions::new()
        .append(true)
        .create(true)
        .mode(0o600)
        .open(path)
        .map_err(StoreError::io("open", path))
}

/// Puts a file that cannot be read aside, so that it is neither lost nor read again. Gives its new name.
pub(super) fn keep_aside(path: &Path) -> Result<PathBuf, StoreError> {
    let aside = keep_copy_aside(path)?;
    fs::remove_file(path).map_err(StoreError::io("move", path))?;
    Ok(aside.expect("a file that was removed was there"))
}

/// Like [`keep_aside`], and leaves `path` where it is until it is replaced: a crash in between leaves a file that
/// cannot be read, never none. `None` when there is no such file.
pub(super) fn keep_copy_aside(path: &Path) -> Result<Option<PathBuf>, StoreError> {
    let stamp = jiff::Timestamp::now().strftime("%Y%m%dT%H%M%SZ");
    let mut name = path.file_name().expect("a file has a name").to_owned();
    name.push(format!(".unreadable-{stamp}"));
    // A number tells those of one second apart, and those of a clock that was set back.
    for number in 1_u32.. {
        let mut name = name.clone();
        if number > 1 {
            name.push(format!("-{number}"));
        }
        let aside = path.with_file_name(name);
        match fs::hard_link(path, &aside) {
            Ok(()) => return Ok(Some(aside)),
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(StoreError::io("keep a copy of", path)(error)),
        }
    }
    unreachable!("numbers do not end before the names do")
}

/// Writes `content` under a format number and a checksum.
pub(super) fn write_sealed<T: Serialize>(path: &Path, format: u32, content: &T) -> Result<(), StoreError> {
    write(path, &sealed::seal(format, content))
}

/// Reads what [`write_sealed`] wrote. `None` when there is no such file.
///
/// # Errors
/// `Newer` when the file's format is above `format`; `Unreadable` when a single bit is not as it was written.
pub(super) fn read_sealed<T: DeserializeOwned>(path: &Path, format: u32) -> Result<Option<T>, StoreError> {
    let bytes = match fs::read(path) {
        Ok(bytes) => bytes,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(StoreError::io("read", path)(error)),
    };
    let path = path.to_owned();
    match sealed::open(format, &bytes) {
        Ok(content) => Ok(Some(content)),
        Err(Unopened::Newer { found }) => Err(StoreError::Newer {
            path,
            found,
            known: format,
        }),
        Err(Unopened::Damaged { reason }) => Err(StoreError::Unreadable { path, reason }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_single_damaged_byte_is_read_as_content() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("file.json");
        let content = vec!["blue".to_owned(), "green".to_owned()];
        write_sealed(&path, 1, &content).unwrap();
        assert_eq!(
            read_sealed::<Vec<String>>(&path, 1).unwrap(),
            Some(content.clone())
        );

        let good = fs::read(&path).unwrap();
        for at in 0..good.len() {
            let mut cut = good.clone();
            cut.truncate(at);
            fs::write(&path, &cut).unwrap();
            let read = read_sealed::<Vec<String>>(&path, 1);
            assert!(
                read.is_err() || read.unwrap() == Some(content.clone()),
                "cut at {at}"
            );
            for bit in 0..8 {
                let mut flipped = good.clone();
                flipped[at] ^= 1 << bit;
                fs::write(&path, &flipped).unwrap();
                let read = read_sealed::<Vec<String>>(&path, 1);
                assert!(
                    read.is_err() || read.unwrap() == Some(content.clone()),
                    "bit {bit} of {at}"
                );
            }
        }
    }

    #[test]
    fn a_copy_kept_aside_leaves_no_moment_without_the_file() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("file.json");
        assert_eq!(keep_copy_aside(&path).unwrap(), None);
        fs::write(&path, "damaged").unwrap();

        let aside = keep_copy_aside(&path).unwrap().unwrap();

        assert!(matches!(
            read_sealed::<u32>(&path, 1),
            Err(StoreError::Unreadable { .. })
        ));
        write_sealed(&path, 1, &7).unwrap();
        assert_eq!(fs::read(aside).unwrap(), b"damaged");
    }
}
