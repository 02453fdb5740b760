//! A release's log: lines of data, bounded, written by the worker and read by anyone.
//!
//! A line is `{"format": N, "at": …, "event": …}`, or a JSON string: a line of a tool's output, printed at the time of the
//! object before it. An object with neither an event nor `dropped` only tells the time of what follows. Any other line came
//! from the worker's standard error, as a panic does.

use std::fs::File;
use std::io::{Read, Seek, SeekFrom, Write};
use std::marker::PhantomData;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::{Duration, Instant};

use jiff::Timestamp;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::{ReleaseDir, StoreError, durable};

/// The newest format of a line that this program knows, and the one that it writes.
const FORMAT: u32 = 1;

/// The most bytes of build and pull output that one release's log keeps. What comes after is counted, not kept.
const OUTPUT_MAX: u64 = 16 << 20;

/// How exactly the time of output is known.
const OUTPUT_TIME: Duration = Duration::from_secs(1);

/// The most bytes that are read at once.
const READ_MAX: u64 = 256 << 10;

/// The log of a release, to write to. A line that cannot be written (a full disk) is dropped: a log is no
/// reason to fail a release.
#[derive(Debug)]
pub struct Log<E> {
    file: File,
    path: PathBuf,
    output: u64,
    dropped: u64,
    /// Whether the last line was written in part.
    pub(super) torn: bool,
    /// When a line last told the time.
    told_time: Option<Instant>,
    _event: PhantomData<E>,
}

/// A line that is an object.
#[derive(Debug, Serialize, Deserialize)]
struct Object<E> {
    format: u32,
    at: Timestamp,
    #[serde(skip_serializing_if = "Option::is_none")]
    event: Option<E>,
    /// How many lines of output were not kept.
    #[serde(skip_serializing_if = "Option::is_none")]
    dropped: Option<u64>,
}

impl<E: Serialize> Log<E> {
    /// Opens the log of `release` to append to.
    ///
    /// # Errors
    /// When the file cannot be opened.
    pub fn open(release: &ReleaseDir) -> Result<Self, StoreError> {
        let path = release.path().join("log");
        Ok(Self::to(durable::append(&path)?, path))
    }

    pub(super) fn to(file: File, path: PathBuf) -> Self {
        Self {
            file,
            path,
            output: 0,
            dropped: 0,
            torn: false,
            told_time: None,
            _event: PhantomData,
        }
    }

    /// Writes down what happened, and when: in a line of its own, also where whoever wrote before was killed half way.
    pub fn event(&mut self, event: &E) {
        self.torn |= ends_torn(&self.path);
        self.write(object(Some(event), None));
        self.told_time = Some(Instant::now());
    }

    /// Writes one line of a tool's output.
    pub fn output(&mut self, line: &str) {
        let mut text = as_line(line);
        self.output += text.len() as u64;
        if self.output > OUTPUT_MAX {
            self.dropped += 1;
            return;
        }
        if self.told_time.is_none_or(|told| told.elapsed() >= OUTPUT_TIME) {
            text.insert_str(0, &object::<E>(None, None));
            self.told_time = Some(Instant::now());
        }
        self.write(text);
    }

    /// Writes down how many lines of output were dropped since the last call, if any.
    pub fn end_of_output(&mut self) {
        let dropped = std::mem::take(&mut self.dropped);
        if dropped > 0 {
            self.write(object::<E>(None, Some(dropped)));
        }
    }

    fn write(&mut self, mut lines: String) {
        if self.torn {
            lines.insert(0, '\n');
        }
        let mut left = lines.as_bytes();
        while let Ok(written @ 1..) = self.file.write(left) {
            left = &left[written..];
        }
        self.torn = match left.len() {
            0 => false,
            length if length == lines.len() => self.torn,
            _ => true,
        };
    }
}

/// The line of an object, newline included.
fn object<E: Serialize>(event: Option<&E>, dropped: Option<u64>) -> String {
    as_line(&Object {
        format: FORMAT,
        at: Timestamp::now(),
        event,
        dropped,
    })
}

/// The line that says `what`, newline included.
fn as_line<T: Serialize + ?Sized>(what: &T) -> String {
    let mut line = serde_json::to_string(what).expect("what a log tells can be written as JSON");
    line.push('\n');
    line
}

