//! What an instance should be, and the container that this makes.

use std::collections::{BTreeMap, HashMap};
use std::net::{Ipv4Addr, SocketAddrV4};
use std::path::PathBuf;

use bollard::models::{
    ContainerCreateBody, EndpointIpamConfig, EndpointSettings, HostConfig, HostConfigLogConfig, Mount,
    MountType, NetworkingConfig, RestartPolicy, RestartPolicyNameEnum,
};

use super::{EngineError, NetworkId, env_file};
use crate::model::{
    AppName, Commit, ImageRef, InstanceName, Lane, ReleaseId, Restart, RunSettings, Slot, Volume,
};

/// Whose container it is: the name of deployer's network, which is one per installation.
pub(super) const LABEL_NETWORK: &str = "deployer.network";
pub(super) const LABEL_APP: &str = "deployer.app";
pub(super) const LABEL_SLOT: &str = "deployer.slot";
pub(super) const LABEL_LANE: &str = "deployer.lane";
pub(super) const LABEL_SERVICE: &str = "deployer.service";
pub(super) const LABEL_INDEX: &str = "deployer.index";
pub(super) const LABEL_RELEASE: &str = "deployer.release";
pub(super) const LABEL_IMAGE: &str = "deployer.image";
pub(super) const LABEL_DIGEST: &str = "deployer.digest";
pub(super) const LABEL_COMMIT: &str = "deployer.commit";
pub(super) const LABEL_BY: &str = "deployer.by";
/// Which installation it is of, whatever its network is called.
pub(super) const LABEL_INSTALLATION: &str = "deployer.installation";
/// Where that installation had its state when the container was made.
pub(super) const LABEL_STATE: &str = "deployer.state";
/// Its own address, for people.
const LABEL_ADDRESS: &str = "deployer.address";
/// Where it and the other instances of its service listen, in the order of their numbers: `ADDRESS:PORT,…`.
pub(super) const LABEL_ENDPOINTS: &str = "deployer.endpoints";

/// Log files that the Engine keeps per instance.
const LOG_FILES: &str = "3";

/// An instance to start.
#[derive(Debug, Clone)]
pub struct InstanceSpec {
    /// Its app.
    pub app: AppName,
    /// Its slot.
    pub slot: Slot,
    /// Its lane.
    pub lane: Lane,
    /// Its service and number within the release.
    pub name: InstanceName,
    /// Its release.
    pub release: ReleaseId,
    /// The commit that the release is of, where it is of one.
    pub commit: Option<Commit>,
    /// Who asked for the release, by the one word that people know them by; empty where that is not known.
    pub by: String,
    /// Its installation; empty where that is not known.
    pub installation: String,
    /// The installation's state folder.
    pub state: PathBuf,
    /// What it runs.
    pub image: ImageRef,
    /// Where the instances of its service listen on deployer's network, in the order of their numbers.
    pub endpoints: Vec<SocketAddrV4>,
    /// How it is run. The restart policy is set later, by [`Engine::settle`](super::Engine::settle).
    pub run: RunSettings,
}

impl InstanceSpec {
    /// The container's name: `NETWORK-APP-SLOT-RELEASE-INDEX`, and behind that `.SERVICE` where it is not `web`.
    pub(super) fn container_name(&self, network: &str) -> String {
        container_name(network, &self.app, self.slot, self.release, &self.name)
    }

    /// See [`told`].
    pub(super) fn told(&self) -> String {
        told(&self.app, self.slot, self.release, &self.name)
    }

    /// Its own address on deployer's network.
    ///
    /// # Panics
    /// When its number is that of no endpoint.
    pub fn address(&self) -> Ipv4Addr {
        *self.endpoints[usize::from(self.name.index)].ip()
    }

    /// The container that this instance is.
    pub(super) fn container(
        &self,
        network_name: &str,
        network: &NetworkId,
    ) -> Result<ContainerCreateBody, EngineError> {
        let endpoint = EndpointSettings {
            ipam_config: Some(EndpointIpamConfig {
                ipv4_address: Some(self.address().to_string()),
                ..EndpointIpamConfig::default()
            }),
            ..EndpointSettings::default()
        };
        Ok(ContainerCreateBody {
            image: Some(self.image.to_string()),
            env: Some(self.env()?),
            labels: Some(self.labels(network_name)),
            stop_timeout: Some(i64::try_from(self.run.stop_grace.as_secs()).unwrap_or(i64::MAX)),
            host_config: Some(self.host_config(network)),
            // By id: a name may be another network's by now.
            networking_config: Some(NetworkingConfig {
                endpoints_config: Some(HashMap::from([(network.to_string(), endpoint)])),
            }),
            ..ContainerCreateBody::default()
        })
    }

