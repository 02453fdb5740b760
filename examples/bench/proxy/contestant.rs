//! What the proxies have in common: each routes hosts to upstreams, runs until it is dropped, and can be flipped.

use std::net::{Ipv4Addr, SocketAddr, SocketAddrV4};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context as _, Result};

use super::{caddy, haproxy, nginx, ours};
use crate::http::{Request, request};
use crate::ports;
use crate::process::{Daemon, wait_for};
use crate::report::Report;
use crate::world::World;

/// Idle connections to the upstream that each proxy keeps, in each of its processes or threads.
const KEPT: usize = 1024;
/// The same where there are many apps.
const KEPT_OF_MANY: usize = 16;

/// Who takes part.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    Deployer,
    Nginx,
    Haproxy,
    Caddy,
}

impl Kind {
    pub(crate) const ALL: [Kind; 4] = [Kind::Deployer, Kind::Nginx, Kind::Haproxy, Kind::Caddy];

    pub(crate) fn name(self) -> &'static str {
        match self {
            Kind::Deployer => "deployer",
            Kind::Nginx => "nginx",
            Kind::Haproxy => "HAProxy",
            Kind::Caddy => "Caddy",
        }
    }

    /// How it is flipped, in words.
    pub(crate) fn flip_told(self) -> &'static str {
        match self {
            Kind::Deployer => "deployer, one call",
            Kind::Nginx => "nginx, configuration and `-s reload`",
            Kind::Haproxy => "HAProxy, configuration and SIGUSR2",
            Kind::Caddy => "Caddy, `POST /load`",
        }
    }

    /// Starts it with every app routed, and waits until the first one answers.
    pub(crate) fn start(self, world: &World, setup: Setup) -> Result<Contestant> {
        let way: Box<dyn Way> = match self {
            Kind::Deployer => Box::new(ours::start(world, &setup)?),
            Kind::Nginx => Box::new(nginx::start(&setup)?),
            Kind::Haproxy => Box::new(haproxy::start(&setup)?),
            Kind::Caddy => Box::new(caddy::start(&setup)?),
        };
        let contestant = Contestant {
            kind: self,
            setup,
            way,
        };
        contestant.wait()?;
        Ok(contestant)
    }
}

/// What a proxy is to do.
#[derive(Debug, Clone)]
pub(crate) struct Setup {
    /// Where its files are.
    pub(crate) folder: PathBuf,
    /// Where it listens on 127.0.0.1.
    pub(crate) port: u16,
    /// Other ports that it may take, one for each app.
    pub(crate) ports: Vec<u16>,
    /// The upstream of each app, whose host is [`host`].
    pub(crate) upstreams: Vec<SocketAddrV4>,
}

impl Setup {
    pub(crate) fn new(folder: &Path, upstreams: &[SocketAddrV4]) -> Result<Self> {
        // All at once: none of them is taken before the proxy runs.
        let mut ports = ports::free(upstreams.len() + 1)?;
        Ok(Self {
            folder: folder.to_owned(),
            port: ports.remove(0),
            ports,
            upstreams: upstreams.to_vec(),
        })
    }

    /// Idle connections to keep for each upstream.
    pub(crate) fn kept(&self) -> usize {
        if self.upstreams.len() == 1 {
            KEPT
        } else {
            KEPT_OF_MANY
        }
    }

    /// Each app's host and upstream.
    pub(crate) fn apps(&self) -> impl Iterator<Item = (String, SocketAddrV4)> {
        let upstreams = self.upstreams.iter().copied().enumerate();
        upstreams.map(|(app, upstream)| (host(app), upstream))
    }
}

/// The host of app number `app`.
pub(crate) fn host(app: usize) -> String {
    format!("app-{app}.bench")
}

/// One proxy's own ways.
pub(crate) trait Way {
    /// The process, or the first of several.
    fn process(&self) -> &Daemon;
    /// What it said is in this file.
    fn log(&self) -> &Path;
    /// Sends all traffic to the upstreams of `setup` from now on.
    fn flip(&mut self, setup: &Setup) -> Result<()>;
}

/// A proxy that runs.
pub(crate) struct Contestant {
    kind: Kind,
    setup: Setup,
    way: Box<dyn Way>,
}

impl Contestant {
    pub(crate) fn kind(&self) -> Kind {
        self.kind
    }

    pub(crate) fn pid(&self) -> u32 {
        self.way.process().pid()
    }

    pub(crate) fn address(&self) -> SocketAddr {
        SocketAddr::from((Ipv4Addr::LOCALHOST, self.setup.port))
    }

    /// Flips the only app to `upstream`.
    pub(crate) fn flip(&mut self, upstream: SocketAddrV4) -> Result<()> {
        self.setup.upstreams = vec![upstream];
        self.way.flip(&self.setup)
    }

    fn wait(&self) -> Result<()> {
        let ask = Request {
            path: super::upstream::SMALL.to_owned(),
            host: host(self.setup.upstreams.len() - 1),
            ..Request::default()
        };
        let what = format!("{} did not answer", self.kind.name());
        wait_for(&what, self.way.log(), || {
            let reply = request(self.address(), &ask, Duration::from_secs(2));
            reply.is_ok_and(|reply| reply.status < 500)
        })
    }
}

/// Which versions were measured.
pub(crate) fn tell_versions(report: &mut Report) -> Result<()> {
    let mut told = Vec::new();
    for (program, argument) in [
        ("nginx", "-v"),
        ("haproxy", "-v"),
        ("caddy", "version"),
        ("wrk", "-v"),
    ] {
        let output = Command::new(program).arg(argument).output();
        let output = output.with_context(|| format!("cannot run {program}"))?;
        let text = [output.stdout, output.stderr].concat();
        let text = String::from_utf8_lossy(&text);
        // `nginx version: nginx/1.22.1`, `HAProxy version 2.6.12-1 2023/…`, `v2.6.2`, `wrk debian/4.1.0-3 [epoll] …`
        let is_version = |word: &&str| word.contains(|char: char| char.is_ascii_digit());
        let version = text.split_whitespace().find(is_version).unwrap_or("?");
        told.push(format!("{program} {version}"));
    }
    report.note(format!("Measured with {}.", told.join(", ")));
    Ok(())
}
