//! A slot's repository as git sees it.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use deployer::git::{Found, GitError, Hook, ObjectId, Obstacle, RefUpdate, SlotRepository, Weight};
use deployer::model::{Gate, ReleaseId};
use tempfile::TempDir;

use crate::support::{EXECUTABLE, FILE, FOLDER, LINK, SUBMODULE, Slot, git, run};

#[test]
fn a_new_repository_is_what_git_expects() {
    let folder = TempDir::new().unwrap();
    let path = folder.path().join("git/shop/green.git");
    SlotRepository::create(&path, "live", "#!/bin/sh\nexit 0\n").unwrap();
    let told = |args: &[&str]| run(git(&path).args(args));
    assert_eq!(told(&["rev-parse", "--is-bare-repository"]), "true");
    assert_eq!(told(&["symbolic-ref", "HEAD"]), "refs/heads/live");
    assert_eq!(
        told(&["config", "--bool", "receive.advertisePushOptions"]),
        "true"
    );
    assert_eq!(told(&["config", "--bool", "receive.fsckObjects"]), "true");
    assert_eq!(told(&["fsck", "--strict"]), "");
    let hook = path.join("hooks/post-receive");
    assert_eq!(fs::read_to_string(&hook).unwrap(), "#!/bin/sh\nexit 0\n");
    assert_eq!(fs::metadata(hook).unwrap().mode() & 0o777, 0o755);
    for entry in fs::read_dir(path.join("hooks")).unwrap() {
        let name = entry.unwrap().file_name().into_string().unwrap();
        assert!(
            name == "post-receive" || name.ends_with(".sample"),
            "not deployer's: {name}"
        );
    }
}

#[test]
fn making_it_again_mends_it_and_keeps_what_was_pushed() {
    let slot = Slot::new();
    let commit = slot.files(&[(FILE, "a", "1")]);
    let path = slot.repository.path();
    run(git(path).args(["update-ref", "refs/heads/main", commit.as_str()]));
    run(git(path).args(["config", "receive.advertisePushOptions", "false"]));
    run(git(path).args(["config", "http.receivepack", "true"]));
    fs::remove_file(path.join("hooks/post-receive")).unwrap();

    let again = SlotRepository::create(path, "live", "new hook").unwrap();
    assert_eq!(again.tip("main").unwrap(), Some(ObjectId::from(&commit)));
    assert_eq!(again.tip("live").unwrap(), None);
    let told = |args: &[&str]| run(git(path).args(args));
    assert_eq!(
        told(&["config", "--bool", "receive.advertisePushOptions"]),
        "true"
    );
    assert_eq!(
        told(&["config", "http.receivepack"]),
        "true",
        "not ours, not touched"
    );
    assert_eq!(told(&["config", "--get-all", "core.hooksPath"]), "hooks");
    assert_eq!(told(&["symbolic-ref", "HEAD"]), "refs/heads/live");
    assert_eq!(
        fs::read_to_string(path.join("hooks/post-receive")).unwrap(),
        "new hook"
    );
}

#[test]
fn what_is_no_slot_repository_is_refused() {
    let folder = TempDir::new().unwrap();
    let open = |name: &str| SlotRepository::open(&folder.path().join(name)).err();
    assert!(matches!(open("nothing"), Some(GitError::NotARepository { .. })));
    run(git(folder.path()).args(["init", "-q", "clone"]));
    assert!(matches!(open("clone"), Some(GitError::NotARepository { .. })));
    run(git(folder.path()).args(["init", "-q", "--bare", "--object-format=sha256", "sha256"]));
    assert!(matches!(open("sha256"), Some(GitError::NotARepository { .. })));
    for branch in ["", "a b", "a..b", "-x/", "x.lock", "a\nb"] {
        let made = SlotRepository::create(&folder.path().join("x"), branch, "");
        assert!(
            matches!(made.err(), Some(GitError::BadBranch { .. })),
            "{branch:?}"
        );
    }
}

#[test]
fn another_users_repository_is_refused() {
    let folder = TempDir::new().unwrap();
    let path = folder.path().join("green.git");
    SlotRepository::create(&path, "main", "").unwrap();
    // Only root can give a folder away; anyone else owns all that they can make.
    if std::os::unix::fs::chown(&path, Some(65_534), None).is_ok() {
        assert!(matches!(
            SlotRepository::open(&path).err(),
            Some(GitError::Owner { .. })
        ));
    }
}

