//! The gates: what a push has to pass before its branch moves, and what `git push` exits with.

mod moves;

use std::process::{Child, Stdio};
use std::time::Duration;

use rustix::process::Signal;

use crate::failures::{live, live_with};
use crate::support::fail_points::{Kind, Point};
use crate::support::process::{Output, Tmpfs, run, signal};
use crate::support::{Options, Repo, World, wait_for};

const DEADLINE: Duration = Duration::from_secs(60);

const RELEASE: &str = "gate = \"release\"";
const CHECK: &str = "gate = \"check\"";

/// Where the slot's branch is; empty where there is none.
fn branch(repo: &Repo, slot: &str) -> String {
    let told = repo.git(&["ls-remote", slot, "refs/heads/main"]).good();
    told.split('\t').next().unwrap_or_default().to_owned()
}

/// How many releases there are.
fn releases(world: &World) -> usize {
    let all = world.json(&["releases"]);
    all["releases"].as_array().map_or(0, Vec::len)
}

fn head(repo: &Repo) -> String {
    repo.git(&["rev-parse", "HEAD"]).good().trim().to_owned()
}

/// The push of `main` to `slot`, which git must have been told is declined, and which moved nothing.
#[track_caller]
fn declined(world: &World, repo: &Repo, slot: &str) -> String {
    let (before, serves) = (branch(repo, slot), world.version());
    let push = repo.push(slot);
    assert_eq!(push.output.code, Some(1), "{}", push.output.stderr);
    assert!(
        push.output
            .stderr
            .contains("[remote rejected] main -> main (hook declined)"),
        "{}",
        push.output.stderr
    );
    assert_eq!(branch(repo, slot), before, "{}", push.said());
    assert_eq!(world.version(), serves);
    push.said()
}

/// The push of `main` to `slot`, which must be live, with the branch there.
#[track_caller]
fn lives(world: &World, repo: &Repo, slot: &str, version: &str) -> u64 {
    let push = repo.push(slot);
    assert_eq!(push.output.code, Some(0), "{}", push.output.stderr);
    let release = push.live();
    assert_eq!(branch(repo, slot), head(repo));
    assert_eq!(world.version(), version);
    release
}

/// A push that is left running, for whose release `step` is awaited.
fn begin(world: &World, repo: &Repo, slot: &str, release: u64, step: &str) -> Child {
    let push = repo.begin_push(slot);
    await_step(world, release, step);
    push
}

fn await_step(world: &World, release: u64, step: &str) {
    wait_for(&format!("release {release} to be at {step}"), DEADLINE, || {
        (step_of(world, release)? == step).then_some(())
    });
}

fn step_of(world: &World, release: u64) -> Option<String> {
    let releases = world.json(&["releases"]);
    let found = releases["releases"]
        .as_array()?
        .iter()
        .find(|it| it["release"] == release)?
        .clone();
    let told = found["outcome"].as_str().or(found["step"].as_str());
    Some(told.unwrap_or("waiting").to_owned())
}

/// Commits a version whose probe takes 3 s.
fn slow(repo: &Repo, version: &str) -> String {
    repo.unwell(version, "SLOWSTART", "3000")
}

/// Everything of the push is over: git's side and deployer's.
fn await_quiet(world: &World) {
    let pushes = world.state("apps/shop/pushes");
    wait_for("the push to be over", DEADLINE, || {
        let is_alive = |name: String| {
            let pid = name
                .trim_start_matches('.')
                .split('-')
                .next()
                .unwrap_or_default()
                .to_owned();
            std::fs::read_to_string(format!("/proc/{pid}/cmdline"))
                .is_ok_and(|it| it.contains("receive-pack"))
        };
        let alive = std::fs::read_dir(&pushes).is_ok_and(|all| {
            all.flatten()
                .any(|entry| is_alive(entry.file_name().to_string_lossy().into_owned()))
        });
        (!alive && world.workers().is_empty()).then_some(())
    });
}

