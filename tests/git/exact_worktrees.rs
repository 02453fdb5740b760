//! After a checkout the worktree is the tree, whatever was there before.

use std::fs;
use std::os::unix::fs::{MetadataExt, symlink};
use std::path::Path;

use deployer::git::Note;
use rustix::fs::{FileType, Mode};

use crate::support::{EXECUTABLE, FILE, FOLDER, LINK, Random, SUBMODULE, Slot, bytes, chmod, git, run};

/// Names that are awkward somewhere; few, so that the same name is now a file, now a folder, now a link.
const NAMES: [&[u8]; 14] = [
    b"a",
    b"a.txt",
    b"b",
    b"-rf",
    b"--help",
    b"new\nline",
    b"\x1b[31mred",
    b"inv\xff\xfe",
    b"sp ace\t",
    b"*",
    b"...",
    b".gitignore",
    b".gitx",
    &[b'n'; 255],
];

/// Where links point: outside, nowhere, to each other.
const TARGETS: [&str; 8] = [
    "/",
    "/etc/passwd",
    "..",
    "../..",
    "../../outside",
    ".",
    "a",
    "\u{1b}[2J",
];

/// A random folder.
fn folder(slot: &Slot, random: &mut Random, depth: usize) -> git2::Oid {
    let mut entries = Vec::new();
    for name in NAMES {
        let entry = match random.below(if depth < 2 { 9 } else { 7 }) {
            0 | 1 => continue,
            2 => (LINK, slot.blob(random.pick(&TARGETS))),
            3 => (EXECUTABLE, slot.blob(format!("*\n{}", random.below(3)))),
            4 if random.below(4) == 0 => (SUBMODULE, git2::Oid::from_str(&"5".repeat(40)).unwrap()),
            4..=6 => (FILE, slot.blob(format!("*\n{}", random.below(3)))),
            _ => (FOLDER, folder(slot, random, depth + 1)),
        };
        entries.push((entry.0, name, entry.1));
    }
    if entries.is_empty() {
        // Git stores no empty folders below the top.
        entries.push((FILE, b"only", slot.blob("only")));
    }
    slot.tree(&entries)
}

/// Does to a worktree what a build or a curious person may have done to it.
fn tamper(slot: &Slot, random: &mut Random) {
    let worktree = slot.worktree();
    let all: Vec<_> = crate::support::picture(&worktree).into_keys().collect();
    for _ in 0..random.below(8) {
        let path = worktree.join(random.pick(&all));
        let Ok(stat) = fs::symlink_metadata(&path) else {
            continue;
        };
        let kind = random.below(9);
        if stat.is_dir() && kind < 3 {
            fs::remove_dir_all(&path).unwrap();
            symlink(slot.outside(), &path).unwrap();
        } else if stat.is_dir() {
            fs::write(path.join("left over"), "x").unwrap();
            let _ = rustix::fs::mknodat(rustix::fs::CWD, path.join("pipe"), FileType::Fifo, Mode::RUSR, 0);
            chmod(&path, *random.pick(&[0o700, 0o777, 0o1755, 0]));
        } else if stat.is_file() && kind < 3 {
            // The same length and the same times: only the change itself can tell.
            let mut content = fs::read(&path).unwrap();
            content.reverse();
            fs::write(&path, content).unwrap();
            let file = fs::File::options().write(true).open(&path).unwrap();
            file.set_modified(stat.modified().unwrap()).unwrap();
        } else if stat.is_file() && kind < 5 {
            chmod(&path, *random.pick(&[0o600, 0o755, 0o644, 0o4755, 0]));
        } else if stat.is_file() && kind == 5 {
            fs::hard_link(
                &path,
                slot.folder.path().join(format!("link-{}", random.below(1 << 30))),
            )
            .unwrap();
        } else {
            fs::remove_file(&path).unwrap();
            if kind == 6 {
                fs::create_dir_all(path.join("deeper/still")).unwrap();
            } else if kind == 7 {
                symlink(slot.outside().join("file"), &path).unwrap();
            }
        }
    }
    let index = slot.index();
    match random.below(6) {
        0 => fs::remove_file(index).unwrap(),
        1 => {
            let length = fs::metadata(&index).unwrap().len();
            let file = fs::File::options().write(true).open(index).unwrap();
            file.set_len(length * random.below(100) as u64 / 100).unwrap();
        }
        2 => {
            let mut data = fs::read(&index).unwrap();
            let at = random.below(data.len());
            data[at] ^= 1 << random.below(8);
            fs::write(index, data).unwrap();
        }
        _ => {}
    }
}

