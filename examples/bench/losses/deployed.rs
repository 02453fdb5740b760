//! deployer's proxies, each flipped as a release flips it: the embedded one, a program that flips by itself, and a
//! program in front of the embedded one.

use std::collections::BTreeMap;
use std::fs;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::Result;
use deployer::model::{Program, ProxyKind, ReleaseId, Slot};
use deployer::proxy::{AppRoute, Proxy, SlotRoute, Target};
use tokio::runtime::Runtime;

use super::programs;
use super::sides::{SUBNET, Side};
use crate::http::{Request, request};
use crate::ports;
use crate::process::{Daemon, wait_for};
use crate::proxy::contestant::host;
use crate::world::World;

/// A proxy of deployer's that runs.
pub(super) struct Deployed {
    proxy: Proxy,
    runtime: Runtime,
    listen: SocketAddr,
    slot_port: u16,
    releases: u64,
    log: PathBuf,
    /// The program first: the embedded proxy ends when nothing comes any more.
    _processes: Vec<Daemon>,
}

impl Deployed {
    /// Starts one of this kind in a folder of its own within `folder`, with a route to `side`.
    pub(super) fn start(world: &World, kind: ProxyKind, folder: &Path, side: &Side) -> Result<Self> {
        let folder = &folder.join(name(kind));
        // Of an earlier one.
        let _ = fs::remove_dir_all(folder);
        fs::create_dir_all(folder)?;
        let ports = ports::free(4)?;
        let listen = SocketAddr::from((Ipv4Addr::LOCALHOST, ports[0]));
        let place = programs::Place {
            folder: folder.to_owned(),
            spare: ports[2],
            admin: ports[3],
        };
        let configuration = folder.join("deployer.toml");
        fs::write(&configuration, settings(kind, listen, &place))?;
        let settings = deployer::config::load(&configuration)?;
        let mut processes = Vec::new();
        let mut log = folder.join("deployer.log");
        if kind.has_embedded() {
            let mut command = Command::new(&world.deployer);
            command.arg("--config").arg(&configuration).args(["proxy", "run"]);
            processes.push(Daemon::start(&mut command, &log)?);
            let socket = settings.state.join("proxy/control.sock");
            wait_for("deployer's proxy did not start", &log, || socket.exists())?;
        }
        if let Some(program) = kind.program() {
            log = folder.join("program.log");
            processes.insert(0, programs::start(program, &place, &log)?);
        }
        let mut deployed = Self {
            proxy: Proxy::new(&settings, &settings.state.join("proxy")),
            runtime: tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .build()?,
            listen,
            slot_port: ports[1],
            releases: 0,
            log,
            _processes: processes,
        };
        deployed.flip(side, 1)?;
        deployed.wait()?;
        Ok(deployed)
    }

    pub(super) fn address(&self) -> SocketAddr {
        self.listen
    }

    /// A release to the live slot, with so many instances of `side`.
    pub(super) fn flip(&mut self, side: &Side, instances: u8) -> Result<()> {
        self.releases += 1;
        let target = Target {
            release: ReleaseId(self.releases),
            upstreams: (0..instances).map(|index| side.instance(index)).collect(),
            probe: None,
        };
        let slot = SlotRoute {
            port: self.slot_port,
            target: Some(target),
        };
        let route = AppRoute {
            trailers: false,
            app: "app-0".parse()?,
            hosts: vec![host(0)],
            response_timeout: None,
            body_timeout: None,
            live: Some(Slot::Green),
            slots: BTreeMap::from([(Slot::Green, slot)]),
        };
        self.runtime.block_on(self.proxy.put_route(&route))?;
        Ok(())
    }

    fn wait(&self) -> Result<()> {
        let ask = Request {
            path: "/version".to_owned(),
            host: host(0),
            ..Request::default()
        };
        wait_for("no answer through the proxy", &self.log, || {
            let reply = request(self.listen, &ask, Duration::from_secs(2));
            reply.is_ok_and(|reply| reply.status == 200)
        })
    }
}

/// How it is flipped, in words.
pub(super) fn told(kind: ProxyKind) -> String {
    let name = |program| match program {
        Program::Nginx => "nginx",
        Program::Haproxy => "HAProxy",
        Program::Caddy => "Caddy",
    };
    match kind {
        ProxyKind::Embedded => "deployer's embedded proxy".to_owned(),
        ProxyKind::Flip(program) => format!("{} by deployer", name(program)),
        ProxyKind::Front(program) => format!("{} in front of deployer's", name(program)),
    }
}

/// The name of its folder: short, since a socket's path may not be long.
fn name(kind: ProxyKind) -> String {
    match kind {
        ProxyKind::Embedded => "embedded".to_owned(),
        ProxyKind::Flip(program) => format!("flip-{}", program.as_str()),
        ProxyKind::Front(program) => format!("front-{}", program.as_str()),
    }
}

fn settings(kind: ProxyKind, listen: SocketAddr, place: &programs::Place) -> String {
    let state = place.folder.join("state");
    let (name, mode) = match kind {
        ProxyKind::Embedded => ("embedded", "flip"),
        ProxyKind::Flip(program) => (program.as_str(), "flip"),
        ProxyKind::Front(program) => (program.as_str(), "front"),
    };
    let socket = place.folder.join("http.sock");
    let program = kind.program().map(|program| programs::settings(program, place));
    format!(
        "state = {state:?}\n[engine]\nsubnet = \"{SUBNET}\"\n[proxy]\nkind = {name:?}\nmode = {mode:?}\n\
         socket = {socket:?}\nlisten = \"{listen}\"\n{}",
        program.unwrap_or_default()
    )
}
