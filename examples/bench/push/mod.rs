//! From `git push` to the new release live: deployer, the floor and a hand-written hook, in turns.

mod floor;
mod hook;
mod ours;
mod steps;

use std::time::{Duration, Instant};

use anyhow::Result;

use crate::large;
use crate::memory::Watch;
use crate::report::{Line, Report, Samples};
use crate::world::{Tree, World, milliseconds};
use floor::Floor;
use hook::Hook;
use ours::Deployer;

/// Until a push is live.
pub(crate) const DEADLINE: Duration = Duration::from_secs(600);

/// What a push changes.
#[derive(Debug, Clone, Copy)]
enum Change {
    Nothing,
    OneFile,
}

/// The contestants, as indices of a [`Turn`].
const DEPLOYER: usize = 0;
const FLOOR: usize = 1;
const HOOK: usize = 2;

/// The order changes from turn to turn: whatever one leaves the machine busy with meets each other in turn.
const ORDERS: [[usize; 3]; 6] = [
    [DEPLOYER, FLOOR, HOOK],
    [FLOOR, DEPLOYER, HOOK],
    [HOOK, DEPLOYER, FLOOR],
    [DEPLOYER, HOOK, FLOOR],
    [FLOOR, HOOK, DEPLOYER],
    [HOOK, FLOOR, DEPLOYER],
];

/// One push of one contestant.
#[derive(Debug, Default)]
struct Round {
    /// From its start until the new version answers.
    took: Duration,
    /// The longest time without an answer.
    gap: Duration,
    steps: Steps,
}

/// What each step took, in milliseconds.
type Steps = Vec<(&'static str, f64)>;

/// One push of each contestant.
type Turn = [Round; 3];

/// Pushes of a small app: the same tree again, and a changed file.
pub(crate) fn small(world: &World, runs: usize, report: &mut Report) -> Result<()> {
    let tree = world.app("shop")?;
    let mut contestants = Contestants::new(world, &tree, "shop")?;
    for (change, what) in [
        (Change::OneFile, "one file changed"),
        (Change::Nothing, "unchanged tree"),
    ] {
        // Not counted: it fills the caches of all three.
        contestants.turn(change)?;
        let turns = contestants.turns(change, runs)?;
        let goal = matches!(change, Change::OneFile).then_some(1.15);
        tell(what, goal, &turns, report);
    }
    contestants.finish()
}

/// Pushes of 1 GiB in 50,000 files: the first one, and a changed file.
pub(crate) fn large(world: &World, runs: usize, report: &mut Report) -> Result<()> {
    const WHAT: &str = "1 GiB in 50,000 files";
    let begun = Instant::now();
    let tree = large::tree(world, "big")?;
    world.create("big", &tree)?;
    let mut contestants = Contestants::new(world, &tree, "big")?;
    eprintln!("{WHAT} committed in {:.0} s", begun.elapsed().as_secs_f64());

    let watch = Watch::start(world, "big");
    let first = [contestants.turn(Change::OneFile)?];
    let peak = Samples(vec![watch.stop()?]);
    let what = format!("push until live, {WHAT}, the first push");
    let [ours, floor, hook] = [DEPLOYER, FLOOR, HOOK].map(|who| took(&first, who));
    report.line(Line::new(&what, "ms", &ours).against("floor", &floor));
    report.line(
        Line::new(&what, "ms", &ours)
            .against("hand-written hook", &hook)
            .ratio_at_most(1.0),
    );
    report.line(Line::new(format!("worker's peak memory, {WHAT}"), "MiB", &peak).at_most(60.0));

    let turns = contestants.turns(Change::OneFile, runs)?;
    tell(&format!("one file changed of {WHAT}"), None, &turns, report);
    contestants.finish()
}

/// The lines and the table of some turns. `goal` is the most that deployer may take for each time of the floor's.
fn tell(what: &str, goal: Option<f64>, turns: &[Turn], report: &mut Report) {
    let [ours, floor, hook] = [DEPLOYER, FLOOR, HOOK].map(|who| took(turns, who));
    let line = Line::new(format!("push until live, {what}"), "ms", &ours);
    let beside_floor = line.clone().against("floor", &floor);
    report.line(match goal {
        Some(most) => beside_floor.ratio_at_most(most),
        None => beside_floor,
    });
    report.line(line.against("hand-written hook", &hook).ratio_at_most(1.0));
    let gap = |who: usize| turns.iter().map(|turn| milliseconds(turn[who].gap)).collect();
    report.line(
        Line::new(format!("downtime of a push, {what}"), "ms", &gap(DEPLOYER))
            .against("hand-written hook", &gap(HOOK))
            .zero(),
    );
    report.table(steps::table(what, turns));
}

fn took(turns: &[Turn], who: usize) -> Samples {
    turns.iter().map(|turn| milliseconds(turn[who].took)).collect()
}

struct Contestants<'a> {
    tree: &'a Tree,
    ours: Deployer<'a>,
    floor: Floor<'a>,
    hook: Hook<'a>,
    turns: usize,
}

impl<'a> Contestants<'a> {
    /// All of them push `tree`; deployer to the app of this `name`.
    fn new(world: &'a World, tree: &'a Tree, name: &'a str) -> Result<Self> {
        Ok(Self {
            tree,
            ours: Deployer::new(world, tree, name)?,
            floor: Floor::new(world, tree, name)?,
            hook: Hook::new(world, tree, name)?,
            turns: 0,
        })
    }

    fn turns(&mut self, change: Change, count: usize) -> Result<Vec<Turn>> {
        (0..count).map(|_| self.turn(change)).collect()
    }

    fn turn(&mut self, change: Change) -> Result<Turn> {
        let mut turn = Turn::default();
        for who in ORDERS[self.turns % ORDERS.len()] {
            let label = format!("{}-{}", ["deployer", "floor", "hook"][who], self.turns);
            match change {
                Change::Nothing => self.tree.change_nothing(&label)?,
                Change::OneFile => self.tree.change(&label)?,
            }
            turn[who] = match who {
                DEPLOYER => self.ours.round()?,
                FLOOR => self.floor.round(&label)?,
                _ => self.hook.round()?,
            };
        }
        self.turns += 1;
        let [ours, floor, hook] = [DEPLOYER, FLOOR, HOOK].map(|who| milliseconds(turn[who].took));
        eprintln!("push: deployer {ours:.0} ms, floor {floor:.0} ms, hand-written hook {hook:.0} ms");
        Ok(turn)
    }

    /// What the other two left running is in nobody's way from here on.
    fn finish(mut self) -> Result<()> {
        self.floor.finish()?;
        self.hook.finish()
    }
}