#[test]
fn push_whose_release_fails_is_declined_and_drops_no_request() {
    let (world, _, repo) = live(
        "gate-release",
        &format!("{RELEASE}\nprobe = {{ deadline = \"1s\" }}"),
    );
    assert_eq!(
        branch(&repo, "green"),
        head(&repo),
        "a good push has moved its branch"
    );
    let traffic = world.traffic();

    repo.write("Dockerfile", repo.dockerfile("COPY nowhere /\n"))
        .commit("broken");
    let said = declined(&world, &repo, "green");
    assert!(said.contains("failed: shop/green release 2 at build"), "{said}");
    assert!(said.contains("the same `git push` tries again"), "{said}");
    repo.unwell("v3", "FAIL", "500");
    let said = declined(&world, &repo, "green");
    assert!(said.contains("failed: shop/green release 3 at probe"), "{said}");
    repo.unwell("v4", "FAIL", "exit");
    let said = declined(&world, &repo, "blue");
    assert!(said.contains("failed: shop/blue release 4 at probe"), "{said}");
    assert_eq!(
        branch(&repo, "blue"),
        "",
        "a branch that was never released is not there"
    );
    repo.version("v5");
    lives(&world, &repo, "green", "v5");

    let outcome = traffic.stop();
    assert_eq!(outcome.failures(), 0, "{outcome}");
    assert_eq!(releases(&world), 5, "each push is one release");
}

#[test]
fn push_that_was_declined_is_tried_again_by_the_same_push() {
    let (mut world, _, repo) = live("gate-again", RELEASE);
    repo.version("v2");
    world.stop_registry();
    let said = declined(&world, &repo, "green");
    assert!(said.contains("at push"), "{said}");
    world.start_registry();

    assert_eq!(lives(&world, &repo, "green", "v2"), 3);
    assert!(repo.push("green").output.stderr.contains("Everything up-to-date"));
}

#[test]
fn push_that_waits_for_its_release_heeds_its_options_and_its_references() {
    let (world, shop, repo) = live("gate-options", RELEASE);
    repo.version("v2");

    let push = repo.push_with(&["-o", "no-promote", "-o", "no-such", "blue", "main"]);

    assert_eq!(push.output.code, Some(0), "{}", push.output.stderr);
    assert!(
        push.verdict().starts_with("standby: shop/blue release 2"),
        "{}",
        push.said()
    );
    assert_eq!(
        push.said().matches("no push option \"no-such\"").count(),
        1,
        "{}",
        push.said()
    );
    assert_eq!(
        (world.version(), world.version_at(shop.blue)),
        ("v1".into(), "v2".into())
    );
    assert_eq!(branch(&repo, "blue"), head(&repo));

    // On the live slot such a release fails, and so does the push.
    let push = repo.push_with(&["-o", "no-promote", "green", "main"]);
    assert_eq!(push.output.code, Some(1), "{}", push.output.stderr);
    assert!(push.said().contains("push to blue instead"), "{}", push.said());

    // A tag beside the branch moves with it; alone, and another branch, they pass with a sentence.
    repo.git(&["tag", "-a", "-m", "two", "two"]).good();
    let both = repo.push_with(&["--atomic", "green", "main", "two"]);
    assert_eq!(both.output.code, Some(0), "{}", both.output.stderr);
    both.live();
    let before = releases(&world);
    for other in ["main:refs/heads/topic", "two:refs/tags/three"] {
        let push = repo.push_with(&["green", other]);
        assert_eq!(push.output.code, Some(0), "{}", push.output.stderr);
        assert_eq!(
            push.said()
                .matches("no release: shop/green releases the branch main")
                .count(),
            1
        );
    }
    // Deleting what tells what was released is declined; anything else may go.
    let push = repo.push_with(&["green", ":main"]);
    assert_eq!(push.output.code, Some(1), "{}", push.output.stderr);
    assert!(
        push.said().contains("declined: shop/green: main is not deleted"),
        "{}",
        push.said()
    );
    assert_eq!(repo.push_with(&["green", ":topic"]).output.code, Some(0));
    assert_eq!(releases(&world), before);
    assert_eq!(branch(&repo, "green"), head(&repo));

    // Going back by force is a release like any other, whatever the system's configuration says.
    repo.git(&["reset", "-q", "--hard", "HEAD~1"]).good();
    let push = repo.push_with(&["--force", "green", "main"]);
    assert_eq!(push.output.code, Some(0), "{}", push.output.stderr);
    push.live();
    assert_eq!(
        (world.version(), branch(&repo, "green")),
        ("v1".into(), head(&repo))
    );
}

