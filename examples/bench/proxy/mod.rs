//! The data plane beside nginx, HAProxy and Caddy: what a request costs, and how long it takes, with the same upstream.

mod caddy;
pub(crate) mod contestant;
mod haproxy;
mod nginx;
mod ours;
mod upstream;
mod wrk;

use std::path::Path;

use anyhow::Result;

use crate::process;
use crate::report::{Line, Report, Samples, Table};
use crate::world::World;
use contestant::{Contestant, Kind, Setup};
use upstream::Upstream;
use wrk::{Load, Seen};

/// One way of asking.
struct Case {
    /// The size of an answer.
    size: Size,
    /// Whether each request comes on a connection of its own.
    is_fresh: bool,
    connections: usize,
}

#[derive(Clone, Copy)]
enum Size {
    Small,
    Large,
}

/// With one app routed: every size, kept and fresh, few and many.
const CASES: [Case; 8] = [
    case(Size::Small, false, 64),
    case(Size::Small, false, MANY_CONNECTIONS),
    case(Size::Small, true, 64),
    case(Size::Small, true, MANY_CONNECTIONS),
    case(Size::Large, false, 64),
    case(Size::Large, false, MANY_CONNECTIONS),
    case(Size::Large, true, 64),
    case(Size::Large, true, MANY_CONNECTIONS),
];
/// With many apps routed, to all of which the requests go.
const CASES_OF_MANY: [Case; 2] = [case(Size::Small, false, 64), case(Size::Small, true, 64)];
const MANY: usize = 1_000;
const MANY_CONNECTIONS: usize = 2_000;

const fn case(size: Size, is_fresh: bool, connections: usize) -> Case {
    Case {
        size,
        is_fresh,
        connections,
    }
}

/// How often, and how long, each contestant is asked.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Effort {
    pub(crate) rounds: usize,
    pub(crate) seconds: u64,
    /// With many connections, where the first answers of all of them take their time.
    pub(crate) seconds_of_many: u64,
}

pub(crate) fn measure(world: &World, effort: Effort, report: &mut Report) -> Result<()> {
    let folder = world.folder("proxies")?;
    let mut table = Table::new(
        "The proxies in front of the same upstream. The ratio is deployer's CPU divided by the proxy's:",
        &[
            "case",
            "proxy",
            "CPU ratio",
            "requests/s",
            "p50 ms",
            "p99 ms",
            "CPU ms per 1,000 requests",
            "memory (PSS) MiB",
            "failed requests",
        ],
    );
    for (apps, cases) in [(1, &CASES[..]), (MANY, &CASES_OF_MANY[..])] {
        let upstream = Upstream::start(&folder, apps)?;
        let mut contestants = Vec::new();
        for kind in Kind::ALL {
            let setup = Setup::new(&folder, upstream.addresses())?;
            contestants.push(kind.start(world, setup)?);
        }
        for case in cases {
            let seen = alternate(case, &contestants, &upstream, effort, &folder)?;
            seen.tell(&case.told(apps), &mut table, report);
        }
    }
    report.table(table);
    Ok(())
}

impl Case {
    fn told(&self, apps: usize) -> String {
        let size = match self.size {
            Size::Small => "1 KiB",
            Size::Large => "100 KiB",
        };
        let kind = if self.is_fresh { "fresh" } else { "kept" };
        let connections = match self.connections {
            MANY_CONNECTIONS => "2,000".to_owned(),
            few => few.to_string(),
        };
        let apps = match apps {
            MANY => ", 1,000 apps",
            _ => "",
        };
        format!("{size}, {connections} {kind} connections{apps}")
    }

    fn load<'a>(
        &self,
        address: std::net::SocketAddr,
        apps: usize,
        seconds: u64,
        folder: &'a Path,
    ) -> Load<'a> {
        Load {
            address,
            path: match self.size {
                Size::Small => upstream::SMALL,
                Size::Large => upstream::LARGE,
            },
            apps,
            is_fresh: self.is_fresh,
            connections: self.connections,
            seconds,
            folder,
        }
    }
}

