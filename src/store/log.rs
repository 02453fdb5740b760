//! A release's log: printable lines, bounded, written by the worker and read by anyone.

use std::fs::File;
use std::io::{Read, Seek, SeekFrom, Write};
use std::process::Stdio;

use super::{ReleaseDir, StoreError, durable};

/// The most bytes of build and pull output that one release's log keeps. What comes after is counted, not kept.
const OUTPUT_MAX: u64 = 16 << 20;

/// The log of a release, to write to. A line that cannot be written (a full disk) is dropped: a log is no
/// reason to fail a release.
#[derive(Debug)]
pub struct Log {
    file: File,
    output: u64,
    dropped: u64,
    /// Whether the last line was written in part.
    torn: bool,
}

impl Log {
    /// Opens the log of `release` to append to.
    ///
    /// # Errors
    /// When the file cannot be opened.
    pub fn open(release: &ReleaseDir) -> Result<Self, StoreError> {
        Ok(Self {
            file: durable::append(&release.path().join("log"))?,
            output: 0,
            dropped: 0,
            torn: false,
        })
    }

    /// Writes one line of deployer's own. `line` is printable and has no newline.
    pub fn line(&mut self, line: &str) {
        let end_of_torn = if self.torn { "\n" } else { "" };
        let text = format!("{end_of_torn}{line}\n");
        let mut left = text.as_bytes();
        while let Ok(written @ 1..) = self.file.write(left) {
            left = &left[written..];
        }
        self.torn = match left.len() {
            0 => false,
            length if length == text.len() => self.torn,
            _ => true,
        };
    }

    /// Writes one line of a tool's output, indented so that it is told from deployer's own.
    pub fn output(&mut self, line: &str) {
        self.output += line.len() as u64 + 5;
        if self.output <= OUTPUT_MAX {
            self.line(&format!("{OUTPUT_MARK}{line}"));
        } else {
            self.dropped += 1;
        }
    }

    /// Says how many lines of output were dropped since the last call, if any.
    pub fn end_of_output(&mut self) {
        let dropped = std::mem::take(&mut self.dropped);
        if dropped > 0 {
            self.line(&format!("{OUTPUT_MARK}({dropped} more lines were not kept)"));
        }
    }
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

/// What a line of a tool's output begins with in the log.
pub const OUTPUT_MARK: &str = "   | ";

/// A reader of a release's log that takes up where it stopped.
#[derive(Debug)]
pub struct LogReader {
    release: ReleaseDir,
    offset: u64,
    partial: Vec<u8>,
}

impl LogReader {
    /// A reader at the log's beginning.
    pub fn new(release: &ReleaseDir) -> Self {
        Self {
            release: release.clone(),
            offset: 0,
            partial: Vec::new(),
        }
    }

    /// The whole lines that were written since the last call, at most 256 KiB of them.
    ///
    /// # Errors
    /// When the log is there but cannot be read.
    pub fn lines(&mut self) -> Result<Vec<String>, StoreError> {
        let path = self.release.path().join("log");
        let mut file = match File::open(&path) {
            Ok(file) => file,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
            Err(error) => return Err(StoreError::io("read", &path)(error)),
        };
        let mut read = Vec::new();
        file.seek(SeekFrom::Start(self.offset))
            .and_then(|_| file.take(256 << 10).read_to_end(&mut read))
            .map_err(StoreError::io("read", &path))?;
        self.offset += read.len() as u64;
        self.partial.extend(read);
        let whole = self
            .partial
            .iter()
            .rposition(|byte| *byte == b'\n')
            .map_or(0, |at| at + 1);
        let lines: Vec<u8> = self.partial.drain(..whole).collect();
        Ok(String::from_utf8_lossy(&lines)
            .lines()
            .map(str::to_owned)
            .collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn log(file: File) -> Log {
        Log {
            file,
            output: 0,
            dropped: 0,
            torn: false,
        }
    }

    #[test]
    fn a_log_that_cannot_be_written_drops_its_lines() {
        let mut log = log(File::options().append(true).open("/dev/full").unwrap());
        log.line("lost");
        log.output("lost too");
        log.end_of_output();
        assert!(!log.torn);
    }

    #[test]
    fn a_line_after_a_torn_one_begins_at_its_own() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("log");
        std::fs::write(&path, "half a li").unwrap();
        let mut log = log(File::options().append(true).open(&path).unwrap());
        log.torn = true;
        log.line("whole");
        log.line("and whole");
        assert_eq!(
            std::fs::read_to_string(&path).unwrap(),
            "half a li\nwhole\nand whole\n"
        );
    }
}
