//! Trees made to harm: refused whole, with the worktree as it was.

use std::fs;
use std::path::PathBuf;

use deployer::git::GitError;
use git2::Oid;
use rustix::fs::{Mode, OFlags};

use crate::support::{EXECUTABLE, FILE, FOLDER, LINK, Slot, picture};

/// Checks out the folder `tree` over an earlier one, which must stay as it was, and gives the refusal.
fn refused(slot: &Slot, tree: Oid) -> GitError {
    slot.checkout(&slot.files(&[(FILE, "before", "1")]));
    let before = picture(&slot.worktree());
    let error = slot.try_checkout(&slot.commit(tree)).unwrap_err();
    assert_eq!(picture(&slot.worktree()), before);
    slot.assert_outside_untouched();
    error
}

#[test]
fn names_that_lead_elsewhere_are_refused() {
    let slot = Slot::new();
    let blob = slot.blob("evil");
    for name in [
        &b".."[..],
        b".",
        b"../outside/file",
        b"a/b",
        b".git",
        b".GiT",
        b"/etc/x",
    ] {
        let inner = slot.tree(&[(FILE, name, blob)]);
        let error = refused(&slot, slot.tree(&[(FILE, b"a", blob), (FOLDER, b"below", inner)]));
        assert!(matches!(error, GitError::BadName { .. }), "{error}");
    }
    let config = slot.tree(&[(FILE, b"config", blob)]);
    let error = refused(&slot, slot.tree(&[(FOLDER, b".git", config)]));
    assert!(matches!(error, GitError::BadName { .. }), "{error}");
}

#[test]
fn a_name_that_is_both_a_link_and_a_folder_is_refused() {
    let slot = Slot::new();
    let link = slot.blob("../../outside");
    let below = slot.tree(&[(FILE, b"file", slot.blob("evil"))]);
    for twice in [
        [(LINK, &b"x"[..], link), (FOLDER, b"x", below)],
        [(FOLDER, b"x", below), (LINK, b"x", link)],
    ] {
        let error = refused(&slot, slot.tree(&twice));
        assert!(matches!(error, GitError::BadName { .. }), "{error}");
    }
}

#[test]
fn a_tree_that_unfolds_into_billions_is_counted_not_unfolded() {
    let slot = Slot::new();
    let names: Vec<_> = (0..10).map(|n| format!("n{n}")).collect();
    let mut tree = slot.tree(&[(FILE, b"f", slot.blob(""))]);
    for _ in 0..30 {
        let entries: Vec<_> = names.iter().map(|name| (FOLDER, name.as_bytes(), tree)).collect();
        tree = slot.tree(&entries);
    }
    let error = refused(&slot, tree);
    assert!(matches!(error, GitError::TooMany { max: 1_000_000 }), "{error}");
}

#[test]
fn too_deep_and_too_long_are_refused_and_just_within_is_not() {
    let slot = Slot::new();
    let nested = |depth: usize, name: &[u8]| {
        let mut tree = slot.tree(&[(FILE, b"f", slot.blob("x"))]);
        for _ in 0..depth {
            tree = slot.tree(&[(FOLDER, name, tree)]);
        }
        tree
    };
    slot.checkout(&slot.commit(nested(200, b"d")));
    assert!(matches!(
        refused(&slot, nested(201, b"d")),
        GitError::TooDeep { max: 200 }
    ));
    // The same folder met first high up and then too deep.
    let inner = nested(100, b"d");
    let mut deep = inner;
    for _ in 0..101 {
        deep = slot.tree(&[(FOLDER, b"e", deep)]);
    }
    let both = slot.tree(&[(FOLDER, b"a", inner), (FOLDER, b"z", deep)]);
    assert!(matches!(refused(&slot, both), GitError::TooDeep { .. }));

    let long = [b'x'; 255];
    slot.checkout(&slot.commit(nested(15, &long)));
    assert!(matches!(
        refused(&slot, nested(16, &long)),
        GitError::PathTooLong { .. }
    ));
    let name = [b'x'; 256];
    let error = refused(&slot, slot.tree(&[(FILE, &name, slot.blob(""))]));
    assert!(
        matches!(
            error,
            GitError::PathTooLong {
                length: 256,
                max: 255,
                ..
            }
        ),
        "{error}"
    );
}

