//! Trees that no honest git has made, pushed by a git that does not look.

use std::fs;
use std::time::Duration;

use git2::Oid;

use super::forge::{FILE, FOLDER, LINK, SUBMODULE};
use super::peak::Peaks;
use super::{Stage, assert_fit_for_a_terminal};
use crate::support::wait_for;

/// Memory of one process of deployer's or git's, in a build for tests: the program alone has 40 MiB.
const MEMORY_MAX: u64 = 400 << 20;

#[test]
fn names_that_lead_elsewhere_are_declined_by_git() {
    let stage = Stage::new("forged-names");
    let forge = &stage.forge;
    let blob = forge.blob("evil");
    for (name, told) in [
        (&b".."[..], "hasDotdot"),
        (b".", "hasDot"),
        (b"", "empty"),
        (b"../../canary", "fullPathname"),
        (b"/etc/deployer", "fullPathname"),
        (b".git", "hasDotgit"),
        (b".GIT", "hasDotgit"),
        (b".git ", "hasDotgit"),
        (b".git...", "hasDotgit"),
        (b"git~1", "hasDotgit"),
        (".g\u{200c}it".as_bytes(), "hasDotgit"),
    ] {
        let case = name.escape_ascii().to_string();
        let file = forge.tree(&[(FILE, name, blob)]);
        stage.declined(&case, forge.commit(file), told);
        let folder = forge.tree(&[(FOLDER, name, file)]);
        let below = forge.tree(&[(FILE, b"Dockerfile", blob), (FOLDER, b"below", folder)]);
        stage.declined(&case, forge.commit(below), told);
    }
}

#[test]
fn trees_that_contradict_themselves_are_declined_by_git() {
    let stage = Stage::new("forged-trees");
    let forge = &stage.forge;
    let blob = forge.blob("evil");
    let folder = forge.tree(&[(FILE, b"canary", blob)]);
    let outside = forge.blob("../../../../canary");
    for (case, entries, told) in [
        (
            "one name twice",
            vec![(FILE, &b"a"[..], blob), (FILE, b"a", blob)],
            "duplicateEntries",
        ),
        (
            "a link and a folder",
            vec![(LINK, b"a", outside), (FOLDER, b"a", folder)],
            "duplicateEntries",
        ),
        (
            "not in order",
            vec![(FILE, b"b", blob), (FILE, b"a", blob)],
            "treeNotSorted",
        ),
        (
            "modules behind a link",
            vec![(LINK, b".gitmodules", outside)],
            "gitmodulesSymlink",
        ),
    ] {
        stage.declined(case, forge.commit(forge.tree(&entries)), told);
    }
    let modules = forge.blob("[submodule \"../../x\"]\n\tpath = x\n\turl = --upload-pack=touch\n");
    let tree = forge.tree(&[
        (FILE, b".gitmodules", modules),
        (SUBMODULE, b"x", forge.commit(folder)),
    ]);
    stage.declined("a module's name", forge.commit(tree), "gitmodules");
}

#[test]
fn objects_of_another_kind_than_they_are_named_are_declined_by_git() {
    let stage = Stage::new("forged-kinds");
    let forge = &stage.forge;
    let (blob, tree) = (forge.blob("evil"), forge.tree_of("HEAD"));
    let good = forge.commit(tree);
    for (case, id) in [
        ("a file as the branch", blob),
        ("a folder as the branch", tree),
        ("a commit of a file", forge.commit(blob)),
        ("a commit of a commit", forge.commit(good)),
        (
            "a folder that is a file",
            forge.commit(forge.tree(&[(FOLDER, b"x", blob)])),
        ),
        (
            "a file that is a folder",
            forge.commit(forge.tree(&[(FILE, b"x", tree)])),
        ),
        (
            "a parent that is a file",
            forge.commit_with(tree, &[blob], "work"),
        ),
    ] {
        let before = stage.tip();
        let push = stage.push(id);
        // The pusher's own git may notice, and then nothing is sent.
        assert_ne!(push.output.code, Some(0), "{case}: {}", push.output.stderr);
        assert_eq!(stage.tip(), before, "{case}");
        stage.assert_unharmed(case);
    }
}

#[test]
fn what_git_lets_through_and_no_checkout_may_have_fails_the_release() {
    let stage = Stage::new("forged-checkouts");
    let forge = &stage.forge;
    let blob = forge.blob("evil");
    let deep = |depth| forge.nested(forge.tree(&[(FILE, b"f", blob)]), b"d", depth);
    let long = [&b"\x1b[2J"[..], &[b'x'; 4090]].concat();
    let far = "x/".repeat(3_000);
    for (case, tree, told) in [
        ("1,000 folders deep", deep(1_000), "nested more than 200 deep"),
        (
            "a name of 4 KiB",
            forge.tree(&[(FILE, &long, blob)]),
            "4094 bytes long where 255 fit",
        ),
        (
            "a device",
            forge.tree(&[(0o060_644, b"sda", blob)]),
            "\"sda\" in the tree has the unknown mode",
        ),
        (
            "a link to nowhere",
            forge.tree(&[(LINK, b"a", forge.blob(""))]),
            "no usable target",
        ),
        (
            "a link too far",
            forge.tree(&[(LINK, b"a", forge.blob(far))]),
            "no usable target",
        ),
        (
            "a link to a NUL",
            forge.tree(&[(LINK, b"a", forge.blob("a\0b"))]),
            "no usable target",
        ),
    ] {
        stage.fails(case, forge.commit(tree), told);
    }
}