#[test]
fn push_that_no_build_could_take_is_declined_before_its_branch_moves() {
    let (world, shop, repo) = live("gate-check", CHECK);
    let outside = world.path("Dockerfile");
    std::fs::write(&outside, repo.dockerfile("")).expect("a file");

    let faults: [(&str, &dyn Fn()); 4] = [
        ("there is no Dockerfile in the pushed tree", &|| {
            repo.remove("Dockerfile");
        }),
        ("Dockerfile is empty", &|| {
            repo.write("Dockerfile", "");
        }),
        ("Dockerfile leads out of the pushed tree", &|| {
            repo.remove("Dockerfile")
                .link("Dockerfile", "../../../etc/passwd");
        }),
        ("Dockerfile leads out of the pushed tree", &|| {
            repo.remove("Dockerfile")
                .link("Dockerfile", outside.to_str().expect("UTF-8"));
        }),
    ];
    for (told, make) in faults {
        make();
        repo.commit("bad");
        let said = declined(&world, &repo, "green");
        assert!(said.contains(&format!("declined: shop/green: {told}")), "{said}");
        assert!(said.contains("Release 1 is still live, on green."), "{said}");
    }
    let deep = format!("{}file", "d/".repeat(201));
    repo.write(&deep, "").commit("deep");
    let said = declined(&world, &repo, "green");
    assert!(said.contains("nested more than 200 deep"), "{said}");
    assert_eq!(releases(&world), 1, "nothing of it got a number");
    let audit = world.deployer(&["audit"]).good();
    assert!(
        audit.contains("declined: shop/green: Dockerfile is empty"),
        "{audit}"
    );

    // A link that stays in the tree is the build's to follow, and a release that fails later declines nothing.
    std::fs::remove_dir_all(repo.path().join("d")).expect("it goes");
    repo.version("v2");
    repo.write("docker/Dockerfile", repo.dockerfile(""))
        .remove("Dockerfile")
        .link("Dockerfile", "docker/Dockerfile")
        .commit("inside");
    lives(&world, &repo, "green", "v2");
    repo.remove("Dockerfile").unwell("v3", "FAIL", "exit");
    let push = repo.push("green");
    assert_eq!(push.output.code, Some(0), "{}", push.output.stderr);
    push.failed();
    assert_eq!(branch(&repo, "green"), head(&repo));
    let deleted = repo.push_with(&["green", ":main"]);
    assert_eq!(deleted.output.code, Some(0), "{}", deleted.output.stderr);
    assert!(
        deleted.said().contains("no release: the branch main was deleted"),
        "{}",
        deleted.said()
    );
    assert_eq!(world.version_at(shop.green), "v2");
}

#[test]
fn of_two_pushes_at_once_the_branch_and_what_is_live_are_the_same_ones() {
    let mut world = World::new("gate-two");
    let shop = world.app("shop", RELEASE);
    let (first, second) = (world.repo(&shop), world.repo(&shop));
    first.version("v0");
    first.push("green").live();
    second.git(&["pull", "-q", "green", "main"]).good();
    let mine = slow(&first, "v1");
    let mut push = begin(&world, &first, "green", 2, "probe");

    second.version("v2");
    let said = declined_late(&second);

    assert!(
        push.wait().expect("git ends").success(),
        "the first push goes well"
    );
    assert!(said.contains("waiting: release 2 (green"), "{said}");
    assert!(
        said.contains(&format!(
            "main was moved to commit {} by another push",
            &mine[..8]
        )),
        "{said}"
    );
    assert_eq!((branch(&first, "green"), world.version()), (mine, "v1".into()));

    // The second one does what it was told to, and goes live.
    second
        .git(&[
            "pull",
            "-q",
            "--no-rebase",
            "-X",
            "ours",
            "--no-edit",
            "green",
            "main",
        ])
        .good();
    second.version("v3");
    lives(&world, &second, "green", "v3");
}

