//! Random schedules: pushes to both slots, redeploys, rollbacks, promotions, cancellations, prunings and recoveries from
//! many processes at once, under traffic. What comes of them must be what the same operations give one after another.
//!
//! A schedule follows from its seed, which a failure prints. `DEPLOYER_SEED=7 DEPLOYER_SCHEDULES=1` runs that one again;
//! `DEPLOYER_SCHEDULES=100` runs a hundred, each in a world of its own.

mod operations;
mod replay;

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use crate::support::process::run as run_command;
use crate::support::{App, World, wait_for};
use operations::{Done, Schedule};
use replay::Replay;

/// What `DEPLOYER_SEED` is when it is not given.
const SEED: u64 = 20_000;

/// How many schedules are run when `DEPLOYER_SCHEDULES` does not say.
const SCHEDULES: u64 = 3;

/// How long the last release may take once every command has ended. It only catches what hangs.
const DEADLINE: Duration = Duration::from_secs(120);

/// The pause between two looks at the status.
const STATUS_EVERY: Duration = Duration::from_millis(100);

#[test]
fn random_schedules_end_as_their_operations_one_after_another() {
    let number = |name: &str, default| match std::env::var(name) {
        Ok(text) => text.parse().unwrap_or_else(|_| panic!("{name}: {text}")),
        Err(_) => default,
    };
    let first = number("DEPLOYER_SEED", SEED);
    for seed in first..first + number("DEPLOYER_SCHEDULES", SCHEDULES) {
        let schedule = Schedule::of(seed);
        let faults = run(&schedule);
        assert!(
            faults.is_empty(),
            "DEPLOYER_SEED={seed} DEPLOYER_SCHEDULES=1\n{schedule}\n{}",
            faults.join("\n")
        );
    }
}

/// Runs a schedule in a new world, and tells everything that is not as it must be.
fn run(schedule: &Schedule) -> Vec<String> {
    let mut world = World::new("schedule");
    let shop = world.app("shop", &schedule.settings());
    let first = schedule.begin(&world, &shop);
    let traffic = world.traffic();
    let watch = Watch::begin(&world);
    let mut done = schedule.run(&world, &shop);
    done.insert(0, first);
    wait_for("the workers to end", DEADLINE, || {
        world.workers().is_empty().then_some(())
    });

    let replay = Replay::of(&world.path("state"), &shop.name, schedule.keep);
    let mut faults = replay.check(&done);
    faults.extend(watch.end());
    faults.extend(what_is_left(&world, &shop, &replay));
    let outcome = traffic.stop();
    if outcome.failures() > 0 {
        faults.push(format!("traffic: {outcome}"));
    }
    if !faults.is_empty() {
        faults.push(story(&done, &replay));
    }
    println!(
        "seed {}: {} operations, {} releases, {outcome}",
        schedule.seed,
        done.len(),
        replay.releases()
    );
    faults
}

/// Asks again and again for the status: with nothing killed, at no moment is there a problem.
struct Watch {
    ends: Arc<AtomicBool>,
    thread: JoinHandle<Vec<String>>,
}

impl Watch {
    fn begin(world: &World) -> Self {
        let ends = Arc::new(AtomicBool::new(false));
        let is_over = Arc::clone(&ends);
        let mut status = world.command();
        status.args(["status"]);
        let thread = std::thread::spawn(move || {
            let mut faults = Vec::new();
            while !is_over.load(Ordering::Relaxed) {
                let told = run_command(&mut status, &[]);
                if told.code != Some(0) || told.stdout.contains("problem: ") {
                    faults.push(format!("status: {}{}", told.stdout, told.stderr));
                }
                std::thread::sleep(STATUS_EVERY);
            }
            faults
        });
        Self { ends, thread }
    }

    fn end(self) -> Vec<String> {
        self.ends.store(true, Ordering::Relaxed);
        self.thread.join().expect("each status is told in time")
    }
}

/// Where the world differs from what the replay came to.
fn what_is_left(world: &World, shop: &App, replay: &Replay) -> Vec<String> {
    let mut faults = Vec::new();
    let mut same = |what: &str, is: String, should: String| {
        if is != should {
            faults.push(format!("{what}: {is}, and it should be: {should}"));
        }
    };
    let status = &world.json(&["status"])["apps"][0];
    let routes = &world.json(&["proxy", "routes"])["routes"][0];
    let live = replay
        .live
        .map_or("null".to_owned(), |slot| format!("\"{slot}\""));
    same("status: live", status["live"].to_string(), live.clone());
    same("route: live", routes["live"].to_string(), live);
    same("problems", status["problems"].to_string(), "[]".into());
    same("under way", status["under_way"].to_string(), "[]".into());
    let mut runs = BTreeSet::new();
    for (index, slot) in ["blue", "green"].into_iter().enumerate() {
        let release = replay.release_on(slot);
        let number = release
            .as_ref()
            .map_or("null".to_owned(), |(id, _)| id.to_string());
        let shown = status["slots"][index]["release"].to_string();
        same(&format!("status: {slot}"), shown, number.clone());
        let routed = routes["slots"][slot]["target"]["release"].to_string();
        same(&format!("route: {slot}"), routed, number);
        if let Some((id, version)) = release {
            let port = if slot == "blue" { shop.blue } else { shop.green };
            same(slot, world.version_at(port), version.clone());
            if replay.live.is_some_and(|live| live.to_string() == slot) {
                same("the public port", world.version(), version);
            }
            runs.insert((slot.to_owned(), id, "running".to_owned()));
        }
    }
    let containers = world.containers().into_iter();
    let there: BTreeSet<_> = containers.map(|one| (one.slot, one.release, one.state)).collect();
    same("containers", format!("{there:?}"), format!("{runs:?}"));
    let recovered = world.deployer(&["recover"]);
    same(
        "recover",
        recovered.stdout + &recovered.stderr,
        "shop: nothing to mend\n".into(),
    );
    faults
}

/// What was run and what it said, and what became of each release.
fn story(done: &[Done], replay: &Replay) -> String {
    let mut story = String::from("--- what was run, and what it said\n");
    for done in done {
        let _ = writeln!(story, "{done}");
    }
    story + "--- what became of the releases\n" + &replay.to_string()
}
