//! The audit log: who did what. A line of JSON for each action, durable when [`Store::write_action`] answers.
//!
//! The file is opened anew for each line, so that it may be moved away at any time, as `logrotate` does.

use std::collections::{BTreeMap, VecDeque};
use std::fs::{self, File, OpenOptions};
use std::io::{self, BufRead, BufReader, Read, Take};
use std::os::unix::fs::{FileExt, MetadataExt, OpenOptionsExt, fchown};
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::action::{Action, ActionOutcome, VERSION};
use super::audit_repeats::{self, Repeats};
use super::{Store, StoreError, durable};
use crate::ground::{durable as ground, lock};
use crate::model::AppName;

const FILE: &str = "audit.log";

/// The longest line that is read, in bytes; those that are written stay far below it.
const LINE_MAX: u64 = 64 << 10;

/// How long to wait for whoever writes a line: that takes one write and its fsync.
const PATIENCE: Duration = Duration::from_secs(2);

impl Store {
    /// Adds an action to the audit log; it is durable when this answers. A last line that was cut by a crash or a full
    /// disk is closed first.
    ///
    /// # Errors
    /// When it cannot be written; the log is then as before.
    pub fn write_action(&self, action: &Action) -> Result<(), StoreError> {
        self.tell(action, false)
    }

    /// As [`Store::write_action`], of what changes nothing and costs its asker nothing. Where much the same came often in
    /// a short time it is counted, and has no line of its own.
    ///
    /// # Errors
    /// As there.
    pub fn write_or_count_action(&self, action: &Action) -> Result<(), StoreError> {
        self.tell(action, true)
    }

    fn tell(&self, action: &Action, may_be_counted: bool) -> Result<(), StoreError> {
        let path = self.audit_log();
        let file = self.open_audit_log(&path)?;
        let repeats = self.root().join(audit_repeats::FILE);
        append(&file, &repeats, action, may_be_counted).map_err(StoreError::io("write", &path))
    }

    /// The audit log as it is now, the oldest line first, then what was counted and has no line yet. None of it is held in memory but the line that is read, and
    /// a bit for each release.
    ///
    /// # Errors
    /// When the file is there but cannot be read.
    pub fn actions(&self) -> Result<Actions, StoreError> {
        let path = self.audit_log();
        let file = match File::open(&path) {
            Ok(file) => Some(file),
            Err(error) if error.kind() == io::ErrorKind::NotFound => None,
            Err(error) => return Err(StoreError::io("read", &path)(error)),
        };
        let file = file.map(whole_lines).transpose();
        let file = file.map_err(StoreError::io("read", &path))?;
        Ok(Actions {
            pending: Repeats::load(&self.root().join(audit_repeats::FILE))
                .pending()
                .collect(),
            path,
            file,
            ended: Ended::default(),
        })
    }

    fn audit_log(&self) -> PathBuf {
        self.root().join(FILE)
    }

    fn open_audit_log(&self, path: &Path) -> Result<File, StoreError> {
        let mut options = OpenOptions::new();
        options.read(true).append(true).mode(0o600);
        match options.open(path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            opened => return opened.map_err(StoreError::io("open", path)),
        }
        if !self.root().exists() {
            durable::create_folder(self.root())?;
        }
        let made = options.create(true).open(path);
        let file = made.map_err(StoreError::io("make", path))?;
        give_to_owner_of(self.root(), &file);
        durable::sync_folder(self.root())?;
        Ok(file)
    }
}

/// A log that root makes is the folder's owner's all the same, who writes to it from then on. Only root can, and need.
fn give_to_owner_of(folder: &Path, file: &File) {
    if let Ok(folder) = fs::metadata(folder) {
        let _ = fchown(file, Some(folder.uid()), Some(folder.gid()));
    }
}

/// Appends the line of `action`, unless it is one that `may_be_counted`, and was: `repeats` is the file of those.
fn append(file: &File, repeats: &Path, action: &Action, may_be_counted: bool) -> io::Result<()> {
    // Whoever holds it for long has been stopped, and nobody waits for that. A line is then still appended whole.
    let is_alone = lock::take_within(file, PATIENCE);
    if !is_alone {
        return append_lines(file, action, std::slice::from_ref(action), is_alone);
    }
    let before = Repeats::load(repeats);
    let mut now = before.clone();
    let lines = now.lines(action, may_be_counted);
    // Before the lines: a crash in between loses what was counted, and does not tell it twice.
    if now != before && now.save().is_err() {
        return append_lines(file, action, std::slice::from_ref(action), is_alone);
    }
    let appended = append_lines(file, action, &lines, is_alone);
    if appended.is_err() {
        let _ = before.save();
    }
    appended
}

fn append_lines(file: &File, action: &Action, lines: &[Action], is_alone: bool) -> io::Result<()> {
    if lines.is_empty() {
        return Ok(());
    }
    let before = file.metadata()?.len();
    let mut line = if is_torn(file, before)? { "\n" } else { "" }.to_owned();
    for action in lines {
        line += &serde_json::to_string(action).expect("plain data is JSON");
        line.push('\n');
    }
    let point = format_args!("audit.{}", action.outcome.as_str());
    let written = ground::append(file, line.as_bytes(), point);
    if written.is_err() && is_alone {
        let _ = file.set_len(before);
    }
    written
}

