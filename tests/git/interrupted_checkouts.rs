//! A checkout may end anywhere; the next one is exact.

use std::cell::Cell;
use std::fs;

use deployer::git::GitError;

use crate::support::{EXECUTABLE, FILE, FOLDER, LINK, Slot};

/// Two trees that differ in every way that two trees can.
fn two_trees(slot: &Slot) -> [git2::Oid; 2] {
    let blob = |text: &str| slot.blob(text);
    let below = slot.tree(&[(FILE, b"x", blob("1")), (FILE, b"y", blob("1"))]);
    let other = slot.tree(&[(FILE, b"x", blob("2")), (LINK, b"y", blob("../../outside"))]);
    [
        slot.tree(&[
            (FILE, b"a", blob("one")),
            (FILE, b"b", blob("same")),
            (FOLDER, b"c", below),
            (LINK, b"d", blob("../../outside")),
            (FILE, b"e", blob("mode")),
            (FOLDER, b"f", below),
        ]),
        slot.tree(&[
            (FILE, b"a", blob("two")),
            (FILE, b"b", blob("same")),
            (LINK, b"c", blob("/")),
            (FOLDER, b"d", other),
            (EXECUTABLE, b"e", blob("mode")),
            (FOLDER, b"f", other),
        ]),
    ]
}

#[test]
fn stopped_after_any_number_of_files_the_next_is_exact() {
    let slot = Slot::new();
    let [one, two] = two_trees(&slot).map(|tree| slot.commit(tree));
    for (from, to) in [(&one, &two), (&two, &one)] {
        for steps in 0..12u32 {
            for then in [from, to] {
                slot.checkout(from);
                let left = Cell::new(steps);
                let go_on = || left.replace(left.get().saturating_sub(1)) > 0;
                match slot.repository.checkout(to, &slot.worktree(), &go_on) {
                    Err(GitError::Stopped) => {}
                    done => drop(done.unwrap()),
                }
                slot.assert_outside_untouched();
                slot.checkout(then);
            }
        }
    }
}

#[test]
fn a_file_cut_short_by_a_kill_is_written_again() {
    let slot = Slot::new();
    let [one, two] = two_trees(&slot).map(|tree| slot.commit(tree));
    slot.checkout(&one);
    let index = fs::read(slot.index()).unwrap();
    slot.checkout(&two);
    // As a kill between the last file and the index leaves it, with a file half written.
    fs::write(slot.index(), index).unwrap();
    fs::write(slot.worktree().join("a"), "tw").unwrap();
    slot.checkout(&two);
    slot.checkout(&one);
}

#[test]
fn a_process_killed_at_any_moment_leaves_nothing_that_lasts() {
    let slot = Slot::new();
    let names: Vec<_> = (0..1200).map(|n| format!("f{n}")).collect();
    let [one, two] = ["1", "2"].map(|round| {
        let entries: Vec<_> = names
            .iter()
            .enumerate()
            .map(|(n, name)| (FILE, name.as_bytes(), slot.blob(format!("{round} {}", n % 50))))
            .collect();
        slot.commit(slot.tree(&entries))
    });
    for round in 0..4 {
        slot.checkout(&one);
        let mut child = std::process::Command::new(std::env::current_exe().unwrap())
            .args([
                "--exact",
                "interrupted_checkouts::child_that_is_killed",
                "--nocapture",
                "--ignored",
            ])
            .env("TEST_REPOSITORY", slot.repository.path())
            .env("TEST_WORKTREE", slot.worktree())
            .env("TEST_COMMIT", two.as_str())
            .stdout(std::process::Stdio::null())
            .spawn()
            .unwrap();
        // Killed once it has come so far that this file is new: at another place each round.
        let file = slot.worktree().join(format!("f{}", round * 300));
        let deadline = std::time::Instant::now() + std::time::Duration::from_secs(30);
        while !fs::read(&file).is_ok_and(|text| text.starts_with(b"2")) {
            assert!(
                std::time::Instant::now() < deadline,
                "the child never came to {}",
                file.display()
            );
        }
        child.kill().unwrap();
        child.wait().unwrap();
        slot.checkout(if round % 2 == 0 { &two } else { &one });
    }
}

#[test]
#[ignore = "the process that another test kills"]
fn child_that_is_killed() {
    let Ok(commit) = std::env::var("TEST_COMMIT") else {
        return;
    };
    let path = |name: &str| std::path::PathBuf::from(std::env::var(name).unwrap());
    let repository = deployer::git::SlotRepository::open(&path("TEST_REPOSITORY")).unwrap();
    let commit = commit.parse().unwrap();
    repository
        .checkout(&commit, &path("TEST_WORKTREE"), &|| true)
        .unwrap();
}
