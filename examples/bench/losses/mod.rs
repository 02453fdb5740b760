//! What a flip costs the requests that are under way: the same traffic for all, flipped by deployer, whichever proxy it
//! flips, and by each program's own means.

mod clients;
mod deployed;
mod programs;
mod sides;

use std::net::SocketAddr;
use std::path::Path;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};
use deployer::model::{Lane, Program, ProxyKind};

use crate::proxy::contestant::{Contestant, Kind, Setup};
use crate::report::{Line, Report, Samples, Table};
use crate::world::{World, milliseconds};
use clients::{Answer, Clients};
use deployed::Deployed;
use sides::Side;

/// From the start of a flip to the start of the next.
const PAUSE: Duration = Duration::from_millis(300);

/// What deployer can flip.
const OURS: [ProxyKind; 7] = [
    ProxyKind::Embedded,
    ProxyKind::Flip(Program::Nginx),
    ProxyKind::Flip(Program::Haproxy),
    ProxyKind::Flip(Program::Caddy),
    ProxyKind::Front(Program::Nginx),
    ProxyKind::Front(Program::Haproxy),
    ProxyKind::Front(Program::Caddy),
];

/// What can be flipped without deployer.
const OTHERS: [Kind; 3] = [Kind::Nginx, Kind::Haproxy, Kind::Caddy];

/// As many instances as each side has in turn where their number changes: whatever side and turn it is, it is another
/// one than that side had before.
const COUNTS: [u8; 3] = [1, 2, 3];

pub(crate) fn measure(world: &World, flips: usize, report: &mut Report) -> Result<()> {
    let folder = world.folder("losses")?;
    let sides = [
        Side::start(world, &folder, "one", Lane::A)?,
        Side::start(world, &folder, "two", Lane::B)?,
    ];
    flip_all(world, &folder, &sides, flips, report)?;
    change_all(world, &folder, &sides, flips.div_ceil(3), report)
}

/// Flips among what stands in the configuration.
fn flip_all(
    world: &World,
    folder: &Path,
    sides: &[Side; 2],
    flips: usize,
    report: &mut Report,
) -> Result<()> {
    let mut table = table(
        format!(
            "The same traffic, flipped {flips} times, every {} ms:",
            PAUSE.as_millis()
        ),
        "flipped by",
    );
    let mut ours = Vec::new();
    for kind in OURS {
        let mut flipped = Flipped::deployed(world, kind, folder, sides)?;
        let losses = flipped
            .under_traffic(sides, flips, |_| 1)
            .with_context(|| deployed::told(kind))?;
        losses.row(&deployed::told(kind), &mut table);
        ours.push((kind, losses));
    }
    let (_, embedded) = &ours[0];
    for kind in OTHERS {
        let setup = Setup::new(folder, &[sides[0].instance(0)])?;
        let mut flipped = Flipped::Contestant(kind.start(world, setup)?);
        let losses = flipped.under_traffic(sides, flips, |_| 1)?;
        losses.row(kind.flip_told(), &mut table);
        let line = Line::new("failed requests per flip", "requests", &embedded.failed());
        report.line(line.against(kind.flip_told(), &losses.failed()).zero());
    }
    for (kind, losses) in &ours {
        let told = deployed::told(*kind);
        report.line(
            Line::new(
                format!("failed requests per flip, {told}"),
                "requests",
                &losses.failed(),
            )
            .zero(),
        );
        report.line(
            Line::new(
                format!("late requests per flip, {told}"),
                "requests",
                &losses.late,
            )
            .zero(),
        );
    }
    report.table(table);
    Ok(())
}

/// Flips to another number of instances, each of which is another configuration.
fn change_all(
    world: &World,
    folder: &Path,
    sides: &[Side; 2],
    flips: usize,
    report: &mut Report,
) -> Result<()> {
    let mut table = table(
        format!("The same traffic, with {flips} releases that change the number of instances:"),
        "changed by deployer",
    );
    for kind in OURS
        .into_iter()
        .filter(|kind| !matches!(kind, ProxyKind::Front(_)))
    {
        let mut flipped = Flipped::deployed(world, kind, folder, sides)?;
        let losses = flipped
            .under_traffic(sides, flips, |number| COUNTS[number % COUNTS.len()])
            .with_context(|| deployed::told(kind))?;
        losses.row(&deployed::told(kind), &mut table);
    }
    report.table(table);
    Ok(())
}

