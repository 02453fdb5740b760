//! The proxy: its routes, ports and configuration, and what comes through it.

use super::{Branch, Difference, Host, Own, Should};
use crate::model::Slot;
use crate::proxy::AppRoute;
use crate::release::messages::VisitorsSee;
use crate::release::route::{route_of, serves_the_same};
use crate::store::AppState;

/// What differs of an app at the proxy. Where `state` is not known its route is not, either.
pub(super) fn compare(should: &Should, state: Option<&AppState>, host: &Host, own: &Own) -> Vec<Difference> {
    let (app, proxy) = (&should.app, &host.proxy);
    let mut found: Vec<Difference> = proxy
        .kind
        .clone()
        .map(Difference::ProxyKind)
        .into_iter()
        .collect();
    match &proxy.routes {
        Err(told) => found.push(Difference::Proxy { told: told.clone() }),
        Ok(routes) => {
            let state = state.filter(|_| !should.files.is_moving);
            found.extend(state.and_then(|state| route(should, state, routes)));
        }
    }
    found.extend(proxy.mismatches.iter().cloned().map(Difference::Configuration));
    let out = proxy.out.iter().filter(|out| out.app == app.name);
    found.extend(out.cloned().map(Difference::Out));
    let ports = Slot::BOTH.map(|slot| app.ports().of(slot));
    let closed = proxy.closed.iter().filter(|closed| ports.contains(&closed.port));
    found.extend(closed.map(|closed| Difference::Closed {
        closed: closed.clone(),
        tries_again: proxy.tries_again,
    }));
    if !own.unreserved.is_empty() {
        found.push(Difference::Unreserved(own.unreserved.clone()));
    }
    if let Some(VisitorsSee::Problem(told)) = host.visitors.get(&app.name) {
        found.push(Difference::Visitors(told.clone()));
    }
    found.extend(own.branches.iter().filter_map(branch));
    found
}

/// How the app's route differs from the one that follows from state.
fn route(should: &Should, state: &AppState, routes: &[AppRoute]) -> Option<Difference> {
    let wanted = route_of(&should.app, state);
    match routes.iter().find(|route| route.app == should.app.name) {
        Some(has) if *has == wanted => None,
        None if state.slots.is_empty() => None,
        // A proxy that was upgraded has the routes that its former version wrote.
        Some(has) if serves_the_same(has, &wanted) => Some(Difference::Probes),
        _ => Some(Difference::Route),
    }
}

/// A branch that is still where it was before what its slot runs was pushed.
fn branch(branch: &Branch) -> Option<Difference> {
    let did_not_move = branch.tip == branch.before && branch.tip != branch.released;
    did_not_move.then(|| Difference::Branch {
        slot: branch.slot,
        release: branch.release,
        branch: branch.name.clone(),
    })
}
