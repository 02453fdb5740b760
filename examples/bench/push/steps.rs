//! Where the time of a push goes, step by step, beside the floor's.

use super::{DEPLOYER, FLOOR, Turn};
use crate::report::{Samples, Table};
use crate::world::milliseconds;

/// What no step of deployer's accounts for is a row of its own.
pub(super) fn table(what: &str, turns: &[Turn]) -> Table {
    let mut table = Table::new(
        format!("Where the time of a push goes until it is live, in ms, {what}:"),
        &["step", "deployer", "floor"],
    );
    let steps = turns.first().map_or(&[][..], |turn| &turn[DEPLOYER].steps);
    for (name, _) in steps {
        // Before their first step, one takes in the push, and the other connects to the Engine.
        let floors = if *name == "receive" { "connect" } else { name };
        table.row([*name], [step(turns, DEPLOYER, name), step(turns, FLOOR, floors)]);
    }
    table.row(
        ["the worker's start, between the steps, and the flip until live"],
        [rest(turns), Samples::default()],
    );
    table
}

fn step(turns: &[Turn], who: usize, name: &str) -> Samples {
    let steps = turns.iter().flat_map(|turn| &turn[who].steps);
    let times = steps.filter(|(step, _)| *step == name);
    times.map(|(_, took)| *took).collect()
}

fn rest(turns: &[Turn]) -> Samples {
    let rounds = turns.iter().map(|turn| &turn[DEPLOYER]);
    let rest =
        rounds.map(|round| milliseconds(round.took) - round.steps.iter().map(|(_, took)| took).sum::<f64>());
    rest.collect()
}
