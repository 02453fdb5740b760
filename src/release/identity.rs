//! The settings that say where everything is that an installation runs: `state`, `engine.host`, `engine.network` and
//! `engine.subnet`. Whoever goes by other ones finds nothing of it, and starts second copies or takes addresses that are in
//! use. So what is in force is written down (`STATE/identity.json`), and a change is refused as long as something runs.
//!
//! What only reads goes by what is in force and tells that the configuration says something else. What changes something
//! is refused ([`may_act`]). The state folder cannot tell of itself that it is another one: the containers carry the
//! installation that made them.

use std::fs;
use std::time::Duration;

use anyhow::{Context as _, Result, bail};

use super::context::Context;
use super::differences::settings::{Held, SettingsDiffer};
use super::in_force::{held, is_of};
use crate::engine::{Engine, Instance};
use crate::model::EngineSettings;
use crate::store::{Identity, Store, StoreError};

/// How long the Engine may take to tell what it runs. Where it does not, nothing is known against the settings.
const LOOK: Duration = Duration::from_secs(5);

/// Makes sure that the settings are those that everything was made under, and writes them down where nothing was yet.
/// Costs the reading of a file where they are.
///
/// # Errors
/// When they are not, with both values and what runs; or when they cannot be written down.
pub async fn may_act(context: &mut Context) -> Result<()> {
    if let Some(differs) = context.differs.clone() {
        if !is_the_same_engine(context).await {
            bail!(differs);
        }
        context.go_by_the_configuration();
    }
    if let Ok(Some(identity)) = context.store.identity()
        && is_of(&identity, &context.settings.engine)
    {
        return Ok(());
    }
    let lock = context.store.lock_identity()?;
    let known = match context.store.identity() {
        Ok(Some(identity)) if is_of(&identity, &context.settings.engine) => return Ok(()),
        Err(StoreError::Unreadable { .. }) => None,
        known => known?,
    };
    let Some(identity) = found(context, known.as_ref()).await? else {
        return Ok(());
    };
    if known.is_none() {
        context.store.keep_identity_aside(&lock)?;
    }
    context.store.write_identity(&lock, &identity)?;
    match is_of(&identity, &context.settings.engine) {
        true => Ok(()),
        false => bail!(differs_from(context, &identity)),
    }
}

/// Why nothing may be changed under these settings; none where it may. Writes nothing.
pub async fn refusal(context: &Context) -> Option<SettingsDiffer> {
    if context.differs.is_some() {
        return context.differs.clone();
    }
    let known = context.store.identity().ok().flatten();
    if known
        .as_ref()
        .is_some_and(|known| is_of(known, &context.settings.engine))
    {
        return None;
    }
    match found(context, known.as_ref()).await {
        Err(error) => Some(match error.downcast() {
            Ok(differs) => differs,
            Err(error) => SettingsDiffer::unknown(&error),
        }),
        Ok(Some(identity)) if !is_of(&identity, &context.settings.engine) => {
            Some(differs_from(context, &identity))
        }
        Ok(_) => None,
    }
}

/// Refuses to work beside instances of another installation.
///
/// # Errors
/// When one of `there`, which are on this installation's network, is another's.
pub(super) fn are_ours(context: &Context, there: &[Instance]) -> Result<()> {
    let ours = context.store.identity().ok().flatten();
    let is_anothers = |instance: &&Instance| {
        let made_by = instance.installation.as_ref();
        made_by.is_some_and(|id| ours.as_ref().is_some_and(|ours| ours.installation != *id))
    };
    let others: Vec<&Instance> = there.iter().filter(is_anothers).collect();
    match others.is_empty() {
        true => Ok(()),
        false => bail!(anothers(context, &others)),
    }
}

/// What is in force by what runs, where `known` was written down under other settings, or nothing was. None where that
/// cannot be seen: then it is looked for again the next time.
///
/// # Errors
/// When another installation has the network.
async fn found(context: &Context, known: Option<&Identity>) -> Result<Option<Identity>> {
    let settings = &context.settings.engine;
    let is_old = known.is_none() && !held(&context.store).is_empty();
    let Some((engine, all)) = everything(context).await else {
        return match is_old {
            true => Ok(None),
            false => Ok(Some(identity(
                settings,
                known.map(|known| known.installation.clone()),
            )?)),
        };
    };
    if is_old {
        return written_by_an_older(context, &engine, &all).await.map(Some);
    }
    let others: Vec<&Instance> = all.iter().filter(|one| one.network == settings.network).collect();
    let ours = known.map(|known| known.installation.clone());
    match others
        .iter()
        .all(|one| one.installation.is_some() && one.installation == ours)
    {
        true => Ok(Some(identity(settings, ours)?)),
        false => bail!(anothers(context, &others)),
    }
}