fn is_torn(file: &File, length: u64) -> io::Result<bool> {
    let Some(last) = length.checked_sub(1) else {
        return Ok(false);
    };
    let mut byte = [0];
    file.read_exact_at(&mut byte, last)?;
    Ok(byte != *b"\n")
}

/// What is in the file while nobody writes to it, so that no line is seen half written.
fn whole_lines(file: File) -> io::Result<BufReader<Take<File>>> {
    lock::share_within(&file, PATIENCE);
    let length = file.metadata()?.len();
    let _ = file.unlock();
    Ok(BufReader::new(file.take(length)))
}

/// The lines of the audit log, the oldest first.
///
/// A release whose worker was killed behind its last line has two of them: only the first is given.
#[derive(Debug)]
pub struct Actions {
    path: PathBuf,
    /// `None` when there is no log yet.
    file: Option<BufReader<Take<File>>>,
    ended: Ended,
    /// What was counted and has no line yet.
    pending: VecDeque<Action>,
}

/// One line as it is read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Line {
    /// An action.
    Action(Box<Action>),
    /// A line that was cut or damaged, or written by a newer deployer.
    Unreadable,
}

impl Iterator for Actions {
    type Item = Result<Line, StoreError>;

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            let line = self.file.as_mut().map_or(Ok(None), next_line);
            let line = match line {
                Ok(Some(line)) => line,
                Ok(None) => {
                    return self
                        .pending
                        .pop_front()
                        .map(|action| Ok(Line::Action(Box::new(action))));
                }
                Err(error) => {
                    self.file = None;
                    return Some(Err(StoreError::io("read", &self.path)(error)));
                }
            };
            match parse(&line) {
                // What closed a torn line may have found it whole by then.
                _ if line == b"\n" => {}
                Some(action) if self.ended.is_told_again(&action) => {}
                Some(action) => return Some(Ok(Line::Action(Box::new(action)))),
                None => return Some(Ok(Line::Unreadable)),
            }
        }
    }
}

/// The next line; of one that is too long only its beginning, which is no JSON.
fn next_line(file: &mut BufReader<Take<File>>) -> io::Result<Option<Vec<u8>>> {
    let mut line = Vec::new();
    let read = file.by_ref().take(LINE_MAX).read_until(b'\n', &mut line)?;
    if read as u64 == LINE_MAX && !line.ends_with(b"\n") {
        file.skip_until(b'\n')?;
    }
    Ok((read > 0).then_some(line))
}

fn parse(line: &[u8]) -> Option<Action> {
    let action: Action = serde_json::from_slice(line).ok()?;
    (action.version <= VERSION).then_some(action)
}

/// The releases that have ended so far: by app, a bit for each number, 64 numbers at a time.
#[derive(Debug, Default)]
struct Ended(BTreeMap<AppName, BTreeMap<u64, u64>>);

