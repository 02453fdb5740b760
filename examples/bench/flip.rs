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

use crate::report::{Goal, Line, Report, Samples};
use crate::world::{World, milliseconds};

const FLIPS: u64 = 300;
/// Not counted.
const WARM_UP: u64 = 20;
/// A block of addresses that no app of the bench gets.
const BLOCK: u32 = 13;

pub(crate) async fn measure(world: &World, report: &mut Report) -> Result<()> {
    let mut route = route(world)?;
    let (mut flips, mut writes) = (Samples::default(), Samples::default());
    for number in 0..WARM_UP + FLIPS {
        route.live = route.live.map(Slot::other);
        let begun = Instant::now();
        world.proxy.put_route(&route).await?;
        let flip = begun.elapsed();
        let write = durable_write(&world.settings.state.join("proxy/routes.json"), &world.work)?;
        if number >= WARM_UP {
            flips.0.push(milliseconds(flip));
            writes.0.push(milliseconds(write));
        }
    }
    world.proxy.remove_route(&route.app).await?;
    report.line(Line {
        what: "flip, durable",
        unit: "ms",
        ours: flips,
        against: Some(("fsynced write of the same bytes", writes)),
        goal: Goal::Below(5.0),
    });
    Ok(())
}

/// A route with both slots running.
fn route(world: &World) -> Result<AppRoute> {
    let app = "flips".parse()?;
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
        app,
        hosts: settings.hosts,
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