#[test]
fn push_whose_turn_comes_before_git_has_moved_the_branch_waits_for_git() {
    let options = Options {
        fail_points: true,
        ..Options::default()
    };
    let (world, shop, first) = live_with("gate-turn", RELEASE, options);
    let second = world.repo(&shop);
    second.git(&["pull", "-q", "green", "main"]).good();
    let mine = first.version("v2");
    // The release has ended, and git does not know it yet.
    let points = world.fail_points();
    points.hold_at(&Point {
        kind: Kind::Hook,
        name: "follow.ended".into(),
    });
    let mut push = first.begin_push("green");
    wait_for("the hook to have followed its release", DEADLINE, || {
        points.was_reached().then_some(())
    });
    assert_eq!(world.version(), "v2");
    assert_ne!(branch(&first, "green"), mine);

    second.version("v3");
    let mut late = second.begin_push("green");
    let lock = world.state("apps/shop/green.lock");
    wait_for("the second release's turn", DEADLINE, || {
        std::fs::read_to_string(&lock)
            .ok()?
            .contains("\"release\":3")
            .then_some(())
    });
    points.go_on();

    assert!(
        push.wait().expect("git ends").success(),
        "the first push goes well"
    );
    assert_eq!(
        late.wait().expect("git ends").code(),
        Some(1),
        "the second one is declined"
    );
    assert_eq!((branch(&first, "green"), world.version()), (mine, "v2".into()));
    let log = world.deployer(&["log", "3"]).good();
    assert!(log.contains("by another push while this one waited"), "{log}");
}

/// A push whose branch moves while it waits.
#[track_caller]
fn declined_late(repo: &Repo) -> String {
    let push = repo.push("green");
    assert_eq!(push.output.code, Some(1), "{}", push.output.stderr);
    push.failed()
}

#[test]
fn push_that_is_superseded_or_cancelled_is_declined() {
    let mut world = World::new("gate-superseded");
    let shop = world.app("shop", RELEASE);
    let (repo, other) = (world.repo(&shop), world.repo(&shop));
    // Longer than the second one takes to be ready.
    repo.unwell("v1", "SLOWSTART", "12000");
    let mut blue = begin(&world, &repo, "blue", 1, "probe");
    repo.version("v2");
    let mut waiting = begin(&world, &repo, "green", 2, "pull");

    other.version("v3");
    let push = other.push("green");

    assert_eq!(push.output.code, Some(0), "{}", push.output.stderr);
    push.live();
    assert!(blue.wait().expect("git ends").success());
    assert_eq!(
        waiting.wait().expect("git ends").code(),
        Some(1),
        "the superseded push is declined"
    );
    assert_eq!(step_of(&world, 2).as_deref(), Some("superseded"));
    assert_eq!(
        (branch(&other, "green"), world.version()),
        (head(&other), "v3".into())
    );

    slow(&other, "v4");
    let mut push = begin(&world, &other, "green", 4, "probe");
    world.deployer(&["cancel", "4"]).good();
    assert_eq!(
        push.wait().expect("git ends").code(),
        Some(1),
        "the cancelled push is declined"
    );
    assert_eq!(world.version(), "v3");
}

#[test]
fn release_whose_pusher_went_away_can_be_built_again_and_pushed_again() {
    let (world, shop, repo) = live("gate-gone", RELEASE);
    let old = head(&repo);
    slow(&repo, "v2");
    let mut push = repo.command();
    push.args(["push", "-q", "green", "main"]);
    push.stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    let mut push = push.spawn().expect("git starts");
    await_step(&world, 2, "probe");

    signal(push.id(), Signal::KILL);
    push.wait().expect("git is gone");
    drop(push);

    await_step(&world, 2, "live");
    await_quiet(&world);
    assert_eq!(world.version(), "v2", "the release goes on");
    assert_eq!(branch(&repo, "green"), old, "the branch stays");

    // Nothing but deployer's own reference keeps the commit now.
    let path = world.remote(&shop, "green");
    let git = |arguments: &[&str]| -> Output {
        let mut git = repo.command();
        run(git.args(["-C", &path]).args(arguments), &[])
    };
    git(&["reflog", "expire", "--expire=now", "--all"]).good();
    git(&["gc", "-q", "--prune=now"]).good();
    let again = world.deployer(&["redeploy", "green"]).good();
    assert!(again.contains("live: shop/green release 3"), "{again}");
    lives(&world, &repo, "green", "v2");
}

