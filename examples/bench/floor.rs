//! The floor of a push: the same build, push, pull, create, start and first answer, one after another through the
//! Engine's API, and nothing else.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use deployer::engine::{BuildRequest, ContainerId, Engine, InstanceSpec, Transfer};
use deployer::model::{AddressPlan, AppName, ImageRef, Lane, ReleaseId, Slot};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::world::{Tree, World};

/// A block of addresses that no app of the bench gets.
const BLOCK: u32 = 14;
/// Pause between two tries of the first answer.
const PROBE_PAUSE: Duration = Duration::from_millis(10);
const PROBE_DEADLINE: Duration = Duration::from_secs(30);

/// How the floor speaks to the registry, which wants no password.
const OPEN: Transfer<'static> = Transfer {
    credentials: None,
    timeout: Duration::from_secs(60),
};

/// The contestant.
pub(crate) struct Floor<'a> {
    world: &'a World,
    app: AppName,
    tree: Tree,
    /// What the round before left running.
    runs: Option<ContainerId>,
}

/// How long each step took.
pub(crate) type Steps = Vec<(&'static str, Duration)>;

impl<'a> Floor<'a> {
    pub(crate) async fn new(world: &'a World) -> Result<Self> {
        Engine::connect(&world.settings.engine)
            .await?
            .ensure_network()
            .await?;
        Ok(Self {
            world,
            app: "floor".parse()?,
            tree: world.tree("floor")?,
            runs: None,
        })
    }

    /// One round. The tree is there, as for the other contestants; what ran before is removed after it.
    pub(crate) async fn round(&mut self, number: u64) -> Result<Steps> {
        self.tree.change(&format!("floor-{number}"))?;
        std::fs::remove_dir_all(self.tree.path.join("../floor-context")).ok();
        let root = self.context()?;
        let repository = self.world.settings.registry.repository(&self.app);
        let tag = format!("{repository}:{number}");

        let mut clock = Clock::start();
        let engine = Engine::connect(&self.world.settings.engine).await?;
        clock.lap("connect");
        let request = BuildRequest {
            context: root.clone(),
            root,
            dockerfile: "Dockerfile".to_owned(),
            args: BTreeMap::new(),
            target: None,
            tag: tag.clone(),
            labels: BTreeMap::new(),
            credentials: None,
        };
        engine.build(&request, &mut |_| {}).await?;
        clock.lap("build");
        let digest = engine.push(&tag, OPEN, &mut |_| {}).await?;
        clock.lap("push");
        let image = ImageRef { repository, digest };
        engine.pull(&image, OPEN, &mut |_| {}).await?;
        clock.lap("pull");
        let spec = self.instance(number, image)?;
        let id = engine.start(&spec).await?;
        clock.lap("start");
        first_answer(SocketAddr::new(spec.address.into(), 8080)).await?;
        clock.lap("probe");

        if let Some(before) = self.runs.replace(id) {
            engine.remove(&before).await?;
        }
        Ok(clock.laps)
    }

    /// The tree without its repository, as the other contestants check it out.
    fn context(&self) -> Result<std::path::PathBuf> {
        let to = self.world.work.join("trees/floor-context");
        let index = format!("--prefix={}/", to.display());
        self.tree.git(&["checkout-index", "-a", "-f", &index])?;
        Ok(to)
    }

    fn instance(&self, number: u64, image: ImageRef) -> Result<InstanceSpec> {
        let plan = AddressPlan::new(self.world.settings.engine.subnet, BLOCK)?;
        let lane = if number.is_multiple_of(2) {
            Lane::A
        } else {
            Lane::B
        };
        Ok(InstanceSpec {
            app: self.app.clone(),
            slot: Slot::Green,
            lane,
            index: 0,
            release: ReleaseId(number),
            commit: None,
            image,
            address: plan.address(Slot::Green, lane, 0),
            run: self.world.settings.app(&self.app).run,
        })
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
        self.laps.push((step, now - self.last));
        self.last = now;
    }
}
