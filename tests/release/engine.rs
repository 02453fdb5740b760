//! The Engine goes away and comes back: while an app is live, during a build, during a probe, and at any moment.

use std::fs;
use std::path::Path;
use std::process::Stdio;
use std::time::{Duration, Instant};

use crate::support::docker::Container;
use crate::support::engine::OwnEngine;
use crate::support::{Options, Repo, World, wait_for};

const DEADLINE: Duration = Duration::from_secs(120);

/// A world with an Engine of its own, and the app `shop` live with v1 on green.
fn live(name: &str, live_restore: bool, lines: &str) -> (World, Repo) {
    let options = Options {
        own_engine: Some(OwnEngine { live_restore }),
        ..Options::default()
    };
    let mut world = World::with(name, options);
    let shop = world.app("shop", lines);
    let repo = world.repo(&shop);
    repo.version("v1");
    repo.push("green").live();
    (world, repo)
}

/// How an Engine goes away.
#[derive(Debug, Clone, Copy)]
enum Gone {
    Stopped,
    Killed,
}

fn go_away(world: &mut World, gone: Gone) {
    match gone {
        Gone::Stopped => world.engine().stop(),
        Gone::Killed => world.engine().kill(),
    }
}

/// By container: its id and its address.
fn addresses(world: &World) -> Vec<(String, String)> {
    let address = "{{range .NetworkSettings.Networks}}{{.IPAddress}}{{end}}";
    let of = |container: Container| (container.id.clone(), container.inspect(address));
    let mut all: Vec<_> = world.containers().into_iter().map(of).collect();
    all.sort();
    all
}

/// Waits until the app answers with `version`; gives how long that took.
#[track_caller]
fn answers(world: &World, version: &str) -> Duration {
    let begun = Instant::now();
    wait_for("the app to answer", DEADLINE, || {
        let reply = world.get("/version").ok()?;
        (reply.status == 200 && reply.text() == version).then_some(())
    });
    begun.elapsed()
}

/// Waits until no release is under way and no worker runs.
fn settles(world: &World) {
    wait_for("the workers to end", DEADLINE, || {
        world.workers().is_empty().then_some(())
    });
}

#[test]
fn engine_of_its_own_leaves_nothing_on_the_machine() {
    let bridge = Path::new("/sys/class/net/docker0");
    let had_bridge = bridge.exists();
    let (mut world, repo) = live("own-engine", true, "");
    a_build_without_the_bridge_is_told_why(&mut world, &repo);
    world.engine().kill();
    let folder = world.engine().folder().to_owned();

    drop(world);

    assert!(!folder.exists());
    let mounts = fs::read_to_string("/proc/self/mounts").unwrap();
    assert!(!mounts.contains(folder.to_str().unwrap()), "{mounts}");
    assert_eq!(
        bridge.exists(),
        had_bridge,
        "the bridge of the machine's Engine is gone"
    );
}

fn a_build_without_the_bridge_is_told_why(world: &mut World, repo: &Repo) {
    world.engine().remove_bridge();
    repo.write("Dockerfile", repo.dockerfile("RUN [\"/app\", \"--no-such\"]\n"));
    repo.commit("a build with a step");

    let said = repo.push("green").failed();

    for told in [
        "Hint: the Engine's default bridge ",
        " is gone",
        "`systemctl restart docker`",
    ] {
        assert!(said.contains(told), "{told:?} is not told in\n{said}");
    }
    world.engine().make_bridge();
}

#[test]
fn engine_with_live_restore_that_goes_away_while_live_costs_no_request() {
    let (mut world, repo) = live("engine-live-restore", true, "instances = 2");
    let traffic = world.traffic();
    for gone in [Gone::Stopped, Gone::Killed] {
        let before = addresses(&world);
        go_away(&mut world, gone);
        let took = world.engine().start_again();
        println!("{gone:?} with live-restore: the Engine answers {took:?} after its start");
        assert_eq!(addresses(&world), before);
        world.recovers(&format!("{gone:?}"));
        repo.version(&format!("after-{gone:?}"));
        repo.push("blue").live();
    }
    let outcome = traffic.stop();
    assert_eq!(outcome.failures(), 0, "{outcome}");
}