/// What the rounds of one case gave.
struct Measured {
    /// In the order of the contestants.
    of: Vec<(Kind, Figures)>,
    /// The upstream asked directly, once.
    direct: Figures,
}

#[derive(Default)]
struct Figures {
    rate: Samples,
    p50: Samples,
    p99: Samples,
    cpu: Samples,
    memory: Samples,
    failed: Samples,
}

impl Figures {
    fn add(&mut self, seen: &Seen) {
        self.rate.push(seen.rate);
        self.p50.push(seen.p50);
        self.p99.push(seen.p99);
        self.failed.push(seen.failed);
    }

    fn row(&self, case: &str, who: &str, ratio: Samples, table: &mut Table) {
        let figures = [&self.rate, &self.p50, &self.p99, &self.cpu, &self.memory];
        let failed = Samples(vec![self.failed.sum()]);
        let figures = figures.into_iter().cloned().chain([failed]);
        table.row([case, who], [ratio].into_iter().chain(figures));
    }
}

/// The contestants in turns; who comes first changes from round to round.
fn alternate(
    case: &Case,
    contestants: &[Contestant],
    upstream: &Upstream,
    effort: Effort,
    folder: &Path,
) -> Result<Measured> {
    let apps = upstream.addresses().len();
    let mut measured = Measured {
        of: Vec::new(),
        direct: Figures::default(),
    };
    let seconds = match case.connections {
        MANY_CONNECTIONS => effort.seconds_of_many,
        _ => effort.seconds,
    };
    let direct = case.load(upstream.addresses()[0].into(), 1, seconds, folder);
    measured.direct.add(&wrk::run(&direct, || Ok(()))?);
    for contestant in contestants {
        // Not counted: it fills the pools.
        wrk::run(&case.load(contestant.address(), apps, 1, folder), || Ok(()))?;
        measured.of.push((contestant.kind(), Figures::default()));
    }
    for round in 0..effort.rounds {
        for turn in 0..contestants.len() {
            let index = (round + turn) % contestants.len();
            let contestant = &contestants[index];
            let figures = &mut measured.of[index].1;
            let load = case.load(contestant.address(), apps, seconds, folder);
            let before = process::cpu(contestant.pid())?;
            let seen = wrk::run(&load, || {
                figures.memory.push(process::memory(contestant.pid())?);
                Ok(())
            })?;
            let used = process::cpu(contestant.pid())? - before;
            figures.cpu.push(used.as_secs_f64() * 1e6 / seen.requests);
            figures.add(&seen);
        }
    }
    Ok(measured)
}

impl Measured {
    fn tell(&self, case: &str, table: &mut Table, report: &mut Report) {
        let of = |kind| {
            &self
                .of
                .iter()
                .find(|(it, _)| *it == kind)
                .expect("all took part")
                .1
        };
        let ours = of(Kind::Deployer);
        let line = |what: &str, unit, figure: fn(&Figures) -> &Samples, kind: Kind| {
            Line::new(format!("proxy's {what}, {case}"), unit, figure(ours))
                .against(kind.name(), figure(of(kind)))
        };
        let cpu: fn(&Figures) -> &Samples = |figures| &figures.cpu;
        let what = "CPU per 1,000 requests";
        report.line(line(what, "ms", cpu, Kind::Nginx).ratio_at_most(1.1));
        report.line(line(what, "ms", cpu, Kind::Haproxy).ratio_at_most(1.0));
        report.line(line("p99", "ms", |figures| &figures.p99, Kind::Nginx).ratio_at_most(1.0));
        for (kind, figures) in &self.of {
            let ratio = ours.cpu.divided_by(&figures.cpu);
            figures.row(case, kind.name(), ratio, table);
        }
        let none = Samples::default();
        self.direct.row(case, "none: the upstream alone", none, table);
    }
}