#[test]
fn unusable_links_and_unknown_modes_are_refused() {
    let slot = Slot::new();
    for target in [&b""[..], b"a\0b", &[b'x'; 5000]] {
        let commit = slot.commit(slot.tree(&[(LINK, b"link", slot.blob(target))]));
        let error = slot.try_checkout(&commit).unwrap_err();
        assert!(matches!(error, GitError::BadLink { .. }), "{error}");
    }
    let error = refused(&slot, slot.tree(&[(0o060_644, b"device", slot.blob(""))]));
    assert!(
        matches!(error, GitError::BadMode { mode: 0o060_644, .. }),
        "{error}"
    );
    slot.checkout(&slot.commit(slot.tree(&[
        (0o100_664, b"old", slot.blob("")),
        (0o100_775, b"old too", slot.blob("")),
    ])));
}

#[test]
fn what_a_refusal_shows_is_printable() {
    let slot = Slot::new();
    let inner = slot.tree(&[(FILE, b"..", slot.blob(""))]);
    let error = refused(&slot, slot.tree(&[(FOLDER, b"\x1b[2J\n", inner)])).to_string();
    assert!(!error.contains(|c: char| c.is_control()), "{error:?}");
}

#[test]
fn a_missing_object_or_one_of_another_kind_is_an_error() {
    let slot = Slot::new();
    let absent = Oid::from_str(&"9".repeat(40)).unwrap();
    let tree = slot.tree(&[(FILE, b"f", slot.blob(""))]);
    for entry in [
        (FILE, absent),
        (LINK, absent),
        (FOLDER, absent),
        (FILE, tree),
        (LINK, tree),
    ] {
        let commit = slot.commit(slot.tree(&[(entry.0, b"x", entry.1)]));
        let error = slot.try_checkout(&commit).unwrap_err();
        assert!(matches!(error, GitError::Repository { .. }), "{error}");
    }
}

#[test]
fn left_over_folders_of_any_depth_are_removed() {
    let slot = Slot::new();
    let commit = slot.files(&[(EXECUTABLE, "a", "1")]);
    slot.checkout(&commit);
    // Deeper than a path can be written: made by going down folder by folder.
    let mut at = fs::File::open(slot.worktree()).unwrap();
    for _ in 0..3000 {
        rustix::fs::mkdirat(&at, "deep", Mode::RWXU).unwrap();
        at = rustix::fs::openat(&at, "deep", OFlags::DIRECTORY, Mode::empty())
            .unwrap()
            .into();
    }
    slot.checkout(&commit);
}

#[test]
fn a_full_disk_is_told_and_the_next_checkout_is_exact() {
    let slot = Slot::new();
    let small = slot.folder.path().join("worktrees");
    fs::create_dir(&small).unwrap();
    let mount = Mount::tmpfs(small, "size=256k");
    let Some(_mount) = mount else {
        println!("not root: a small disk cannot be mounted here");
        return;
    };
    let large: String = "0123456789".repeat(30_000);
    let error = slot
        .try_checkout(&slot.files(&[(FILE, "a", "1"), (FILE, "large", &large)]))
        .unwrap_err();
    assert!(
        matches!(&error, GitError::NoSpace { path } if path.ends_with("large")),
        "{error}"
    );
    assert!(
        !slot.worktree().join("large").exists(),
        "what is half written takes no room"
    );
    slot.checkout(&slot.files(&[(FILE, "a", "2"), (FILE, "b", "3")]));
}

#[test]
fn a_mount_inside_a_worktree_is_told_and_not_emptied() {
    let slot = Slot::new();
    let commit = slot.files(&[(FILE, "a", "1")]);
    slot.checkout(&commit);
    let at = slot.worktree().join("mounted");
    fs::create_dir(&at).unwrap();
    let Some(_mount) = Mount::tmpfs(at.clone(), "size=64k") else {
        println!("not root: nothing can be mounted here");
        return;
    };
    fs::write(at.join("precious"), "x").unwrap();
    let error = slot.try_checkout(&commit).unwrap_err();
    assert!(matches!(error, GitError::Mount { .. }), "{error}");
    assert!(at.join("precious").exists());
    let tree = slot.tree(&[(FILE, b"x", slot.blob(""))]);
    let error = slot
        .try_checkout(&slot.commit(slot.tree(&[(FOLDER, b"mounted", tree)])))
        .unwrap_err();
    assert!(matches!(error, GitError::Mount { .. }), "{error}");
    assert!(at.join("precious").exists());
}

/// A small file system in memory, unmounted at the end.
struct Mount(PathBuf);

impl Mount {
    fn tmpfs(at: PathBuf, options: &str) -> Option<Self> {
        let mut mount = std::process::Command::new("mount");
        mount.args(["-t", "tmpfs", "-o", options, "tmpfs"]).arg(&at);
        mount.output().ok()?.status.success().then_some(Self(at))
    }
}

impl Drop for Mount {
    fn drop(&mut self) {
        let _ = std::process::Command::new("umount").arg(&self.0).status();
    }
}
