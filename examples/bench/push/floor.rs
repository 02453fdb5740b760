//! The floor of a push: the same build, push, pull, create, start and first answer, one after another through the
//! Engine's API, and nothing else.

use std::collections::BTreeMap;
use std::net::{SocketAddr, SocketAddrV4};
use std::path::PathBuf;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use deployer::engine::{BuildRequest, ContainerId, Engine, InstanceSpec, Transfer};
use deployer::model::{AddressPlan, AppName, ImageRef, InstanceName, Lane, ReleaseId, ServiceName, Slot};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use super::{Round, Steps};
use crate::poll::Poller;
use crate::world::{Tree, World, milliseconds};

/// A block of addresses that no app has while this runs.
const BLOCK: u32 = 14;
/// Pause between two tries of the first answer.
const PROBE_PAUSE: Duration = Duration::from_millis(10);
const PROBE_DEADLINE: Duration = Duration::from_secs(30);

/// How the floor speaks to the registry, which wants no password.
const OPEN: Transfer<'static> = Transfer {
    credentials: None,
    timeout: Duration::from_secs(60),
};

pub(super) struct Floor<'a> {
    world: &'a World,
    tree: &'a Tree,
    app: AppName,
    /// The host whose traffic is asked for meanwhile.
    host: String,
    /// A worktree of `tree`.
    context: PathBuf,
    /// How many rounds there were.
    rounds: u64,
    /// What the round before left running.
    runs: Option<ContainerId>,
}

impl<'a> Floor<'a> {
    pub(super) fn new(world: &'a World, tree: &'a Tree, app: &str) -> Result<Self> {
        let context = world.work.join(format!("trees/{app}-floor"));
        tree.git(&["worktree", "add", "-q", "--detach", &context.to_string_lossy()])?;
        world.wait(async {
            let engine = Engine::connect(&world.settings.engine).await?;
            engine.ensure_network().await.map(drop)
        })?;
        Ok(Self {
            world,
            tree,
            app: format!("{app}-floor").parse()?,
            host: world.host(app)?,
            context,
            rounds: 0,
            runs: None,
        })
    }

    /// The Engine's calls for what was committed. The tree is checked out before, and what ran before is removed
    /// after, both while no clock runs.
    pub(super) fn round(&mut self, tag: &str) -> Result<Round> {
        let commit = self.tree.git(&["rev-parse", "HEAD"])?;
        let context = self.context.to_string_lossy();
        self.tree
            .git(&["-C", &context, "checkout", "-q", "--detach", commit.trim()])?;
        self.rounds += 1;
        // As much is asked meanwhile as in the others' rounds.
        let _load = Poller::start(self.world.settings.proxy.listen, &self.host, "/instance");
        let (steps, id) = self.world.wait(self.calls(tag))?;
        self.remove()?;
        self.runs = Some(id);
        let took = steps.iter().map(|(_, took)| took / 1000.0).sum();
        Ok(Round {
            took: Duration::from_secs_f64(took),
            gap: Duration::ZERO,
            steps,
        })
    }

    /// Removes what it runs.
    pub(super) fn finish(&mut self) -> Result<()> {
        self.remove()
    }

    async fn calls(&self, tag: &str) -> Result<(Steps, ContainerId)> {
        let repository = self
            .world
            .settings
            .registry
            .repository(&self.app, &ServiceName::web());
        let tag = format!("{repository}:{tag}");

        let mut clock = Clock::start();
        let engine = Engine::connect(&self.world.settings.engine).await?;
        clock.lap("connect");
        let request = BuildRequest {
            context: self.context.clone(),
            root: self.context.clone(),
            dockerfile: "Dockerfile".to_owned(),
            args: BTreeMap::new(),
            target: None,
            tag: tag.clone(),
            labels: BTreeMap::new(),
            offered: Default::default(),
            pull: false,
            logins: Vec::new(),
        };
        engine.build(&request, &mut |_| {}).await?;
        clock.lap("build");
        let digest = engine.push(&tag, OPEN, &mut |_| {}).await?;
        clock.lap("push");
        let image = ImageRef { repository, digest };
        engine.pull(&image, OPEN, &mut |_| {}).await?;
        clock.lap("pull");
        let spec = self.instance(image)?;
        let id = engine.start(&spec).await?;
        clock.lap("start");
        first_answer(spec.endpoints[0].into()).await?;
        clock.lap("probe");
        Ok((clock.laps, id))
    }

    fn instance(&self, image: ImageRef) -> Result<InstanceSpec> {
        let plan = AddressPlan::new(self.world.settings.engine.subnet, BLOCK)?;
        let lane = if self.rounds.is_multiple_of(2) {
            Lane::A
        } else {
            Lane::B
        };
        Ok(InstanceSpec {
            installation: String::new(),
            state: PathBuf::new(),
            by: String::new(),
            app: self.app.clone(),
            slot: Slot::Green,
            lane,
            name: InstanceName {
                service: ServiceName::web(),
                index: 0,
            },
            release: ReleaseId(self.rounds),
            commit: None,
            image,
            endpoints: vec![SocketAddrV4::new(plan.address(Slot::Green, lane, 0), 8080)],
            run: self.world.settings.app(&self.app).public().run.clone(),
        })
    }

    fn remove(&mut self) -> Result<()> {
        let Some(id) = self.runs.take() else { return Ok(()) };
        self.world.wait(async {
            let engine = Engine::connect(&self.world.settings.engine).await?;
            engine.remove(&id).await.map(drop)
        })?;
        Ok(())
    }
}

async fn first_answer(address: SocketAddr) -> Result<()> {
    let begun = Instant::now();
    while ask(address).await.is_err() {
        ensure!(begun.elapsed() < PROBE_DEADLINE, "{address} did not answer");
        tokio::time::sleep(PROBE_PAUSE).await;
    }
    Ok(())
}

async fn ask(address: SocketAddr) -> Result<()> {
    let mut stream = TcpStream::connect(address).await?;
    stream
        .write_all(b"GET /healthz HTTP/1.1\r\nHost: floor\r\nConnection: close\r\n\r\n")
        .await?;
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).await?;
    let is_good = answer.starts_with(b"HTTP/1.1 200 ");
    is_good.then_some(()).context("the answer is no success")
}

struct Clock {
    last: Instant,
    laps: Steps,
}

impl Clock {
    fn start() -> Self {
        Self {
            last: Instant::now(),
            laps: Vec::new(),
        }
    }

    fn lap(&mut self, step: &'static str) {
        let now = Instant::now();
        self.laps.push((step, milliseconds(now - self.last)));
        self.last = now;
    }
}
