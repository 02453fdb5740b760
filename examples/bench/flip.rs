//! The flip as the caller of the control socket sees it: durable, and in force when the call returns.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::Write;
use std::net::SocketAddrV4;
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};
use deployer::model::{AddressPlan, Lane, ReleaseId, Slot};
use deployer::proxy::{AppRoute, SlotRoute, Target};

use crate::report::{Line, Report, Samples};
use crate::world::{World, milliseconds};

const FLIPS: u64 = 300;
const APP: &str = "flips";
/// A block of addresses that no app has while this runs.
const BLOCK: u32 = 13;

pub(crate) fn measure(world: &World, report: &mut Report) -> Result<()> {
    let mut route = route(world)?;
    let mut writes = Samples::default();
    let file = world.settings.state.join("proxy/routes.json");
    let flips = flips(world, &mut route, FLIPS, || {
        writes.push(milliseconds(durable_write(&file, &world.work)?));
        Ok(())
    })?;
    world.wait(world.proxy.remove_route(&route.app))?;
    report.line(
        Line::new("flip, durable", "ms", &flips)
            .against("synced write of the same bytes", &writes)
            .at_most(5.0),
    );
    Ok(())
}

/// What each of `count` flips of `route` between its slots takes, in milliseconds. After each comes `between`.
pub(crate) fn flips(
    world: &World,
    route: &mut AppRoute,
    count: u64,
    mut between: impl FnMut() -> Result<()>,
) -> Result<Samples> {
    let mut flips = Samples::default();
    for _ in 0..count {
        route.live = route.live.map(Slot::other);
        let begun = Instant::now();
        world.wait(world.proxy.put_route(route))?;
        flips.push(milliseconds(begun.elapsed()));
        between()?;
    }
    Ok(flips)
}

/// A route with both slots running.
fn route(world: &World) -> Result<AppRoute> {
    let app = APP.parse()?;
    let settings = world.settings.app(&app);
    let ports = settings.ports.context("the app has ports")?;
    let plan = AddressPlan::new(world.settings.engine.subnet, BLOCK)?;
    let slot = |slot| {
        let target = Target {
            release: ReleaseId(1),
            upstreams: vec![SocketAddrV4::new(plan.address(slot, Lane::A, 0), 8080)],
            probe: None,
        };
        let port = ports.of(slot);
        (
            slot,
            SlotRoute {
                port,
                target: Some(target),
            },
        )
    };
    Ok(AppRoute {
        trailers: false,
        app,
        hosts: settings.hosts,
        response_timeout: None,
        body_timeout: None,
        live: Some(Slot::Blue),
        slots: BTreeMap::from(Slot::BOTH.map(slot)),
    })
}

/// How long it takes to write the bytes of `like` to a new file in `folder`, and to have them on the disk.
fn durable_write(like: &Path, folder: &Path) -> Result<Duration> {
    let (bytes, path) = (fs::read(like)?, folder.join("written"));
    let begun = Instant::now();
    let mut file = File::create(&path)?;
    file.write_all(&bytes)?;
    file.sync_all()?;
    let took = begun.elapsed();
    fs::remove_file(path)?;
    Ok(took)
}