#[test]
fn thousands_of_folders_in_folders_are_refused_by_whoever_meets_them_first() {
    let stage = Stage::new("very-deep");
    let forge = &stage.forge;
    let tree = forge.nested(forge.tree(&[(FILE, b"f", forge.blob("x"))]), b"d", 5_000);
    let push = stage.push(forge.commit(tree));
    // A newer git has a bound of its own, and an older one leaves it to the checkout.
    let failed = push.verdict().starts_with("failed: ");
    assert!(failed || push.output.code != Some(0), "{}", push.output.stderr);
    stage.assert_unharmed("very deep");
}

#[test]
fn files_of_a_build_that_lead_out_of_the_tree_are_refused_at_the_build() {
    let stage = Stage::new("forged-links");
    let forge = &stage.forge;
    let outside = stage.world.path("canary");
    for target in [
        outside.to_str().expect("a path in UTF-8"),
        "../../../../../canary",
    ] {
        let link = forge.blob(target);
        let only = forge.tree(&[(LINK, b"Dockerfile", link)]);
        stage.fails(
            "Dockerfile",
            forge.commit(only),
            "at build: the Dockerfile Dockerfile leads out of the pushed tree",
        );
        let beside = forge.tree_with("HEAD", &[(LINK, b".dockerignore", link)]);
        stage.fails(
            ".dockerignore",
            forge.commit(beside),
            "at build: the ignore file .dockerignore leads out",
        );
    }
}

#[test]
fn patterns_that_take_their_time_end_with_the_deadline_of_the_build() {
    let stage = Stage::new("slow-patterns");
    stage
        .world
        .reconfigure("[app.shop]", "[app.shop]\nbuild_deadline = \"2s\"");
    // Each file takes a second to be found ignored, and all of them an hour, in which nothing is sent that the Engine could
    // refuse.
    let patterns = format!("{}z\n", "**/".repeat(20_000)).repeat(17) + "*\n";
    let name = "n".repeat(200);
    stage.repo.write(".dockerignore", patterns);
    for number in 0..3_000 {
        stage.repo.write(&format!("{number}{name}"), "x");
    }
    stage.repo.version("v2");

    let said = stage.repo.push("green").failed();

    assert!(said.contains("at build") && said.contains("2.00 s"), "{said}");
    wait_for("the worker to end", Duration::from_secs(60), || {
        stage.world.workers().is_empty().then_some(())
    });
    stage.assert_unharmed("slow patterns");
}

#[test]
fn a_hundred_thousand_files_and_modules_are_released_in_bounded_memory() {
    let stage = Stage::new("many-files");
    let (forge, repo) = (&stage.forge, &stage.repo);
    repo.write(".dockerignore", "many\n\u{1b}*\n");
    repo.version("v2");
    let blob = forge.blob("x");
    let names: Vec<String> = (0..1_000).map(|n| format!("\u{1b}]0;{n:03}\u{7}")).collect();
    let files: Vec<(u32, &[u8], Oid)> = names.iter().map(|name| (FILE, name.as_bytes(), blob)).collect();
    let folder = forge.tree(&files);
    let folders: Vec<(u32, &[u8], Oid)> = names[..100]
        .iter()
        .map(|name| (FOLDER, name.as_bytes(), folder))
        .collect();
    let modules: Vec<(u32, &[u8], Oid)> = names[..100]
        .iter()
        .map(|name| (SUBMODULE, name.as_bytes(), folder))
        .collect();
    let tree = forge.tree_with(
        "HEAD",
        &[
            (FOLDER, b"many", forge.tree(&folders)),
            (FOLDER, b"modules", forge.tree(&modules)),
        ],
    );

    let peaks = Peaks::watch(&stage.world);
    let push = stage.push(forge.commit(tree));
    peaks.assert_below(MEMORY_MAX);

    assert!(push.said().contains("100003 files, "), "{}", push.said());
    assert!(push.said().contains("is a submodule"), "{}", push.said());
    push.live();
    assert_eq!(stage.world.version(), "v2");
    stage.assert_canaries("many files");
    repo.version("v3");
    let push = repo.push_with(&["--force", "green", "main"]);
    assert_fit_for_a_terminal(&push);
    push.live();
    let left = fs::read_dir(stage.world.state("apps/shop/worktrees/green")).expect("the worktree");
    assert_eq!(left.count(), 3, "what was in the tree before is gone");
}