    fn host_config(&self, network: &NetworkId) -> HostConfig {
        let run = &self.run;
        let memory = run.memory.map(|bytes| i64::try_from(bytes).unwrap_or(i64::MAX));
        let log_options = [
            ("max-size", run.log_size.to_string()),
            ("max-file", LOG_FILES.to_owned()),
        ];
        HostConfig {
            network_mode: Some(network.to_string()),
            init: Some(true),
            security_opt: Some(vec!["no-new-privileges".to_owned()]),
            memory,
            // The same as memory: no swap on top, so that the limit is the limit.
            memory_swap: memory,
            nano_cpus: run.cpus.map(|cpus| (cpus * 1e9) as i64),
            pids_limit: run.pids.map(i64::from),
            mounts: Some(run.volumes.iter().map(mount).collect()),
            log_config: Some(HostConfigLogConfig {
                typ: Some("json-file".to_owned()),
                config: Some(log_options.map(|(name, value)| (name.to_owned(), value)).into()),
            }),
            // A crash while it is probed must be seen, not restarted away.
            restart_policy: Some(restart_policy(Restart::No)),
            ..HostConfig::default()
        }
    }

    /// What an instance is, then `env_file`, then `env`: a later one wins.
    fn env(&self) -> Result<Vec<String>, EngineError> {
        let mut variables = self.identity();
        if let Some(path) = &self.run.env_file {
            variables.extend(env_file::read(path)?);
        }
        variables.extend(self.run.env.clone());
        Ok(variables
            .into_iter()
            .map(|(name, value)| format!("{name}={value}"))
            .collect())
    }

    /// What tells an instance who it is. A commit that is not known is left out, so that what the image says stands.
    fn identity(&self) -> BTreeMap<String, String> {
        let commit = self.commit.as_ref().map(ToString::to_string);
        let variables = [
            ("DEPLOYER_APP", Some(self.app.to_string())),
            ("DEPLOYER_SLOT", Some(self.slot.to_string())),
            ("DEPLOYER_RELEASE", Some(self.release.to_string())),
            ("DEPLOYER_COMMIT", commit),
            ("DEPLOYER_INSTANCE", Some(self.name.index.to_string())),
        ];
        let known = variables.into_iter();
        known
            .filter_map(|(name, value)| Some((name.to_owned(), value?)))
            .collect()
    }

    /// Every label is always set, so that none of an image's own can stand in for it.
    fn labels(&self, network: &str) -> HashMap<String, String> {
        let commit = self.commit.as_ref().map(ToString::to_string).unwrap_or_default();
        let endpoints: Vec<String> = self.endpoints.iter().map(ToString::to_string).collect();
        [
            (LABEL_NETWORK, network.to_owned()),
            (LABEL_APP, self.app.to_string()),
            (LABEL_SLOT, self.slot.to_string()),
            (LABEL_LANE, self.lane.to_string()),
            (LABEL_SERVICE, self.name.service.to_string()),
            (LABEL_INDEX, self.name.index.to_string()),
            (LABEL_RELEASE, self.release.to_string()),
            (LABEL_IMAGE, self.image.to_string()),
            (LABEL_DIGEST, self.image.digest.to_string()),
            (LABEL_COMMIT, commit.clone()),
            (LABEL_BY, self.by.clone()),
            (LABEL_INSTALLATION, self.installation.clone()),
            (LABEL_STATE, self.state.display().to_string()),
            (LABEL_ADDRESS, self.address().to_string()),
            (LABEL_ENDPOINTS, endpoints.join(",")),
            ("org.opencontainers.image.revision", commit),
            ("org.opencontainers.image.title", self.app.to_string()),
            ("org.opencontainers.image.version", self.release.to_string()),
        ]
        .map(|(name, value)| (name.to_owned(), value))
        .into()
    }
}

/// See [`InstanceSpec::container_name`].
pub(super) fn container_name(
    network: &str,
    app: &AppName,
    slot: Slot,
    release: ReleaseId,
    InstanceName { service, index }: &InstanceName,
) -> String {
    let of_web = format!("{network}-{app}-{slot}-{release}-{index}");
    // No app's name has a dot: so no name is that of another app's instance.
    match service.is_web() {
        true => of_web,
        false => format!("{of_web}.{service}"),
    }
}

/// An instance as people read it: `shop/green release 42, instance 0`.
pub(super) fn told(app: &AppName, slot: Slot, release: ReleaseId, name: &InstanceName) -> String {
    format!("{app}/{slot} release {release}, instance {name}")
}

pub(super) fn restart_policy(restart: Restart) -> RestartPolicy {
    RestartPolicy {
        name: Some(match restart {
            Restart::Always => RestartPolicyNameEnum::ALWAYS,
            Restart::OnFailure => RestartPolicyNameEnum::ON_FAILURE,
            Restart::No => RestartPolicyNameEnum::NO,
        }),
        maximum_retry_count: Some(0),
    }
}

fn mount(volume: &Volume) -> Mount {
    let on_host = volume.source.starts_with('/');
    Mount {
        typ: Some(if on_host {
            MountType::BIND
        } else {
            MountType::VOLUME
        }),
        source: Some(volume.source.clone()),
        target: Some(volume.target.clone()),
        read_only: Some(volume.read_only),
        ..Mount::default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_container_of_another_service_than_web_has_its_name_behind_a_dot() {
        let named = |service: &str| {
            let name = InstanceName {
                service: service.parse().unwrap(),
                index: 0,
            };
            let app = "shop".parse().unwrap();
            container_name("deployer", &app, Slot::Green, ReleaseId(42), &name)
        };
        assert_eq!(named("web"), "deployer-shop-green-42-0");
        assert_eq!(named("worker"), "deployer-shop-green-42-0.worker");
    }
}