#[test]
fn a_commits_facts_are_printable_and_a_tag_leads_to_its_commit() {
    let slot = Slot::new();
    let tree = slot.tree(&[]);
    let message = format!("\u{1b}]0;title\u{7} {}\n\nbody", "x".repeat(300));
    let path = slot.repository.path();
    let id = run(git(path)
        .env("GIT_AUTHOR_NAME", "A\u{9b}nn")
        .env("GIT_COMMITTER_DATE", "2024-02-29T12:00:00+02:00")
        .args(["commit-tree", "-m", &message, &tree.to_string()]));
    run(git(path).args(["tag", "-a", "-m", "v1", "v1", &id]));
    run(git(path).args(["tag", "-a", "-m", "v1 again", "outer", "v1"]));
    let tag = run(git(path).args(["rev-parse", "outer"]));

    let line = format!("{id} {tag} refs/heads/main\n");
    let update = deployer::git::RefUpdate::read(line.as_bytes()).unwrap();
    let facts = slot.repository.commit_facts(update[0].new.unwrap()).unwrap();
    assert_eq!(facts.commit.as_str(), id);
    assert!(facts.subject.starts_with("\\u{1b}]0;title\\u{7} xxx") && facts.subject.ends_with('…'));
    assert_eq!(facts.author, "A\\u{9b}nn");
    assert_eq!(facts.time.to_string(), "2024-02-29T10:00:00Z");

    let gone = format!("{id} {} refs/heads/main\n", "1".repeat(40));
    let update = deployer::git::RefUpdate::read(gone.as_bytes()).unwrap();
    let error = slot.repository.commit_facts(update[0].new.unwrap()).unwrap_err();
    assert!(matches!(error, GitError::NoCommit { .. }), "{error}");
}

#[test]
fn what_a_repository_takes_follows_from_the_settings_and_is_seen_to_differ() {
    let slot = Slot::new();
    let path = slot.repository.path();
    let hooks = |gate: Gate| {
        let hooks = Hook::ALL.into_iter().filter(|hook| hook.is_of(gate));
        hooks
            .map(|hook| (hook, format!("# Written by deployer: {gate:?}")))
            .collect::<Vec<_>>()
    };
    let names = || {
        let all = fs::read_dir(path.join("hooks")).unwrap();
        let mut names: Vec<String> = all
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect();
        names.retain(|name| !name.ends_with(".sample"));
        names.sort();
        names
    };
    assert!(!slot.repository.takes(1 << 20, Gate::None), "nothing was set yet");
    for (gate, there) in [
        (Gate::Release, &["post-receive", "pre-receive", "update"][..]),
        (Gate::Check, &["post-receive", "pre-receive", "update"]),
        (Gate::None, &["post-receive", "pre-receive"]),
        (Gate::Release, &["post-receive", "pre-receive", "update"]),
    ] {
        slot.repository.take(1 << 20, &hooks(gate)).unwrap();
        assert_eq!(names(), there);
        for name in there {
            assert_eq!(
                fs::read_to_string(path.join("hooks").join(name)).unwrap(),
                format!("# Written by deployer: {gate:?}")
            );
        }
        for other in [Gate::None, Gate::Check, Gate::Release] {
            // The gates have the same hooks, which do by the settings of the moment what they do.
            let is_same = (other == Gate::None) == (gate == Gate::None);
            assert_eq!(slot.repository.takes(1 << 20, other), is_same);
        }
        assert!(!slot.repository.takes(1 << 21, gate));
    }
    let told = |args: &[&str]| run(git(path).args(args));
    assert_eq!(told(&["config", "receive.maxInputSize"]), "1048576");
    // A hook that somebody else wrote is no gate, and stays until one needs its place.
    fs::write(path.join("hooks/update"), "#!/bin/sh\n").unwrap();
    slot.repository.take(1 << 20, &hooks(Gate::None)).unwrap();
    assert_eq!(names(), ["post-receive", "pre-receive", "update"]);
    assert!(slot.repository.takes(1 << 20, Gate::None) && !slot.repository.takes(1 << 20, Gate::Check));
    slot.repository.take(1 << 20, &hooks(Gate::Check)).unwrap();
    assert!(slot.repository.takes(1 << 20, Gate::Check));
    // Made again, lists are not longer, and are put right where somebody changed them, or an older deployer made them.
    for change in [
        &["config", "--add", "receive.hideRefs", "!refs"][..],
        &["config", "receive.shallowUpdate", "false"],
        &["config", "--unset", "receive.fsck.missingEmail"],
    ] {
        assert!(slot.repository.takes(1 << 20, Gate::Check));
        run(git(path).args(change));
        assert!(!slot.repository.takes(1 << 20, Gate::Check), "{change:?}");
        SlotRepository::create(path, "main", "").unwrap();
        slot.repository.take(1 << 20, &hooks(Gate::Check)).unwrap();
    }
    assert_eq!(
        told(&["config", "--get-all", "receive.hideRefs"]),
        "refs\n!refs/heads\n!refs/tags\nrefs/heads/refs\nrefs/tags/refs\nrefs/heads/HEAD\nrefs/tags/HEAD"
    );
    assert_eq!(
        told(&["config", "--get-all", "uploadpack.hideRefs"]),
        "refs/deployer"
    );
}

