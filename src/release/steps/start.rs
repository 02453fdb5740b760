//! start: the release's instances, at the addresses that are chosen here, beside what runs.

use std::net::SocketAddrV4;

use anyhow::{Context as _, Result, bail};
use tokio::try_join;

use crate::engine::{Engine, Instance};
use crate::model::{AddressPlan, AppName, ByService, ImageRef, Intent, Lane, ProbeKind, ServiceSettings};
use crate::proxy::AppRoute;
use crate::release::attempt::Attempt;
use crate::release::context::Context;
use crate::release::hopeless;
use crate::release::instances::{Ground, instances_of, is_of, park};
use crate::release::journal_entry::{Learned, Started};
use crate::release::messages;
use crate::release::retry::engine_that_answers;
use crate::release::route::route_of;
use crate::release::work::{Done, Work};
use crate::store::Running;

pub(in crate::release) async fn start(work: &mut Work<'_>) -> Done {
    let attempt = &work.attempt;
    let (running, ground) = try_join!(to_run(work), Ground::of(work.context, &attempt.app))?;
    clear_lane(work, &running, &ground).await?;
    ground.ensure(attempt.slot(), &running).await?;
    let at: Vec<String> = running.endpoints().map(|(_, at)| at.to_string()).collect();
    let instances = messages::count(running.instances() as u64, "instance");
    Ok((
        Learned::Started(started(&running)),
        format!("{instances} at {}", at.join(", ")),
    ))
}

/// Where the instances of what runs are.
fn started(running: &Running) -> Started {
    let services = running.services.iter();
    Started {
        lane: running.lane,
        endpoints: services
            .map(|(service, running)| (service.clone(), running.endpoints.clone()))
            .collect(),
    }
}

/// Makes the containers of a new release whose `images` are on this host, and starts none.
///
/// # Errors
/// When one cannot be made: the start makes it then, and tells why it cannot.
pub(super) async fn create_ahead(
    context: &Context,
    attempt: &Attempt,
    images: &ByService<ImageRef>,
) -> Result<()> {
    let new = async { attempt.running_at(images, &plan(context, attempt, images).await?) };
    let (new, ground) = try_join!(new, Ground::of(context, &attempt.app))?;
    ground.create(attempt.slot(), &new).await
}

async fn to_run(work: &Work<'_>) -> Result<Running> {
    let attempt = &work.attempt;
    match attempt.record.intent {
        Intent::Promote { .. } => to_promote(work).await,
        Intent::Deploy { .. } => {
            let images = attempt.images()?;
            attempt.running_at(&images, &plan(work.context, attempt, &images).await?)
        }
    }
}

/// Where the instances of a new release of `images` are to run: on the lane that the slot does not use, and on the port
/// that the configuration or the image names. From here on this is looked up, and not planned once more.
async fn plan(context: &Context, attempt: &Attempt, images: &ByService<ImageRef>) -> Result<Started> {
    let app = &attempt.app;
    let plan = AddressPlan::new(context.settings.engine.subnet, app.file.index)?;
    let lane = attempt
        .ran_before()
        .map_or(Lane::A, |running| running.lane.other());
    let mut addresses = (0..).map(|index| plan.address(attempt.slot(), lane, index));
    let mut endpoints = ByService::new();
    for (service, image) in images {
        let settings = app.settings.service(service);
        let port = match settings.container_port {
            Some(port) => port,
            None => exposed_port(context.engine().await?, image, &app.name, settings).await?,
        };
        let addresses = addresses.by_ref().take(settings.instances.into());
        let at = addresses.map(|address| SocketAddrV4::new(address, port));
        endpoints.insert(service.clone(), at.collect());
    }
    Ok(Started { lane, endpoints })
}

async fn exposed_port(
    engine: &Engine,
    image: &ImageRef,
    app: &AppName,
    settings: &ServiceSettings,
) -> Result<u16> {
    let facts = engine
        .image(&image.to_string())
        .await?
        .with_context(|| format!("the image {image} is not on this host"))?;
    hopeless::port_of(app, settings, &facts)
}

