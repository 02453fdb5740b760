//! SIGKILL at every fail point (`src/ground/failpoint.rs`), under traffic: of the worker, of the hook or the command that
//! follows it, and of the proxy. Each way of a release is traced first, so that a new point is tried without anyone
//! adding it to a list.
//!
//! What is tried is the environment's to say, in `DEPLOYER_KILL`:
//!
//! - nothing: each point of a push once with the process that passes it, half of them on each kind of slot; of the
//!   other ways the points that a push has not; and of everything else a sample, which `DEPLOYER_KILL_SEED` repeats;
//! - `all`: each point of each way with each process;
//! - another word: only the points whose names have it, each with each process.

mod agreement;
mod sample;
mod stage;

use std::collections::BTreeSet;

use sample::Random;
use stage::{Ending, Stage, Victim, Way};

use crate::support::engine::OwnEngine;
use crate::support::fail_points::{Kind, Point};

/// Cases that are tried of half of a push's points, or of all of another way's, beside those that are tried for their own
/// sake.
const SAMPLE: usize = 6;

/// Points at which the Engine is killed, unless all are wanted.
const ENGINE_SAMPLE: usize = 4;

/// Whom to kill, and at which point.
#[derive(Debug, Clone)]
struct Case {
    point: Point,
    victim: Victim,
}

/// Which of the tests of one way this is: a push has so many points that they are shared by four.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Share {
    Whole,
    First,
    Second,
    Third,
    Fourth,
}

impl Share {
    /// Whether the point of this name is one of this share's.
    fn has(self, name: &str) -> bool {
        // Each has points of both kinds of slot.
        let share = (quarter(name) / 2, eighth(name) / 4);
        match self {
            Share::Whole => true,
            Share::First => share == (0, 0),
            Share::Second => share == (0, 1),
            Share::Third => share == (1, 0),
            Share::Fourth => share == (1, 1),
        }
    }

    /// How many cases it tries beside those that are tried for their own sake.
    fn sample(self) -> usize {
        match self {
            Share::Whole => SAMPLE,
            _ => SAMPLE / 2,
        }
    }
}

/// Which cases of a way are tried.
fn choose(way: Way, share: Share, points: &[Point], of_a_push: &[Point], random: &mut Random) -> Vec<Case> {
    let points: BTreeSet<&Point> = points.iter().filter(|point| share.has(&point.name)).collect();
    let victims = [Victim::Worker, Victim::Hook, Victim::Proxy];
    let all = points.iter().flat_map(|&point| {
        let point = point.clone();
        victims.map(|victim| Case {
            point: point.clone(),
            victim,
        })
    });
    match std::env::var("DEPLOYER_KILL").as_deref() {
        _ if is_everything_wanted() => return all.collect(),
        Ok(word) => return all.filter(|case| case.point.name.contains(word)).collect(),
        Err(_) => {}
    }
    let (mut chosen, mut rest): (Vec<Case>, Vec<Case>) = all.partition(|case| {
        let is_ours = match way {
            Way::Standby => quarter(&case.point.name).is_multiple_of(2),
            Way::Live => !quarter(&case.point.name).is_multiple_of(2),
            Way::Gated => case.victim == Victim::Hook,
            _ => !of_a_push.contains(&case.point),
        };
        case.victim.is_of(case.point.kind) && is_ours
    });
    random.shuffle(&mut rest);
    // Of a push that waits for its release only the hooks are others than of any push.
    let sample = if way == Way::Gated { 0 } else { share.sample() };
    chosen.extend(rest.into_iter().take(sample));
    chosen
}

fn is_everything_wanted() -> bool {
    std::env::var("DEPLOYER_KILL").is_ok_and(|word| word == "all")
}

/// Parts the names of points in four, from 0: two for each kind of slot.
fn quarter(name: &str) -> usize {
    eighth(name) % 4
}

/// Parts each of the four in two.
fn eighth(name: &str) -> usize {
    name.bytes().map(usize::from).sum::<usize>() % 8
}

