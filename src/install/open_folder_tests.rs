//! What a user who may write to a folder can do to root, who works in it: nothing outside of it.

use std::fs::{self, Permissions};
use std::os::unix::fs::{MetadataExt, PermissionsExt, chown, symlink};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use rustix::fs::{CWD, RenameFlags, renameat_with};

use super::account::Account;
use super::files::{EmptyFolder, File, Folder, Gone, Link, Owner, Tree};
use super::thing::{Set, Thing};

/// How long the two sides of a race try.
const RACE: Duration = Duration::from_millis(700);

/// A folder that everybody may write to, and beside it one that is nobody's business.
struct Place {
    _folder: tempfile::TempDir,
    open: PathBuf,
    victim: PathBuf,
}

impl Place {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let (open, victim) = (folder.path().join("open"), folder.path().join("victim"));
        fs::create_dir(&open).unwrap();
        fs::set_permissions(&open, Permissions::from_mode(0o777)).unwrap();
        fs::create_dir_all(victim.join("sub")).unwrap();
        fs::write(victim.join("file"), "secret").unwrap();
        fs::set_permissions(&victim, Permissions::from_mode(0o751)).unwrap();
        Self {
            _folder: folder,
            open,
            victim,
        }
    }

    /// Everything about the victim that must stay.
    fn told(&self) -> Vec<String> {
        let names = ["", "sub", "file"].map(|name| self.victim.join(name));
        let mut told = vec![fs::read_to_string(&names[2]).unwrap()];
        for path in names {
            let is = fs::symlink_metadata(path).unwrap();
            told.push(format!("{:o} {}:{}", is.mode(), is.uid(), is.gid()));
        }
        let entries = fs::read_dir(&self.victim).unwrap();
        let mut entries: Vec<_> = entries
            .map(|entry| format!("{:?}", entry.unwrap().file_name()))
            .collect();
        entries.sort();
        told.extend(entries);
        told
    }
}

fn own() -> Owner {
    let uid = rustix::process::geteuid().as_raw();
    Owner::of(&Account::numbered(uid).unwrap().expect("a user").name)
}

fn folder(path: PathBuf) -> Thing {
    Thing::Folder(Folder {
        path,
        mode: 0o700,
        owner: own(),
        keep: false,
    })
}

fn file(path: PathBuf) -> Thing {
    Thing::File(File {
        path,
        text: b"text".into(),
        mode: 0o600,
        owner: own(),
        kept_for: None,
    })
}

/// A thing of every kind that is made or removed by its path, at `path`.
fn things(path: &Path) -> [Thing; 6] {
    let path = path.to_owned();
    [
        folder(path.clone()),
        file(path.clone()),
        Thing::Link(Link {
            path: path.clone(),
            to: "/elsewhere".into(),
        }),
        Thing::Gone(Gone {
            path: path.clone(),
            is_rare: false,
        }),
        Thing::EmptyFolder(EmptyFolder {
            path: path.clone(),
            ours: vec!["file"],
        }),
        Thing::Tree(Tree { path }),
    ]
}

#[test]
fn a_link_in_a_folder_of_others_is_not_followed_by_anything() {
    let place = Place::new();
    let before = place.told();
    let link = place.open.join("link");
    symlink(&place.victim, &link).unwrap();
    fs::create_dir(place.open.join("mine")).unwrap();
    symlink(&place.victim, place.open.join("mine/link")).unwrap();

    for path in [
        link.join("sub"),
        link.join("file"),
        link.join("new"),
        place.open.join("mine/link/new/newer"),
    ] {
        for thing in things(&path) {
            for done in [thing.look().map(drop), thing.make().map(drop)] {
                let refused = format!("{:#}", done.expect_err(&thing.to_string()));
                let named =
                    refused.contains("link is a link, in a folder that others than root may write to");
                assert!(named && refused.contains("rm /"), "{refused}");
            }
        }
    }
    // The link itself, and not what it leads to.
    assert!(folder(link.clone()).look().is_err() && folder(link.clone()).make().is_err());
    let tree = Thing::Tree(Tree { path: link.clone() });
    assert!(!tree.look().unwrap().is_to_do());
    assert!(tree.make().is_err());
    file(link.clone()).look().unwrap_err();
    file(link.clone()).make().unwrap();
    assert_eq!(fs::read(&link).unwrap(), b"text");
    assert_eq!(place.told(), before);
}

#[test]
fn links_that_only_root_can_make_are_followed() {
    if !rustix::process::geteuid().is_root() {
        return;
    }
    let place = Place::new();
    let top = place.victim.join("sub");
    fs::create_dir(top.join("disk")).unwrap();
    symlink("disk", top.join("relative")).unwrap();
    symlink(top.join("relative"), top.join("absolute")).unwrap();
    symlink("../sub/absolute", top.join("upwards")).unwrap();

    for link in ["relative", "absolute", "upwards"] {
        let path = top.join(link).join(format!("{link}.d/file"));
        file(path).make().unwrap();
        assert_eq!(
            fs::read(top.join(format!("disk/{link}.d/file"))).unwrap(),
            b"text"
        );
    }
    symlink("gone", top.join("nowhere")).unwrap();
    let refused = folder(top.join("nowhere")).look().unwrap_err().to_string();
    assert!(
        refused.ends_with("nowhere is a link to a folder that is not there"),
        "{refused}"
    );
    symlink("ring", top.join("ring")).unwrap();
    let refused = folder(top.join("ring/x")).look().unwrap_err().to_string();
    assert!(refused.contains("more than 40 links"), "{refused}");
}

