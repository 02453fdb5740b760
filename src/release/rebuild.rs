//! State written anew: from what runs, what the proxy routes, and what the releases' own files tell.

use std::collections::BTreeMap;

use anyhow::{Context as _, Result, bail};

use super::context::{App, Context};
use super::history::{self, Past};
use super::journal_entry::Outcome;
use super::route::routed;
use crate::engine::{Engine, Instance};
use crate::ground::told::Told;
use crate::model::{ByService, ReleaseId, Slot};
use crate::proxy::AppRoute;
use crate::store::{AppLock, AppState, Running, RunningService};

/// Writes an app's state anew, of which `why` says why it cannot be gone by; a copy of it is kept. Gives a sentence for
/// everything that was done.
///
/// # Errors
/// When the engine or the proxy does not answer, or they do not tell what a slot runs.
pub(super) async fn rebuild_state(
    context: &Context,
    app: &App,
    lock: &AppLock,
    why: String,
) -> Result<Vec<String>> {
    let engine = context.engine().await?;
    let route = routed(context, app).await.with_context(|| {
        format!("{why}; the proxy, which could tell what is live, does not answer either")
    })?;
    let all = history::of(context, &app.name)?;
    let state = state_of(engine, app, route.as_ref(), &all).await?;
    let aside = context.store.keep_state_aside(lock)?;
    context.store.write_state(lock, &state)?;
    let mut told = vec![why];
    told.extend(aside.map(|aside| format!("it is kept as {}", aside.display())));
    told.push(
        "state was written anew from the containers' labels and the proxy's route; the list of flips is lost"
            .to_owned(),
    );
    Ok(told)
}

async fn state_of(engine: &Engine, app: &App, route: Option<&AppRoute>, all: &[Past]) -> Result<AppState> {
    let instances = engine.instances(Some(&app.name)).await?;
    let mut slots = BTreeMap::new();
    for slot in Slot::BOTH {
        let routed = route.and_then(|route| route.slots.get(&slot)?.target.as_ref());
        let of_slot: Vec<&Instance> = instances
            .iter()
            .filter(|instance| instance.slot == slot)
            .collect();
        let release = match routed {
            Some(target) => Some(target.release),
            None => of_slot
                .iter()
                .map(|instance| instance.release)
                .filter(|release| may_run(*release, all))
                .max(),
        };
        let Some(release) = release else { continue };
        let of_release = of_slot.into_iter().filter(|instance| instance.release == release);
        slots.insert(
            slot,
            running_of(
                slot,
                release,
                routed.is_some(),
                &of_release.collect::<Vec<_>>(),
                all,
            )?,
        );
    }
    Ok(AppState {
        live: route.and_then(|route| route.live),
        slots,
        flips: Vec::new(),
    })
}

fn past(release: ReleaseId, all: &[Past]) -> Option<&Past> {
    all.iter().find(|past| past.record.id == release)
}

/// Whether a slot to which no request goes may be said to run `release`: not one of which it is known that it did
/// not become good, since its instances may never have been ready.
fn may_run(release: ReleaseId, all: &[Past]) -> bool {
    let outcome = past(release, all).map(|past| past.outcome.as_ref());
    outcome.is_none_or(|outcome| outcome.is_some_and(Outcome::is_good))
}

/// What a slot runs, where requests go to it if it `is_routed`: so its instances were not stopped on purpose, whatever
/// they do. By the labels of its containers, each of which tells of all instances of its service; and by the
/// journal of services whose containers are all gone: they are made anew from this.
fn running_of(
    slot: Slot,
    release: ReleaseId,
    is_routed: bool,
    there: &[&Instance],
    all: &[Past],
) -> Result<Running> {
    let told = past(release, all);
    let started = told.and_then(|past| past.facts.started.as_ref());
    let mut services = ByService::new();
    if let (Some(past), Some(started)) = (told, started) {
        let both = started.endpoints.iter();
        services.extend(both.filter_map(|(service, endpoints)| {
            let running = RunningService {
                image: past.facts.images.get(service)?.clone(),
                endpoints: endpoints.clone(),
            };
            Some((service.clone(), running))
        }));
    }
    services.extend(there.iter().map(|instance| {
        let running = RunningService {
            image: instance.image.clone(),
            endpoints: instance.endpoints.clone(),
        };
        (instance.name.service.clone(), running)
    }));
    let lane = there.first().map(|instance| instance.lane);
    let lane = lane.or(started.map(|started| started.lane));
    let Some(lane) = lane.filter(|_| !services.is_empty()) else {
        let told = format!(
            "the proxy routes {slot} to release {release}, of which neither a container nor a journal is left"
        );
        bail!(Told::new(told).hint(format!("push to {slot} again")));
    };
    let commit = match there.first() {
        Some(instance) => instance.commit.clone(),
        None => told.and_then(|past| past.record.source.commit().cloned()),
    };
    Ok(Running {
        release,
        lane,
        commit,
        stopped: !is_routed && !there.is_empty() && there.iter().all(|instance| !instance.running),
        services,
    })
}
