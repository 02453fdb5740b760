//! A release's journal: one checked line an entry, durable before `append` answers.
//!
//! A line is `CHECKSUM {"format": N, "at": …, "entry": …}`. Each has its own format number, so that a journal that a newer
//! deployer went on with is told from a damaged one, and left as it is.

use std::fmt;
use std::fs::{self, File};
use std::io::{self, Read, Seek, SeekFrom};
use std::marker::PhantomData;
use std::path::PathBuf;

use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;

use super::{Moment, ReleaseDir, StoreError, durable};
use crate::ground::durable::append;
use crate::ground::failpoint;
use crate::ground::sealed::checksum;

/// The error of reading or writing a journal.
pub type JournalError = StoreError;

/// The newest format of a line that this program knows, and the one that it writes: 2 since a journal tells when its release
/// takes effect.
const FORMAT: u32 = 2;

/// Bytes at a journal's end that hold its last line, but for one with a very long text in it.
const LAST_LINE: u64 = 4096;

/// An append-only list of entries, each with the moment of its writing.
#[derive(Debug)]
pub struct Journal<E> {
    path: PathBuf,
    file: File,
    entries: Vec<(Moment, E)>,
    /// Lines of entries that become durable with the next one.
    noted: String,
    _entry: PhantomData<E>,
}

impl<E: Serialize + DeserializeOwned> Journal<E> {
    /// Opens the journal of `release`, made if it is not there. A last line that was cut by a crash was never
    /// acted on and is dropped; where it looks whole and is damaged all the same, a copy is kept aside first.
    ///
    /// # Errors
    /// When the file cannot be read or written, a line before the last is damaged, or a newer deployer wrote one: nothing
    /// is then changed.
    pub fn open(release: &ReleaseDir) -> Result<Self, JournalError> {
        let path = release.path().join("journal");
        let Held {
            entries,
            length,
            ends_damaged,
        } = read(&path)?;
        if ends_damaged {
            durable::keep_copy_aside(&path)?;
        }
        let file = durable::append(&path)?;
        file.set_len(length).map_err(StoreError::io("write", &path))?;
        failpoint::at("journal.opened");
        durable::sync_folder(release.path())?;
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
    /// When the file cannot be read, a line before the last is damaged, or a newer deployer wrote one.
    pub fn entries_of(release: &ReleaseDir) -> Result<Vec<(Moment, E)>, JournalError> {
        Ok(read(&release.path().join("journal"))?.entries)
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
        match parse(last) {
            Line::Entry(_, entry) => Some(entry),
            Line::Newer(_) | Line::Damaged => None,
        }
    }

    /// The entries, the oldest first, each with the moment of its writing.
    pub fn entries(&self) -> &[(Moment, E)] {
        &self.entries
    }

    /// Adds an entry that becomes durable with the next [`append`](Self::append), in the same write. A crash before
    /// that leaves it out: it is for what may be found out, or done, again.
    pub fn note(&mut self, entry: E) {
        let at = Moment::now();
        self.noted += &line(FORMAT, &at, &entry);
        self.entries.push((at, entry));
    }

    /// Adds an entry; it, and what was noted before it, is durable when this answers.
    ///
    /// # Errors
    /// When it cannot be written; the journal's file is then as before, and this one is not to be used again.
    pub fn append(&mut self, entry: E) -> Result<(), JournalError> {
        self.note(entry);
        self.write_noted()
    }

    /// Makes what was noted durable, where there is anything.
    ///
    /// # Errors
    /// As for [`append`](Self::append).
    pub fn write_noted(&mut self) -> Result<(), JournalError> {
        let lines = std::mem::take(&mut self.noted);
        let Some((_, last)) = self.entries.last().filter(|_| !lines.is_empty()) else {
            return Ok(());
        };
        let before = self.file.metadata();
        let before = before.map_err(StoreError::io("read", &self.path))?.len();
        let name = Name(last);
        let written = append(&self.file, lines.as_bytes(), format_args!("journal.{name}"));
        if let Err(error) = written {
            let _ = self.file.set_len(before);
            return Err(StoreError::io("write", &self.path)(error));
        }
        Ok(())
    }
}

/// An entry in short, for the names of fail points: `began.flip`.
struct Name<'a, E>(&'a E);

