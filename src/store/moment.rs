//! A moment: what the clock shows, which may be set, and the time since the boot, which nobody sets.

use std::sync::OnceLock;
use std::time::Duration;

use jiff::Timestamp;
use rustix::time::{ClockId, clock_gettime};
use serde::{Deserialize, Serialize};

/// A point in time. People are told what the clock showed; durations and order do not depend on it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Moment {
    /// What the clock showed.
    pub at: Timestamp,
    /// The boot's id; empty where the kernel tells none.
    boot: String,
    /// Milliseconds since the boot, sleep included.
    up: u64,
}

impl Moment {
    /// This moment.
    pub fn now() -> Self {
        let up = clock_gettime(ClockId::Boottime);
        let (seconds, nanoseconds) = (up.tv_sec.unsigned_abs(), up.tv_nsec.unsigned_abs());
        Self {
            at: Timestamp::now(),
            boot: boot().to_owned(),
            up: seconds * 1_000 + nanoseconds / 1_000_000,
        }
    }

    /// The time from `earlier` to this; nothing when it was later. Across a boot there is only the clock to go by.
    pub fn since(&self, earlier: &Moment) -> Duration {
        if self.is_of_the_boot_of(earlier) {
            return Duration::from_millis(self.up.saturating_sub(earlier.up));
        }
        Duration::try_from(self.at.duration_since(earlier.at)).unwrap_or_default()
    }

    /// Whether this is later than `other`, as far as that can be told.
    pub fn is_after(&self, other: &Moment) -> bool {
        match self.is_of_the_boot_of(other) {
            true => self.up > other.up,
            false => self.at > other.at,
        }
    }

    fn is_of_the_boot_of(&self, other: &Moment) -> bool {
        !self.boot.is_empty() && self.boot == other.boot
    }
}

/// This boot's id, read once.
fn boot() -> &'static str {
    static BOOT: OnceLock<String> = OnceLock::new();
    let read = || std::fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap_or_default();
    BOOT.get_or_init(read).trim()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn moment(at: i64, boot: &str, up: u64) -> Moment {
        Moment {
            at: Timestamp::from_second(at).unwrap(),
            boot: boot.to_owned(),
            up,
        }
    }

    #[test]
    fn a_clock_that_is_set_changes_no_duration_and_no_order() {
        let (first, second) = (moment(86_400, "a", 1_000), moment(0, "a", 1_250));
        assert_eq!(second.since(&first), Duration::from_millis(250));
        assert_eq!(first.since(&second), Duration::ZERO);
        assert!(second.is_after(&first) && !first.is_after(&second));
    }

    #[test]
    fn across_a_boot_the_clock_is_what_there_is() {
        let (first, second) = (moment(5, "a", 9_000), moment(8, "b", 10));
        assert_eq!(second.since(&first), Duration::from_secs(3));
        assert!(second.is_after(&first));
        assert_eq!(moment(2, "b", 10).since(&first), Duration::ZERO);
        assert_eq!(moment(9, "", 1).since(&moment(8, "", 7)), Duration::from_secs(1));
    }

    #[test]
    fn moments_of_this_machine_go_forward() {
        let first = Moment::now();
        assert!(!first.boot.is_empty());
        std::thread::sleep(Duration::from_millis(2));
        assert!(Moment::now().is_after(&first));
    }
}
