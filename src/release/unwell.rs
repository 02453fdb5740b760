//! Why an instance is not as it should be, as far as the engine and the proxy know.

use std::collections::HashMap;

use futures_util::future::join_all;
use jiff::Timestamp;
use tokio::join;

use super::context::App;
use super::endings::{self, InstanceEndings};
use super::say;
use crate::engine::{ContainerId, Endings, Engine, Instance, InstanceState, Status};
use crate::model::{AppName, Slot};
use crate::proxy::OutInstance;
use crate::store::AppState;

/// What the engine knows of the instances.
pub(super) struct Seen {
    pub(super) instances: Vec<Instance>,
    states: HashMap<ContainerId, InstanceState>,
    endings: Endings,
    now: Timestamp,
}

impl Seen {
    /// Asks the engine for the instances, for each of them, and beside that for what ended lately.
    ///
    /// # Errors
    /// When the engine does not answer.
    pub(super) async fn of(engine: &Engine) -> anyhow::Result<Self> {
        let look = async {
            let instances = engine.instances(None).await?;
            let states = states(engine, &instances).await;
            anyhow::Ok((instances, states))
        };
        let (looked, endings) = join!(look, engine.endings());
        let (instances, states) = looked?;
        Ok(Self {
            instances,
            states,
            // Without them fewer endings are known.
            endings: endings.unwrap_or_default(),
            now: Timestamp::now(),
        })
    }

    /// How the instances of what a slot runs have ended by themselves lately.
    pub(super) fn endings(&self, app: &App, slot: Slot, state: &AppState) -> Vec<InstanceEndings> {
        let known = |(instance, state): (&Instance, &InstanceState)| {
            endings::known(&instance.name, &instance.id, state, &self.endings, self.now)
        };
        self.run_by(app, slot, state).filter_map(known).collect()
    }

    /// A sentence for every instance of what the app's slots run that has ended lately, or does not run.
    pub(super) fn problems(&self, app: &App, state: &AppState) -> Vec<String> {
        let mut problems = Vec::new();
        for slot in Slot::BOTH {
            let ended = self.endings(app, slot, state);
            problems.extend(
                ended
                    .iter()
                    .map(|endings| say::instance_ended(&app.name, slot, endings, self.now)),
            );
            problems.extend(self.run_by(app, slot, state).filter_map(
                |(instance, state)| match state.status {
                    Status::Paused => {
                        let id: String = instance.id.as_str().chars().take(12).collect();
                        Some(say::instance_is_paused(slot, &instance.name, &id))
                    }
                    Status::Created => Some(say::instance_is_created(&app.name, slot, &instance.name)),
                    _ => None,
                },
            ));
        }
        problems
    }

    /// The instances of what a slot runs, unless it was stopped on purpose.
    fn run_by<'a>(
        &'a self,
        app: &'a App,
        slot: Slot,
        state: &AppState,
    ) -> impl Iterator<Item = (&'a Instance, &'a InstanceState)> + use<'a> {
        let running = state.slots.get(&slot).filter(|running| !running.stopped);
        let release = running.map(|running| running.release);
        let of_it = self.instances.iter().filter(move |instance| {
            instance.app == app.name && instance.slot == slot && Some(instance.release) == release
        });
        of_it.filter_map(|instance| Some((instance, self.states.get(&instance.id)?)))
    }
}

/// How each of these instances is; those that the engine tells nothing of are left out.
async fn states(engine: &Engine, instances: &[Instance]) -> HashMap<ContainerId, InstanceState> {
    let states = instances.iter().map(async |instance| {
        let state = engine.instance_state(&instance.id).await.ok()?;
        Some((instance.id.clone(), state))
    });
    join_all(states).await.into_iter().flatten().collect()
}

/// A sentence for every instance of `app` that the proxy has put out.
pub(super) fn out(app: &AppName, out: &[OutInstance]) -> Vec<String> {
    let of_app = out.iter().filter(|instance| instance.app == *app);
    of_app.map(say::instance_is_out).collect()
}