#[test]
fn app_comes_back_by_itself_when_the_engine_was_away() {
    let (mut world, repo) = live("engine-away", false, "instances = 2");
    repo.version("v2");
    repo.push("blue").live();
    let before = addresses(&world);
    for gone in [Gone::Stopped, Gone::Killed] {
        go_away(&mut world, gone);
        let begun = Instant::now();
        let started = world.engine().start_again();
        // After a kill the old containers may still answer for a moment: the restarted ones are meant.
        wait_for("every container to run again", DEADLINE, || {
            let all = world.containers();
            all.iter()
                .all(|container| container.state == "running")
                .then_some(())
        });
        answers(&world, "v2");
        println!(
            "{gone:?}: the Engine answers {started:?} after its start, the app {:?} after it",
            begun.elapsed()
        );
        assert_eq!(addresses(&world), before);
        world.recovers(&format!("{gone:?}"));
        assert_eq!(world.version(), "v2");
    }
    // The standby came back too: going back is a flip.
    world.deployer(&["rollback"]).good();
    assert_eq!(world.version(), "v1");
    repo.version("v3");
    repo.push("green").live();
    assert_eq!(world.version(), "v3");
}

/// The release under way, when it is at `step`.
fn at(world: &World, step: &str) -> Option<u64> {
    let status = world.json(&["status"]);
    let under_way = &status["apps"][0]["under_way"][0];
    (under_way["step"] == step).then(|| under_way["release"].as_u64())?
}

/// The Engine goes away while a release to blue is at `step`, and comes back; gives the release's log.
fn goes_away_at(world: &mut World, repo: &Repo, step: &str, gone: Gone) -> String {
    let mut push = repo.begin_push("blue");
    let release = wait_for(&format!("the release to be at {step}"), DEADLINE, || {
        at(world, step)
    });
    go_away(world, gone);
    world.engine().start_again();
    push.wait().expect("git ends");
    settles(world);
    let log = world.deployer(&["log", &release.to_string()]).good();
    world.recovers(&format!("{gone:?} at {step}"));
    log
}

#[test]
fn engine_that_goes_away_during_build_fails_it_and_during_probe_is_waited_for() {
    let (mut world, repo) = live("engine-steps", true, "probe = { deadline = \"100s\" }");
    let traffic = world.traffic();
    for gone in [Gone::Stopped, Gone::Killed] {
        // The test app as a step of the build: it serves, and the step never ends.
        repo.write("Dockerfile", repo.dockerfile("RUN [\"/app\"]\n"));
        repo.commit("a build that takes long");
        let log = goes_away_at(&mut world, &repo, "build", gone);
        assert!(log.contains("failed: shop/blue release "), "{log}");
        assert!(log.contains("the Docker Engine"), "{log}");
        assert!(log.contains(" is still live, on "), "{log}");

        let version = format!("slow-{gone:?}");
        repo.unwell(&version, "SLOWSTART", "5000");
        let log = goes_away_at(&mut world, &repo, "probe", gone);
        assert!(log.contains("live: shop/blue release "), "{log}");
        assert_eq!(world.version(), version);
    }
    let outcome = traffic.stop();
    assert_eq!(outcome.failures(), 0, "{outcome}");
}

/// The seed: `SEED`, else the clock's.
fn seed() -> u64 {
    let seed = match std::env::var("SEED") {
        Ok(seed) => seed.parse().expect("SEED is a number"),
        Err(_) => std::time::SystemTime::now()
            .duration_since(std::time::UNIX_EPOCH)
            .map_or(1, |now| now.as_micros() as u64),
    };
    eprintln!("SEED={seed}");
    seed
}

#[test]
fn engine_killed_at_any_moment_of_a_release_costs_no_request() {
    let (mut world, repo) = live(
        "engine-killed",
        true,
        "instances = 2\nprobe = { deadline = \"20s\" }",
    );
    repo.version("v2");
    repo.push("blue").live();
    let traffic = world.traffic();
    let mut state = seed();
    for round in 0..6 {
        state = state
            .wrapping_mul(6364136223846793005)
            .wrapping_add(1442695040888963407);
        let moment = Duration::from_millis((state >> 33) % 1500);
        let live = world.json(&["status"])["apps"][0]["live"]
            .as_str()
            .map(str::to_owned);
        let other = if live.as_deref() == Some("green") {
            "blue"
        } else {
            "green"
        };
        let mut child = match round % 3 {
            0 => {
                repo.version(&format!("killed-{round}"));
                repo.begin_push(other)
            }
            1 => command(&world, &["rollback", other]),
            _ => command(&world, &["promote", other]),
        };
        // The moment is what this test is about; there is no event to wait for.
        std::thread::sleep(moment);
        world.engine().kill();
        world.engine().start_again();
        child.wait().expect("the command ends");
        settles(&world);
        world.recovers(&format!("round {round}, killed after {moment:?}"));
    }
    repo.version("after");
    repo.push("green").live();
    assert_eq!(world.version(), "after");
    let outcome = traffic.stop();
    assert_eq!(outcome.failures(), 0, "{outcome}");
}

fn command(world: &World, arguments: &[&str]) -> std::process::Child {
    let mut command = world.command();
    command
        .args(arguments)
        .stdout(Stdio::null())
        .stderr(Stdio::null());
    command.spawn().expect("deployer starts")
}