fn ends_torn(path: &Path) -> bool {
    let last = || {
        let mut file = File::open(path)?;
        file.seek(SeekFrom::End(-1))?;
        let mut last = [0];
        file.read_exact(&mut last)?;
        std::io::Result::Ok(last[0])
    };
    last().is_ok_and(|last| last != b'\n')
}

impl ReleaseDir {
    /// The release's log as a child's standard error, so that not even a panic is lost.
    ///
    /// # Errors
    /// When the file cannot be opened.
    pub fn log_as_stdio(&self) -> Result<Stdio, StoreError> {
        Ok(durable::append(&self.path().join("log"))?.into())
    }
}

/// What a line of a release's log says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum LogLine<E> {
    /// What happened, and when.
    Event(Timestamp, E),
    /// A line of a tool's output.
    Output(String),
    /// So many lines of output were not kept.
    Dropped(u64),
    /// Something that is no data: what the worker printed in its distress.
    Said(String),
    /// A newer deployer wrote the lines from here on, in this format. It is given once.
    Newer(u32),
}

/// A reader of a release's log that takes up where it stopped.
#[derive(Debug)]
pub struct LogReader<E> {
    release: ReleaseDir,
    offset: u64,
    partial: Vec<u8>,
    lines: Lines<E>,
}

impl<E: DeserializeOwned> LogReader<E> {
    /// A reader at the log's beginning.
    pub fn new(release: &ReleaseDir) -> Self {
        Self {
            release: release.clone(),
            offset: 0,
            partial: Vec::new(),
            lines: Lines::default(),
        }
    }

    /// The whole lines that were written since the last call, at most 256 KiB of them; `None` when there are none. A line
    /// that was torn by a crash is left out.
    ///
    /// # Errors
    /// When the log is there but cannot be read.
    pub fn lines(&mut self) -> Result<Option<Vec<LogLine<E>>>, StoreError> {
        let path = self.release.path().join("log");
        let mut file = match File::open(&path) {
            Ok(file) => file,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(StoreError::io("read", &path)(error)),
        };
        let mut read = Vec::new();
        file.seek(SeekFrom::Start(self.offset))
            .and_then(|_| file.take(READ_MAX).read_to_end(&mut read))
            .map_err(StoreError::io("read", &path))?;
        self.offset += read.len() as u64;
        self.partial.extend(&read);
        let whole = self
            .partial
            .iter()
            .rposition(|byte| *byte == b'\n')
            .map_or(0, |at| at + 1);
        let lines: Vec<u8> = self.partial.drain(..whole).collect();
        Ok((!read.is_empty()).then(|| self.lines.read(&lines)))
    }
}

/// What the lines say, one after another: what a string means depends on the object before it.
#[derive(Debug)]
pub(super) struct Lines<E> {
    /// Whether the last object was of a newer format.
    is_newer: bool,
    has_told: bool,
    _event: PhantomData<E>,
}

impl<E> Default for Lines<E> {
    fn default() -> Self {
        Self {
            is_newer: false,
            has_told: false,
            _event: PhantomData,
        }
    }
}

impl<E: DeserializeOwned> Lines<E> {
    /// What these whole lines say.
    pub(super) fn read(&mut self, lines: &[u8]) -> Vec<LogLine<E>> {
        let lines = String::from_utf8_lossy(lines);
        lines.lines().filter_map(|line| self.line(line)).collect()
    }

    fn line(&mut self, line: &str) -> Option<LogLine<E>> {
        match line.as_bytes().first() {
            Some(b'"') if self.is_newer => None,
            Some(b'"') => serde_json::from_str(line).ok().map(LogLine::Output),
            Some(b'{') => self.object(line),
            _ => Some(LogLine::Said(line.to_owned())),
        }
    }

    fn object(&mut self, line: &str) -> Option<LogLine<E>> {
        let object: Value = serde_json::from_str(line).ok()?;
        let format = u32::try_from(object["format"].as_u64()?).ok()?;
        self.is_newer = format > FORMAT;
        if self.is_newer {
            return (!std::mem::replace(&mut self.has_told, true)).then_some(LogLine::Newer(format));
        }
        let object: Object<E> = serde_json::from_value(object).ok()?;
        match (object.event, object.dropped) {
            (Some(event), _) => Some(LogLine::Event(object.at, event)),
            (None, Some(dropped)) => Some(LogLine::Dropped(dropped)),
            (None, None) => None,
        }
    }
}
