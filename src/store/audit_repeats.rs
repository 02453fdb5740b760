//! What whoever has a key can have told of in the audit log without end: counted, once it comes often.
//!
//! Refusals and fetches cost their asker nothing, and each would have a line. The first [`TOLD_MAX`] of a series within a
//! window have one; the others are counted in a small file beside the log, which is written under the log's lock, and the
//! newest of them gets a line that says how many more there were. A series that goes on has one line a window, and the
//! window grows. The file is not synced: a crash may lose a part of the count, and never adds to it.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};

use super::action::{Action, ActionOutcome};
use crate::ground::durable;

/// The file's name, in the state folder.
pub(super) const FILE: &str = "audit.repeats";

/// How many of a series have a line of their own within its first window.
pub(super) const TOLD_MAX: u32 = 20;

/// The first window, in seconds.
pub(super) const WINDOW: i64 = 10 * 60;

/// The longest window, in seconds, of a series that does not end.
const WINDOW_MAX: i64 = 60 * 60;

/// How many series there are at once; the oldest makes room.
const SERIES_MAX: usize = 256;

/// Actions of one key that are much the same.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Series {
    /// The newest of those that were told or counted.
    last: Action,
    /// When the window began.
    since: Timestamp,
    /// How long the window is.
    seconds: i64,
    /// How many have a line.
    told: u32,
    /// How many have none.
    counted: u64,
    /// When the first of those was.
    first_counted: Option<Timestamp>,
}

impl Series {
    fn of(action: &Action) -> Self {
        Self {
            last: action.clone(),
            since: action.time,
            seconds: WINDOW,
            told: 1,
            counted: 0,
            first_counted: None,
        }
    }

    /// All refusals of a key are one series; its fetches are one for each slot.
    fn has(&self, action: &Action) -> bool {
        let of = |action: &Action| {
            let about = match action.outcome {
                ActionOutcome::Refused => None,
                _ => Some((action.app.clone(), action.slot)),
            };
            (action.key.clone(), action.outcome, about)
        };
        of(&self.last) == of(action)
    }

    /// A clock that was set back ends a window too.
    fn is_over(&self, now: Timestamp) -> bool {
        let end = self.since.checked_add(SignedDuration::from_secs(self.seconds));
        now < self.since || end.is_ok_and(|end| now >= end)
    }

    /// The line that tells of what was counted.
    fn line(&self) -> Option<Action> {
        let others = self.counted.checked_sub(1)?;
        let (more, since) = match others {
            0 => (None, None),
            _ => (Some(others), self.first_counted),
        };
        Some(Action {
            more,
            since,
            ..self.last.clone()
        })
    }

    /// The next window of a series that has not ended; one action has a line in it.
    fn goes_on(&mut self, now: Timestamp) {
        self.since = now;
        self.seconds = (2 * self.seconds).min(WINDOW_MAX);
        self.told = TOLD_MAX - 1;
        self.counted = 0;
        self.first_counted = None;
    }
}

/// The series that are under way.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Repeats {
    path: PathBuf,
    series: Vec<Series>,
}

impl Repeats {
    /// Those of the file at `path`; none where it is missing or cannot be read.
    pub(super) fn load(path: &Path) -> Self {
        let text = fs::read(path).unwrap_or_default();
        Self {
            path: path.to_owned(),
            series: serde_json::from_slice(&text).unwrap_or_default(),
        }
    }

    /// Puts them into the file. There is none where there are none.
    pub(super) fn save(&self) -> io::Result<()> {
        if self.series.is_empty() {
            return match fs::remove_file(&self.path) {
                Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
                removed => removed,
            };
        }
        let text = serde_json::to_vec(&self.series).expect("plain data is JSON");
        durable::sweep(self.path.parent().expect("it stands in the state folder"));
        durable::replace_unsynced(&self.path, &text)
    }

    /// The lines that are to be written when `action` is told: of series whose window is over, and its own unless it
    /// is one that `may_be_counted`, and was.
    pub(super) fn lines(&mut self, action: &Action, may_be_counted: bool) -> Vec<Action> {
        let mut lines = self.end_windows(action.time);
        if !may_be_counted || self.has_line(action) {
            lines.push(action.clone());
        }
        while self.series.len() > SERIES_MAX {
            lines.extend(self.series.remove(0).line());
        }
        lines
    }

    /// The lines that are not written yet.
    pub(super) fn pending(&self) -> impl Iterator<Item = Action> {
        self.series.iter().filter_map(Series::line)
    }

    fn end_windows(&mut self, now: Timestamp) -> Vec<Action> {
        let mut lines = Vec::new();
        self.series.retain_mut(|series| {
            if !series.is_over(now) {
                return true;
            }
            let line = series.line();
            let goes_on = line.is_some();
            lines.extend(line);
            series.goes_on(now);
            goes_on
        });
        lines
    }