/// What a promotion makes live, refused where the probe is by now one that its image cannot pass. Others were looked at
/// when their image came.
async fn to_promote(work: &Work<'_>) -> Result<Running> {
    let (app, running) = (&work.attempt.app, work.attempt.running()?);
    for (service, image) in running.images() {
        if app.settings.service(&service).probe.kind != ProbeKind::Healthcheck {
            continue;
        }
        let engine = work.context.engine().await?;
        // One that runs is healthy already, or will be by its own time.
        if let Some(facts) = engine.image(&image.to_string()).await?
            && facts.healthcheck.is_none()
        {
            bail!(messages::image_without_healthcheck(&app.name));
        }
    }
    Ok(running.clone())
}

/// Removes what is not to be started: what an earlier run left on the lane that is about to be used, unless requests reach
/// it, and what this one made ahead for other addresses than it has by now.
async fn clear_lane(work: &Work<'_>, running: &Running, ground: &Ground<'_>) -> Result<()> {
    let slot = work.attempt.slot();
    let is_stray = |instance: &&Instance| {
        let is_own = instance.release == running.release;
        instance.slot == slot
            && match is_own {
                true => !is_of(instance, slot, running),
                false => instance.lane == running.lane,
            }
    };
    let strays: Vec<&Instance> = ground.there.iter().filter(is_stray).collect();
    if strays.is_empty() {
        return Ok(());
    }
    let routes = work.context.proxy.current()?.routes().await?;
    if let Some(routed) = strays.iter().find(|stray| is_routed(&routes, stray)) {
        let app = &work.attempt.app.name;
        bail!(messages::lane_is_routed(app, running.lane, routed.release));
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

/// Takes a start back: a new release's instances go; those of a promoted standby stop if they were stopped. Says
/// what was done, where there was anything to do.
pub(in crate::release) async fn take_back(work: &mut Work<'_>) -> Result<Option<String>> {
    let attempt = &work.attempt;
    match (attempt.record.intent, attempt.ran_before()) {
        (Intent::Promote { .. }, Some(running)) => {
            if running.stopped {
                let engine = engine_that_answers(work.context).await?;
                let_end(work).await;
                for instance in instances_of(engine, &attempt.app, attempt.slot(), running).await? {
                    park(engine, &attempt.app, &instance).await?;
                }
            }
        }
        _ => {
            leave_route(work).await?;
            let_end(work).await;
            return remove_new(work).await;
        }
    }
    Ok(None)
}

/// Removes the instances of a new release: of one that has not taken effect those that were made ahead, of which none was
/// started. Says how many, where there was any.
pub(in crate::release) async fn remove_new(work: &Work<'_>) -> Result<Option<String>> {
    let engine = engine_that_answers(work.context).await?;
    let mut gone = 0;
    for instance in engine.instances(Some(&work.attempt.app.name)).await? {
        if instance.release == work.attempt.record.id {
            engine.remove(&instance.id).await?;
            gone += 1;
        }
    }
    Ok((gone > 0).then(|| format!("{} removed again", messages::count(gone, "new instance"))))
}

/// Lets requests end that came while the release was live, where it was for a moment.
async fn let_end(work: &Work<'_>) {
    let Ok(running) = work.attempt.running() else {
        return;
    };
    let deadline = work.attempt.app.settings.drain_deadline;
    if let Ok(proxy) = work.context.proxy.current() {
        // A proxy that does not answer has nothing in flight.
        let _ = proxy.drain(running.upstreams(), deadline).await;
    }
}

/// Makes sure that no route names instances that are about to go. The journal says so already; this is for the
/// journal whose last line was damaged.
async fn leave_route(work: &Work<'_>) -> Result<()> {
    let attempt = &work.attempt;
    let Ok(proxy) = work.context.proxy.current() else {
        return Ok(());
    };
    let Ok(routes) = proxy.routes().await else {
        return Ok(());
    };
    let targets = routes
        .iter()
        .filter(|route| route.app == attempt.app.name)
        .flat_map(|route| route.slots.values());
    if targets
        .filter_map(|slot| slot.target.as_ref())
        .any(|target| target.release == attempt.record.id)
    {
        let before = route_of(&attempt.app, &attempt.before);
        work.context.proxy.put_route(&before).await?;
    }
    Ok(())
}
