//! A release's journal: one checked line an entry, durable before `append` answers.

use std::fs::{self, File};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::marker::PhantomData;
use std::path::PathBuf;

use jiff::Timestamp;
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;

use super::{ReleaseDir, StoreError, durable};

/// The error of reading or writing a journal.
pub type JournalError = StoreError;

/// Bytes at a journal's end that hold its last line, but for one with a very long text in it.
const LAST_LINE: u64 = 4096;

/// An append-only list of entries, each with the time of its writing.
#[derive(Debug)]
pub struct Journal<E> {
    path: PathBuf,
    file: File,
    entries: Vec<(Timestamp, E)>,
    /// Lines of entries that become durable with the next one.
    noted: String,
    _entry: PhantomData<E>,
}

impl<E: Serialize + DeserializeOwned> Journal<E> {
    /// Opens the journal of `release`, made if it is not there. A last line that was cut by a crash was never
    /// acted on and is dropped.
    ///
    /// # Errors
    /// When the file cannot be read or written, or a line before the last is damaged.
    pub fn open(release: &ReleaseDir) -> Result<Self, JournalError> {
        let path = release.path().join("journal");
        let (entries, length) = read(&path)?;
        let file = durable::append(&path)?;
        file.set_len(length).map_err(StoreError::io("write", &path))?;
        durable::sync_folder(release.path()).map_err(StoreError::io("write", release.path()))?;
        Ok(Self {
            path,
            file,
            entries,
            noted: String::new(),
            _entry: PhantomData,
        })
    }

    /// The entries of `release`, the oldest first, without opening it for writing.
    ///
    /// # Errors
    /// When the file cannot be read, or a line before the last is damaged.
    pub fn entries_of(release: &ReleaseDir) -> Result<Vec<(Timestamp, E)>, JournalError> {
        Ok(read(&release.path().join("journal"))?.0)
    }

    /// The last entry of `release`, without reading what comes before it. `None` when there is none, and when it
    /// cannot be had so: then [`entries_of`](Self::entries_of) knows more.
    pub fn last_of(release: &ReleaseDir) -> Option<E> {
        let mut file = File::open(release.path().join("journal")).ok()?;
        let length = file.metadata().ok()?.len();
        file.seek(SeekFrom::Start(length.saturating_sub(LAST_LINE)))
            .ok()?;
        let mut end = Vec::new();
        file.read_to_end(&mut end).ok()?;
        let last = end.split_inclusive(|byte| *byte == b'\n').next_back()?;
        Some(parse(last)?.1)
    }

    /// The entries, the oldest first, each with the time of its writing.
    pub fn entries(&self) -> &[(Timestamp, E)] {
        &self.entries
    }

    /// Adds an entry that becomes durable with the next [`append`](Self::append), in the same write. A crash before
    /// that leaves it out: it is for what may be found out, or done, again.
    pub fn note(&mut self, entry: E) {
        let at = Timestamp::now();
        let body = serde_json::json!({ "at": at, "entry": entry });
        self.noted += &format!("{} {body}\n", durable::sum(&body));
        self.entries.push((at, entry));
    }

    /// Adds an entry; it, and what was noted before it, is durable when this answers.
    ///
    /// # Errors
    /// When it cannot be written; the journal's file is then as before, and this one is not to be used again.
    pub fn append(&mut self, entry: E) -> Result<(), JournalError> {
        let before = self
            .file
            .metadata()
            .map_err(StoreError::io("read", &self.path))?
            .len();
        self.note(entry);
        let lines = std::mem::take(&mut self.noted);
        let written = self
            .file
            .write_all(lines.as_bytes())
            .and_then(|()| self.file.sync_data());
        if let Err(error) = written {
            let _ = self.file.set_len(before);
            return Err(StoreError::io("write", &self.path)(error));
        }
        Ok(())
    }
}

/// The entries and the length in bytes of the lines that hold them.
fn read<E: DeserializeOwned>(path: &std::path::Path) -> Result<(Vec<(Timestamp, E)>, u64), JournalError> {
    let bytes = match fs::read(path) {
        Ok(bytes) => bytes,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok((Vec::new(), 0)),
        Err(error) => return Err(StoreError::io("read", path)(error)),
    };
    let mut entries = Vec::new();
    let mut length = 0;
    let mut lines = bytes.split_inclusive(|byte| *byte == b'\n').peekable();
    while let Some(line) = lines.next() {
        match parse(line) {
            Some(entry) => entries.push(entry),
            None if lines.peek().is_none() => break,
            None => {
                return Err(StoreError::Unreadable {
                    path: path.to_owned(),
                    reason: format!("line {} is damaged", entries.len() + 1),
                });
            }
        }
        length += line.len() as u64;
    }
    Ok((entries, length))
}

fn parse<E: DeserializeOwned>(line: &[u8]) -> Option<(Timestamp, E)> {
    let line = std::str::from_utf8(line).ok()?.strip_suffix('\n')?;
    let (sum, body) = line.split_once(' ')?;
    let body: Value = serde_json::from_str(body).ok()?;
    if durable::sum(&body) != sum {
        return None;
    }
    let at = serde_json::from_value(body["at"].clone()).ok()?;
    Some((at, serde_json::from_value(body["entry"].clone()).ok()?))
}