/// An older deployer wrote nothing down: its network is the configured one where there is such a network, else that of
/// the containers that state says run.
async fn written_by_an_older(context: &Context, engine: &Engine, all: &[Instance]) -> Result<Identity> {
    let settings = &context.settings.engine;
    let ours = || {
        all.iter()
            .filter(|instance| is_in_state(&context.store, instance))
    };
    let mut identity = identity(
        settings,
        ours().find_map(|instance| instance.installation.clone()),
    )?;
    let subnet = engine.subnet_of(&settings.network).await?;
    if let Some(elsewhere) = ours().next().filter(|_| subnet.is_none()) {
        identity.network.clone_from(&elsewhere.network);
    }
    let subnet = match subnet {
        None => engine.subnet_of(&identity.network).await?,
        known => known,
    };
    identity.subnet = subnet.unwrap_or(settings.subnet);
    Ok(identity)
}

/// Every instance of every installation; none where the Engine does not tell.
async fn everything(context: &Context) -> Option<(Engine, Vec<Instance>)> {
    let looked = async {
        let engine = context.engine().await.ok()?;
        Some((engine.clone(), engine.instances_of_all().await.ok()?))
    };
    tokio::time::timeout(LOOK, looked).await.ok().flatten()
}

/// Whether only the Engine's address differs, and what runs is found there too.
async fn is_the_same_engine(context: &Context) -> bool {
    let (now, wanted) = (&context.settings.engine, &context.wanted);
    if (&now.network, now.subnet) != (&wanted.network, wanted.subnet) {
        return false;
    }
    let looked = async {
        let all = Engine::connect(wanted).await.ok()?.instances(None).await.ok()?;
        let mut ours = all
            .iter()
            .filter(|instance| is_in_state(&context.store, instance));
        let ours = ours.any(|instance| {
            let known = context.store.identity().ok().flatten();
            known.is_some_and(|known| instance.installation.as_ref() == Some(&known.installation))
        });
        Some(ours)
    };
    tokio::time::timeout(LOOK, looked)
        .await
        .ok()
        .flatten()
        .unwrap_or(false)
}

fn is_in_state(store: &Store, instance: &Instance) -> bool {
    let state = store.state(&instance.app).ok();
    let running = state.as_ref().and_then(|state| state.slots.get(&instance.slot));
    running.is_some_and(|running| {
        let service = running.services.get(&instance.name.service);
        running.release == instance.release
            && service.is_some_and(|it| it.image == instance.image && it.endpoints == instance.endpoints)
    })
}

fn identity(settings: &EngineSettings, installation: Option<String>) -> Result<Identity> {
    let new = || fs::read_to_string("/proc/sys/kernel/random/uuid").context("the kernel gives no UUID");
    let installation = match installation {
        Some(installation) => installation,
        None => new()?.trim().to_owned(),
    };
    Ok(Identity {
        installation,
        host: settings.host.clone(),
        network: settings.network.clone(),
        subnet: settings.subnet,
    })
}

/// What differs from `identity`, which has just been found.
fn differs_from(context: &Context, identity: &Identity) -> SettingsDiffer {
    SettingsDiffer::of(
        identity,
        &context.settings.engine,
        &held(&context.store),
        &context.scope,
    )
}

/// That `others`, on the configured network, are another installation's.
fn anothers(context: &Context, others: &[&Instance]) -> SettingsDiffer {
    let mut states: Vec<&str> = others
        .iter()
        .map(|one| one.state.as_str())
        .filter(|state| !state.is_empty())
        .collect();
    states.dedup();
    let named = others.iter().map(|one| {
        let told = format!("{}/{} release {}", one.app, one.slot, one.release);
        Held::new(&one.app, told)
    });
    SettingsDiffer::anothers(
        context.store.root(),
        &context.settings.engine.network,
        states.first().copied(),
        &named.collect::<Vec<_>>(),
        &context.scope,
    )
}
