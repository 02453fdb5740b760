//! start: the release's instances, at their planned addresses, beside what runs.

use anyhow::{Context as _, bail};
use futures_util::future::try_join_all;
use tokio::try_join;

use super::context::{App, Context};
use super::entry::Learned;
use super::hopeless;
use super::identity;
use super::pull::bring_back;
use super::retry::engine_that_answers;
use super::route::{self, route_of};
use super::run::{Done, Run};
use super::say;
use crate::engine::{Engine, Instance, InstanceSpec, NetworkId};
use crate::model::{AddressPlan, ImageRef, Intent, ProbeKind, ReleaseId, Restart, Slot};
use crate::proxy::AppRoute;
use crate::store::Running;

pub(super) async fn start(run: &mut Run<'_>) -> Done {
    let (running, ground) = try_join!(to_run(run), Ground::of(run.context, &run.app))?;
    clear_lane(run, &running, &ground).await?;
    ground.ensure(run.slot(), &running).await?;
    let learned = Learned::Started {
        lane: running.lane,
        port: running.port,
        instances: running.instances,
    };
    let at = route::upstreams(run.context, &run.app, run.slot(), &running)?;
    let at: Vec<String> = at.iter().map(ToString::to_string).collect();
    let instances = say::count(running.instances.into(), "instance");
    Ok((learned, format!("{instances} at {}", at.join(", "))))
}

/// What [`create_ahead`] is to make of `image`. A container knows nothing of its port: the start asks for that.
pub(super) fn created_ahead(run: &Run<'_>, image: &ImageRef) -> Running {
    new_of(run, image.clone(), 0)
}

/// Makes the containers of a new release whose image is on this host, and starts none.
///
/// # Errors
/// When one cannot be made: the start makes it then, and tells why it cannot.
pub(super) async fn create_ahead(
    context: &Context,
    app: &App,
    slot: Slot,
    new: &Running,
) -> anyhow::Result<()> {
    let ground = Ground::of(context, app).await?;
    let plan = AddressPlan::new(context.settings.engine.subnet, app.file.index)?;
    let creates = (0..new.instances).map(async |index| {
        let spec = ground.spec(&plan, slot, new, index);
        ground.engine.create_on(&ground.network, &spec).await
    });
    try_join_all(creates).await?;
    Ok(())
}

async fn to_run(run: &Run<'_>) -> anyhow::Result<Running> {
    match run.record.intent {
        Intent::Promote { .. } => to_promote(run).await,
        Intent::Deploy { .. } => planned(run).await,
    }
}

/// What the release will run, with the port that the image or the configuration names.
async fn planned(run: &Run<'_>) -> anyhow::Result<Running> {
    let image = run.image()?;
    let port = match run.app.settings.container_port {
        Some(port) => port,
        None => exposed_port(run.context.engine().await?, &image, &run.app).await?,
    };
    Ok(new_of(run, image, port))
}

/// What a new release of `image` runs on `port`.
fn new_of(run: &Run<'_>, image: ImageRef, port: u16) -> Running {
    Running {
        release: run.record.id,
        lane: run.lane(),
        instances: run.app.settings.instances,
        port,
        image,
        commit: run.record.source.commit().cloned(),
        stopped: false,
    }
}

async fn exposed_port(engine: &Engine, image: &ImageRef, app: &App) -> anyhow::Result<u16> {
    let facts = engine
        .image(&image.to_string())
        .await?
        .with_context(|| format!("the image {image} is not on this host"))?;
    hopeless::port_of(&app.name, &app.settings, &facts)
}

/// What a promotion makes live, refused where the probe is by now one that its image cannot pass. Others were looked at
/// when their image came.
async fn to_promote(run: &Run<'_>) -> anyhow::Result<Running> {
    let running = run.running()?;
    if run.app.settings.probe.kind == ProbeKind::Healthcheck {
        let engine = run.context.engine().await?;
        // One that runs is healthy already, or will be by its own time.
        if let Some(facts) = engine.image(&running.image.to_string()).await?
            && facts.healthcheck.is_none()
        {
            bail!(say::image_without_healthcheck(&run.app.name));
        }
    }
    Ok(running)
}

