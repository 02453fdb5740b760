//! What an app was given when it was created, made anew where its file is damaged: the containers and the proxy's
//! route still show its addresses and ports.

use std::collections::BTreeSet;
use std::net::Ipv4Addr;

use anyhow::{Context as _, Result, bail};

use super::apps;
use super::context::Context;
use crate::model::{AddressPlan, Slot, SlotPorts};
use crate::proxy::AppRoute;
use crate::store::{AppFile, AppLock, StoreError};

/// Makes `app.json` of the locked app readable: where it is damaged a copy is kept, and it is written anew. Gives a
/// sentence for everything that was done.
///
/// # Errors
/// When the engine or the proxy, which tell what the app had, do not answer, or contradict each other.
pub(super) async fn readable(context: &Context, lock: &AppLock) -> Result<Vec<String>> {
    let why = match context.store.app_file(lock.app()) {
        Err(error @ StoreError::Unreadable { .. }) => error.to_string(),
        Err(error) => return Err(error.into()),
        Ok(_) => return Ok(Vec::new()),
    };
    let instances = context.engine().await?.instances(Some(lock.app())).await?;
    let routes = context.proxy.current()?.routes().await.with_context(|| {
        format!("{why}; the proxy, which could tell which ports the app has, does not answer either")
    })?;
    let route = routes.iter().find(|route| route.app == *lock.app());
    let containers = instances.iter().map(|instance| instance.address);
    let file = had(context, lock, containers.chain(upstreams(route)).collect(), route)?;

    let aside = context.store.keep_app_file_aside(lock)?;
    context.store.write_app_file(lock.app(), &file)?;
    let mut told = vec![why];
    told.extend(aside.map(|aside| format!("it is kept as {}", aside.display())));
    told.push("what the app was given was written anew from its containers and the proxy's route".to_owned());
    Ok(told)
}

/// What the app must have had for its containers and its route to be as they are. One that has neither gets what a
/// new one gets: it never had an address that anything answers at.
fn had(
    context: &Context,
    lock: &AppLock,
    addresses: BTreeSet<Ipv4Addr>,
    route: Option<&AppRoute>,
) -> Result<AppFile> {
    let subnet = context.settings.engine.subnet;
    let blocks: BTreeSet<Option<u32>> = addresses
        .iter()
        .map(|address| AddressPlan::index_of(subnet, *address))
        .collect();
    let index = match blocks.into_iter().collect::<Vec<_>>().as_slice() {
        [] => None,
        [Some(index)] => Some(*index),
        _ => bail!(
            "the addresses of {}'s containers and route ({addresses:?}) are not of one block of {subnet}, so that \
             nobody can tell which is the app's",
            lock.app()
        ),
    };
    match (index, route.and_then(ports)) {
        (Some(index), Some(ports)) => Ok(AppFile { index, ports }),
        (index, ports) => {
            let _one_at_a_time = context.store.lock_apps()?;
            let next = apps::given_to_next(context, lock.app())?;
            Ok(AppFile {
                index: index.unwrap_or(next.index),
                ports: ports.unwrap_or(next.ports),
            })
        }
    }
}

fn upstreams(route: Option<&AppRoute>) -> impl Iterator<Item = Ipv4Addr> {
    let slots = route.into_iter().flat_map(|route| route.slots.values());
    slots
        .filter_map(|slot| slot.target.as_ref())
        .flat_map(|target| target.upstreams.iter().map(|upstream| *upstream.ip()))
}

fn ports(route: &AppRoute) -> Option<SlotPorts> {
    let port = |slot| Some(route.slots.get(&slot)?.port);
    Some(SlotPorts {
        green: port(Slot::Green)?,
        blue: port(Slot::Blue)?,
    })
}
