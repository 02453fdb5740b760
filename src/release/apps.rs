//! Making, showing and removing apps.

use std::collections::{BTreeMap, HashSet};
use std::net::TcpListener;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, bail};
use serde::Serialize;

use super::app_lock::{lock, lock_slots};
use super::context::Context;
use super::history;
use super::messages;
use crate::git::{self, Hook};
use crate::model::{AddressPlan, AppName, ByService, Program, Slot, SlotName, SlotPorts};
use crate::proxy::ProxyError;
use crate::store::AppFile;

/// The first app's ports; the next app takes the next free pair.
const FIRST_PORTS: SlotPorts = SlotPorts {
    green: 50100,
    blue: 50101,
};

/// What `app show` shows.
#[derive(Debug, Serialize)]
pub struct Shown {
    /// The app.
    pub app: AppName,
    /// Where it answers.
    pub address: String,
    /// The hosts that are its own.
    pub hosts: Vec<String>,
    /// The branch that is released.
    pub branch: String,
    /// The slot ports.
    pub ports: SlotPorts,
    /// The slots' repositories.
    pub remotes: BTreeMap<Slot, PathBuf>,
    /// Its services.
    pub services: ByService<ShownService>,
    /// What a push has to pass before its branch moves.
    pub gate: &'static str,
}

/// A service of an app.
#[derive(Debug, Serialize)]
pub struct ShownService {
    /// Instances per slot.
    pub instances: u8,
    /// Its images' repository.
    pub repository: String,
}

/// Makes `name`, or writes its hooks anew when it is there. Gives whether it is new.
///
/// # Errors
/// When there is no address or port left for it, another app answers on every host already, or something
/// cannot be written.
pub fn create(context: &Context, name: &AppName) -> Result<bool> {
    let _one_at_a_time = context.store.lock_apps()?;
    let is_new = !context.store.has_app(name);
    if is_new {
        hosts_are_free(context, name)?;
        context
            .store
            .write_app_file(name, &given_to_next(context, name)?)?;
    }
    for slot in Slot::BOTH {
        write_repository(context, name, slot)?;
    }
    Ok(is_new)
}

fn hosts_are_free(context: &Context, name: &AppName) -> Result<()> {
    if !context.settings.app(name).hosts.is_empty() {
        return Ok(());
    }
    for other in context.store.apps()? {
        if context.settings.app(&other).hosts.is_empty() {
            bail!(
                "{other} answers on every host that is no other app's, so that {name} needs hosts of its own: put\n\n  \
                 [app.{name}]\n  hosts = [\"{name}.example.com\"]\n\ninto {}",
                context.config.display()
            );
        }
    }
    Ok(())
}

/// The lowest address block and the first pair of ports that neither another app nor another program has.
///
/// # Errors
/// When there is none left, or what another app was given cannot be read.
pub(super) fn given_to_next(context: &Context, name: &AppName) -> Result<AppFile> {
    let mut blocks = HashSet::new();
    let mut ports = HashSet::from([context.settings.proxy.listen.port()]);
    for other in context.store.apps()? {
        if other == *name {
            continue;
        }
        let other = context.app(&other)?;
        blocks.insert(other.file.index);
        ports.extend([
            other.file.ports.green,
            other.file.ports.blue,
            other.ports().green,
            other.ports().blue,
        ]);
    }
    for settings in context.settings.apps.values() {
        ports.extend(settings.ports.iter().flat_map(|ports| [ports.green, ports.blue]));
    }
    let index = (0..)
        .find(|index| !blocks.contains(index))
        .expect("numbers do not end");
    AddressPlan::new(context.settings.engine.subnet, index)?;
    let listen = context.settings.proxy.slot_listen;
    let mut pairs = (FIRST_PORTS.green..u16::MAX).step_by(2).map(|green| SlotPorts {
        green,
        blue: green + 1,
    });
    let is_free = |port: u16| !ports.contains(&port) && TcpListener::bind((listen, port)).is_ok();
    let free = pairs.find(|pair| is_free(pair.green) && is_free(pair.blue));
    let ports = context
        .settings
        .app(name)
        .ports
        .or(free)
        .context("there is no pair of ports left")?;
    Ok(AppFile { index, ports })
}