/// Removes what an earlier run left on the lane that is about to be used, unless requests reach it.
async fn clear_lane(run: &Run<'_>, running: &Running, ground: &Ground<'_>) -> anyhow::Result<()> {
    let is_stray = |instance: &&Instance| {
        instance.slot == run.slot() && instance.lane == running.lane && instance.release != running.release
    };
    let strays: Vec<&Instance> = ground.there.iter().filter(is_stray).collect();
    if strays.is_empty() {
        return Ok(());
    }
    let routes = run.context.proxy.routes().await?;
    if let Some(routed) = strays.iter().find(|stray| is_routed(&routes, stray)) {
        bail!(say::lane_is_routed(&run.app.name, running.lane, routed.release));
    }
    for stray in strays {
        ground.engine.remove(&stray.id).await?;
    }
    Ok(())
}

/// Whether requests reach the instance: then state is wrong, and it must not be removed.
fn is_routed(routes: &[AppRoute], instance: &Instance) -> bool {
    let targets = routes.iter().flat_map(|route| route.slots.values());
    targets
        .filter_map(|slot| slot.target.as_ref())
        .flat_map(|target| &target.upstreams)
        .any(|upstream| *upstream.ip() == instance.address)
}

/// Makes sure that every instance of what a slot runs is there and started. An instance that runs is left
/// alone; one that was stopped is started again; one that is gone is made anew from its image, which is pulled where
/// this host has not got it.
///
/// # Errors
/// When an instance cannot be started.
pub(super) async fn ensure(
    context: &Context,
    app: &App,
    slot: Slot,
    running: &Running,
) -> anyhow::Result<()> {
    Ground::of(context, app).await?.ensure(slot, running).await
}

/// What instances are started on and beside.
struct Ground<'a> {
    context: &'a Context,
    app: &'a App,
    /// Empty where it is not known.
    installation: String,
    engine: &'a Engine,
    network: NetworkId,
    /// Every container of the app.
    there: Vec<Instance>,
}

impl<'a> Ground<'a> {
    async fn of(context: &'a Context, app: &'a App) -> anyhow::Result<Self> {
        let engine = context.engine().await?;
        let (network, there) = try_join!(engine.ensure_network(), engine.instances(Some(&app.name)))?;
        identity::are_ours(context, &there)?;
        let identity = context.store.identity().ok().flatten();
        Ok(Self {
            context,
            app,
            installation: identity.map_or(String::new(), |identity| identity.installation),
            engine,
            network,
            there,
        })
    }

    /// See [`ensure`].
    async fn ensure(&self, slot: Slot, running: &Running) -> anyhow::Result<()> {
        let plan = AddressPlan::new(self.context.settings.engine.subnet, self.app.file.index)?;
        let there: Vec<&Instance> = instances_among(&self.there, slot, running).collect();
        if there.len() < usize::from(running.instances) {
            bring_back(self.context, self.app, slot, running).await?;
        }
        let starts = (0..running.instances).map(async |index| {
            match there.iter().find(|instance| instance.index == index) {
                Some(instance) if instance.running => Ok(()),
                Some(instance) => self.engine.start_again(&instance.id).await,
                None => {
                    let spec = self.spec(&plan, slot, running, index);
                    self.engine.start_on(&self.network, &spec).await.map(drop)
                }
            }
        });
        try_join_all(starts).await?;
        Ok(())
    }

    /// Instance `index` of what a slot runs.
    fn spec(&self, plan: &AddressPlan, slot: Slot, running: &Running, index: u8) -> InstanceSpec {
        InstanceSpec {
            app: self.app.name.clone(),
            slot,
            lane: running.lane,
            index,
            release: running.release,
            commit: running.commit.clone(),
            by: self.asked_for(running.release),
            installation: self.installation.clone(),
            state: self.context.store.root().to_owned(),
            image: running.image.clone(),
            address: plan.address(slot, running.lane, index),
            run: self.app.settings.run.clone(),
        }
    }