impl Ended {
    /// Whether `action` is the end of a release whose end was told already.
    fn is_told_again(&mut self, action: &Action) -> bool {
        let (Some(app), Some(release)) = (&action.app, action.release) else {
            return false;
        };
        let bits = self.0.entry(app.clone()).or_default();
        let bits = bits.entry(release.0 / 64).or_default();
        let bit = 1 << (release.0 % 64);
        let has_ended = *bits & bit != 0;
        match action.outcome {
            // The app was removed and made again, and its numbers begin anew.
            ActionOutcome::Begun => *bits &= !bit,
            _ => *bits |= bit,
        }
        has_ended && action.outcome != ActionOutcome::Begun
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use jiff::Timestamp;

    use super::*;
    use crate::model::{By, ReleaseId, Slot};

    fn store() -> (tempfile::TempDir, Store) {
        let folder = tempfile::tempdir().unwrap();
        let store = Store::new(folder.path().join("state"));
        (folder, store)
    }

    fn release(id: u64, outcome: ActionOutcome) -> Action {
        let by = By {
            key: Some("laptop".parse().unwrap()),
            user: "deploy".into(),
            from: Some("192.0.2.7".parse().unwrap()),
        };
        Action {
            app: Some("shop".parse().unwrap()),
            slot: Some(Slot::Green),
            release: Some(ReleaseId(id)),
            ..Action::now(Some(&by), "git push refs/heads/main".into(), outcome)
        }
    }

    fn read(store: &Store) -> Vec<Line> {
        store.actions().unwrap().collect::<Result<_, _>>().unwrap()
    }

    fn outcomes(store: &Store) -> Vec<(u64, &'static str)> {
        let lines = read(store).into_iter().map(|line| match line {
            Line::Action(action) => (action.release.unwrap().0, action.outcome.as_str()),
            Line::Unreadable => (0, "unreadable"),
        });
        lines.collect()
    }

    #[test]
    fn a_line_is_what_is_documented() {
        let (_folder, store) = store();
        let mut action = release(5, ActionOutcome::Failed);
        action.time = "2026-11-21T10:00:00.5Z".parse().unwrap();
        action.reason = Some("at build: no".into());
        store.write_action(&action).unwrap();
        let text = fs::read_to_string(store.audit_log()).unwrap();
        assert_eq!(
            text,
            "{\"version\":1,\"time\":\"2026-11-21T10:00:00.500Z\",\"key\":\"laptop\",\"user\":\"deploy\",\
             \"from\":\"192.0.2.7\",\"command\":\"git push refs/heads/main\",\"app\":\"shop\",\"slot\":\"green\",\
             \"release\":5,\"outcome\":\"failed\",\"reason\":\"at build: no\"}\n"
        );
        assert_eq!(read(&store), [Line::Action(Box::new(action))]);
        let mode = fs::metadata(store.audit_log()).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
    }

    #[test]
    fn any_text_stays_one_line_that_reads_back() {
        let (_folder, store) = store();
        let pieces = [
            "\n",
            "\r",
            "\"",
            "\\",
            "\0",
            "\u{1b}[2J",
            "{",
            "}",
            ",",
            "\u{2028}",
            "\u{202e}",
            "é",
            "🙂",
            " ",
            "x",
            "\u{7f}",
            "\u{fffd}",
        ];
        let mut seed = 1_u64;
        let mut text = || {
            let mut text = String::new();
            for _ in 0..12 {
                seed = seed
                    .wrapping_mul(6364136223846793005)
                    .wrapping_add(1442695040888963407);
                text.push_str(pieces[(seed >> 33) as usize % pieces.len()]);
            }
            text
        };
        let mut written = Vec::new();
        for id in 1..100 {
            let mut action = release(id, ActionOutcome::Failed);
            action.time = Timestamp::from_millisecond(action.time.as_millisecond()).unwrap();
            (action.command, action.user, action.reason) = (text(), Some(text()), Some(text()));
            store.write_action(&action).unwrap();
            written.push(Line::Action(Box::new(action)));
        }
        let lines = fs::read_to_string(store.audit_log())
            .unwrap()
            .matches('\n')
            .count();
        assert_eq!(lines, written.len());
        assert_eq!(read(&store), written);
    }

    #[test]
    fn a_torn_last_line_is_closed_and_counted_wherever_it_was_cut() {
        let (_folder, store) = store();
        store.write_action(&release(1, ActionOutcome::Begun)).unwrap();
        store.write_action(&release(2, ActionOutcome::Begun)).unwrap();
        let whole = fs::read(store.audit_log()).unwrap();
        let first = whole.iter().position(|byte| *byte == b'\n').unwrap() + 1;
        for cut in first..whole.len() {
            fs::write(store.audit_log(), &whole[..cut]).unwrap();
            store.write_action(&release(3, ActionOutcome::Begun)).unwrap();
            let torn = match cut {
                // Only its newline was lost.
                _ if cut == whole.len() - 1 => Some((2, "begun")),
                _ if cut == first => None,
                _ => Some((0, "unreadable")),
            };
            let expected = [Some((1, "begun")), torn, Some((3, "begun"))];
            let expected: Vec<_> = expected.into_iter().flatten().collect();
            assert_eq!(outcomes(&store), expected, "cut at {cut}");
        }
    }

    #[test]
    fn an_end_is_told_once_and_an_app_made_again_begins_anew() {
        let (_folder, store) = store();
        let (begun, live) = (ActionOutcome::Begun, ActionOutcome::Live);
        for (id, outcome) in [
            (64, begun),
            (64, live),
            (65, begun),
            (64, live),
            (65, live),
            (64, begun),
            (64, live),
        ] {
            store.write_action(&release(id, outcome)).unwrap();
        }
        let told = outcomes(&store);
        let expected = [
            (64, "begun"),
            (64, "live"),
            (65, "begun"),
            (65, "live"),
            (64, "begun"),
            (64, "live"),
        ];
        assert_eq!(told, expected);
    }

    #[test]
    fn what_is_too_long_or_newer_is_counted_and_kept() {
        let (_folder, store) = store();
        store.write_action(&release(1, ActionOutcome::Begun)).unwrap();
        let line = fs::read_to_string(store.audit_log()).unwrap();
        let newer = line.replace("\"version\":1", "\"version\":2");
        let wider = line.replace("\"version\":1", "\"version\":1,\"wider\":true");
        let long = "x".repeat(3 * LINE_MAX as usize);
        fs::write(store.audit_log(), format!("{newer}{long}\n{wider}")).unwrap();
        store.write_action(&release(2, ActionOutcome::Begun)).unwrap();
        let expected = [(0, "unreadable"), (0, "unreadable"), (1, "begun"), (2, "begun")];
        assert_eq!(outcomes(&store), expected);
    }

    #[test]
    fn a_line_that_finds_no_space_is_an_error() {
        let full = File::options().read(true).append(true).open("/dev/full").unwrap();
        let none = Path::new("/dev/null/repeats");
        assert!(append(&full, none, &release(1, ActionOutcome::Begun), false).is_err());
    }

    #[test]
    fn no_log_is_an_empty_one() {
        let (_folder, store) = store();
        assert_eq!(read(&store), []);
    }
}
