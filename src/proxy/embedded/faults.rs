//! Answers that could not be passed on: counted by slot and reason, and logged, but not each of them.

use std::sync::LazyLock;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Instant;

use super::http1::Unreadable;
use crate::model::Slot;

/// Seconds between two log lines of the same slot and reason.
const PAUSE: u64 = 60;

const REASONS: usize = Unreadable::ALL.len();

/// One app's faults; see the module.
#[derive(Debug, Default)]
pub(super) struct Faults([[Count; REASONS]; 2]);

#[derive(Debug, Default)]
struct Count {
    all: AtomicU64,
    /// Of those, how many came before the last log line, itself included.
    logged: AtomicU64,
    /// When the next line may be written, in seconds since the first fault of any app.
    next: AtomicU64,
}

impl Faults {
    /// Counts one. Gives how many were not logged since the last line, where it is time for another one.
    pub(super) fn note(&self, slot: Slot, why: Unreadable) -> Option<u64> {
        static START: LazyLock<Instant> = LazyLock::new(Instant::now);
        self.0[slot as usize][why as usize].note(START.elapsed().as_secs())
    }

    /// How many there were.
    pub(super) fn count(&self, slot: Slot, why: Unreadable) -> u64 {
        self.0[slot as usize][why as usize].all.load(Relaxed)
    }
}

impl Count {
    fn note(&self, now: u64) -> Option<u64> {
        let all = self.all.fetch_add(1, Relaxed) + 1;
        let next = self.next.load(Relaxed);
        if now < next {
            return None;
        }
        // Of several that come at once one has the line.
        self.next
            .compare_exchange(next, now + PAUSE, Relaxed, Relaxed)
            .ok()?;
        Some((all - 1).saturating_sub(self.logged.swap(all, Relaxed)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_line_a_minute_says_how_many_there_were() {
        let count = Count::default();
        assert_eq!(count.note(0), Some(0));
        for second in [0, 30, 59] {
            assert_eq!(count.note(second), None);
        }
        assert_eq!(count.note(60), Some(3));
        assert_eq!(count.note(119), None);
        assert_eq!(count.note(500), Some(1));
        assert_eq!(count.all.load(Relaxed), 7);
    }

    #[test]
    fn every_reason_has_a_number_and_a_label_of_its_own() {
        for (number, why) in Unreadable::ALL.into_iter().enumerate() {
            assert_eq!(why as usize, number);
            let same = Unreadable::ALL
                .into_iter()
                .filter(|other| other.label() == why.label());
            assert_eq!(same.count(), 1);
        }
    }
}