    /// Who asked for a release, by the one word that people know them by; empty where that is not known.
    fn asked_for(&self, release: ReleaseId) -> String {
        let record = self.context.store.release(&self.app.name, release).record();
        let by = record.ok().flatten().and_then(|record| record.by);
        by.map_or(String::new(), |by| by.name().to_owned())
    }
}

/// Sets what the Engine does when one of these ends by itself: they are ready, or were when they were made.
///
/// # Errors
/// The engine's.
pub(super) async fn settle(engine: &Engine, app: &App, instances: &[Instance]) -> anyhow::Result<()> {
    let restart = app.settings.run.restart;
    try_join_all(
        instances
            .iter()
            .map(|instance| engine.settle(&instance.id, restart)),
    )
    .await?;
    Ok(())
}

/// Stops an instance that waits to be promoted: not even a restart of the Engine starts it again.
///
/// # Errors
/// The engine's.
pub(super) async fn park(engine: &Engine, app: &App, instance: &Instance) -> anyhow::Result<()> {
    engine.settle(&instance.id, Restart::No).await?;
    engine.stop(&instance.id, app.settings.run.stop_grace).await?;
    Ok(())
}

/// The instances of what a slot runs, in the order of their index.
///
/// # Errors
/// When the engine does not answer.
pub(super) async fn instances_of(
    engine: &Engine,
    app: &App,
    slot: Slot,
    running: &Running,
) -> anyhow::Result<Vec<Instance>> {
    let all = engine.instances(Some(&app.name)).await?;
    let mut instances: Vec<Instance> = instances_among(&all, slot, running).cloned().collect();
    instances.sort_by_key(|instance| instance.index);
    Ok(instances)
}

fn instances_among<'a>(
    all: &'a [Instance],
    slot: Slot,
    running: &'a Running,
) -> impl Iterator<Item = &'a Instance> {
    all.iter().filter(move |instance| {
        instance.slot == slot && instance.lane == running.lane && instance.release == running.release
    })
}

/// Takes a start back: a new release's instances go; those of a promoted standby stop if they were stopped. Says
/// what was done, where there was anything to do.
pub(super) async fn take_back(run: &mut Run<'_>) -> anyhow::Result<Option<String>> {
    let mut gone = 0;
    let engine = engine_that_answers(run.context).await?;
    match (run.record.intent, run.ran_before()) {
        (Intent::Promote { .. }, Some(running)) => {
            if running.stopped {
                let_end(run).await;
                for instance in instances_of(engine, &run.app, run.slot(), running).await? {
                    park(engine, &run.app, &instance).await?;
                }
            }
        }
        _ => {
            leave_route(run).await?;
            let_end(run).await;
            for instance in engine.instances(Some(&run.app.name)).await? {
                if instance.release == run.record.id {
                    engine.remove(&instance.id).await?;
                    gone += 1;
                }
            }
        }
    }
    Ok((gone > 0).then(|| format!("{} removed again", say::count(gone, "new instance"))))
}

/// Lets requests end that came while the release was live, where it was for a moment.
async fn let_end(run: &Run<'_>) {
    let Ok(running) = run.running() else { return };
    if let Ok(left) = route::upstreams(run.context, &run.app, run.slot(), &running) {
        let deadline = run.app.settings.drain_deadline;
        // A proxy that does not answer has nothing in flight.
        let _ = run.context.proxy.drain(&left, deadline).await;
    }
}

/// Makes sure that no route names instances that are about to go. The journal says so already; this is for the
/// journal whose last line was damaged.
async fn leave_route(run: &Run<'_>) -> anyhow::Result<()> {
    let Ok(routes) = run.context.proxy.routes().await else {
        return Ok(());
    };
    let targets = routes
        .iter()
        .filter(|route| route.app == run.app.name)
        .flat_map(|route| route.slots.values());
    if targets
        .filter_map(|slot| slot.target.as_ref())
        .any(|target| target.release == run.record.id)
    {
        run.context
            .proxy
            .put_route(&route_of(run.context, &run.app, &run.before)?)
            .await?;
    }
    Ok(())
}