#[test]
fn a_releases_commit_is_kept_until_it_is_let_go_of() {
    let slot = Slot::new();
    let path = slot.repository.path();
    let (one, two) = (slot.files(&[(FILE, "a", "1")]), slot.files(&[(FILE, "a", "2")]));
    slot.repository.keep(ReleaseId(1), &one).unwrap();
    slot.repository.keep(ReleaseId(12), &two).unwrap();
    slot.repository.keep(ReleaseId(12), &two).unwrap();
    let is_there = |commit: &deployer::model::Commit| {
        run(git(path).args(["gc", "-q", "--prune=now"]));
        // As a hook or a worker does: it opens the repository for itself.
        let repository = SlotRepository::open(path).unwrap();
        repository.commit_facts(ObjectId::from(commit)).is_ok()
    };
    assert!(is_there(&one) && is_there(&two));

    slot.repository.keep_only(|id| id != ReleaseId(1)).unwrap();

    assert!(!is_there(&one) && is_there(&two));
    let gone = SlotRepository::open(path)
        .unwrap()
        .commit_facts(ObjectId::from(&one));
    assert!(gone.unwrap_err().to_string().contains("Hint: push it again"));
}

#[test]
fn a_tree_is_weighed_and_searched_without_a_checkout() {
    let slot = Slot::new();
    let (blob, empty) = (slot.blob([7; 1000]), slot.blob(""));
    let link = |target: &str| slot.blob(target);
    let below = slot.tree(&[
        (FILE, b"file", blob),
        (LINK, b"inside", link("../a/file")),
        (LINK, b"outside", link("../../x")),
    ]);
    let top = slot.tree(&[
        (FOLDER, b"a", below),
        (FOLDER, b"b", below),
        (EXECUTABLE, b"c", blob),
        (FILE, b"empty", empty),
        (LINK, b"host", link("/etc/passwd")),
        (LINK, b"long", link(&"x".repeat(5000))),
        (LINK, b"to-a", link("a")),
        (SUBMODULE, b"module", blob),
    ]);
    let commit = slot.commit(top);
    let links = 2 * (9 + 7) + 11 + 5000 + 1;
    assert_eq!(
        slot.repository.weigh(&commit, &slot.worktree()).unwrap(),
        Weight {
            files: 2 * 3 + 2 + 3,
            bytes: 3 * 1000 + links
        }
    );
    for (path, found) in [
        ("c", Found::File(1000)),
        ("./c", Found::File(1000)),
        ("a/file", Found::File(1000)),
        ("./b/./file", Found::File(1000)),
        ("empty", Found::File(0)),
        ("a/inside", Found::Link),
        ("to-a/file", Found::Link),
        ("long", Found::Link),
        ("a/outside", Found::Outside),
        ("host", Found::Outside),
        ("host/x", Found::Outside),
        ("../c", Found::Outside),
        ("a", Found::Nothing),
        ("module", Found::Nothing),
        ("c/x", Found::Nothing),
        ("none", Found::Nothing),
        (".", Found::Nothing),
    ] {
        assert_eq!(
            slot.repository.find(&commit, Path::new(path)).unwrap(),
            found,
            "{path}"
        );
    }
    assert!(!slot.worktree().exists());
    let bad = slot.commit(slot.tree(&[(FILE, b"..", blob)]));
    assert!(matches!(
        slot.repository.weigh(&bad, &slot.worktree()),
        Err(GitError::BadName { .. })
    ));
}

