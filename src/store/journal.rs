//! A release's journal: one checked line an entry, durable before `append` answers.

use std::fs::{self, File};
use std::io::{self, Write};
use std::marker::PhantomData;
use std::path::PathBuf;

use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;

use super::{Moment, ReleaseDir, StoreError, durable};
use crate::model::sealed::checksum;

/// The error of reading or writing a journal.
pub type JournalError = StoreError;

/// An append-only list of entries, each with the moment of its writing.
#[derive(Debug)]
pub struct Journal<E> {
    path: PathBuf,
    file: File,
    entries: Vec<(Moment, E)>,
    _entry: PhantomData<E>,
}

impl<E: Serialize + DeserializeOwned> Journal<E> {
    /// Opens the journal of `release`, made if it is not there. A last line that was cut by a crash was never
    /// acted on and is dropped; where it looks whole and is damaged all the same, a copy is kept aside first.
    ///
    /// # Errors
    /// When the file cannot be read or written, or a line before the last is damaged.
    pub fn open(release: &ReleaseDir) -> Result<Self, JournalError> {
        let path = release.path().join("journal");
        let Read {
            entries,
            length,
            ends_damaged,
        } = read(&path)?;
        if ends_damaged {
            durable::keep_copy_aside(&path)?;
        }
        let file = durable::append(&path)?;
        file.set_len(length).map_err(StoreError::io("write", &path))?;
        durable::sync_folder(release.path()).map_err(StoreError::io("write", release.path()))?;
        Ok(Self {
            path,
            file,
            entries,
            _entry: PhantomData,
        })
    }

    /// The entries of `release`, the oldest first, without opening it for writing.
    ///
    /// # Errors
    /// When the file cannot be read, or a line before the last is damaged.
    pub fn entries_of(release: &ReleaseDir) -> Result<Vec<(Moment, E)>, JournalError> {
        Ok(read(&release.path().join("journal"))?.entries)
    }

    /// The entries, the oldest first, each with the moment of its writing.
    pub fn entries(&self) -> &[(Moment, E)] {
        &self.entries
    }

    /// Adds an entry; it is durable when this answers.
    ///
    /// # Errors
    /// When it cannot be written; the journal is then as before.
    pub fn append(&mut self, entry: E) -> Result<(), JournalError> {
        let at = Moment::now();
        let body = serde_json::json!({ "at": at, "entry": entry });
        let line = format!("{} {body}\n", checksum(&body));
        let before = self
            .file
            .metadata()
            .map_err(StoreError::io("read", &self.path))?
            .len();
        let written = self
            .file
            .write_all(line.as_bytes())
            .and_then(|()| self.file.sync_data());
        if let Err(error) = written {
            let _ = self.file.set_len(before);
            return Err(StoreError::io("write", &self.path)(error));
        }
        self.entries.push((at, entry));
        Ok(())
    }
}

/// What a journal's file holds.
struct Read<E> {
    entries: Vec<(Moment, E)>,
    /// Bytes of the lines that hold them.
    length: u64,
    /// Whether a line follows them that was written to its end, and is not what was written.
    ends_damaged: bool,
}

fn read<E: DeserializeOwned>(path: &std::path::Path) -> Result<Read<E>, JournalError> {
    let bytes = match fs::read(path) {
        Ok(bytes) => bytes,
        Err(error) if error.kind() == io::ErrorKind::NotFound => Vec::new(),
        Err(error) => return Err(StoreError::io("read", path)(error)),
    };
    let mut read = Read {
        entries: Vec::new(),
        length: 0,
        ends_damaged: false,
    };
    let mut lines = bytes.split_inclusive(|byte| *byte == b'\n').peekable();
    while let Some(line) = lines.next() {
        match parse(line) {
            Some(entry) => read.entries.push(entry),
            None if lines.peek().is_none() => {
                read.ends_damaged = line.ends_with(b"\n");
                break;
            }
            None => {
                return Err(StoreError::Unreadable {
                    path: path.to_owned(),
                    reason: format!("line {} is damaged", read.entries.len() + 1),
                });
            }
        }
        read.length += line.len() as u64;
    }
    Ok(read)
}

fn parse<E: DeserializeOwned>(line: &[u8]) -> Option<(Moment, E)> {
    let line = std::str::from_utf8(line).ok()?.strip_suffix('\n')?;
    let (sum, body) = line.split_once(' ')?;
    let body: Value = serde_json::from_str(body).ok()?;
    if checksum(&body) != sum {
        return None;
    }
    let at = serde_json::from_value(body["at"].clone()).ok()?;
    Some((at, serde_json::from_value(body["entry"].clone()).ok()?))
}
