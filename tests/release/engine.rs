//! The Engine goes away: stopped, killed, and back again.

use std::fs;
use std::path::Path;

use crate::support::engine::OwnEngine;
use crate::support::{Options, World};

fn world(name: &str, live_restore: bool) -> World {
    World::with(
        name,
        Options {
            own_engine: Some(OwnEngine { live_restore }),
            ..Options::default()
        },
    )
}

#[test]
fn engine_of_its_own_leaves_nothing_on_the_machine() {
    let mut world = world("own-engine", true);
    let shop = world.app("shop", "");
    let repo = world.repo(&shop);
    repo.version("v1");
    repo.push("green").live();
    world.engine().stop();
    world.engine().start_again();
    assert_eq!(world.version(), "v1");
    world.engine().kill();
    let folder = world.engine().folder().to_owned();

    drop(world);

    assert!(!folder.exists());
    let mounts = fs::read_to_string("/proc/self/mounts").unwrap();
    assert!(!mounts.contains(folder.to_str().unwrap()), "{mounts}");
    assert!(
        Path::new("/sys/class/net/docker0").exists(),
        "the machine's own bridge is gone"
    );
}
