//! Odd trees: whatever is pushed, nothing outside the worktree is read or written.

use std::fs;

use crate::support::World;

#[test]
fn links_that_lead_outside_are_harmless() {
    let mut world = World::new("links");
    let shop = world.app("shop", "");
    let secret = world.path("secret");
    fs::write(&secret, "canary").unwrap();
    let repo = world.repo(&shop);
    repo.link("outside", secret.to_str().unwrap());
    repo.link("up", "../../../../../../etc");
    repo.version("v1");
    repo.push("green").live();

    // The link becomes a folder: its files must go into the tree, not to where the link led.
    repo.remove("up").write("up/passwd", "mine");
    repo.remove("outside").write("outside", "mine");
    repo.version("v2");
    repo.push("green").live();

    assert_eq!(fs::read_to_string(&secret).unwrap(), "canary");
    let worktree = world.state("apps/shop/worktrees/green");
    assert_eq!(fs::read_to_string(worktree.join("up/passwd")).unwrap(), "mine");
    assert_eq!(world.version(), "v2");
}

#[test]
fn dockerfile_that_is_a_link_to_the_outside_is_refused() {
    let mut world = World::new("dockerfile-link");
    let shop = world.app("shop", "");
    let outside = world.path("Dockerfile");
    let repo = world.repo(&shop);
    repo.version("v1");
    fs::write(&outside, repo.dockerfile("")).unwrap();
    repo.remove("Dockerfile")
        .link("Dockerfile", outside.to_str().unwrap())
        .commit("link");

    let said = repo.push("green").failed();

    assert!(said.contains("at build") && said.contains("Dockerfile"), "{said}");
}

#[test]
fn files_named_like_flags_and_escapes_are_only_files() {
    let mut world = World::new("odd-names");
    let shop = world.app("shop", "");
    let repo = world.repo(&shop);
    for name in [
        "-rf",
        "--help",
        "a b",
        "é",
        "\u{1b}[31mred",
        "new\nline",
        "$(touch x)",
        ";reboot",
    ] {
        repo.write(name, "odd");
    }
    repo.version("v1");

    let push = repo.push("green");

    assert!(!push.said().contains('\u{1b}'), "{:?}", push.said());
    push.live();
    assert_eq!(
        fs::read_to_string(world.state("apps/shop/worktrees/green/new\nline")).unwrap(),
        "odd"
    );
}

#[test]
fn submodules_and_lfs_pointers_are_told() {
    let mut world = World::new("submodules");
    let shop = world.app("shop", "");
    let repo = world.repo(&shop);
    repo.write(
        "model.bin",
        "version https://git-lfs.github.com/spec/v1\noid sha256:4d7a214614ab2935c943f9e0ff69d22eadbb8f32b1258daaa5e2ca24d17e2393\nsize 12345\n",
    );
    repo.version("v0");
    let commit = repo.git(&["rev-parse", "HEAD"]).good();
    repo.git(&[
        "update-index",
        "--add",
        "--cacheinfo",
        &format!("160000,{},vendored", commit.trim()),
    ])
    .good();
    repo.git(&["commit", "-q", "-m", "submodule"]).good();

    let push = repo.push("green");

    assert!(push.said().contains("vendored is a submodule"), "{}", push.said());
    assert!(
        push.said().contains("model.bin is a Git LFS pointer"),
        "{}",
        push.said()
    );
    push.live();
}

#[test]
fn nothing_of_an_earlier_tree_is_left() {
    let mut world = World::new("clean-tree");
    let shop = world.app("shop", "");
    let repo = world.repo(&shop);
    repo.write("old/file", "old").write(".gitignore", "ignored\n");
    repo.version("v1");
    repo.push("green").live();
    let worktree = world.state("apps/shop/worktrees/green");
    fs::write(worktree.join("ignored"), "left by a build").unwrap();
    fs::write(worktree.join("VERSION"), "tampered").unwrap();

    repo.remove("old/file");
    repo.version("v2");
    repo.push("green").live();

    assert!(!worktree.join("old").exists() && !worktree.join("ignored").exists());
    assert_eq!(world.version(), "v2");
}
