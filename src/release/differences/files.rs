//! State and the files of releases.

use super::{Difference, Files, StateFault};
use crate::ground::told::Told;
use crate::proxy::AppRoute;
use crate::release::context::App;
use crate::release::route::{goes_to_the_same, route_of};

/// Why state is not what is so; `routes` are the proxy's where it answers, which decide where a release's own files cannot
/// be read.
pub(in crate::release) fn state_fault(
    app: &App,
    files: &Files,
    routes: Option<&[AppRoute]>,
) -> Option<StateFault> {
    let state = match &files.state {
        Ok(state) => state,
        Err(fault) => return Some(StateFault::File(fault.clone())),
    };
    if files.is_moving {
        return None;
    }
    // A slot that ran something once runs something ever after.
    if let Some(release) = files.newest_good.filter(|_| state.slots.is_empty()) {
        return Some(StateFault::Lost(release));
    }
    let damaged = files.damaged.first()?;
    let route = routes?.iter().find(|route| route.app == app.name);
    let agrees = match route {
        Some(route) => goes_to_the_same(route, &route_of(app, state)),
        None => state.slots.is_empty(),
    };
    (!agrees).then(|| StateFault::Doubtful {
        damage: damaged.told.clone(),
    })
}

/// What cannot be read, and what has not ended.
pub(super) fn compare(files: &Files) -> Vec<Difference> {
    let damaged = files.damaged.iter().chain(&files.damaged_before).cloned();
    let newer = |told: &Option<Told>, blocks| told.clone().map(|told| Difference::Newer { told, blocks });
    let orphans = files.unfinished.iter().filter(|release| !release.has_worker);
    damaged
        .map(Difference::Damaged)
        .chain(newer(&files.newer, true))
        .chain(newer(&files.newer_before, false))
        .chain(orphans.map(|orphan| Difference::Unfinished {
            release: orphan.release,
            slot: orphan.slot,
        }))
        .collect()
}
