//! Waiting until something happens to a release, without looking again and again.

use std::mem::MaybeUninit;
use std::os::fd::OwnedFd;
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::inotify::{self, CreateFlags, WatchFlags};

use super::ReleaseDir;

/// How long to wait for what can be seen, should it not be seen after all.
const AT_MOST: Duration = Duration::from_millis(100);
/// How long to wait where nothing can be seen: the system's number of watches is limited.
const UNSEEING: Duration = Duration::from_millis(10);

/// Sees a release's log and journal grow, and its worker end.
#[derive(Debug)]
pub struct Watch {
    events: Option<OwnedFd>,
}

impl Watch {
    /// A watch over `release`. What happens from now on ends a [`wait`](Self::wait).
    pub fn new(release: &ReleaseDir) -> Self {
        let watch = || {
            let events = inotify::init(CreateFlags::CLOEXEC | CreateFlags::NONBLOCK)?;
            let written = WatchFlags::MODIFY | WatchFlags::CLOSE_WRITE;
            inotify::add_watch(&events, release.path(), written)?;
            rustix::io::Result::Ok(events)
        };
        Self { events: watch().ok() }
    }

    /// Waits until something has happened since the last call, at most 100 ms.
    pub fn wait(&mut self) {
        let Some(events) = &self.events else {
            std::thread::sleep(UNSEEING);
            return;
        };
        let limit = Timespec::try_from(AT_MOST).expect("it is short");
        // A signal only makes the wait shorter.
        let _ = poll(&mut [PollFd::new(events, PollFlags::IN)], Some(&limit));
        let mut buffer = [MaybeUninit::uninit(); 4096];
        let mut seen = inotify::Reader::new(events, &mut buffer);
        while seen.next().is_ok() {}
    }
}
