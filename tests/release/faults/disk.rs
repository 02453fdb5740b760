//! Disks that run full.

use crate::failures::{fails, live};
use crate::support::process::Tmpfs;

#[test]
fn full_disk_under_the_worktree() {
    let (world, _, repo) = live("full-disk", "");
    let worktrees = world.state("apps/shop/worktrees");
    let tmpfs = Tmpfs::mount(&worktrees, "256k");
    repo.write("large", vec![7; 1 << 20]);
    repo.version("v2");

    fails(&world, &repo, "green", "checkout", &["no space is left", "df -h"]);

    drop(tmpfs);
    world.deployer(&["redeploy", "green"]).good();
    assert_eq!(world.version(), "v2");
}
