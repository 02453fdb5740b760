//! SIGKILL: something healthy always serves, and the next push works.

use std::fs;
use std::os::unix::process::CommandExt;
use std::process::Stdio;
use std::time::Duration;

use rustix::process::Signal;

use crate::support::process::{signal, signal_group};
use crate::support::{Repo, World, wait_for};

const DEADLINE: Duration = Duration::from_secs(60);

/// Moments at which workers and hooks are killed, in milliseconds after the push's beginning: a seeded sequence, so
/// that a failure can be seen again.
fn moments(seed: u64, count: usize, until: u64) -> Vec<u64> {
    let mut state = seed;
    let mut next = || {
        state = state
            .wrapping_mul(6364136223846793005)
            .wrapping_add(1442695040888963407);
        (state >> 33) % until
    };
    (0..count).map(|_| next()).collect()
}

/// After everything was killed: recovery leaves what a slot runs and nothing else, and the next push works.
fn converges(world: &World, repo: &Repo, slot: &str, round: usize) {
    world.recovers(&format!("round {round}"));
    repo.version(&format!("after-{round}"));
    repo.push(slot).live();
    assert_eq!(world.version(), format!("after-{round}"));
}

#[test]
fn killed_worker_and_hook_leave_a_healthy_app_at_every_moment() {
    let mut world = World::new("kill-worker");
    let shop = world.app("shop", "instances = 2");
    let repo = world.repo(&shop);
    repo.version("v1");
    repo.push("blue").live();
    let traffic = world.traffic();

    for (round, moment) in moments(42, 8, 1800).into_iter().enumerate() {
        let slot = ["green", "blue"][round % 2];
        repo.version(&format!("killed-{round}"));
        let mut push = repo.begin_push(slot);
        // The moment is what this test is about; there is no event to wait for.
        std::thread::sleep(Duration::from_millis(moment));
        for pid in world.workers() {
            signal(pid, Signal::KILL);
        }
        push.wait().expect("git ends");
        wait_for("the workers to be gone", DEADLINE, || {
            world.workers().is_empty().then_some(())
        });
        converges(&world, &repo, slot, round);
    }

    let outcome = traffic.stop();
    assert_eq!(outcome.failures(), 0, "{outcome}");
}

#[test]
fn push_goes_on_when_its_hook_is_killed() {
    let mut world = World::new("kill-hook");
    let shop = world.app("shop", "");
    let repo = world.repo(&shop);
    repo.unwell("v1", "SLOWSTART", "1500");
    let mut push = repo.begin_push("green");
    let hook = wait_for("the hook and its worker", DEADLINE, || {
        let worker = world.worker(1)?;
        world.workers().into_iter().find(|pid| *pid != worker)
    });

    signal(hook, Signal::KILL);

    push.wait().expect("git ends");
    wait_for("the release to be live", DEADLINE, || {
        let status = world.json(&["status"]);
        (status["apps"][0]["live"] == "green").then_some(())
    });
    assert_eq!(world.version(), "v1");
}

/// On the server itself git, its hooks and the terminal's keys are of one process group.
#[test]
fn push_goes_on_when_its_pusher_presses_ctrl_c() {
    let mut world = World::new("ctrl-c");
    let shop = world.app("shop", "");
    let repo = world.repo(&shop);
    repo.unwell("v1", "SLOWSTART", "1500");
    let mut push = repo.command();
    push.args(["push", "--quiet", "green", "HEAD:main"])
        .process_group(0);
    push.stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null());
    let mut push = push.spawn().expect("git starts");
    wait_for("the hook and its worker", DEADLINE, || {
        (world.workers().len() == 2).then_some(())
    });

    signal_group(push.id(), Signal::INT);

    assert!(!push.wait().expect("git ends").success());
    wait_for("the release to be live", DEADLINE, || {
        let status = world.json(&["status"]);
        (status["apps"][0]["live"] == "green").then_some(())
    });
    assert_eq!(world.version(), "v1");
}

#[test]
fn killed_proxy_serves_the_same_release_when_it_is_back() {
    let mut world = World::new("kill-proxy");
    let shop = world.app("shop", "");
    let repo = world.repo(&shop);
    repo.version("v1");
    repo.push("blue").live();

    for (round, moment) in moments(7, 4, 1500).into_iter().enumerate() {
        let version = format!("v{}", round + 2);
        repo.version(&version);
        let mut push = repo.begin_push("green");
        std::thread::sleep(Duration::from_millis(moment));
        world.kill_proxy();
        world.start_proxy();
        push.wait().expect("git ends");
        wait_for("the workers to end", DEADLINE, || {
            world.workers().is_empty().then_some(())
        });

        assert_eq!(
            world.get("/healthz").expect("an answer").status,
            200,
            "round {round}"
        );
        converges(&world, &repo, "green", round);
    }
}

