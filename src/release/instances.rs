//! The instances of what a slot runs: made, started, found again, and left to the Engine.

use anyhow::Result;
use futures_util::future::try_join_all;
use tokio::try_join;

use super::context::{App, Context};
use super::identity;
use super::images::bring_back;
use crate::engine::{Engine, EngineError, Instance, InstanceSpec, NetworkId};
use crate::model::{InstanceName, ReleaseId, Restart, Slot};
use crate::store::Running;

/// Makes sure that every instance of what a slot runs is there and started. An instance that runs is left
/// alone; one that was stopped is started again; one that is gone is made anew from its image, which is pulled where
/// this host has not got it.
///
/// # Errors
/// When an instance cannot be started.
pub(super) async fn ensure(context: &Context, app: &App, slot: Slot, running: &Running) -> Result<()> {
    Ground::of(context, app).await?.ensure(slot, running).await
}

/// What instances are started on and beside.
pub(super) struct Ground<'a> {
    context: &'a Context,
    app: &'a App,
    /// Empty where it is not known.
    installation: String,
    pub(super) engine: &'a Engine,
    network: NetworkId,
    /// Every container of the app.
    pub(super) there: Vec<Instance>,
}

impl<'a> Ground<'a> {
    pub(super) async fn of(context: &'a Context, app: &'a App) -> Result<Self> {
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
    pub(super) async fn ensure(&self, slot: Slot, running: &Running) -> Result<()> {
        let there: Vec<&Instance> = self.there.iter().filter(|it| is_of(it, slot, running)).collect();
        if there.len() < running.instances() {
            bring_back(self.context, self.app, slot, running).await?;
        }
        let starts = running.endpoints().map(async |(name, _)| {
            match there.iter().find(|instance| instance.name == name) {
                Some(instance) if instance.running => Ok(()),
                Some(instance) => match self.engine.start_again(&instance.id).await {
                    Err(EngineError::NetworkGone { .. }) => {
                        self.engine.remove(&instance.id).await?;
                        self.make(slot, running, name).await
                    }
                    started => started,
                },
                None => self.make(slot, running, name).await,
            }
        });
        try_join_all(starts).await?;
        Ok(())
    }

    /// One instance anew.
    async fn make(&self, slot: Slot, running: &Running, name: InstanceName) -> Result<(), EngineError> {
        let spec = self.spec(slot, running, name);
        self.engine.start_on(&self.network, &spec).await.map(drop)
    }

    /// Makes every instance of what a slot is to run, and starts none.
    ///
    /// # Errors
    /// The engine's.
    pub(super) async fn create(&self, slot: Slot, running: &Running) -> Result<()> {
        let creates = running.endpoints().map(async |(name, _)| {
            let spec = self.spec(slot, running, name);
            self.engine.create_on(&self.network, &spec).await
        });
        try_join_all(creates).await?;
        Ok(())
    }

    /// One instance of what a slot runs.
    fn spec(&self, slot: Slot, running: &Running, name: InstanceName) -> InstanceSpec {
        let service = &running.services[&name.service];
        InstanceSpec {
            app: self.app.name.clone(),
            slot,
            lane: running.lane,
            release: running.release,
            commit: running.commit.clone(),
            by: self.asked_for(running.release),
            installation: self.installation.clone(),
            state: self.context.store.root().to_owned(),
            image: service.image.clone(),
            endpoints: service.endpoints.clone(),
            run: self.app.settings.service(&name.service).run.clone(),
            name,
        }
    }

    /// Who asked for a release, by the one word that people know them by; empty where that is not known.
    fn asked_for(&self, release: ReleaseId) -> String {
        let record = self.context.store.release(&self.app.name, release).record();
        let by = record.ok().flatten().and_then(|record| record.by);
        by.map_or(String::new(), |by| by.name().to_owned())
    }
}

/// Whether `instance` is one of what a slot runs, at the address that is recorded for it.
pub(super) fn is_of(instance: &Instance, slot: Slot, running: &Running) -> bool {
    let service = running.services.get(&instance.name.service);
    let endpoint = service.and_then(|service| service.endpoints.get(usize::from(instance.name.index)));
    instance.slot == slot
        && instance.release == running.release
        && endpoint.is_some_and(|endpoint| *endpoint.ip() == instance.address)
}

/// The instances of what a slot runs, by their names.
///
/// # Errors
/// When the engine does not answer.
pub(super) async fn instances_of(
    engine: &Engine,
    app: &App,
    slot: Slot,
    running: &Running,
) -> Result<Vec<Instance>> {
    let mut instances = engine.instances(Some(&app.name)).await?;
    instances.retain(|instance| is_of(instance, slot, running));
    instances.sort_by(|one, other| one.name.cmp(&other.name));
    Ok(instances)
}

/// Sets what the Engine does when one of these ends by itself: they are ready, or were when they were made.
///
/// # Errors
/// The engine's.
pub(super) async fn settle(engine: &Engine, app: &App, instances: &[Instance]) -> Result<()> {
    try_join_all(instances.iter().map(|instance| {
        let restart = app.settings.service(&instance.name.service).run.restart;
        engine.settle(&instance.id, restart)
    }))
    .await?;
    Ok(())
}

/// Stops an instance that waits to be promoted: not even a restart of the Engine starts it again.
///
/// # Errors
/// The engine's.
pub(super) async fn park(engine: &Engine, app: &App, instance: &Instance) -> Result<()> {
    engine.settle(&instance.id, Restart::No).await?;
    let grace = app.settings.service(&instance.name.service).run.stop_grace;
    engine.stop(&instance.id, grace).await?;
    Ok(())
}
