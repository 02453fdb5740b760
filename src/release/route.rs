//! The route that follows from an app's state.

use std::net::SocketAddrV4;
use std::time::Duration;

use super::context::{App, Context};
use crate::model::{AppSettings, ProbeKind, Slot};
use crate::proxy::{AppRoute, HttpProbe, ProxyError, SlotRoute, Target};
use crate::store::AppState;

/// The whole route of `app` in this state.
pub fn route_of(app: &App, state: &AppState) -> AppRoute {
    let slots = Slot::BOTH.map(|slot| {
        let running = state.slots.get(&slot).filter(|running| !running.stopped);
        let target = running.map(|running| Target {
            release: running.release,
            upstreams: running.upstreams().to_vec(),
            probe: probe_of(&app.settings),
        });
        let port = app.ports().of(slot);
        (slot, SlotRoute { port, target })
    });
    AppRoute {
        app: app.name.clone(),
        hosts: app.settings.hosts.clone(),
        response_timeout: app.settings.response_timeout.map(milliseconds),
        body_timeout: app.settings.body_timeout.map(milliseconds),
        live: state.live,
        slots: slots.into(),
        trailers: app.settings.trailers,
    }
}

/// The route of `app` that the proxy has.
///
/// # Errors
/// When it does not answer.
pub(super) async fn routed(context: &Context, app: &App) -> Result<Option<AppRoute>, ProxyError> {
    let routes = context.proxy.current()?.routes().await?;
    Ok(routes.into_iter().find(|route| route.app == app.name))
}

/// The upstreams that requests leave when `old` becomes `new`: those of a public or slot route that changed.
pub fn left_behind(old: &AppRoute, new: &AppRoute) -> Vec<SocketAddrV4> {
    let mut left: Vec<SocketAddrV4> = Vec::new();
    let mut leave = |old: &[SocketAddrV4], new: &[SocketAddrV4]| {
        for address in old {
            if !new.contains(address) && !left.contains(address) {
                left.push(*address);
            }
        }
    };
    leave(public(old), public(new));
    for slot in Slot::BOTH {
        leave(of_slot(old, slot), of_slot(new, slot));
    }
    left
}

/// Whether two routes send every request to the same upstreams, whatever their ports, hosts and probes: a
/// configuration that was changed meanwhile may name a port that cannot be had.
pub(super) fn goes_to_the_same(one: &AppRoute, other: &AppRoute) -> bool {
    fn target(route: &AppRoute, slot: Slot) -> Option<&Target> {
        route.slots.get(&slot)?.target.as_ref()
    }
    one.live == other.live
        && Slot::BOTH
            .iter()
            .all(|slot| match (target(one, *slot), target(other, *slot)) {
                (Some(one), Some(other)) => one.has_the_instances_of(other),
                (one, other) => one.is_none() && other.is_none(),
            })
}

/// Whether two routes serve the same, however the instances are probed. A proxy that was upgraded has the routes
/// that its former version wrote.
pub(super) fn serves_the_same(one: &AppRoute, other: &AppRoute) -> bool {
    let ports = |route: &AppRoute| Slot::BOTH.map(|slot| route.slots.get(&slot).map(|slot| slot.port));
    let timeouts = |route: &AppRoute| (route.response_timeout, route.body_timeout);
    goes_to_the_same(one, other)
        && one.hosts == other.hosts
        && one.trailers == other.trailers
        && ports(one) == ports(other)
        && timeouts(one) == timeouts(other)
}

/// How the proxy asks an instance that it could not reach whether it is ready again. What only the Engine can ask is
/// replaced by a connection.
fn probe_of(settings: &AppSettings) -> Option<HttpProbe> {
    let ProbeKind::Http { path, status, host } = &settings.public().probe.kind else {
        return None;
    };
    Some(HttpProbe {
        path: path.clone(),
        host: host.clone().unwrap_or_else(|| settings.own_host()),
        status: *status,
        timeout: milliseconds(settings.public().probe.timeout),
    })
}

fn milliseconds(duration: Duration) -> u64 {
    duration.as_millis().try_into().unwrap_or(u64::MAX)
}

/// The host and path that tell through the public port whether an app is served.
pub(super) fn asked_for(settings: &AppSettings) -> (String, &str) {
    let path = match &settings.public().probe.kind {
        ProbeKind::Http { path, .. } => path,
        _ => "/",
    };
    (settings.own_host(), path)
}

fn public(route: &AppRoute) -> &[SocketAddrV4] {
    route.live.map_or(&[], |slot| of_slot(route, slot))
}

fn of_slot(route: &AppRoute, slot: Slot) -> &[SocketAddrV4] {
    let target = route.slots.get(&slot).and_then(|slot| slot.target.as_ref());
    target.map_or(&[], |target| &target.upstreams)
}