impl<E: Serialize> fmt::Display for Name<'_, E> {
    fn fmt(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
        let entry = serde_json::to_value(self.0).unwrap_or_default();
        to.write_str(entry["entry"].as_str().unwrap_or("unknown"))?;
        match entry["step"].as_str() {
            Some(step) => write!(to, ".{step}"),
            None => Ok(()),
        }
    }
}

/// What a journal's file holds.
pub(super) struct Held<E> {
    pub(super) entries: Vec<(Moment, E)>,
    /// Bytes of the lines that hold them.
    length: u64,
    /// Whether a line follows them that was written to its end, and is not what was written.
    ends_damaged: bool,
}

fn read<E: DeserializeOwned>(path: &std::path::Path) -> Result<Held<E>, JournalError> {
    let bytes = match fs::read(path) {
        Ok(bytes) => bytes,
        Err(error) if error.kind() == io::ErrorKind::NotFound => Vec::new(),
        Err(error) => return Err(StoreError::io("read", path)(error)),
    };
    held(path, &bytes)
}

/// What `bytes` hold, which stand in the file at `path`.
pub(super) fn held<E: DeserializeOwned>(
    path: &std::path::Path,
    bytes: &[u8],
) -> Result<Held<E>, JournalError> {
    let mut read = Held {
        entries: Vec::new(),
        length: 0,
        ends_damaged: false,
    };
    let lines = || bytes.split_inclusive(|byte| *byte == b'\n');
    let newer = lines().find_map(|line| match parse::<E>(line) {
        Line::Newer(found) => Some(found),
        _ => None,
    });
    if let Some(found) = newer {
        return Err(StoreError::Newer {
            path: path.to_owned(),
            found,
            known: FORMAT,
        });
    }
    let mut lines = lines().peekable();
    while let Some(line) = lines.next() {
        match parse(line) {
            Line::Entry(at, entry) => read.entries.push((at, entry)),
            _ if lines.peek().is_none() => {
                read.ends_damaged = line.ends_with(b"\n");
                break;
            }
            _ => {
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

/// A line as it stands in the file.
enum Line<E> {
    Entry(Moment, E),
    /// Whole, and of a format above the one that is known.
    Newer(u32),
    /// Cut, or not what was written.
    Damaged,
}

fn parse<E: DeserializeOwned>(line: &[u8]) -> Line<E> {
    let Some(body) = checked(line) else {
        return Line::Damaged;
    };
    let format = body["format"].as_u64().and_then(|format| format.try_into().ok());
    match format {
        Some(format) if format > FORMAT => return Line::Newer(format),
        Some(1..=FORMAT) => {}
        _ => return Line::Damaged,
    }
    let at = serde_json::from_value(body["at"].clone());
    let entry = serde_json::from_value(body["entry"].clone());
    match (at, entry) {
        (Ok(at), Ok(entry)) => Line::Entry(at, entry),
        _ => Line::Damaged,
    }
}

/// What a line says, where it is whole.
fn checked(line: &[u8]) -> Option<Value> {
    let line = std::str::from_utf8(line).ok()?.strip_suffix('\n')?;
    let (sum, body) = line.split_once(' ')?;
    let body: Value = serde_json::from_str(body).ok()?;
    (checksum(&body) == sum).then_some(body)
}

/// The line of an entry, newline included.
pub(super) fn line(format: u32, at: &Moment, entry: &impl Serialize) -> String {
    let body = serde_json::json!({ "format": format, "at": at, "entry": entry });
    format!("{} {body}\n", checksum(&body))
}
