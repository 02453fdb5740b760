//! What reaches the hook when a person pushes.

use std::ffi::OsString;
use std::fs;
use std::path::PathBuf;
use std::process::Output;

use deployer::git::{Hook, ObjectId, PushOptions, Pushed, RefUpdate, SlotRepository, what_was_pushed};
use tempfile::TempDir;

use crate::support::{chmod, git, run, told};

/// A clone, a slot's repository, and in deployer's place a script that writes down what it is told.
struct Desk {
    folder: TempDir,
}

impl Desk {
    fn new() -> Self {
        let desk = Self {
            folder: TempDir::new().unwrap(),
        };
        let deployer = desk.path("it's a $(deployer)");
        let told = desk.path("told");
        let script = format!(
            "#!/bin/sh\nexec >'{0}'\nprintf '%s\\n' \"$@\" >'{0}.args'\nenv >'{0}.env'\ncat\n",
            told.display()
        );
        fs::write(&deployer, script).unwrap();
        chmod(&deployer, 0o755);
        let slot = "shop/green".parse().unwrap();
        let hook = Hook::PostReceive
            .script(&deployer, &desk.path("a b.toml"), &slot)
            .unwrap();
        SlotRepository::create(&desk.path("green.git"), "main", &hook).unwrap();
        run(git(desk.folder.path()).args(["init", "-q", "-b", "main", "clone"]));
        desk.commit("one");
        desk
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn git(&self, args: &[&str]) -> String {
        run(git(&self.path("clone")).args(args))
    }

    fn commit(&self, subject: &str) -> String {
        self.git(&["commit", "-q", "--allow-empty", "-m", subject]);
        self.git(&["rev-parse", "HEAD"])
    }

    fn try_push(&self, args: &[&str]) -> Output {
        let _ = fs::remove_file(self.path("told"));
        let mut command = git(&self.path("clone"));
        command
            .args(["push", "-q", "../green.git"])
            .args(args)
            .output()
            .unwrap()
    }

    /// Pushes, which must succeed, and gives what it means for the branch `main`.
    fn push(&self, args: &[&str]) -> Pushed {
        let output = self.try_push(args);
        assert!(output.status.success(), "{}", told(&output));
        let input = fs::File::open(self.path("told")).unwrap();
        what_was_pushed(&RefUpdate::read(input).unwrap(), "main")
    }

    fn options(&self) -> PushOptions {
        let env = fs::read_to_string(self.path("told.env")).unwrap();
        PushOptions::from_vars(|name| {
            let value = env
                .lines()
                .find_map(|line| line.strip_prefix(name)?.strip_prefix('='));
            value.map(OsString::from)
        })
    }
}

fn released(pushed: &Pushed) -> String {
    match pushed {
        Pushed::Branch { reference, new, .. } => {
            assert_eq!(reference, "refs/heads/main");
            new.to_string()
        }
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_branch_a_force_push_and_another_branch() {
    let desk = Desk::new();
    let one = desk.git(&["rev-parse", "HEAD"]);
    assert_eq!(released(&desk.push(&["main"])), one);
    let args = fs::read_to_string(desk.path("told.args")).unwrap();
    let config = desk.path("a b.toml");
    let wanted = [
        "--config",
        config.to_str().unwrap(),
        "hook",
        "post-receive",
        "--slot",
        "shop/green",
    ];
    assert_eq!(args.lines().collect::<Vec<_>>(), wanted);

    desk.git(&["commit", "-q", "--amend", "--allow-empty", "-m", "other"]);
    let other = desk.git(&["rev-parse", "HEAD"]);
    assert_eq!(released(&desk.push(&["-f", "main"])), other);
    // What the force push replaced can still be deployed again.
    let slot = SlotRepository::open(&desk.path("green.git")).unwrap();
    let old = one.parse().unwrap();
    assert_eq!(slot.commit_facts(ObjectId::from(&old)).unwrap().subject, "one");

    let references = vec!["refs/heads/feature".to_owned()];
    assert_eq!(desk.push(&["main:feature"]), Pushed::Other { references });
    let main = "refs/heads/main".to_owned();
    assert_eq!(desk.push(&[":main"]), Pushed::Deleted { reference: main });
}

#[test]
fn a_tag_pushed_to_the_branch_is_its_commit_or_refused_by_git() {
    let desk = Desk::new();
    desk.push(&["main"]);
    let two = desk.commit("two");
    desk.git(&["tag", "-a", "-m", "v2", "v2"]);
    desk.git(&["tag", "light"]);
    desk.commit("three");

    // Git keeps tag objects out of refs/heads, and says so to the pusher.
    let output = desk.try_push(&["v2:refs/heads/main"]);
    assert!(!output.status.success());
    assert!(told(&output).contains("non-commit object"), "{}", told(&output));
    assert!(!desk.path("told").exists(), "no reference moved, so no hook ran");

    assert_eq!(released(&desk.push(&["v2^{}:main"])), two);
    desk.commit("four");
    desk.git(&["tag", "-f", "light"]);
    let light = desk.git(&["rev-parse", "light"]);
    assert_eq!(released(&desk.push(&["light:refs/heads/main"])), light);
    let references = vec!["refs/tags/v2".to_owned()];
    assert_eq!(desk.push(&["v2"]), Pushed::Other { references });
}

#[test]
fn push_options_arrive() {
    let desk = Desk::new();
    desk.push(&["-o", "no-promote", "-o", "hello there", "main"]);
    let options = desk.options();
    assert!(options.asked.no_promote);
    assert_eq!(options.unknown, ["hello there"]);
    desk.commit("two");
    desk.push(&["main"]);
    assert_eq!(desk.options(), PushOptions::default());
}

#[test]
fn the_users_own_hooks_folder_does_not_take_the_hooks_place() {
    let desk = Desk::new();
    let config = desk.path("gitconfig");
    fs::write(&config, "[core]\n\thooksPath = /nowhere\n").unwrap();
    let mut push = git(&desk.path("clone"));
    run(push
        .env("GIT_CONFIG_GLOBAL", config)
        .args(["push", "-q", "../green.git", "main"]));
    assert!(desk.path("told").exists());
}

#[test]
fn a_tree_that_would_harm_is_declined_and_an_old_honest_one_is_not() {
    let desk = Desk::new();
    let blob = desk.git(&["hash-object", "-w", "--stdin"]);
    let commit = |name: &[u8], mode: &str| {
        let id: Vec<u8> = (0..20)
            .map(|i| u8::from_str_radix(&blob[2 * i..][..2], 16).unwrap())
            .collect();
        let raw = [mode.as_bytes(), b" ", name, b"\0", &id].concat();
        fs::write(desk.path("raw"), raw).unwrap();
        let tree = desk.git(&["hash-object", "-t", "tree", "-w", "--literally", "../raw"]);
        desk.git(&["commit-tree", "-m", "x", &tree])
    };
    for name in [&b".git"[..], b"..", b".", b".GIT"] {
        let output = desk.try_push(&["-f", &format!("{}:refs/heads/main", commit(name, "100644"))]);
        assert!(!output.status.success(), "{}", String::from_utf8_lossy(name));
        assert!(told(&output).contains("fsck"), "{}", told(&output));
    }
    let old = commit(b"file", "100664");
    assert_eq!(
        released(&desk.push(&["-f", &format!("{old}:refs/heads/main")])),
        old
    );
}
