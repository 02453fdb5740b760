//! Containers and their network.

use std::collections::BTreeMap;

use super::{Difference, EngineSays, Host, InstanceOf, NetworkFault, Own, Seen, Should};
use crate::engine::{ContainerId, Status};
use crate::model::{AppName, ReleaseId, Slot};
use crate::release::instances::is_of;
use crate::store::{AppState, Running};

/// What differs of an app's containers. Where `state` is not known nothing can be said of them.
pub(super) fn compare(should: &Should, state: Option<&AppState>, host: &Host, own: &Own) -> Vec<Difference> {
    let engine = match &host.engine {
        Ok(engine) => engine,
        Err(told) => return vec![Difference::Engine { told: told.clone() }],
    };
    let Some(state) = state.filter(|_| !should.files.is_moving) else {
        return Vec::new();
    };
    let mut found = Vec::new();
    let is_needed = |fault: &&NetworkFault| match fault {
        NetworkFault::Missing(_) => !state.slots.is_empty(),
        NetworkFault::Wrong(_) => true,
    };
    let network = engine.network.iter().filter(is_needed).cloned();
    found.extend(network.map(Difference::Network));
    let app = &should.app.name;
    for (slot, running) in state.slots.iter().filter(|(_, running)| !running.stopped) {
        found.extend(missing(app, *slot, running, engine));
        for seen in run_by(engine, app, *slot, running) {
            found.extend(unwell(*slot, running.release, seen, host));
        }
    }
    found.extend(strays(should, state, engine, own));
    found
}

/// The containers of what a slot runs, at the addresses that are recorded for them.
pub(in crate::release) fn run_by<'a>(
    engine: &'a EngineSays,
    app: &AppName,
    slot: Slot,
    running: &Running,
) -> impl Iterator<Item = &'a Seen> {
    let is_ours = move |seen: &&Seen| seen.instance.app == *app && is_of(&seen.instance, slot, running);
    engine.instances.iter().filter(is_ours)
}

fn missing(app: &AppName, slot: Slot, running: &Running, engine: &EngineSays) -> Option<Difference> {
    let up = run_by(engine, app, slot, running).filter(|seen| seen.instance.running);
    let (up, wanted) = (up.count(), running.instances());
    (up < wanted).then_some(Difference::Missing {
        slot,
        release: running.release,
        up,
        wanted,
    })
}

/// What is wrong with one instance, beside that it is not up.
fn unwell(slot: Slot, release: ReleaseId, seen: &Seen, host: &Host) -> Vec<Difference> {
    let of = InstanceOf {
        slot,
        release,
        name: seen.instance.name.clone(),
    };
    let status = match seen.status {
        Some(Status::Paused) => Some(Difference::Paused {
            of: of.clone(),
            container: seen.instance.id.clone(),
        }),
        Some(Status::Created) => Some(Difference::Unstarted(of.clone())),
        _ => None,
    };
    let ended = seen.endings.clone().map(|endings| Difference::Ended {
        of,
        endings,
        seen: host.seen,
    });
    status.into_iter().chain(ended).collect()
}

/// The app's containers that no slot runs, but for those that are made for a release that somebody works on, or that has
/// not ended.
fn strays(should: &Should, state: &AppState, engine: &EngineSays, own: &Own) -> Vec<Difference> {
    if should.files.newer.is_some() {
        // What such a release has begun only a newer deployer knows.
        return Vec::new();
    }
    let unfinished = &should.files.unfinished;
    let has_ended =
        |release| unfinished.iter().all(|it| it.release != release) && !own.at_work.contains(&release);
    let mut strays: BTreeMap<(Slot, ReleaseId), Vec<ContainerId>> = BTreeMap::new();
    for seen in &engine.instances {
        let instance = &seen.instance;
        let running = state.slots.get(&instance.slot);
        let is_run = running.is_some_and(|running| is_of(instance, instance.slot, running));
        if instance.app == should.app.name && !is_run && has_ended(instance.release) {
            let of_release = strays.entry((instance.slot, instance.release)).or_default();
            of_release.push(instance.id.clone());
        }
    }
    let strays = strays.into_iter();
    strays
        .map(|((slot, release), containers)| Difference::Strays {
            slot,
            release,
            containers,
        })
        .collect()
}
