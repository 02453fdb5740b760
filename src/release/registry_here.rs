//! The registry on this host, as a process of its own or in a container: what it has on its disk. That is looked at when
//! something was pushed, pruned or collected and nobody waits, and written down, so that `status` reads one file.

use std::path::{Path, PathBuf};
use std::time::Duration;

use jiff::Timestamp;
use serde::Serialize;

use super::context::Context;
use crate::engine::Published;
use crate::model::loopback_registry_port;
use crate::registry::{LocalRegistry, config_of, local_registry, size_on_disk};
use crate::store::{CollectedSize, Moment, RegistrySize};

/// How long the files of a registry may take to be counted: some hundred thousand.
const COUNTING: Duration = Duration::from_secs(20);
/// How long the Engine may take to tell of its containers.
const LOOK: Duration = Duration::from_secs(5);
/// Where the registry's own image keeps everything, and the variable that says otherwise.
const IMAGES_STORAGE: &str = "/var/lib/registry";
const STORAGE_VARIABLE: &str = "REGISTRY_STORAGE_FILESYSTEM_ROOTDIRECTORY=";

/// The configured registry, where it is on this host.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RegistryHere {
    /// It is a process of the host's.
    Process(LocalRegistry),
    /// It is a container of this host's Engine.
    Container(ContainedRegistry),
}

/// A registry in a container.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ContainedRegistry {
    /// The container.
    pub container: Published,
    /// The registry's configuration, in the container.
    pub config: String,
    /// The folder that it keeps everything in, in the container.
    pub folder: String,
    /// Where a folder of the host's that it is in is mounted in the container.
    pub mount: String,
    /// The folder below the mount; empty where it is that.
    pub below: String,
    /// The same folder, as the host has it.
    pub storage: PathBuf,
}

/// What `status` shows of the registry.
#[derive(Debug, Serialize)]
pub struct RegistryStatus {
    /// `registry.address`
    pub address: String,
    /// The folder of this host that has everything.
    pub storage: PathBuf,
    /// Bytes on the disk.
    pub bytes: u64,
    /// When they were counted.
    pub measured: Timestamp,
    /// What it had right after it was collected the last time, when it had nothing that could be freed.
    pub collected: Option<RegistryCollected>,
}

/// A registry right after it was collected.
#[derive(Debug, Serialize)]
pub struct RegistryCollected {
    /// Bytes on the disk.
    pub bytes: u64,
    /// When.
    pub at: Timestamp,
}

/// The configured registry; none where it is on another host, does not run, or is not known to be one.
pub async fn registry_here(context: &Context) -> Option<RegistryHere> {
    let address = context.settings.registry.address.clone();
    let port = loopback_registry_port(&address)?;
    let process = tokio::task::spawn_blocking(move || local_registry(&address)).await;
    if let Some(process) = process.ok()? {
        return Some(RegistryHere::Process(process));
    }
    if !context.settings.engine.host.starts_with("unix://") {
        return None;
    }
    let asked = async { context.engine().await.ok()?.container_at(port).await.ok()? };
    let container = tokio::time::timeout(LOOK, asked).await.ok()??;
    contained(container).map(RegistryHere::Container)
}

/// The registry that the container is; none where it runs something else, or keeps what it has elsewhere.
fn contained(container: Published) -> Option<ContainedRegistry> {
    let arguments: Vec<&str> = container.arguments.iter().map(String::as_str).collect();
    let config = config_of(&container.program, &arguments)?.to_owned();
    let mut variables = container.environment.iter();
    let said = variables.find_map(|variable| variable.strip_prefix(STORAGE_VARIABLE));
    let folder = said.unwrap_or(IMAGES_STORAGE).to_owned();
    let mounted = |(at, from): &(String, PathBuf)| {
        let below = Path::new(&folder).strip_prefix(at).ok()?.to_str()?.to_owned();
        let storage = match below.is_empty() {
            true => from.clone(),
            false => from.join(&below),
        };
        Some((at.clone(), below, storage))
    };
    let (mount, below, storage) = container.mounts.iter().find_map(mounted)?;
    Some(ContainedRegistry {
        container,
        config,
        folder,
        mount,
        below,
        storage,
    })
}