#[test]
fn recovery_leaves_a_begun_release_to_its_worker_until_that_has_ended() {
    let mut world = World::new("worker-ends");
    let shop = world.app("shop", "");
    let repo = world.repo(&shop);
    repo.version("v1");
    repo.push("green").live();
    let state = world.state("apps/shop/state.json");
    let before = fs::read(&state).unwrap();
    repo.version("v2");
    repo.push("green").live();
    // As its worker leaves it when state cannot be written: the app's lock is free, the worker about to end.
    let journal = world.state("apps/shop/releases/2/journal");
    let lines = fs::read_to_string(&journal).unwrap();
    let retired: Vec<&str> = lines
        .split_inclusive('\n')
        .take_while(|line| !line.contains("\"record\""))
        .collect();
    fs::write(&journal, retired.concat()).unwrap();
    fs::write(&state, before).unwrap();
    let worker = fs::File::open(world.state("apps/shop/releases/2/worker")).unwrap();
    worker.lock().unwrap();
    let traffic = world.traffic();

    let early = world.deployer(&["recover"]);
    assert_eq!(early.code, Some(1), "{}", early.stdout);
    assert!(
        early.stderr.contains("the worker of release 2 has not ended yet"),
        "{}",
        early.stderr
    );
    drop(worker);
    let said = world.deployer(&["recover"]).good();

    assert!(said.contains("release 2 (green) was unfinished: live"), "{said}");
    assert_eq!(world.version(), "v2");
    let outcome = traffic.stop();
    assert_eq!(outcome.failures(), 0, "{outcome}");
}

#[test]
fn verdict_that_the_log_has_lost_is_told_from_the_journal() {
    let mut world = World::new("lost-verdict");
    let shop = world.app("shop", "");
    let repo = world.repo(&shop);
    repo.version("v1");
    repo.push("green").live();
    let last = |said: &str| said.trim_end().rsplit_once('\n').unwrap().1.to_owned();
    let end = |verdict: &str| verdict.split(", 0 requests").nth(1).map(str::to_owned);
    let log = world.state("apps/shop/releases/1/log");
    let whole = fs::read_to_string(&log).unwrap();
    let verdict = last(&world.deployer(&["log", "1"]).good());
    let (before, line) = whole.trim_end().rsplit_once('\n').unwrap();
    // As a worker leaves it that is killed after the journal's last entry, and before, in the middle of or after the log's
    // last line.
    let with_its_end = format!("{line}\n");
    for torn in ["", &line[..line.len() / 2], line, &with_its_end] {
        fs::write(&log, format!("{before}\n{torn}")).unwrap();

        let said = world.deployer(&["log", "1", "-f"]).good();

        let told = last(&said);
        assert!(told.starts_with("live: shop/green release 1 (commit "), "{said}");
        assert_eq!(end(&told), end(&verdict));
        assert_eq!(said.matches("live: shop/green release 1 ").count(), 1, "{said}");
    }
}

#[test]
fn killed_rollbacks_and_promotions_leave_a_healthy_app_at_every_moment() {
    let mut world = World::new("kill-rollback");
    let shop = world.app("shop", "standby = \"stopped\"");
    let repo = world.repo(&shop);
    for (version, slot) in [("v1", "blue"), ("v2", "green"), ("v3", "green")] {
        repo.version(version);
        repo.push(slot).live();
    }
    let traffic = world.traffic();

    for (round, moment) in moments(3, 12, 900).into_iter().enumerate() {
        let status = world.json(&["status"]);
        let live = status["apps"][0]["live"]
            .as_str()
            .expect("a live slot")
            .to_owned();
        let other = if live == "green" { "blue" } else { "green" };
        let to = ["2", "3"][round % 2];
        let arguments = match round % 3 {
            0 => vec!["rollback"],
            1 => vec!["rollback", &live, "--to", to],
            _ => vec!["promote", other],
        };
        let mut command = world.command();
        command
            .args(arguments)
            .stdout(Stdio::null())
            .stderr(Stdio::null());
        let mut child = command.spawn().expect("deployer starts");
        std::thread::sleep(Duration::from_millis(moment));
        for pid in world.workers() {
            signal(pid, Signal::KILL);
        }
        child.wait().expect("the command ends");
        wait_for("the workers to be gone", DEADLINE, || {
            world.workers().is_empty().then_some(())
        });
        world.recovers(&format!("round {round}"));
    }

    let outcome = traffic.stop();
    assert_eq!(outcome.failures(), 0, "{outcome}");
}
