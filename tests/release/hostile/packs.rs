//! What is small on the wire and large where it arrives.

use git2::Oid;

use super::Stage;
use super::forge::FILE;
use super::peak::Peaks;

/// Memory of one process of deployer's or git's, in a build for tests: the program alone has 40 MiB.
const MEMORY_MAX: u64 = 200 << 20;

#[test]
fn files_of_hundreds_of_megabytes_pass_in_bounded_memory() {
    let stage = Stage::new("large-files");
    // A quarter of a mebibyte on the wire.
    let zeros = vec![0; 250 << 20];
    stage
        .repo
        .write("zeros", &zeros)
        .write(".dockerignore", "zeros\n");
    drop(zeros);
    stage.repo.version("v2");

    let peaks = Peaks::watch(&stage.world);
    let push = stage.repo.push("green");
    peaks.assert_below(MEMORY_MAX);

    push.live();
    assert_eq!(stage.world.version(), "v2");
}

#[test]
fn a_long_message_is_cut_an_endless_one_is_refused_and_an_old_one_is_released() {
    let stage = Stage::new("long-messages");
    let forge = &stage.forge;
    let message = |mib: usize| "\u{1b}[2Jall work and no play \u{202e}".repeat((mib << 20) / 29);
    let tree = forge.tree_of("HEAD");

    let endless = stage.push(forge.commit_with(tree, &[], &message(24)));
    let said = endless.said();
    assert!(
        said.contains("16777216 are the most that a commit or a tag may have"),
        "{said}"
    );
    stage.assert_unharmed("an endless message");

    stage.repo.version("v2");
    let long = stage.push(forge.commit_with(forge.tree_of("HEAD"), &[], &message(8)));
    assert!(long.said().len() < 10_000, "{}", long.said());
    long.live();
    assert_eq!(stage.world.version(), "v2");

    stage.repo.version("v3");
    let old = stage.push(forge.old_commit(forge.tree_of("HEAD")));
    assert!(old.said().contains("caf\u{fffd}"), "{}", old.said());
    old.live();
    assert_eq!(stage.world.version(), "v3");
    let status = stage.world.json(&["status"]);
    assert!(status.to_string().contains("caf"), "{status}");
}

#[test]
fn ten_thousand_parents_are_a_commit_like_any_other() {
    let stage = Stage::new("parents");
    let forge = &stage.forge;
    stage.repo.version("v2");
    let (tree, empty) = (forge.tree_of("HEAD"), forge.tree(&[]));
    let parents: Vec<Oid> = (0..10_000)
        .map(|number| forge.commit_with(empty, &[], &format!("{number}")))
        .collect();
    stage
        .push(forge.commit_with(tree, &parents, "all of them"))
        .live();
    assert_eq!(stage.world.version(), "v2");
}

#[test]
fn a_tree_that_unfolds_into_billions_fails_the_release_at_once() {
    let stage = Stage::new("unfolds");
    let forge = &stage.forge;
    let names: Vec<String> = (0..10).map(|n| format!("n{n}")).collect();
    let mut tree = forge.tree(&[(FILE, b"f", forge.blob(""))]);
    for _ in 0..30 {
        let entries: Vec<_> = names
            .iter()
            .map(|name| (super::forge::FOLDER, name.as_bytes(), tree))
            .collect();
        tree = forge.tree(&entries);
    }
    let peaks = Peaks::watch(&stage.world);
    stage.fails(
        "unfolds",
        forge.commit(tree),
        "more than 1000000 files and folders",
    );
    peaks.assert_below(MEMORY_MAX);
}
