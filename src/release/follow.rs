//! Following a release: its log is copied to whoever reads, and losing that reader changes nothing.

use std::io::Write;
use std::os::fd::AsFd;
use std::time::{Duration, Instant};

use anyhow::Result;
use rustix::event::{PollFd, PollFlags, poll};

use super::context::Context;
use super::entry::Outcome;
use super::history::{self, Past};
use super::say;
use crate::ground::failpoint;
use crate::store::{LogReader, OUTPUT_MARK, ReleaseDir, Watch};

/// How long a reader may take nothing before it is given up.
const READER_PATIENCE: Duration = Duration::from_secs(5);
/// The most that is written at once: a pipe that polls as writable takes this much without blocking.
const CHUNK: usize = 4096;
/// The most lines of a tool's output that a pusher sees, and the most bytes; the log has the rest.
const OUTPUT_LINES: usize = 2000;
const OUTPUT_BYTES: usize = 4 << 20;

/// Copies the log of `release` to `to` until its worker has ended, and gives its outcome. `None` when the
/// worker was killed before it wrote one. A reader that is gone or takes nothing for 5 s is given up, and with it the release,
/// unless the reader [`Reader::stays`].
///
/// The verdict is read from the journal where the log has none: its worker was killed between the two, or the disk
/// is full.
///
/// # Errors
/// When the log or the journal cannot be read.
pub fn follow(context: &Context, release: &ReleaseDir, to: &mut Reader<'_>) -> Result<Option<Outcome>> {
    let mut log = LogReader::new(release);
    let mut watch = Watch::new(release);
    failpoint::at("follow.begun");
    loop {
        let works = release.has_worker();
        loop {
            let lines = log.lines()?;
            if lines.is_empty() {
                break;
            }
            for line in lines {
                to.line(&line);
            }
        }
        if !works || to.is_gone() && !to.stays {
            break;
        }
        watch.wait();
    }
    failpoint::at("follow.ended");
    let Some(past) = history::one(release.clone())? else {
        return Ok(None);
    };
    if let Some(outcome) = past.outcome.as_ref().filter(|_| !say::is_verdict(&to.last_line)) {
        to.line(&verdict(context, &past, outcome)?);
    }
    Ok(past.outcome)
}

/// The verdict on a release that has ended.
fn verdict(context: &Context, past: &Past, outcome: &Outcome) -> Result<String> {
    let app = context.app(past.dir.app())?;
    let state = context.store.state(&app.name)?;
    let ended = past.changed.as_ref().unwrap_or(&past.record.received);
    let verdict = say::Verdict {
        app: &app.name,
        record: &past.record,
        facts: &past.facts,
        took: ended.since(&past.record.received),
        address: &app.address(context, &state, past.record.slot),
        live: state.live(),
    };
    Ok(say::verdict(outcome, &verdict))
}

/// Whoever reads what a command or a hook prints.
pub struct Reader<'a> {
    out: Box<dyn Out + 'a>,
    output_lines: usize,
    output_bytes: usize,
    last_line: String,
    hint: String,
    colored: bool,
    gone: bool,
    stays: bool,
}

/// Where the lines go: something to write to that can be waited for.
pub trait Out: Write + AsFd {}
impl<T: Write + AsFd> Out for T {}

impl<'a> Reader<'a> {
    /// A reader at `out`; `log` is the command that shows what was left out; verdicts are `colored` on a terminal.
    pub fn new(out: impl Out + 'a, log: &str, colored: bool) -> Self {
        Self {
            out: Box::new(out),
            output_lines: 0,
            output_bytes: 0,
            last_line: String::new(),
            hint: log.to_owned(),
            colored,
            gone: false,
            stays: false,
        }
    }

    /// The same reader, for whose end the release's end is needed even if nobody reads it any more.
    pub fn stays(mut self) -> Self {
        self.stays = true;
        self
    }

    /// Whether the reader was given up.
    pub fn is_gone(&self) -> bool {
        self.gone
    }

    /// Whether the last line told that the release could not be brought to its end.
    pub fn knows_it_is_unfinished(&self) -> bool {
        self.last_line.starts_with("unfinished:")
    }

    /// Writes one line.
    pub fn line(&mut self, line: &str) {
        line.clone_into(&mut self.last_line);
        if line.starts_with(OUTPUT_MARK) && !self.takes_output(line) {
            return;
        }
        match color(line).filter(|_| self.colored) {
            Some(color) => self.write(&format!("\x1b[{color}m{line}\x1b[0m\n")),
            None => self.write(&format!("{line}\n")),
        }
    }

    /// Whether one more line of a tool's output is shown; says once that there is more.
    fn takes_output(&mut self, line: &str) -> bool {
        let was_enough = self.has_enough();
        self.output_lines += 1;
        self.output_bytes += line.len();
        if self.has_enough() && !was_enough {
            self.write(&format!("{OUTPUT_MARK}… `{}` shows the rest\n", self.hint));
        }
        !self.has_enough()
    }

    fn has_enough(&self) -> bool {
        self.output_lines >= OUTPUT_LINES || self.output_bytes >= OUTPUT_BYTES
    }

    fn write(&mut self, text: &str) {
        for chunk in text.as_bytes().chunks(CHUNK) {
            self.gone = self.gone
                || !self.is_ready()
                || self.out.write_all(chunk).and_then(|()| self.out.flush()).is_err();
        }
    }

    fn is_ready(&self) -> bool {
        let began = Instant::now();
        while began.elapsed() < READER_PATIENCE {
            let mut waits = [PollFd::new(&self.out, PollFlags::OUT)];
            let timeout = rustix::event::Timespec {
                tv_sec: 1,
                tv_nsec: 0,
            };
            match poll(&mut waits, Some(&timeout)) {
                Ok(0) => {}
                Ok(_) => return waits[0].revents().contains(PollFlags::OUT),
                Err(rustix::io::Errno::INTR) => {}
                Err(_) => return false,
            }
        }
        false
    }
}

/// The colour of a line of deployer's own: green for a good verdict, red for a bad one, faint for tools' output.
fn color(line: &str) -> Option<u8> {
    let starts = |words: &[&str]| words.iter().any(|word| line.starts_with(word));
    match line {
        _ if starts(&["live:", "standby:"]) => Some(32),
        _ if starts(&[
            "failed:",
            "unfinished:",
            "interrupted:",
            "cancelled:",
            "superseded:",
        ]) =>
        {
            Some(31)
        }
        _ if starts(&[OUTPUT_MARK]) => Some(2),
        _ => None,
    }
}
