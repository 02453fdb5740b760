//! Why an instance is not as it should be, as far as the engine and the proxy know.

use std::collections::HashMap;

use futures_util::future::join_all;
use jiff::Timestamp;

use super::context::App;
use super::say;
use crate::engine::{ContainerId, Ending, Engine, Instance, InstanceState, Status};
use crate::model::AppName;
use crate::proxy::OutInstance;
use crate::store::AppState;

/// For how long it is told that an instance was killed for want of memory, in seconds: it runs again, and may be
/// killed again.
const TOLD_FOR: i64 = 60 * 60;

/// How each of these instances is; those that the engine tells nothing of are left out.
pub(super) async fn states(engine: &Engine, instances: &[Instance]) -> HashMap<ContainerId, InstanceState> {
    let states = instances.iter().map(async |instance| {
        let state = engine.instance_state(&instance.id).await.ok()?;
        Some((instance.id.clone(), state))
    });
    join_all(states).await.into_iter().flatten().collect()
}

/// A sentence for every instance of what the app's slots run that has ended, or was short of memory lately.
pub(super) fn endings(
    app: &App,
    state: &AppState,
    instances: &[Instance],
    states: &HashMap<ContainerId, InstanceState>,
) -> Vec<String> {
    let is_meant = |instance: &&Instance| {
        let running = state.slots.get(&instance.slot);
        let is_run = running.is_some_and(|running| !running.stopped && running.release == instance.release);
        instance.app == app.name && is_run
    };
    let sentence = |instance: &Instance| {
        let state = states.get(&instance.id)?;
        let ending = state.ending.as_ref()?;
        let told = match state.status {
            Status::Exited { .. } => say::instance_ended(instance.slot, instance.index, ending),
            Status::Restarting => say::instance_restarts(instance.slot, instance.index, ending),
            _ if ending.oom && is_recent(ending) => {
                say::instance_ran_out_of_memory(&app.name, instance.slot, instance.index, ending)
            }
            _ => return None,
        };
        Some(told)
    };
    instances.iter().filter(is_meant).filter_map(sentence).collect()
}

/// A sentence for every instance of `app` that the proxy has put out.
pub(super) fn out(app: &AppName, out: &[OutInstance]) -> Vec<String> {
    let of_app = out.iter().filter(|instance| instance.app == *app);
    of_app.map(say::instance_is_out).collect()
}

fn is_recent(ending: &Ending) -> bool {
    Timestamp::now().as_second() - ending.at.as_second() < TOLD_FOR
}
