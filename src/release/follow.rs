//! Following a release: its log is copied to whoever reads, and losing that reader changes nothing.

use std::io::Write;
use std::os::fd::AsFd;
use std::time::{Duration, Instant};

use anyhow::Result;
use rustix::event::{PollFd, PollFlags, poll};

use super::context::Context;
use super::history::{self, Past};
use super::journal_entry::Outcome;
use super::log::{Ended, Event, LogLine, LogReader, Verdict};
use super::messages::{self, Shown, Tone};
use crate::ground::failpoint;
use crate::store::{Moment, ReleaseDir, Watch};

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
        while let Some(lines) = log.lines()? {
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
    if let Some(outcome) = past.outcome.as_ref().filter(|_| to.end != End::Verdict) {
        let (at, verdict) = verdict(context, &past, outcome)?;
        to.line(&LogLine::Event(at.at, Event::Verdict(verdict)));
    }
    Ok(past.outcome)
}

/// The verdict on a release that has ended, and when it did.
fn verdict(context: &Context, past: &Past, outcome: &Outcome) -> Result<(Moment, Verdict)> {
    let at = past.changed.clone().unwrap_or(past.record.received.clone());
    let ended = Ended {
        app: past.dir.app(),
        record: &past.record,
        facts: &past.facts,
        outcome,
        at: &at,
    };
    let verdict = ended.verdict(context, &context.store.state(past.dir.app())?);
    Ok((at, verdict))
}

/// Whoever reads what a command or a hook prints.
pub struct Reader<'a> {
    out: Box<dyn Out + 'a>,
    output_lines: usize,
    output_bytes: usize,
    end: End,
    log: String,
    colored: bool,
    gone: bool,
    stays: bool,
}

/// What the log has told of the release's end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum End {
    /// Nothing, or that the release was taken up again.
    Open,
    /// That it could not be brought to its end.
    Unfinished,
    /// The verdict.
    Verdict,
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
            end: End::Open,
            log: log.to_owned(),
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

    /// Whether it was told that the release could not be brought to its end.
    pub fn knows_it_is_unfinished(&self) -> bool {
        self.end == End::Unfinished
    }

    /// Writes one line.
    pub fn line(&mut self, line: &LogLine) {
        if let LogLine::Event(_, event) = line {
            self.end = match event {
                Event::Verdict(_) => End::Verdict,
                Event::Unfinished { .. } => End::Unfinished,
                Event::Resumed => End::Open,
                _ => self.end,
            };
        }
        let Shown { text, tone } = messages::log_line(line);
        if tone == Tone::Output && !self.takes_output(&text) {
            return;
        }
        match color(tone).filter(|_| self.colored) {
            Some(color) => self.write(&format!("\x1b[{color}m{text}\x1b[0m\n")),
            None => self.write(&format!("{text}\n")),
        }
    }

    /// Whether one more line of a tool's output is shown; says once that there is more.
    fn takes_output(&mut self, line: &str) -> bool {
        let was_enough = self.has_enough();
        self.output_lines += 1;
        self.output_bytes += line.len();
        if self.has_enough() && !was_enough {
            let more = messages::rest_of_output(&self.log);
            self.write(&format!("{more}\n"));
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

/// The colour of a line: green for a good verdict, red for a bad one, faint for tools' output.
fn color(tone: Tone) -> Option<u8> {
    match tone {
        Tone::Plain => None,
        Tone::Good => Some(32),
        Tone::Bad => Some(31),
        Tone::Output => Some(2),
    }
}