#[test]
fn what_keeps_git_from_moving_a_branch_is_found_without_moving_it() {
    let slot = Slot::new();
    let path = slot.repository.path();
    let (one, two) = (slot.files(&[(FILE, "a", "1")]), slot.files(&[(FILE, "a", "2")]));
    let (one, two, none) = (one.as_str(), two.as_str(), &"0".repeat(40));
    let git = |args: &[&str]| run(git(path).args(args));
    // A lock is waited for, in vain.
    git(&["config", "core.filesRefLockTimeout", "50"]);
    git(&["config", "core.packedRefsTimeout", "50"]);
    let shown = || git(&["for-each-ref"]);
    let tried = |lines: &[String]| {
        let updates = RefUpdate::read(lines.join("\n").as_bytes()).unwrap();
        let before = shown();
        let obstacle = slot
            .repository
            .obstacle(&updates.iter().collect::<Vec<_>>())
            .unwrap();
        assert_eq!(shown(), before);
        obstacle
    };
    let make = |name: &str| format!("{none} {one} refs/heads/{name}");
    let move_main = format!("{one} {two} refs/heads/main");
    let in_the_way = |there: &str, wanted: &str| {
        let [there, wanted] = [there, wanted].map(|name| format!("refs/heads/{name}"));
        Some(Obstacle::InTheWay { there, wanted })
    };
    let is_told = |obstacle: Option<Obstacle>, told: &str| {
        assert!(
            matches!(&obstacle, Some(Obstacle::Other(why)) if why.contains(told)),
            "{obstacle:?}"
        );
    };

    assert_eq!(tried(&[make("main")]), None);
    // A name that another one begins with: as a file, packed, and in the same push.
    git(&["update-ref", "refs/heads/main/hotfix", one]);
    assert_eq!(tried(&[make("main")]), in_the_way("main/hotfix", "main"));
    git(&["pack-refs", "--all"]);
    assert_eq!(tried(&[make("main")]), in_the_way("main/hotfix", "main"));
    git(&["update-ref", "-d", "refs/heads/main/hotfix"]);
    is_told(tried(&[make("main"), make("main/hotfix")]), "at the same time");
    git(&["update-ref", "refs/heads/main", one]);
    assert_eq!(tried(&[make("main/hotfix")]), in_the_way("main", "main/hotfix"));
    // Lock files.
    assert_eq!(tried(std::slice::from_ref(&move_main)), None);
    for lock in ["refs/heads/main.lock", "HEAD.lock"] {
        fs::write(path.join(lock), "").unwrap();
        assert_eq!(
            tried(std::slice::from_ref(&move_main)),
            Some(Obstacle::Locked(path.join(lock)))
        );
        fs::remove_file(path.join(lock)).unwrap();
    }
    // One that was left below the name of a branch that is packed: git gets no further than to the move.
    git(&["pack-refs", "--all"]);
    fs::create_dir_all(path.join("refs/heads/main")).unwrap();
    assert_eq!(tried(std::slice::from_ref(&move_main)), None);
    fs::write(path.join("refs/heads/main/hotfix.lock"), "").unwrap();
    is_told(
        tried(std::slice::from_ref(&move_main)),
        "there are still files under",
    );
    fs::remove_dir_all(path.join("refs/heads/main")).unwrap();
    // Logs that cannot be written.
    fs::rename(path.join("logs"), path.join("former")).unwrap();
    fs::write(path.join("logs"), "").unwrap();
    is_told(tried(std::slice::from_ref(&move_main)), "logs is no folder");
    fs::remove_file(path.join("logs")).unwrap();
    fs::rename(path.join("former"), path.join("logs")).unwrap();
    git(&["update-ref", "refs/heads/x", one]);
    fs::write(path.join("packed-refs.lock"), "").unwrap();
    let delete_x = format!("{one} {none} refs/heads/x");
    assert_eq!(
        tried(&[move_main.clone(), delete_x.clone()]),
        Some(Obstacle::Locked(path.join("packed-refs.lock")))
    );
    fs::remove_file(path.join("packed-refs.lock")).unwrap();
    assert_eq!(tried(&[move_main.clone(), delete_x]), None);
    // What is moved elsewhere meanwhile, what is no commit or not there, and names that are none.
    let tree = git(&["rev-parse", &format!("{one}^{{tree}}")]);
    let elsewhere = format!("{two} {one} refs/heads/x");
    assert_eq!(tried(&[move_main.clone(), elsewhere]), Some(Obstacle::HasMoved));
    assert_eq!(tried(&[make("x")]), Some(Obstacle::HasMoved));
    for (line, told) in [
        (format!("{none} {tree} refs/heads/y"), "non-commit object"),
        (
            format!("{none} {} refs/heads/y", "1".repeat(40)),
            "nonexistent object",
        ),
        (format!("{none} {one} refs/heads/a..b"), "invalid ref format"),
    ] {
        is_told(tried(&[move_main.clone(), line]), told);
    }
    // What git notices only while it moves: a log that it cannot write.
    fs::create_dir_all(path.join("logs/refs/heads/late/empty")).unwrap();
    assert_eq!(tried(&[make("late")]), None);
    fs::write(path.join("logs/refs/heads/late/empty/not"), "").unwrap();
    is_told(tried(&[make("late")]), "there are still logs under");

    // Which of a push's references have moved already.
    git(&["update-ref", "refs/tags/t", one]);
    let has_moved = |line: String| {
        slot.repository
            .has_moved(&RefUpdate::read(line.as_bytes()).unwrap()[0])
    };
    for (line, moved) in [
        (format!("{none} {one} refs/tags/t"), true),
        (format!("{one} {two} refs/tags/t"), false),
        (format!("{one} {none} refs/tags/t"), false),
        (format!("{one} {none} refs/tags/gone"), true),
        (move_main, false),
    ] {
        assert_eq!(has_moved(line.clone()), moved, "{line}");
    }
}
