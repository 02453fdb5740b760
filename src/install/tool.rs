//! The system's own tools, by absolute path, with a deadline, a bound and an environment of their own.

use std::fs::File;
use std::io::{self, Read, Seek};
use std::os::fd::AsRawFd;
use std::path::{Path, PathBuf};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use rustix::fs::MemfdFlags;

use crate::ground::child::{self, Ended};
use crate::ground::failpoint;
use crate::model::escaped;

/// Where the tools are, on every system with a merged or a split /usr.
const FOLDERS: [&str; 4] = ["/usr/sbin", "/usr/bin", "/sbin", "/bin"];

/// Pause before a tool is run again that could not do its work yet.
const AGAIN: Duration = Duration::from_millis(200);

/// The longest that a tool may take: a proxy that starts has 30 s of it.
const DEADLINE: Duration = Duration::from_secs(90);

/// The most bytes that are read of each output; what a tool has to say is a few lines.
const OUTPUT_MAX: u64 = 256 << 10;

/// The most characters of a tool's own words in one of our sentences.
const WORDS_MAX: usize = 300;

/// What a tool did.
#[derive(Debug)]
pub(super) struct Said {
    /// The exit code; none where a signal ended it.
    pub(super) code: Option<i32>,
    /// Its standard output.
    pub(super) out: String,
    /// Its standard error.
    pub(super) err: String,
}

impl Said {
    pub(super) fn is_good(&self) -> bool {
        self.code == Some(0)
    }

    /// The last line that it said, of either output, fit to be repeated.
    pub(super) fn last_words(&self) -> String {
        let lines = self.err.lines().chain(self.out.lines());
        let last = self.err.lines().next_back().or(self.out.lines().next_back());
        let any = last.or(lines.last()).unwrap_or("no word");
        escaped(any.as_bytes(), WORDS_MAX)
    }
}

/// The tool `name`, where this system has it.
pub(super) fn find(name: &str) -> Option<PathBuf> {
    let paths = FOLDERS.iter().map(|folder| Path::new(folder).join(name));
    paths.into_iter().find(|path| path.is_file())
}

/// Where a tool finds a file of this process that has no name, and so is left behind by nobody.
pub(super) fn path_of(file: &File) -> String {
    format!("/proc/{}/fd/{}", std::process::id(), file.as_raw_fd())
}

/// Runs the tool to its end.
///
/// # Errors
/// When it is missing, cannot be started, or does not end in time; not when it fails.
pub(super) fn run(name: &str, arguments: &[&str]) -> Result<Said> {
    let Some(path) = find(name) else {
        bail!("{name} is missing: no folder of {} has it", FOLDERS.join(", "));
    };
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    let (out, err) = (Output::new()?, Output::new()?);
    let ended = runtime.block_on(async {
        let mut tool = child::command(&path, &FOLDERS.join(":"));
        tool.args(arguments).stdout(out.take()?).stderr(err.take()?);
        child::run(&mut tool, DEADLINE, OUTPUT_MAX).await
    });
    let ended = ended.with_context(|| format!("cannot run {}", path.display()))?;
    let Ended { code, .. } =
        ended.with_context(|| format!("{name} {} did not end within {DEADLINE:?}", arguments.join(" ")))?;
    let (out, err) = (out.text()?, err.text()?);
    Ok(Said { code, out, err })
}

/// What a tool says, in memory. Not in a pipe, which would end it at its next word where this process is killed: what it
/// makes is to be whole.
struct Output(File);

impl Output {
    fn new() -> Result<Self> {
        let made = rustix::fs::memfd_create("output", MemfdFlags::CLOEXEC).map_err(io::Error::from);
        Ok(Self(made.context("no memory for what a tool says")?.into()))
    }

    fn take(&self) -> io::Result<File> {
        self.0.try_clone()
    }

    fn text(mut self) -> io::Result<String> {
        let mut bytes = Vec::new();
        self.0.rewind()?;
        self.0.take(OUTPUT_MAX).read_to_end(&mut bytes)?;
        Ok(String::from_utf8_lossy(&bytes).into_owned())
    }
}

/// Runs the tool, which must succeed.
///
/// # Errors
/// When it does not, with its last words.
pub(super) fn must(name: &str, arguments: &[&str]) -> Result<Said> {
    succeeded(name, arguments, run(name, arguments)?)
}

/// As [`must`]; where it ends with `busy`, it is run again for as long as `patience`.
///
/// # Errors
/// As there.
pub(super) fn must_when_free(name: &str, arguments: &[&str], busy: i32, patience: Duration) -> Result<Said> {
    let began = Instant::now();
    loop {
        let said = run(name, arguments)?;
        if said.code != Some(busy) || began.elapsed() >= patience {
            return succeeded(name, arguments, said);
        }
        thread::sleep(AGAIN);
    }
}

fn succeeded(name: &str, arguments: &[&str], said: Said) -> Result<Said> {
    failpoint::at(format_args!("{name}.ended"));
    if !said.is_good() {
        bail!("{name} {} failed: {}", arguments.join(" "), said.last_words());
    }
    Ok(said)
}
