//! What more apps cost: `status`, a flip, a push and the proxy's memory with ever more apps, each of them pushed and
//! running.

use std::fmt::Write as _;
use std::time::Instant;

use anyhow::{Context as _, Result};

use crate::flip;
use crate::poll::Poller;
use crate::ports;
use crate::process;
use crate::report::{Line, Report, Samples, Table};
use crate::world::{Tree, World, milliseconds};

const FLIPS: u64 = 100;
const STATUSES: usize = 20;
const PUSHES: usize = 3;

/// The app whose pushes and flips are measured.
const APP: &str = "grow-1";

/// `counts` says how many apps there are, in turn.
pub(crate) fn measure(world: &mut World, counts: &[usize], report: &mut Report) -> Result<()> {
    remove_others(world)?;
    let tree = world.tree("growth")?;
    let mut table = Table::new(
        "With more apps, each of them pushed and running:",
        &[
            "apps",
            "status ms",
            "flip ms",
            "push until live ms",
            "proxy's memory (PSS) MiB",
        ],
    );
    let (mut first, mut last) = (None, None);
    let mut there = 0;
    for &apps in counts {
        configure(world, there, apps)?;
        for number in there + 1..=apps {
            create_and_push(world, &tree, number)?;
        }
        there = apps;
        let seen = Seen::now(world, &tree)?;
        let figures = [&seen.status, &seen.flip, &seen.push, &seen.memory];
        table.row([apps.to_string().as_str()], figures.into_iter().cloned());
        first.get_or_insert(seen.clone());
        last = Some(seen);
    }
    let (first, last) = first.zip(last).context("something was measured")?;
    let line = |what: &str, unit, of: fn(&Seen) -> &Samples| {
        let (what, few) = (format!("{what} with {there} apps"), format!("with {}", counts[0]));
        Line::new(what, unit, of(&last)).against(few, of(&first))
    };
    report.line(line("`deployer status`", "ms", |seen| &seen.status));
    report.line(line("flip, durable,", "ms", |seen| &seen.flip).at_most(5.0));
    report.line(line("push until live", "ms", |seen| &seen.push));
    report.line(line("proxy's memory (PSS), idle,", "MiB", |seen| &seen.memory));
    report.table(table);
    Ok(())
}

#[derive(Clone)]
struct Seen {
    status: Samples,
    flip: Samples,
    push: Samples,
    memory: Samples,
}

impl Seen {
    fn now(world: &World, tree: &Tree) -> Result<Self> {
        let pid = world.wait(world.proxy.info())?.pid;
        Ok(Self {
            push: (0..PUSHES).map(|_| push(world, tree)).collect::<Result<_>>()?,
            status: (0..STATUSES).map(|_| status(world)).collect::<Result<_>>()?,
            flip: flips(world)?,
            memory: Samples(vec![process::memory(pid)?]),
        })
    }
}

/// What other parts have made: it would count.
fn remove_others(world: &World) -> Result<()> {
    for app in world.deployer(&["app", "list"])?.lines() {
        if app.parse::<deployer::model::AppName>().is_ok() {
            world.deployer(&["app", "remove", app, "--yes"])?;
        }
    }
    Ok(())
}

/// Hosts and ports for the apps after number `there`, up to number `apps`.
fn configure(world: &mut World, there: usize, apps: usize) -> Result<()> {
    let ports = ports::free(2 * (apps - there))?;
    let mut sections = String::new();
    for (number, ports) in (there + 1..=apps).zip(ports.chunks_exact(2)) {
        let _ = write!(
            sections,
            "\n[app.grow-{number}]\nhosts = [\"grow-{number}.bench\"]\nports = {{ green = {}, blue = {} }}\n",
            ports[0], ports[1]
        );
    }
    world.configure(&sections)
}

/// The first app has a standby too, so that it can be flipped.
fn create_and_push(world: &World, tree: &Tree, number: usize) -> Result<()> {
    let app = format!("grow-{number}");
    world.deployer(&["app", "create", &app])?;
    let slots: &[&str] = if app == APP {
        &["blue", "green"]
    } else {
        &["green"]
    };
    for slot in slots {
        tree.change(&format!("{app}-{slot}"))?;
        tree.push(&world.remote(&app, slot))?;
        world.wait_for_worker(&app)?;
    }
    Ok(())
}

fn status(world: &World) -> Result<f64> {
    let begun = Instant::now();
    world.deployer(&["status"])?;
    Ok(milliseconds(begun.elapsed()))
}

/// Back and forth: an even number ends where it began.
fn flips(world: &World) -> Result<Samples> {
    let routes = world.wait(world.proxy.routes())?;
    let mut route = routes
        .into_iter()
        .find(|route| route.app.to_string() == APP)
        .context("the app has a route")?;
    flip::flips(world, &mut route, FLIPS, || Ok(()))
}

fn push(world: &World, tree: &Tree) -> Result<f64> {
    let poller = Poller::start(world.settings.proxy.listen, &world.host(APP)?, "/instance");
    let (before, _) = poller.wait_for(|_| true, super::push::DEADLINE)?;
    let label = format!("{APP}-{before}");
    tree.change(&label)?;
    let begun = Instant::now();
    tree.push(&world.remote(APP, "green"))?;
    let (_, live) = poller.wait_for(|instance| instance != before, super::push::DEADLINE)?;
    world.wait_for_worker(APP)?;
    Ok(milliseconds(live - begun))
}