#[test]
fn a_second_name_of_a_file_and_a_pipe_are_refused_and_not_waited_for() {
    let place = Place::new();
    let before = place.told();
    let planted = place.open.join("planted");
    fs::hard_link(place.victim.join("file"), &planted).unwrap();
    let refused = file(planted.clone()).look().unwrap_err().to_string();
    assert!(
        refused.contains("planted has a second name elsewhere"),
        "{refused}"
    );
    // Replacing the name leaves the file itself as it is.
    file(planted.clone()).make().unwrap();
    fs::remove_file(&planted).unwrap();
    assert_eq!(place.told(), before);

    rustix::fs::mknodat(CWD, &planted, rustix::fs::FileType::Fifo, 0o666.into(), 0).unwrap();
    let refused = file(planted.clone()).look().unwrap_err().to_string();
    assert!(
        refused.contains("planted is no regular file: move it away"),
        "{refused}"
    );
    let refused = folder(planted.join("x")).look().unwrap_err().to_string();
    assert!(
        refused.contains("planted is no folder: move it away"),
        "{refused}"
    );
}

#[test]
fn a_folder_of_root_that_was_moved_is_given_to_nobody() {
    if !rustix::process::geteuid().is_root() {
        return;
    }
    let place = Place::new();
    let nobody = Account::named("nobody").unwrap().expect("a user called nobody");
    let moved = place.open.join("moved");
    fs::create_dir(&moved).unwrap();
    let wanted = Thing::Folder(Folder {
        path: moved.clone(),
        mode: 0o700,
        owner: Owner::of("nobody"),
        keep: false,
    });
    // As it is when root has just made it.
    wanted.make().unwrap();
    assert_eq!(fs::metadata(&moved).unwrap().uid(), nobody.uid);

    chown(&moved, Some(0), Some(0)).unwrap();
    fs::write(moved.join("backup"), "secret").unwrap();
    for done in [wanted.look().map(drop), wanted.make().map(drop)] {
        let refused = done.unwrap_err().to_string();
        assert!(refused.contains("moved belongs to root, and others"), "{refused}");
        assert!(refused.contains("`chown -hR nobody: /"), "{refused}");
    }
    assert_eq!(fs::metadata(&moved).unwrap().uid(), 0);
}

/// Puts one in the other's place and back, until the deadline, while `work` is done again and again.
fn race(one: &Path, other: &Path, mut work: impl FnMut()) {
    let is_over = AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            while !is_over.load(Ordering::Relaxed) {
                renameat_with(CWD, one, CWD, other, RenameFlags::EXCHANGE).unwrap();
            }
        });
        let begun = Instant::now();
        while begun.elapsed() < RACE {
            work();
        }
        is_over.store(true, Ordering::Relaxed);
    });
}

#[test]
fn a_folder_that_is_swapped_for_a_link_all_the_time_leads_nowhere() {
    let place = Place::new();
    let before = place.told();
    let (home, link) = (place.open.join("home"), place.open.join("link"));
    fs::create_dir(&home).unwrap();
    symlink(&place.victim, &link).unwrap();
    let all = Thing::Set(Set {
        name: "all".into(),
        things: [home.clone(), home.join("sub"), home.join("new/deep")]
            .map(folder)
            .into_iter()
            .chain(["sub/x", "file", "other"].map(|name| file(home.join(name))))
            .collect(),
    });
    let (mut done, mut refused) = (0, 0);

    race(&home, &link, || match all.make() {
        Ok(_) => done += 1,
        Err(_) => refused += 1,
    });

    assert_eq!(place.told(), before);
    assert!(
        done + refused > 20 && refused > 0,
        "{done} done, {refused} refused"
    );
}

#[test]
fn a_tree_is_removed_to_its_depth_and_nothing_that_it_leads_to() {
    let place = Place::new();
    let before = place.told();
    let tree = place.open.join("tree");
    fs::create_dir(&tree).unwrap();
    let mut deep = super::OpenFolder::at(&tree).unwrap().unwrap();
    for _ in 0..200 {
        deep = deep.make_folder("d".as_ref(), 0o700, None).unwrap();
        rustix::fs::symlinkat(&place.victim, deep.fd(), "link").unwrap();
    }
    for number in 0..1_100 {
        fs::write(tree.join(number.to_string()), "").unwrap();
    }
    fs::hard_link(place.victim.join("file"), tree.join("hard")).unwrap();

    Thing::Tree(Tree { path: tree.clone() }).make().unwrap();

    assert!(!tree.exists());
    assert_eq!(place.told(), before);
}

#[test]
fn a_tree_whose_folders_become_links_while_it_is_removed_takes_nothing_else_along() {
    let place = Place::new();
    let before = place.told();
    let (tree, link) = (place.open.join("tree"), place.open.join("link"));
    fs::create_dir(&tree).unwrap();
    symlink(&place.victim, &link).unwrap();
    let inner = tree.join("a");
    fs::create_dir(&inner).unwrap();
    let of_inner = Thing::Tree(Tree {
        path: inner.join("sub"),
    });
    let of_tree = Thing::Tree(Tree { path: tree.join("b") });

    race(&inner, &link, || {
        let _ = fs::create_dir_all(tree.join("b/c/d"));
        let _ = fs::create_dir(inner.join("sub"));
        let _ = of_inner.make();
        let _ = of_tree.make();
    });

    assert!(place.victim.join("sub").exists());
    assert_eq!(place.told(), before);
}
