//! Which references move: what is not taken at all, and what git could not take after a release.

use std::process::Stdio;

use super::{RELEASE, await_step, branch, lives, releases, slow};
use crate::failures::live;
use crate::support::process::run;

#[test]
fn only_branches_and_tags_are_pushed_and_what_is_deployers_is_not_shown() {
    for (name, lines) in [("gate-refs-none", ""), ("gate-refs-release", RELEASE)] {
        let (world, shop, repo) = live(name, lines);
        for odd in [
            "refs/deployer/releases/1",
            "refs/deployer/x",
            "refs/notes/commits",
            "refs/odd",
            "refs/headsman/x",
            "refs/remotes/green/main",
            // Beside `main` each of these makes a name that pushers use ambiguous.
            "refs/heads/refs/heads/main",
            "refs/tags/refs/heads/main",
            "refs/heads/HEAD",
        ] {
            let push = repo.push_with(&["green", &format!("main:{odd}")]);
            let told = format!("note: {odd} is not taken");
            assert!(push.said().contains(&told), "{odd}: {}", push.said());
            assert_eq!(push.output.code, Some(1), "{odd}: {}", push.output.stderr);
            assert!(
                push.output.stderr.contains("hidden ref"),
                "{odd}: {}",
                push.output.stderr
            );
            let gone = repo.push_with(&["green", &format!(":{odd}")]);
            assert_eq!(gone.output.code, Some(1), "{odd}: {}", gone.output.stderr);
        }
        let good = repo.push_with(&["green", "main:refs/heads/a/b", "main:refs/tags/t/u"]);
        assert_eq!(good.output.code, Some(0), "{}", good.output.stderr);
        let shown = repo.git(&["ls-remote", "green"]).good();
        let mut names: Vec<&str> = shown.lines().filter_map(|line| line.split('\t').nth(1)).collect();
        names.sort_unstable();
        assert_eq!(
            names,
            ["HEAD", "refs/heads/a/b", "refs/heads/main", "refs/tags/t/u"]
        );
        let tag = repo.push_with(&["green", "main:refs/tags/main"]);
        assert_eq!(tag.output.code, Some(0), "{}", tag.output.stderr);
        assert!(
            tag.said()
                .contains("refs/tags/main may be mistaken for the branch main"),
            "{}",
            tag.said()
        );

        // What it is about comes from a clone without its history; nothing of it stays, so that the whole can come later.
        let shallow = world.path("shallow");
        let from = format!("file://{}", repo.path().display());
        repo.version("v2");
        repo.git(&[
            "clone",
            "-q",
            "--depth",
            "1",
            &from,
            shallow.to_str().expect("UTF-8"),
        ])
        .good();
        let mut push = repo.command();
        push.current_dir(&shallow)
            .args(["push", &world.remote(&shop, "blue"), "HEAD:main"]);
        let push = run(&mut push, &[]);
        assert_eq!(push.code, Some(1), "{}", push.stderr);
        assert!(
            push.stderr.contains("comes from a shallow clone"),
            "{}",
            push.stderr
        );
        assert!(push.stderr.contains("git fetch --unshallow"), "{}", push.stderr);
        assert_eq!(branch(&repo, "blue"), "");
        assert!(!world.state("git/shop/blue.git/shallow").exists());
        assert_eq!(releases(&world), 1);
    }
}

#[test]
fn push_whose_branch_git_could_not_move_is_declined_before_its_release() {
    let (world, _, repo) = live("gate-unmovable", RELEASE);
    let refused = |slot: &str, arguments: &[&str], told: &str| {
        let before = branch(&repo, slot);
        let push = repo.push_with(arguments);
        assert_eq!(push.output.code, Some(1), "{}", push.output.stderr);
        assert!(push.said().contains(told), "{told}: {}", push.said());
        assert!(push.said().contains("Nothing was released"), "{}", push.said());
        assert_eq!((branch(&repo, slot), releases(&world)), (before, 1));
        assert_eq!(world.version(), "v1");
    };
    repo.version("v2");
    // A branch whose name begins with the released one's, and the two in one push.
    repo.git(&["push", "-q", "blue", "main:main/hotfix"]).good();
    refused(
        "blue",
        &["blue", "main"],
        "as long as refs/heads/main/hotfix is there",
    );
    refused(
        "blue",
        &["--atomic", "blue", ":main/hotfix", "main"],
        "main/hotfix",
    );
    repo.git(&["push", "-q", "blue", ":main/hotfix"]).good();
    let both = &["--atomic", "blue", "main", "main:main/hotfix"];
    refused("blue", both, "push main alone");
    // A lock file, of the branch, and of what an atomic push brings beside it.
    let lock = world.state("git/shop/green.git/refs/heads/main.lock");
    std::fs::write(&lock, "").expect("a lock file");
    refused(
        "green",
        &["green", "main"],
        &format!("{} is there", lock.display()),
    );
    std::fs::remove_file(&lock).expect("it goes");
    let other = world.state("git/shop/green.git/refs/tags/two.lock");
    std::fs::write(&other, "").expect("a lock file");
    let both = &["--atomic", "green", "main", "main:refs/tags/two"];
    refused("green", both, &format!("{} is there", other.display()));
    std::fs::remove_file(&other).expect("it goes");

    // What comes while the release is under way is declined where it can be, and else told as what it is.
    slow(&repo, "v2");
    let mut push = repo.command();
    push.args(["push", "blue", "main"]);
    push.stdout(Stdio::null()).stderr(Stdio::piped());
    let push = push.spawn().expect("git starts");
    await_step(&world, 2, "probe");
    let hotfix = repo.push_with(&["blue", "main:main/hotfix"]);
    assert_eq!(hotfix.output.code, Some(1), "{}", hotfix.output.stderr);
    assert!(
        hotfix.said().contains("a release of main is under way"),
        "{}",
        hotfix.said()
    );
    let lock = world.state("git/shop/blue.git/refs/heads/main.lock");
    std::fs::write(&lock, "").expect("a lock file");
    let ended = push.wait_with_output().expect("git ends");
    let said = String::from_utf8_lossy(&ended.stderr);
    assert_eq!(ended.status.code(), Some(1), "{said}");
    assert!(
        said.contains("release 2 has ended well and stays, but the push is declined"),
        "{said}"
    );
    assert_eq!(
        (world.version(), branch(&repo, "blue")),
        ("v2".into(), String::new())
    );
    let problems = world.json(&["status"])["apps"][0]["problems"].to_string();
    assert!(
        problems.contains("blue: release 2 runs, but main did not move"),
        "{problems}"
    );

    std::fs::remove_file(&lock).expect("it goes");
    lives(&world, &repo, "blue", "v2");
    assert_eq!(
        world.json(&["status"])["apps"][0]["problems"],
        serde_json::json!([])
    );
}