/// Counts what the registry has on its disk and writes that down, where it is on this host; `collected`: right after it was
/// collected. Where that cannot be done, nothing is known, and nobody is told.
pub async fn measure(context: &Context, collected: bool) {
    let Some(here) = registry_here(context).await else {
        return;
    };
    let storage = match &here {
        RegistryHere::Process(process) => process.storage.clone(),
        RegistryHere::Container(registry) => registry.storage.clone(),
    };
    let folder = storage.clone();
    let counted = tokio::task::spawn_blocking(move || size_on_disk(&folder, COUNTING)).await;
    let bytes = match (counted.ok().flatten(), &here) {
        // The Engine's volumes are root's alone.
        (None, RegistryHere::Container(registry)) => in_container(context, registry).await,
        (counted, _) => counted,
    };
    let Some(bytes) = bytes else { return };
    let (address, measured) = (context.settings.registry.address.clone(), Moment::now());
    let before = written_down(context).and_then(|size| size.collected);
    let now = CollectedSize {
        bytes,
        at: measured.clone(),
    };
    let size = RegistrySize {
        address,
        storage,
        bytes,
        measured,
        collected: if collected { Some(now) } else { before },
    };
    let _ = context.store.write_registry_size(&size);
}

async fn in_container(context: &Context, registry: &ContainedRegistry) -> Option<u64> {
    let engine = context.engine().await.ok()?;
    engine.size_in(&registry.container.name, &registry.folder).await
}

/// What is known of the registry's size, without looking.
pub fn status(context: &Context) -> Option<RegistryStatus> {
    let size = written_down(context)?;
    Some(RegistryStatus {
        address: size.address,
        storage: size.storage,
        bytes: size.bytes,
        measured: size.measured.at,
        collected: size.collected.map(|collected| RegistryCollected {
            bytes: collected.bytes,
            at: collected.at.at,
        }),
    })
}

/// The folder of this host that has everything of the registry, where it is known.
pub(super) fn storage(context: &Context) -> Option<PathBuf> {
    let known = written_down(context).map(|size| size.storage);
    known.or_else(|| local_registry(&context.settings.registry.address).map(|process| process.storage))
}

/// What was written down of the registry that is configured now.
fn written_down(context: &Context) -> Option<RegistrySize> {
    let size = context.store.registry_size().ok().flatten()?;
    (size.address == context.settings.registry.address).then_some(size)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn container(
        program: &str,
        arguments: &[&str],
        environment: &[&str],
        mounts: &[(&str, &str)],
    ) -> Published {
        let own = |words: &[&str]| words.iter().map(|word| (*word).to_owned()).collect::<Vec<_>>();
        Published {
            name: "registry".into(),
            program: program.into(),
            arguments: own(arguments),
            environment: own(environment),
            mounts: mounts
                .iter()
                .map(|(at, from)| ((*at).to_owned(), PathBuf::from(from)))
                .collect(),
            is_removed_when_stopped: false,
            is_of_a_swarm: false,
        }
    }

    #[test]
    fn a_container_is_a_registry_by_its_command_and_what_is_mounted_for_it() {
        let config = ["/etc/docker/registry/config.yml"];
        let volume = [("/var/lib/registry", "/var/lib/docker/volumes/r/_data")];
        let found = contained(container("/entrypoint.sh", &config, &[], &volume)).unwrap();
        assert_eq!(
            (found.config.as_str(), found.folder.as_str()),
            (config[0], "/var/lib/registry")
        );
        assert_eq!(found.storage, Path::new("/var/lib/docker/volumes/r/_data"));
        let elsewhere = ["REGISTRY_STORAGE_FILESYSTEM_ROOTDIRECTORY=/data/images"];
        let found = contained(container(
            "registry",
            &["serve", config[0]],
            &elsewhere,
            &[("/data", "/srv/r")],
        ))
        .unwrap();
        assert_eq!(found.storage, Path::new("/srv/r/images"));
        for other in [
            container("/entrypoint.sh", &["traefik"], &[], &volume),
            container(
                "/entrypoint.sh",
                &["/etc/traefik/traefik.yml"],
                &[],
                &[("/etc", "/etc")],
            ),
            container("registry", &["serve", config[0]], &elsewhere, &volume),
        ] {
            assert_eq!(contained(other), None);
        }
    }
}