#[test]
fn every_random_tree_is_exact_after_every_other_and_any_tampering() {
    for seed in 0..6 {
        let mut random = Random::new(seed);
        let slot = Slot::new();
        let mut commits = vec![slot.commit(folder(&slot, &mut random, 0))];
        for round in 0..6 {
            commits.push(slot.commit(folder(&slot, &mut random, 0)));
            let commit = random.pick(&commits).clone();
            println!("seed {seed}, round {round}: {commit}");
            slot.checkout(&commit);
            tamper(&slot, &mut random);
            slot.checkout(&commit);
            let again = slot.checkout(&commit);
            assert_eq!((again.written, again.removed), (0, 0));
        }
    }
}

#[test]
fn only_what_changed_is_written_and_the_rest_keeps_its_time() {
    let slot = Slot::new();
    let mut files: Vec<(u32, Vec<u8>, String)> = (0..500)
        .map(|n| (FILE, format!("f{n}").into_bytes(), format!("content {n}")))
        .collect();
    let commit = |files: &[(u32, Vec<u8>, String)]| {
        let entries: Vec<_> = files.iter().map(|(m, n, c)| (*m, &n[..], slot.blob(c))).collect();
        slot.commit(slot.tree(&entries))
    };
    let first = slot.checkout(&commit(&files));
    assert_eq!((first.files, first.written, first.removed), (500, 500, 0));
    let times = |except: &[&str]| -> Vec<_> {
        let mut times: Vec<_> = fs::read_dir(slot.worktree())
            .unwrap()
            .map(|entry| entry.unwrap())
            .filter(|entry| !except.iter().any(|name| entry.file_name() == *name))
            .map(|entry| {
                (
                    entry.file_name(),
                    entry.metadata().unwrap().modified().unwrap(),
                    entry.metadata().unwrap().ino(),
                )
            })
            .collect();
        times.sort();
        times
    };

    files[7].2 = "content X".into();
    files[8].0 = EXECUTABLE;
    files.remove(0);
    let before = times(&["f0", "f7", "f8"]);
    let second = slot.checkout(&commit(&files));
    assert_eq!((second.files, second.written, second.removed), (499, 2, 1));
    assert_eq!(times(&["f7", "f8"]), before);

    // Without the index everything is read, and nothing written.
    fs::remove_file(slot.index()).unwrap();
    let third = slot.checkout(&commit(&files));
    assert_eq!((third.files, third.written, third.removed), (499, 0, 0));
    assert_eq!(times(&["f7", "f8"]), before);
}

#[test]
fn a_change_within_the_clocks_tick_is_seen() {
    let slot = Slot::new();
    let files: Vec<_> = (0..40).map(|n| (FILE, format!("f{n}"))).collect();
    let files: Vec<_> = files.iter().map(|(m, n)| (*m, n.as_str(), "one")).collect();
    let commit = slot.files(&files);
    for _ in 0..30 {
        slot.try_checkout(&commit).unwrap();
        // At once, in place, the same length: often in the same tick as the checkout's own write.
        fs::write(slot.worktree().join("f39"), "two").unwrap();
        slot.checkout(&commit);
        fs::remove_file(slot.worktree().join("f39")).unwrap();
    }
}

#[test]
fn ignored_files_go_too_and_modes_do_not_depend_on_the_umask() {
    let slot = Slot::new();
    let commit = slot.files(&[(FILE, ".gitignore", "*\n"), (EXECUTABLE, "run", "#!/bin/sh\n")]);
    slot.checkout(&commit);
    fs::create_dir_all(slot.worktree().join("node_modules/x")).unwrap();
    fs::write(slot.worktree().join("node_modules/x/y"), "z").unwrap();
    assert_eq!(slot.checkout(&commit).removed, 1);
    assert_eq!(
        fs::metadata(slot.worktree().join("run")).unwrap().mode() & 0o7777,
        0o755
    );
    assert_eq!(fs::metadata(slot.worktree()).unwrap().mode() & 0o7777, 0o755);
}