fn table(heading: String, by: &'static str) -> Table {
    Table::new(
        heading,
        &[
            by,
            "flip ms",
            "requests",
            "not answered",
            "truncated",
            "5xx",
            "late",
            "kept connections closed",
        ],
    )
}

/// A proxy that is flipped, by deployer or by its own means.
enum Flipped {
    Deployed(Box<Deployed>),
    Contestant(Contestant),
}

impl Flipped {
    /// By deployer, with a route to the first side, and the second one in the configuration as well.
    fn deployed(world: &World, kind: ProxyKind, folder: &Path, sides: &[Side; 2]) -> Result<Self> {
        let told = || deployed::told(kind);
        let mut deployed = Deployed::start(world, kind, folder, &sides[0]).with_context(told)?;
        for side in [1, 0] {
            deployed.flip(&sides[side], 1).with_context(told)?;
        }
        Ok(Self::Deployed(Box::new(deployed)))
    }

    fn address(&self) -> SocketAddr {
        match self {
            Self::Deployed(deployed) => deployed.address(),
            Self::Contestant(contestant) => contestant.address(),
        }
    }

    fn flip(&mut self, to: &Side, instances: u8) -> Result<()> {
        match self {
            Self::Deployed(deployed) => deployed.flip(to, instances),
            Self::Contestant(contestant) => contestant.flip(to.instance(0)),
        }
    }

    /// Flips it to the one side and the other, to so many instances as `instances` says of the flip's number, from 1.
    fn under_traffic(
        &mut self,
        sides: &[Side; 2],
        flips: usize,
        instances: impl Fn(usize) -> u8,
    ) -> Result<Losses> {
        let clients = Clients::start(self.address());
        thread::sleep(PAUSE);
        let mut made = Vec::new();
        for number in 1..=flips {
            let to = &sides[number % 2];
            let begun = Instant::now();
            self.flip(to, instances(number))?;
            made.push(Flip {
                begun,
                answered: Instant::now(),
                to: to.version,
            });
            thread::sleep(PAUSE.saturating_sub(begun.elapsed()));
        }
        Ok(Losses::of(&made, &clients.stop()))
    }
}

/// When a flip was asked for, when that was answered, and to what.
struct Flip {
    begun: Instant,
    answered: Instant,
    to: &'static str,
}

/// Per flip: what was lost from its start to the start of the next.
#[derive(Default)]
struct Losses {
    flip: Samples,
    requests: usize,
    unanswered: Samples,
    truncated: Samples,
    refused: Samples,
    late: Samples,
    /// Kept connections that a client found closed before it sent; it opened another.
    closed: usize,
}

impl Losses {
    fn of(flips: &[Flip], answers: &[Answer]) -> Self {
        let mut losses = Losses {
            requests: answers.len(),
            closed: answers.iter().filter(|answer| answer.found_closed).count(),
            ..Losses::default()
        };
        for (index, flip) in flips.iter().enumerate() {
            let next = flips.get(index + 1).map(|next| next.begun);
            let ended_now =
                |answer: &&Answer| answer.ended >= flip.begun && next.is_none_or(|next| answer.ended < next);
            let count = |of: fn(&Answer) -> bool| {
                answers
                    .iter()
                    .filter(ended_now)
                    .filter(|answer| of(answer))
                    .count() as f64
            };
            let is_late = |answer: &&Answer| {
                let is_after = answer.begun > flip.answered && next.is_none_or(|next| answer.ended < next);
                is_after && answer.version().is_some_and(|version| version != flip.to)
            };
            losses.flip.push(milliseconds(flip.answered - flip.begun));
            losses.unanswered.push(count(Answer::is_missing));
            losses.truncated.push(count(Answer::is_truncated));
            losses.refused.push(count(Answer::is_error));
            losses.late.push(answers.iter().filter(is_late).count() as f64);
        }
        losses
    }

    /// All that a client would call a failure.
    fn failed(&self) -> Samples {
        let sum = |a, b| a + b;
        self.unanswered
            .with(&self.truncated, sum)
            .with(&self.refused, sum)
    }

    fn row(&self, told: &str, table: &mut Table) {
        let total = |samples: &Samples| Samples(vec![samples.sum()]);
        let figures = [
            self.flip.clone(),
            Samples(vec![self.requests as f64]),
            total(&self.unanswered),
            total(&self.truncated),
            total(&self.refused),
            total(&self.late),
            Samples(vec![self.closed as f64]),
        ];
        table.row([told], figures);
    }
}