fn kill_everywhere(name: &str, way: Way, share: Share, lines: &str) {
    let mut random = Random::of_this_run();
    let mut stage = Stage::new(name, lines, None);
    let (points, of_a_push) = stage.trace(way);
    let cases = choose(way, share, &points, &of_a_push, &mut random);
    println!("{name}: {} points, {} cases", points.len(), cases.len());

    let mut missed = Vec::new();
    for case in &cases {
        let ending = match random.below(3) {
            0 => Ending::NextPush,
            1 => Ending::Recover,
            _ => Ending::KilledRecover,
        };
        let seen = stage.round(way, case, ending, &mut random);
        println!(
            "{name}: {} by {:?}, then {ending:?}: good",
            case.point, case.victim
        );
        if !seen {
            missed.push(case.point.to_string());
        }
    }

    assert!(
        missed.len() * 20 <= cases.len(),
        "not reached again: {missed:?} of {} cases",
        cases.len()
    );
    stage.end();
}

#[test]
fn push_to_the_standby_survives_kills_at_every_point_of_the_first_share() {
    kill_everywhere("kill-standby-1", Way::Standby, Share::First, "");
}

#[test]
fn push_to_the_standby_survives_kills_at_every_point_of_the_second_share() {
    kill_everywhere("kill-standby-2", Way::Standby, Share::Second, "");
}

#[test]
fn push_to_the_standby_survives_kills_at_every_point_of_the_third_share() {
    kill_everywhere("kill-standby-3", Way::Standby, Share::Third, "");
}

#[test]
fn push_to_the_standby_survives_kills_at_every_point_of_the_fourth_share() {
    kill_everywhere("kill-standby-4", Way::Standby, Share::Fourth, "");
}

#[test]
fn push_to_the_live_slot_survives_kills_at_every_point_of_the_first_share() {
    kill_everywhere("kill-live-1", Way::Live, Share::First, "instances = 2");
}

#[test]
fn push_to_the_live_slot_survives_kills_at_every_point_of_the_second_share() {
    kill_everywhere("kill-live-2", Way::Live, Share::Second, "instances = 2");
}

#[test]
fn push_to_the_live_slot_survives_kills_at_every_point_of_the_third_share() {
    kill_everywhere("kill-live-3", Way::Live, Share::Third, "instances = 2");
}

#[test]
fn push_to_the_live_slot_survives_kills_at_every_point_of_the_fourth_share() {
    kill_everywhere("kill-live-4", Way::Live, Share::Fourth, "instances = 2");
}

#[test]
fn push_that_waits_for_its_release_survives_kills_of_its_hooks_at_every_point() {
    kill_everywhere("kill-gated", Way::Gated, Share::Whole, "gate = \"release\"");
}

#[test]
fn push_without_promotion_survives_kills_at_every_point() {
    kill_everywhere("kill-unpromoted", Way::Unpromoted, Share::Whole, "");
}

#[test]
fn rollback_survives_kills_at_every_point() {
    kill_everywhere("kill-rollback", Way::Rollback, Share::Whole, "");
}

#[test]
fn promotion_survives_kills_at_every_point() {
    kill_everywhere(
        "kill-promotion",
        Way::Promotion,
        Share::Whole,
        "standby = \"stopped\"",
    );
}

/// The Engine is killed at a sample of points, and started again at once. What is promised then: no answer is any other
/// release's, recovery brings the app back and converges, and the next push goes live.
#[test]
fn push_survives_kills_of_the_engine() {
    let mut random = Random::of_this_run();
    let own = OwnEngine { live_restore: false };
    let mut stage = Stage::new("kill-engine", "", Some(own));
    let (mut points, _) = stage.trace(Way::Live);
    points.retain(|point| point.kind == Kind::Worker);
    random.shuffle(&mut points);
    if !is_everything_wanted() {
        points.truncate(ENGINE_SAMPLE);
    }
    for point in points {
        println!("kill-engine: {point}");
        let victim = Victim::Engine;
        stage.round(Way::Live, &Case { point, victim }, Ending::Recover, &mut random);
    }
    stage.end();
}

impl Victim {
    /// Whether a point of `kind` is one that this process passes itself.
    fn is_of(self, kind: Kind) -> bool {
        matches!(
            (self, kind),
            (Victim::Worker, Kind::Worker)
                | (Victim::Hook, Kind::Hook | Kind::Command)
                | (Victim::Proxy, Kind::Proxy)
        )
    }
}
