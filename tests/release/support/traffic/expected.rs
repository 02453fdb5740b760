//! Which versions may answer, and from when on.

use std::sync::{Mutex, MutexGuard};

/// A list of times, each with the versions that may answer in it. Empty: any may, always.
#[derive(Debug, Default)]
pub(super) struct Expected(Mutex<Vec<Vec<String>>>);

impl Expected {
    /// From now on only `versions` may answer a request that begins.
    pub(super) fn only(&self, versions: &[&str]) {
        self.lock()
            .push(versions.iter().map(|&version| version.to_owned()).collect());
    }

    /// The time that it is.
    pub(super) fn now(&self) -> usize {
        self.lock().len().saturating_sub(1)
    }

    /// Whether `version` may have answered, just now, a request that began at the time `begun`.
    pub(super) fn allows(&self, begun: usize, version: &str) -> bool {
        let times = self.lock();
        times.is_empty() || times[begun..].iter().flatten().any(|allowed| allowed == version)
    }

    fn lock(&self) -> MutexGuard<'_, Vec<Vec<String>>> {
        self.0.lock().expect("no client panicked")
    }
}
