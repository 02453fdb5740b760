//! What a long history costs: nothing, since what has ended is not read again.

use std::mem::MaybeUninit;
use std::os::fd::OwnedFd;
use std::path::Path;

use rustix::fs::inotify::{self, CreateFlags, WatchFlags};

use crate::support::World;

/// Sees which files of a folder are opened.
struct Opened(OwnedFd);

impl Opened {
    fn in_folder(folder: &Path) -> Self {
        let events = inotify::init(CreateFlags::CLOEXEC | CreateFlags::NONBLOCK).expect("a watch");
        inotify::add_watch(&events, folder, WatchFlags::OPEN).expect("a watch");
        Self(events)
    }

    /// Whether `file` was opened since the last question.
    fn has_seen(&self, file: &str) -> bool {
        let mut buffer = [MaybeUninit::uninit(); 4096];
        let mut events = inotify::Reader::new(&self.0, &mut buffer);
        let mut seen = false;
        while let Ok(event) = events.next() {
            seen |= event
                .file_name()
                .is_some_and(|name| name.to_bytes() == file.as_bytes());
        }
        seen
    }
}

#[test]
fn releases_that_have_ended_are_not_read_by_a_push_or_by_status() {
    let mut world = World::new("history");
    let shop = world.app("shop", "keep = 0");
    let repo = world.repo(&shop);
    for version in ["v1", "v2"] {
        repo.version(version);
        repo.push("green").live();
    }
    repo.push("blue").live();
    let first = Opened::in_folder(&world.state("apps/shop/releases/1"));

    let status = world.deployer(&["status"]).good();
    assert!(status.contains("release 2"), "{status}");
    repo.version("v3");
    repo.push("green").live();
    world.deployer(&["rollback"]).good();

    assert!(!first.has_seen("record.json"), "an ended release was read");
    assert_eq!(world.version(), "v2");
    world.deployer(&["releases"]).good();
    assert!(
        first.has_seen("record.json"),
        "the list of all releases reads them"
    );
}
