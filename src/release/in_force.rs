//! The settings that are in force: those that what runs was made under, whatever the configuration says by now. What is made
//! of them is [`identity`](super::identity)'s.

use super::differences::settings::{Held, SettingsDiffer, changed};
use super::journal_entry::has_ended;
use crate::model::{AppName, EngineSettings, Scope, Settings};
use crate::store::{Identity, Store};

/// Where `settings` differ from what is in force and something runs, they become what is in force. Gives what differs.
pub(super) fn adopt(settings: &mut Settings, store: &Store, scope: &Scope) -> Option<SettingsDiffer> {
    let identity = store.identity().ok().flatten()?;
    if is_of(&identity, &settings.engine) {
        return None;
    }
    let held = held(store);
    if held.is_empty() {
        return None;
    }
    let differs = SettingsDiffer::of(&identity, &settings.engine, &held, scope);
    settings.engine.host = identity.host;
    settings.engine.network = identity.network;
    settings.engine.subnet = identity.subnet;
    Some(differs)
}

pub(super) fn is_of(identity: &Identity, settings: &EngineSettings) -> bool {
    changed(identity, settings).is_empty()
}

/// What slots run, and releases that have not ended.
pub(super) fn held(store: &Store) -> Vec<Held> {
    let apps = store.apps().unwrap_or_default();
    apps.iter().flat_map(|app| held_of(store, app)).collect()
}

fn held_of(store: &Store, app: &AppName) -> Vec<Held> {
    let Ok(state) = store.state(app) else {
        return vec![Held::new(app, format!("{app}, whose state cannot be read"))];
    };
    let running = state.slots.iter().map(|(slot, running)| {
        let live = if state.live == Some(*slot) { " (live)" } else { "" };
        format!("{app}/{slot} release {}{live}", running.release)
    });
    let unfinished = store.releases(app).unwrap_or_default();
    let unfinished = unfinished.into_iter().filter(|release| !has_ended(release));
    let unfinished = unfinished.map(|release| format!("{app} release {}, which has not ended", release.id()));
    let all = running.chain(unfinished);
    all.map(|told| Held::new(app, told)).collect()
}
