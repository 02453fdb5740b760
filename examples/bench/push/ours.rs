//! deployer as a contestant: pushes to the live slot.

use std::time::Instant;

use anyhow::{Context as _, Result};
use jiff::Timestamp;
use serde_json::Value;

use super::{DEADLINE, Round, Steps};
use crate::poll::Poller;
use crate::world::{Tree, World};

/// The steps before a release is live. The flip is not among them: it goes on for a while when the release is.
const STEPS: [&str; 6] = ["checkout", "build", "push", "pull", "start", "probe"];

pub(super) struct Deployer<'a> {
    world: &'a World,
    tree: &'a Tree,
    app: &'a str,
    host: String,
    /// The instance that answers.
    runs: String,
}

impl<'a> Deployer<'a> {
    pub(super) fn new(world: &'a World, tree: &'a Tree, app: &'a str) -> Result<Self> {
        let host = world.host(app)?;
        Ok(Self {
            world,
            tree,
            app,
            host,
            runs: String::new(),
        })
    }

    /// Pushes what was committed. The release's worker has ended when this returns.
    pub(super) fn round(&mut self) -> Result<Round> {
        let poller = Poller::start(self.world.settings.proxy.listen, &self.host, "/instance");
        let (begun, begun_at) = (Instant::now(), Timestamp::now());
        self.tree.push("green")?;
        let (instance, live) = poller.wait_for(|answer| answer != self.runs, DEADLINE)?;
        self.world.wait_for_worker(self.app)?;
        self.runs = instance;
        Ok(Round {
            took: live - begun,
            gap: poller.seen().gap,
            steps: self.steps(begun_at)?,
        })
    }

    /// The steps of the newest release until it was live, as `deployer releases` tells them.
    fn steps(&self, begun: Timestamp) -> Result<Steps> {
        let told = self
            .world
            .deployer(&["releases", self.app, "-n", "1", "--json"])?;
        let told: Value = serde_json::from_str(&told)?;
        let release = &told["releases"][0];
        let received: Timestamp = release["received"].as_str().context("it was received")?.parse()?;
        let receive = (received.as_nanosecond() - begun.as_nanosecond()) as f64 / 1e6;
        let times = release["steps"].as_array().context("it has steps")?;
        let mut steps = vec![("receive", receive)];
        for name in STEPS {
            let time = times.iter().find(|step| step["step"] == name);
            let time = time.and_then(|step| step["milliseconds"].as_f64());
            steps.push((name, time.with_context(|| format!("{name} has no time"))?));
        }
        Ok(steps)
    }
}