#[test]
fn gate_that_is_changed_releases_every_push_once() {
    let (world, _, repo) = live("gate-changed", "gate = \"none\"");
    let fails = |version: &str| repo.unwell(version, "FAIL", "exit");
    let told = "from the next push on it has gate =";

    // From none: the push that finds the change is taken by the former gate.
    world.reconfigure("gate = \"none\"", RELEASE);
    fails("v2");
    let push = repo.push("green");
    assert_eq!(push.output.code, Some(0), "{}", push.output.stderr);
    assert!(push.failed().contains(&format!("{told} \"release\"")));
    fails("v3");
    declined(&world, &repo, "green");
    assert_eq!(releases(&world), 3);

    // To none: the hook that finds the change lets the branch move, and the push is released behind that.
    world.reconfigure(RELEASE, "gate = \"none\"");
    fails("v4");
    let push = repo.push("green");
    assert_eq!(push.output.code, Some(0), "{}", push.output.stderr);
    assert!(push.failed().contains(&format!("{told} \"none\"")));
    assert_eq!((releases(&world), branch(&repo, "green")), (4, head(&repo)));
    repo.version("v5");
    let push = repo.push("green");
    assert!(!push.said().contains(told), "{}", push.said());
    push.live();

    // `app create` puts it in force at once.
    world.reconfigure("gate = \"none\"", CHECK);
    world.deployer(&["app", "create", "shop"]).good();
    repo.remove("Dockerfile").commit("none");
    declined(&world, &repo, "green");
    assert_eq!(releases(&world), 5);

    // From check to release and back it is in force at once: both have the same hooks.
    world.reconfigure(CHECK, RELEASE);
    declined(&world, &repo, "green");
    repo.version("v6");
    lives(&world, &repo, "green", "v6");
    fails("v7");
    declined(&world, &repo, "green");
    world.reconfigure(RELEASE, CHECK);
    repo.version("v8");
    lives(&world, &repo, "green", "v8");
    assert_eq!(releases(&world), 9);
}

#[test]
fn gate_that_is_changed_during_a_push_releases_it_once() {
    let (world, _, repo) = live("gate-changed-in-mid", RELEASE);
    let pushed = slow(&repo, "v2");
    let mut push = begin(&world, &repo, "green", 2, "probe");

    world.reconfigure(RELEASE, "gate = \"none\"");
    world.deployer(&["app", "create", "shop"]).good();

    assert!(push.wait().expect("git ends").success());
    await_quiet(&world);
    assert_eq!((releases(&world), branch(&repo, "green")), (2, pushed));
    assert_eq!(world.version(), "v2");
}

#[test]
fn push_that_is_too_large_is_declined_by_git_with_its_limit() {
    let (world, _, repo) = live("gate-max-push", "max_push = \"64k\"");
    // What does not compress.
    let mut state = 1u32;
    let noise: Vec<u8> = std::iter::repeat_with(|| {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (state >> 24) as u8
    })
    .take(200 << 10)
    .collect();
    repo.write("noise", noise);
    repo.version("v2");
    let before = branch(&repo, "green");

    let push = repo.push("green");

    assert_eq!(push.output.code, Some(1), "{}", push.output.stderr);
    assert!(
        push.output.stderr.contains("pack exceeds maximum allowed size"),
        "{}",
        push.output.stderr
    );
    assert_eq!((branch(&repo, "green"), releases(&world)), (before, 1));

    world.reconfigure("max_push = \"64k\"", "max_push = \"1m\"");
    world.deployer(&["app", "create", "shop"]).good();
    lives(&world, &repo, "green", "v2");
}

#[test]
fn push_that_does_not_fit_on_the_disk_is_declined() {
    let (world, _, repo) = live("gate-disk", CHECK);
    let worktrees = world.state("apps/shop/worktrees");
    let tmpfs = Tmpfs::mount(&worktrees, "256k");
    repo.write("large", vec![7; 1 << 20]);
    repo.version("v2");

    let said = declined(&world, &repo, "green");

    assert!(
        said.contains("the pushed files need 1 MiB more than the ones before, and 256 KiB are free in"),
        "{said}"
    );
    drop(tmpfs);
    lives(&world, &repo, "green", "v2");
}

#[test]
fn push_whose_worker_was_killed_is_declined_and_goes_live_when_tried_again() {
    let (world, _, repo) = live("gate-worker", RELEASE);
    slow(&repo, "v2");
    let mut push = begin(&world, &repo, "green", 2, "probe");
    let worker = world.worker(2).expect("a worker");

    signal(worker, Signal::KILL);

    assert_eq!(
        push.wait().expect("git ends").code(),
        Some(1),
        "an unfinished release declines its push"
    );
    lives(&world, &repo, "green", "v2");
}
