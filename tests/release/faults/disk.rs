//! Disks that run full.

use std::fs::{self, File};
use std::io::{Seek, Write};
use std::process::Command;

use crate::failures::{fails, live};
use crate::support::engine::OwnEngine;
use crate::support::process::{Tmpfs, run};
use crate::support::{Options, World};

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

/// The state folder on a disk of its own, with a file that takes the space that is left.
struct FullDisk {
    filler: File,
    _tmpfs: Tmpfs,
}

/// Bytes that a file on such a disk grows by.
const PAGE: usize = 4096;

impl FullDisk {
    /// Moves the world's whole state folder onto it.
    #[track_caller]
    fn under(world: &mut World) -> Self {
        world.stop_proxy();
        let (state, before) = (world.state(""), world.path("state-before"));
        fs::rename(&state, &before).unwrap();
        fs::create_dir(&state).unwrap();
        let tmpfs = Tmpfs::mount(&state, "8m");
        let mut copy = Command::new("cp");
        copy.arg("-a").arg(before.join(".")).arg(&state);
        run(&mut copy, &[]).good();
        world.start_proxy();
        Self {
            filler: File::create(world.state("filler")).unwrap(),
            _tmpfs: tmpfs,
        }
    }

    /// Leaves room for so many pages and none more.
    fn leave(&mut self, pages: usize) {
        self.make_space();
        let mut taken = 0;
        while self.filler.write_all(&[7; PAGE]).is_ok() {
            taken += PAGE;
        }
        self.filler.set_len((taken - pages * PAGE) as u64).unwrap();
    }

    /// Fills the last page of the audit log with empty lines, so that its next line needs a page more.
    fn fill_audit_log(&self, world: &World) {
        let mut log = File::options()
            .append(true)
            .open(world.state("audit.log"))
            .unwrap();
        let length = log.metadata().unwrap().len() as usize;
        let missing = length.next_multiple_of(PAGE) - length;
        log.write_all(&vec![b'\n'; missing]).unwrap();
    }

    fn make_space(&mut self) {
        self.filler.set_len(0).unwrap();
        self.filler.rewind().unwrap();
    }
}

/// Pages with which a release has room enough for everything but its last writes.
const ENOUGH: usize = 10;

#[test]
fn disk_that_runs_full_at_any_write_drops_nothing_and_tears_nothing() {
    let (mut world, _, repo) = live("disk-sweep", "");
    repo.version("v2");
    repo.push("blue").live();
    let mut disk = FullDisk::under(&mut world);
    let traffic = world.traffic();
    let mut ends = Vec::new();
    for pages in 0..=ENOUGH {
        disk.fill_audit_log(&world);
        disk.leave(pages);
        let output = world.deployer(&["redeploy", "blue"]);
        let said = format!("{}{}", output.stdout, output.stderr);
        let what = format!("{pages} pages left: exit code {:?}: {said}", output.code);
        assert!(matches!(output.code, Some(0 | 1 | 3)), "{what}");
        assert!(output.code == Some(0) || said.contains("no space"), "{what}");
        assert_eq!(world.version(), "v2", "{what}");
        let status = world.deployer(&["status"]).good();
        assert!(!status.contains("not readable"), "{what}{status}");
        assert!(
            status.contains("the disk of the state folder is "),
            "{what}{status}"
        );

        disk.make_space();
        world.deployer(&["recover"]).good();

        let problems = &world.json(&["status"])["apps"][0]["problems"];
        assert_eq!(*problems, serde_json::json!([]), "{what}");
        assert_eq!(world.containers().len(), 2, "{what}");
        assert_eq!(world.json(&["audit"])["unreadable"], 0, "{what}");
        ends.push(output.code);
    }
    repo.version("v3");
    repo.push("blue").live();
    assert_eq!(world.version(), "v3");
    assert!(ends.contains(&Some(0)) && ends[0] != Some(0), "{ends:?}");
    let outcome = traffic.stop();
    assert_eq!(outcome.failures(), 0, "{outcome}");
    world.stop_proxy();
}

/// A full disk at `folder`, whatever was in it.
#[track_caller]
fn full(folder: &std::path::Path) -> Tmpfs {
    let disk = Tmpfs::mount(folder, "64k");
    let mut filler = File::create(folder.join("filler")).unwrap();
    while filler.write_all(&[7; PAGE]).is_ok() {}
    disk
}

#[test]
fn full_disks_of_the_engine_and_the_registry_are_told_wherever_they_keep_images() {
    let options = Options {
        own_engine: Some(OwnEngine::default()),
        ..Options::default()
    };
    let mut world = World::with("disks-told", options);
    world.app("shop", "");
    let images = world.engine().folder().join("data");
    let registry = world.path("registry");
    fs::create_dir_all(&registry).unwrap();
    let told = |world: &World| {
        let status = world.json(&["status"])["apps"][0]["problems"].to_string();
        let check = world.deployer(&["config", "check"]).good();
        [status, check]
    };
    for said in told(&world) {
        assert!(!said.contains("the disk of "), "{said}");
    }

    let disks = [full(&images), full(&registry)];

    for said in told(&world) {
        for (whose, path) in [("Docker", &images), ("the registry", &registry)] {
            let full = format!("the disk of {whose} is full: ");
            let remedy = format!("`df -h {}`", path.display());
            assert!(said.contains(&full) && said.contains(&remedy), "{said}");
        }
    }
    drop(disks);
}
