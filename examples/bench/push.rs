//! From `git push` to the new release live: deployer, the floor, and a hand-written hook, in turns.

use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};
use jiff::Timestamp;
use serde_json::Value;

use crate::floor::{Floor, Steps};
use crate::hook::Hook;
use crate::poll::Poller;
use crate::report::{Goal, Line, Report, Samples, Table, number};
use crate::world::{Tree, World, is_live, milliseconds};

const APP: &str = "shop";
const DEADLINE: Duration = Duration::from_secs(60);
/// The steps until a release is live.
const STEPS: [&str; 7] = ["checkout", "build", "push", "pull", "start", "probe", "flip"];

#[derive(Clone, Copy)]
enum Contestant {
    Deployer,
    Floor,
    Hook,
}

/// The order changes from round to round: whatever one leaves the machine busy with meets each other in turn.
const ORDERS: [[Contestant; 3]; 6] = {
    use Contestant::{Deployer as D, Floor as F, Hook as H};
    [[D, F, H], [F, D, H], [H, D, F], [D, H, F], [F, H, D], [H, F, D]]
};

pub(crate) async fn measure(world: &World, runs: usize, report: &mut Report) -> Result<()> {
    let (tree, hook, mut floor) = (world.app(APP)?, Hook::new(world)?, Floor::new(world).await?);
    let (mut ours, mut hooks, mut floors) = (Times::default(), Times::default(), Samples::default());
    let (mut our_steps, mut floor_steps) = (Vec::new(), Vec::new());
    // The first round fills the caches of all three and is not counted.
    for number in 0..=runs as u64 {
        let is_counted = number > 0;
        for contestant in ORDERS[number as usize % ORDERS.len()] {
            match contestant {
                Contestant::Deployer => {
                    let (time, steps) = deployer_round(world, &tree, number)?;
                    if is_counted {
                        ours.add(time);
                        our_steps.push(steps);
                    }
                }
                Contestant::Floor => {
                    let laps = floor_round(world, &mut floor, number).await?;
                    if is_counted {
                        floors
                            .0
                            .push(laps.iter().map(|(_, took)| milliseconds(*took)).sum());
                        floor_steps.push(laps);
                    }
                }
                Contestant::Hook => {
                    let time = hook_round(&hook, number)?;
                    if is_counted {
                        hooks.add(time);
                    }
                }
            }
        }
        if let (Some(ours), Some(floor), Some(hook)) =
            (ours.took.0.last(), floors.0.last(), hooks.took.0.last())
        {
            eprintln!(
                "push {number}: deployer {ours:.0} ms, floor {floor:.0} ms, hand-written hook {hook:.0} ms"
            );
        }
    }
    let line = |what, ours: &Samples, name, against: &Samples, goal| Line {
        what,
        unit: "ms",
        ours: ours.clone(),
        against: Some((name, against.clone())),
        goal,
    };
    report.line(line(
        "push until live",
        &ours.took,
        "floor",
        &floors,
        Goal::Ratio(1.3),
    ));
    report.line(line(
        "push until live",
        &ours.took,
        "hand-written hook",
        &hooks.took,
        Goal::Ratio(1.0),
    ));
    report.line(line(
        "downtime of a push",
        &ours.gap,
        "hand-written hook",
        &hooks.gap,
        Goal::Zero,
    ));
    steps_table(&our_steps, &floor_steps, &ours.took, report);
    Ok(())
}

/// One push: how long until live, and the longest time without an answer.
struct Time {
    took: Duration,
    gap: Duration,
}

#[derive(Default)]
struct Times {
    took: Samples,
    gap: Samples,
}

impl Times {
    fn add(&mut self, time: Time) {
        self.took.0.push(milliseconds(time.took));
        self.gap.0.push(milliseconds(time.gap));
    }
}

/// One push to the live slot, and how long each of its steps took in milliseconds.
fn deployer_round(world: &World, tree: &Tree, number: u64) -> Result<(Time, Vec<(&'static str, f64)>)> {
    let version = format!("deployer-{number}");
    tree.change(&version)?;
    let poller = Poller::start(world.settings.proxy.listen, &world.host(APP)?);
    let (begun, begun_at) = (Instant::now(), Timestamp::now());
    is_live(&tree.git_command(&["push", "green", "main"]).output()?)?;
    let live = poller.wait_for(&version, DEADLINE)?;
    world.wait_for_worker(APP)?;
    let time = Time {
        took: live - begun,
        // Nothing ran before the first round.
        gap: if number == 0 {
            Duration::ZERO
        } else {
            poller.seen().gap
        },
    };
    Ok((time, steps_of(world, begun_at)?))
}

/// The steps of the newest release until it was live, as `deployer releases` tells them.
fn steps_of(world: &World, begun: Timestamp) -> Result<Vec<(&'static str, f64)>> {
    let told: Value = serde_json::from_str(&world.deployer(&["releases", APP, "-n", "1", "--json"])?)?;
    let release = &told["releases"][0];
    let received: Timestamp = release["received"].as_str().context("it was received")?.parse()?;
    let mut steps = vec![(
        "receive",
        (received.as_nanosecond() - begun.as_nanosecond()) as f64 / 1e6,
    )];
    let times = release["steps"].as_array().context("it has steps")?;
    for name in STEPS {
        let time = times.iter().find(|step| step["step"] == name);
        let time = time.and_then(|step| step["milliseconds"].as_f64());
        steps.push((name, time.with_context(|| format!("{name} has no time"))?));
    }
    Ok(steps)
}

/// As much is asked meanwhile as in the other two's rounds.
async fn floor_round(world: &World, floor: &mut Floor<'_>, number: u64) -> Result<Steps> {
    let _load = Poller::start(world.settings.proxy.listen, &world.host(APP)?);
    floor.round(number).await
}

fn hook_round(hook: &Hook, number: u64) -> Result<Time> {
    let version = format!("hook-{number}");
    hook.tree.change(&version)?;
    let poller = Poller::start(hook.address, "localhost");
    let begun = Instant::now();
    hook.push()?;
    let live = poller.wait_for(&version, DEADLINE)?;
    Ok(Time {
        took: live - begun,
        gap: poller.seen().gap,
    })
}

/// Where the time goes, step by step, beside the floor's. What no step accounts for is its own row.
fn steps_table(ours: &[Vec<(&'static str, f64)>], floor: &[Steps], total: &Samples, report: &mut Report) {
    let of_floor = |name: &str| {
        let times = floor
            .iter()
            .filter_map(|laps| laps.iter().find(|(step, _)| *step == name));
        Samples(times.map(|(_, took)| milliseconds(*took)).collect())
    };
    let mut rows = Vec::new();
    let Some(first) = ours.first() else { return };
    for (index, (name, _)) in first.iter().enumerate() {
        let times = Samples(ours.iter().map(|steps| steps[index].1).collect());
        let other = of_floor(if *name == "receive" { "connect" } else { name });
        let other = if other.0.is_empty() {
            "–".to_owned()
        } else {
            number(other.median())
        };
        rows.push(vec![(*name).to_owned(), number(times.median()), other]);
    }
    let rest = ours
        .iter()
        .zip(&total.0)
        .map(|(steps, total)| total - steps.iter().map(|(_, took)| took).sum::<f64>());
    let rest = Samples(rest.collect());
    rows.push(vec![
        "worker's start, journal, between steps".to_owned(),
        number(rest.median()),
        "–".to_owned(),
    ]);
    report.table(Table {
        heading: "Where a push's time goes until live, in ms (medians; the floor's `connect` stands beside `receive`):",
        columns: &["step", "deployer", "floor"],
        rows,
    });
}