/// Makes a slot's repository again what the settings say, where it was made for other ones; gives a sentence about it.
/// A hook does so for the push that comes next; what cannot be written is told, and is no reason to fail this one.
pub fn mend(context: &Context, name: &AppName, slot: Slot) -> Option<String> {
    let settings = context.settings.app(name);
    let path = context.store.repository(name, slot);
    let repository = git::SlotRepository::open(&path).ok()?;
    if repository.takes(settings.max_push, settings.gate) {
        return None;
    }
    let written = write_repository(context, name, slot);
    Some(match written {
        Ok(()) => messages::set_up_anew(&settings),
        Err(error) => messages::not_set_up_anew(name, &error).to_string(),
    })
}

fn write_repository(context: &Context, name: &AppName, slot: Slot) -> Result<()> {
    let deployer = std::env::current_exe().context("the program's own path is not known")?;
    if !deployer.exists() {
        bail!("another program was installed in place of the one that runs");
    }
    let settings = context.settings.app(name);
    let slot_name = SlotName {
        app: Some(name.clone()),
        slot,
    };
    let script = |hook: Hook| Ok((hook, hook.script(&deployer, &context.config, &slot_name)?));
    let hooks = Hook::ALL.into_iter().filter(|hook| hook.is_of(settings.gate));
    let hooks = hooks.map(script).collect::<Result<Vec<(Hook, String)>>>()?;
    let (_, post_receive) = &hooks[0];
    let path = context.store.repository(name, slot);
    let repository = git::SlotRepository::create(&path, &settings.branch, post_receive)?;
    Ok(repository.take(settings.max_push, &hooks)?)
}

/// What there is to show of `name`.
///
/// # Errors
/// When there is no such app.
pub fn show(context: &Context, name: &AppName) -> Result<Shown> {
    let app = context.app(name)?;
    Ok(Shown {
        app: name.clone(),
        address: context.public_address(&app.settings),
        hosts: app.settings.hosts.clone(),
        branch: app.settings.branch.clone(),
        ports: app.ports(),
        remotes: Slot::BOTH
            .map(|slot| (slot, context.store.repository(name, slot)))
            .into(),
        services: app
            .settings
            .services
            .iter()
            .map(|(service, settings)| {
                let shown = ShownService {
                    instances: settings.instances,
                    repository: context.settings.registry.repository(name, service),
                };
                (service.clone(), shown)
            })
            .collect(),
        gate: app.settings.gate.as_str(),
    })
}

/// Takes `name` away: its route, its containers, its images on this host, and everything in the state folder.
/// Gives a sentence for each.
///
/// # Errors
/// When it is busy, or the proxy or the engine does not do its part; what is left is removed the next time.
pub async fn remove(context: &Context, name: &AppName) -> Result<Vec<String>> {
    let app_lock = lock(context, name, "app remove").await?;
    let slot_locks = lock_slots(context, name, "app remove").await?;
    let mut told = Vec::new();
    match context.proxy.current()?.remove_route(name).await {
        Ok(()) => told.push("its route is gone".to_owned()),
        Err(ProxyError::Unreachable { .. }) if !has_routes(&context.store.proxy()) => {}
        Err(error) => return Err(error).context("its route could not be taken away; nothing was removed"),
    }
    let engine = context.engine().await?;
    let instances = engine.instances(Some(name)).await?;
    let settings = context.settings.app(name);
    for instance in &instances {
        engine
            .stop(
                &instance.id,
                settings.service(&instance.name.service).run.stop_grace,
            )
            .await?;
        engine.remove(&instance.id).await?;
    }
    told.push(format!(
        "{} removed",
        messages::count(instances.len() as u64, "container")
    ));
    for past in history::of(context, name)? {
        for image in past
            .facts
            .tags
            .into_values()
            .chain(past.facts.images.values().map(ToString::to_string))
        {
            engine.remove_image(&image).await?;
        }
    }
    context.store.remove_app(name)?;
    drop((app_lock, slot_locks));
    let services = settings.services.keys();
    let repositories: Vec<String> = services
        .map(|service| context.settings.registry.repository(name, service))
        .collect();
    told.push(format!(
        "{name} is removed; its images in {} stay",
        repositories.join(", ")
    ));
    Ok(told)
}

/// Whether a proxy has ever kept routes here.
fn has_routes(proxy: &Path) -> bool {
    let programs = Program::ALL.map(|program| format!("{}/external.json", program.as_str()));
    let files = programs.iter().map(String::as_str).chain(["routes.json"]);
    files.into_iter().any(|file| proxy.join(file).exists())
}