    /// Whether an action has a line of its own; else it is counted.
    fn has_line(&mut self, action: &Action) -> bool {
        let Some(series) = self.series.iter_mut().find(|series| series.has(action)) else {
            self.series.push(Series::of(action));
            return true;
        };
        series.last = action.clone();
        if series.told < TOLD_MAX {
            series.told += 1;
            return true;
        }
        series.counted += 1;
        series.first_counted.get_or_insert(action.time);
        false
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{By, Slot};
    use crate::store::{Line, Store};

    fn store() -> (tempfile::TempDir, Store) {
        let folder = tempfile::tempdir().unwrap();
        let store = Store::new(folder.path());
        (folder, store)
    }

    /// What `key` asked for, so many seconds after the first.
    fn asked(key: &str, seconds: i64, outcome: ActionOutcome) -> Action {
        let by = By {
            key: Some(key.parse().unwrap()),
            user: "deploy".into(),
            from: Some("192.0.2.7".parse().unwrap()),
        };
        let first: Timestamp = "2026-11-21T10:00:00Z".parse().unwrap();
        Action {
            time: first + SignedDuration::from_secs(seconds),
            ..Action::now(Some(&by), format!("promote {seconds}"), outcome)
        }
    }

    fn refused(seconds: i64) -> Action {
        asked("reader", seconds, ActionOutcome::Refused)
    }

    fn read(store: &Store) -> Vec<Action> {
        let lines = store.actions().unwrap().map(|line| match line.unwrap() {
            Line::Action(action) => *action,
            Line::Unreadable => panic!("an unreadable line"),
        });
        lines.collect()
    }

    /// How many actions there are, counted ones among them.
    fn all(store: &Store) -> u64 {
        read(store)
            .iter()
            .map(|action| 1 + action.more.unwrap_or(0))
            .sum()
    }

    fn lines(store: &Store) -> usize {
        let text = fs::read_to_string(store.root().join("audit.log")).unwrap();
        text.lines().count()
    }

    #[test]
    fn refusals_that_come_often_are_counted_and_none_is_lost() {
        let (_folder, store) = store();
        for second in 0..120 {
            store.write_or_count_action(&refused(second)).unwrap();
        }
        let told = TOLD_MAX as usize;
        assert_eq!((lines(&store), all(&store)), (told, 120));
        let newest = read(&store).pop().unwrap();
        assert_eq!((newest.command.as_str(), newest.more), ("promote 119", Some(99)));
        assert_eq!(newest.since, Some(refused(20).time));

        // What is no refusal has its line at once, and so has another key's.
        store
            .write_action(&asked("reader", 120, ActionOutcome::Failed))
            .unwrap();
        store
            .write_or_count_action(&asked("other", 121, ActionOutcome::Refused))
            .unwrap();
        assert_eq!((lines(&store), all(&store)), (told + 2, 122));

        // The window's end: whoever writes next writes down what was counted, once.
        store
            .write_action(&asked("admin", WINDOW, ActionOutcome::Done))
            .unwrap();
        assert_eq!((lines(&store), all(&store)), (told + 4, 123));
        let summary = &read(&store)[told + 2];
        assert_eq!(
            (summary.command.as_str(), summary.more),
            ("promote 119", Some(99))
        );
    }

    #[test]
    fn a_flood_without_end_has_a_line_or_two_an_hour() {
        let (_folder, store) = store();
        let (hours, every) = (12, 180);
        let burst = i64::from(TOLD_MAX) + 1;
        for second in (0..burst).chain((every..hours * 3600).step_by(every as usize)) {
            store.write_or_count_action(&refused(second)).unwrap();
        }
        let expected = i64::from(TOLD_MAX) + 2 * (hours + 3);
        assert!(lines(&store) as i64 <= expected, "{} lines", lines(&store));
        assert_eq!(all(&store), (burst + hours * 3600 / every - 1) as u64);
        let size = fs::metadata(store.root().join(FILE)).unwrap().len();
        assert!(size < 2_000, "{size} bytes");
        // It is quiet for long enough: everything is as at first.
        for quiet in 13..16 {
            store
                .write_action(&asked("admin", quiet * 3600, ActionOutcome::Done))
                .unwrap();
        }
        assert!(!store.root().join(FILE).exists());
    }

    #[test]
    fn fetches_are_counted_by_slot_whatever_they_are_written_like() {
        let (_folder, store) = store();
        for second in 0..100 {
            let slot = [Slot::Blue, Slot::Green][usize::from(second % 2 == 1)];
            let fetch = Action {
                app: Some("shop".parse().unwrap()),
                slot: Some(slot),
                ..asked("reader", second, ActionOutcome::Done)
            };
            store.write_or_count_action(&fetch).unwrap();
        }
        assert_eq!(lines(&store), 2 * TOLD_MAX as usize);
        let counted: Vec<_> = read(&store)
            .into_iter()
            .filter(|action| action.more.is_some())
            .collect();
        let counted: Vec<_> = counted.iter().map(|action| (action.slot, action.more)).collect();
        assert_eq!(
            counted,
            [(Some(Slot::Blue), Some(29)), (Some(Slot::Green), Some(29))]
        );
    }

    #[test]
    fn a_lost_or_damaged_count_and_a_clock_that_was_set_back_keep_nothing_from_being_told() {
        let (_folder, store) = store();
        for second in 0..30 {
            store.write_or_count_action(&refused(second)).unwrap();
        }
        let path = store.root().join(FILE);
        let good = fs::read(&path).unwrap();
        for damaged in [&good[..good.len() / 2], b"", b"[{}]", b"\xff"] {
            fs::write(&path, damaged).unwrap();
            let before = lines(&store);
            store.write_or_count_action(&refused(30)).unwrap();
            assert_eq!(lines(&store), before + 1);
        }
        fs::write(&path, &good).unwrap();
        let before = lines(&store);
        store.write_or_count_action(&refused(-3600)).unwrap();
        assert_eq!(lines(&store), before + 2, "what was counted, and the one of now");
        // Where nothing can be counted, everything has its line.
        fs::remove_file(&path).unwrap();
        fs::create_dir(&path).unwrap();
        let before = lines(&store);
        for second in 0..30 {
            store.write_or_count_action(&refused(second)).unwrap();
        }
        assert_eq!(lines(&store), before + 30);
    }
}
