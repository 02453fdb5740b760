//! deployer's own proxy: a route for each app. A flip is one call to its control socket.

use std::collections::BTreeMap;
use std::fs;
use std::net::SocketAddrV4;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::Result;
use deployer::model::{ReleaseId, Slot};
use deployer::proxy::{AppRoute, Control, SlotRoute, Target};
use tokio::runtime::Runtime;

use super::contestant::{Setup, Way, host};
use crate::process::{Daemon, wait_for};
use crate::world::World;

pub(super) struct Ours {
    process: Daemon,
    log: PathBuf,
    control: Control,
    runtime: Runtime,
}

pub(super) fn start(world: &World, setup: &Setup) -> Result<Ours> {
    let state = setup.folder.join(format!("state-{}", setup.port));
    let configuration = setup.folder.join("deployer.toml");
    let text = format!(
        "state = {:?}\n[proxy]\nlisten = \"127.0.0.1:{}\"\n",
        state.display().to_string(),
        setup.port
    );
    fs::write(&configuration, text)?;
    let log = setup.folder.join("deployer.log");
    let mut command = Command::new(&world.deployer);
    command.arg("--config").arg(configuration).args(["proxy", "run"]);
    let process = Daemon::start(&mut command, &log)?;
    let socket = state.join("proxy/control.sock");
    wait_for("deployer's proxy did not start", &log, || socket.exists())?;
    let mut ours = Ours {
        process,
        log,
        control: Control::new(&socket),
        runtime: tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()?,
    };
    ours.flip(setup)?;
    Ok(ours)
}

impl Way for Ours {
    fn process(&self) -> &Daemon {
        &self.process
    }

    fn log(&self) -> &Path {
        &self.log
    }

    fn flip(&mut self, setup: &Setup) -> Result<()> {
        for (app, upstream) in setup.upstreams.iter().enumerate() {
            let route = route(app, setup.ports[app], *upstream)?;
            self.runtime.block_on(self.control.put_route(&route))?;
        }
        Ok(())
    }
}

/// A new release of the live slot. One slot is enough: a second one would be a second port and no work for requests.
fn route(app: usize, port: u16, upstream: SocketAddrV4) -> Result<AppRoute> {
    let target = Target {
        release: ReleaseId(1),
        upstreams: vec![upstream],
        probe: None,
    };
    let slot = SlotRoute {
        port,
        target: Some(target),
    };
    Ok(AppRoute {
        trailers: false,
        app: format!("app-{app}").parse()?,
        hosts: vec![host(app)],
        response_timeout: None,
        body_timeout: None,
        live: Some(Slot::Blue),
        slots: BTreeMap::from([(Slot::Blue, slot)]),
    })
}
