//! `deployer rollback` onto a warm standby, as a whole process.

use std::time::{Duration, Instant};

use anyhow::{Result, ensure};

use crate::poll::Poller;
use crate::report::{Goal, Line, Report, Samples};
use crate::world::{World, milliseconds};

const APP: &str = "back";
const DEADLINE: Duration = Duration::from_secs(10);

pub(crate) fn measure(world: &World, runs: usize, report: &mut Report) -> Result<()> {
    let tree = world.app(APP)?;
    let versions = ["blue", "green"];
    for slot in versions {
        tree.push(slot, slot)?;
        world.wait_for_worker(APP)?;
    }
    let host = world.host(APP)?;
    let (mut whole, mut live, mut bare) = (Samples::default(), Samples::default(), Samples::default());
    let mut gaps = Samples::default();
    // Each takes back the one before. The first is not counted.
    for number in 0..=runs {
        let poller = Poller::start(world.settings.proxy.listen, &host);
        poller.wait_for(versions[(number + 1) % 2], DEADLINE)?;
        let begun = Instant::now();
        world.deployer(&["rollback", "--app", APP])?;
        let took = begun.elapsed();
        let seen = poller.wait_for(versions[number % 2], DEADLINE)? - begun;
        let begun = Instant::now();
        ensure!(world.command(&["--version"]).output()?.status.success());
        if number > 0 {
            bare.0.push(milliseconds(begun.elapsed()));
            whole.0.push(milliseconds(took));
            live.0.push(milliseconds(seen));
            gaps.0.push(milliseconds(poller.seen().gap));
        }
    }
    let line = |what, ours, goal| Line {
        what,
        unit: "ms",
        ours,
        against: None,
        goal,
    };
    report.line(Line {
        against: Some(("`deployer --version`", bare)),
        ..line(
            "rollback onto a warm standby, the whole process",
            whole,
            Goal::Below(150.0),
        )
    });
    report.line(line(
        "rollback until the other slot answers",
        live,
        Goal::Below(150.0),
    ));
    report.line(line("downtime of a rollback", gaps, Goal::Zero));
    Ok(())
}
