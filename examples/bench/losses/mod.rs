//! What a flip costs the requests that are under way: the same traffic for all, flipped by each proxy's own means.

mod clients;

use std::net::{Ipv4Addr, SocketAddrV4, TcpStream};
use std::path::Path;
use std::process::Command;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::Result;

use crate::ports;
use crate::process::{Daemon, wait_for};
use crate::proxy::contestant::{Contestant, Kind, Setup};
use crate::report::{Line, Report, Samples, Table};
use crate::world::{World, milliseconds};
use clients::{Answer, Clients};

/// From the start of a flip to the start of the next.
const PAUSE: Duration = Duration::from_millis(300);

pub(crate) fn measure(world: &World, flips: usize, report: &mut Report) -> Result<()> {
    let folder = world.folder("losses")?;
    let sides = [
        Side::start(world, &folder, "one")?,
        Side::start(world, &folder, "two")?,
    ];
    let mut table = Table::new(
        format!(
            "The same traffic, flipped {flips} times, every {} ms:",
            PAUSE.as_millis()
        ),
        &[
            "flipped by",
            "flip ms",
            "requests",
            "not answered",
            "truncated",
            "5xx",
            "late",
            "kept connections closed",
        ],
    );
    let mut all = Vec::new();
    for kind in Kind::ALL {
        let setup = Setup::new(&folder, &[sides[0].address])?;
        let mut contestant = kind.start(world, setup)?;
        let losses = flip_under_traffic(&mut contestant, &sides, flips)?;
        losses.row(kind, &mut table);
        all.push((kind, losses));
    }
    let (_, ours) = &all[0];
    for (kind, theirs) in &all[1..] {
        let line = Line::new("failed requests per flip", "requests", &ours.failed());
        report.line(line.against(kind.flip_told(), &theirs.failed()).zero());
    }
    report.line(Line::new("late requests per flip", "requests", &ours.late).zero());
    report.table(table);
    Ok(())
}

/// One of the two upstreams: the test app, on the host.
struct Side {
    version: &'static str,
    address: SocketAddrV4,
    _process: Daemon,
}

impl Side {
    fn start(world: &World, folder: &Path, version: &'static str) -> Result<Self> {
        let port = ports::free(1)?[0];
        let address = SocketAddrV4::new(Ipv4Addr::LOCALHOST, port);
        let mut server = Command::new(world.work.join("server"));
        server.env("PORT", port.to_string()).env("VERSION", version);
        server.env("DATA", folder.join("none")).current_dir(folder);
        let log = folder.join(format!("{version}.log"));
        let process = Daemon::start(&mut server, &log)?;
        wait_for("the app did not start", &log, || {
            TcpStream::connect(address).is_ok()
        })?;
        Ok(Self {
            version,
            address,
            _process: process,
        })
    }
}

/// When a flip was asked for, when that was answered, and to what.
struct Flip {
    begun: Instant,
    answered: Instant,
    to: &'static str,
}

fn flip_under_traffic(contestant: &mut Contestant, sides: &[Side; 2], flips: usize) -> Result<Losses> {
    let clients = Clients::start(contestant.address());
    thread::sleep(PAUSE);
    let mut made = Vec::new();
    for number in 0..flips {
        let to = &sides[(number + 1) % 2];
        let begun = Instant::now();
        contestant.flip(to.address)?;
        made.push(Flip {
            begun,
            answered: Instant::now(),
            to: to.version,
        });
        thread::sleep(PAUSE.saturating_sub(begun.elapsed()));
    }
    Ok(Losses::of(&made, &clients.stop()))
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

    fn row(&self, kind: Kind, table: &mut Table) {
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
        table.row([kind.flip_told()], figures);
    }
}