#[test]
fn attributes_and_filters_change_nothing() {
    let slot = Slot::new();
    let marker = slot.folder.path().join("a filter ran");
    let path = slot.repository.path();
    run(git(path).args([
        "config",
        "filter.evil.smudge",
        &format!("touch '{}'; cat", marker.display()),
    ]));
    run(git(path).args(["config", "core.autocrlf", "true"]));
    let attributes = "* text eol=crlf ident filter=evil export-ignore\n";
    let commit = slot.files(&[
        (FILE, ".gitattributes", attributes),
        (FILE, "a", "$Id$\none\ntwo\n"),
    ]);
    slot.try_checkout(&commit).unwrap();
    assert_eq!(
        fs::read_to_string(slot.worktree().join("a")).unwrap(),
        "$Id$\none\ntwo\n"
    );
    assert!(!marker.exists());
}

#[test]
fn submodules_and_pointers_are_told_and_counted() {
    let slot = Slot::new();
    let pointer = slot.blob("version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 1\n");
    let other = git2::Oid::from_str(&"5".repeat(40)).unwrap();
    let names: Vec<_> = (0..25)
        .map(|n| (format!("m{n:02}\u{1b}"), format!("p{n:02}")))
        .collect();
    let mut entries = Vec::new();
    for (module, file) in &names {
        entries.push((SUBMODULE, module.as_bytes(), other));
        entries.push((FILE, file.as_bytes(), pointer));
    }
    let long = format!("version https://git-lfs{}", " ".repeat(2000));
    entries.push((FILE, b"long", slot.blob(long)));
    entries.push((LINK, b"link", slot.blob("version https://git-lfs")));
    let commit = slot.commit(slot.tree(&entries));
    let first = slot.checkout(&commit);
    assert_eq!(
        (first.submodules, first.pointers, first.notes.len()),
        (25, 25, 40)
    );
    assert_eq!(
        first.notes[0],
        Note::Submodule {
            path: "m00\\u{1b}".into()
        }
    );
    assert_eq!(first.notes[20], Note::LfsPointer { path: "p00".into() });
    // Told again when nothing was written, and when all had to be read.
    assert_eq!(slot.checkout(&commit).notes, first.notes);
    fs::remove_file(slot.index()).unwrap();
    assert_eq!(slot.checkout(&commit).notes, first.notes);
}

#[test]
fn a_large_file_comes_whole_and_a_replacement_is_not_believed() {
    let slot = Slot::new();
    let large: Vec<u8> = (0..20 << 20)
        .map(|n: u32| (n.wrapping_mul(2_654_435_761) >> 13) as u8)
        .collect();
    let (blob, small) = (slot.blob(&large), slot.blob("small"));
    let commit = slot.commit(slot.tree(&[
        (FILE, b"large", blob),
        (FILE, b"small", small),
        (FILE, b"zero", slot.blob("")),
    ]));
    let evil = slot.blob("evil").to_string();
    run(git(slot.repository.path()).args(["replace", "-f", &small.to_string(), &evil]));
    slot.try_checkout(&commit).unwrap();
    assert!(fs::read(slot.worktree().join("large")).unwrap() == large);
    assert_eq!(fs::read(slot.worktree().join("small")).unwrap(), b"small");
    assert_eq!(fs::read(slot.worktree().join("zero")).unwrap(), b"");
}

#[test]
fn a_worktree_that_is_a_link_is_made_a_folder() {
    let slot = Slot::new();
    fs::create_dir(slot.worktree().parent().unwrap()).unwrap();
    symlink(slot.outside(), slot.worktree()).unwrap();
    slot.checkout(&slot.files(&[(FILE, "file", "inside")]));
    assert!(slot.worktree().symlink_metadata().unwrap().is_dir());
    assert_eq!(fs::read(slot.worktree().join(bytes(b"file"))).unwrap(), b"inside");
    assert_eq!(
        Path::new(&slot.outside()).join("file").metadata().unwrap().len(),
        7
    );
}

#[test]
fn a_file_that_has_another_name_outside_is_replaced() {
    let slot = Slot::new();
    let commit = slot.files(&[(FILE, "a", "1")]);
    slot.checkout(&commit);
    let other = slot.folder.path().join("other name");
    fs::hard_link(slot.worktree().join("a"), &other).unwrap();
    assert_eq!(slot.checkout(&commit).written, 1);
    fs::write(other, "2").unwrap();
    slot.assert_exact(&commit);
}
