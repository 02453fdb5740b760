//! A container of somebody else's that has a port of this host, such as a registry; and where the Engine keeps its own.

use std::path::PathBuf;
use std::time::Duration;

use bollard::container::LogOutput;
use bollard::exec::StartExecResults;
use bollard::models::{ContainerInspectResponse, ContainerSummary, ExecConfig, MountPoint};
use bollard::query_parameters::{InspectContainerOptions, ListContainersOptions};
use futures_util::StreamExt as _;
use tokio::time::timeout;

use super::{Engine, EngineError};

/// How long `du` in a container may take.
const DU: Duration = Duration::from_secs(10);

/// A container that runs and has a port of this host.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Published {
    /// Its name.
    pub name: String,
    /// The program that it runs.
    pub program: String,
    /// The program's arguments.
    pub arguments: Vec<String>,
    /// What is in its environment: `NAME=value` each.
    pub environment: Vec<String>,
    /// What is mounted: where in the container, and which folder of the host.
    pub mounts: Vec<(String, PathBuf)>,
    /// Whether the Engine removes it when it stops.
    pub is_removed_when_stopped: bool,
    /// Whether a swarm starts another one when it stops.
    pub is_of_a_swarm: bool,
}

impl Engine {
    /// The container that has `port` of this host.
    ///
    /// # Errors
    /// The Engine's.
    pub async fn container_at(&self, port: u16) -> Result<Option<Published>, EngineError> {
        let listed = self.docker.list_containers(None::<ListContainersOptions>).await;
        let listed = listed.map_err(|api| self.call("list the containers").error(api))?;
        let has_port = |container: &&ContainerSummary| {
            let ports = container.ports.as_deref().unwrap_or_default();
            ports.iter().any(|published| published.public_port == Some(port))
        };
        let Some(id) = listed.iter().find(has_port).and_then(|found| found.id.as_deref()) else {
            return Ok(None);
        };
        let looked = self
            .docker
            .inspect_container(id, None::<InspectContainerOptions>)
            .await;
        let looked = looked.map_err(|api| self.call("look at a container").error(api))?;
        Ok(Some(published(looked)))
    }

    /// The bytes of `folder` in the container `name`, by its own `du`; none where it has none, or takes too long.
    pub async fn size_in(&self, name: &str, folder: &str) -> Option<u64> {
        let config = ExecConfig {
            cmd: Some(["du", "-sk", folder].map(str::to_owned).to_vec()),
            attach_stdout: Some(true),
            ..ExecConfig::default()
        };
        let asked = async {
            let exec = self.docker.create_exec(name, config).await.ok()?;
            let started = self.docker.start_exec(&exec.id, None).await.ok()?;
            let StartExecResults::Attached { mut output, .. } = started else {
                return None;
            };
            let mut said = Vec::new();
            while let Some(Ok(LogOutput::StdOut { message })) = output.next().await {
                said.extend_from_slice(&message);
            }
            let ended = self.docker.inspect_exec(&exec.id).await.ok()?;
            let said = String::from_utf8(said).ok()?;
            let kilobytes: u64 = said.split_whitespace().next()?.parse().ok()?;
            (ended.exit_code == Some(0)).then_some(kilobytes << 10)
        };
        timeout(DU, asked).await.ok()?
    }

    /// The folder in which the Engine keeps images, containers and volumes; none where it does not say. It is asked once.
    pub async fn data_root(&self) -> Option<PathBuf> {
        let asked = self.data_root.get_or_try_init(|| async {
            let info = self.docker.info().await.map_err(drop)?;
            info.docker_root_dir.map(PathBuf::from).ok_or(())
        });
        asked.await.ok().cloned()
    }
}

fn published(of: ContainerInspectResponse) -> Published {
    let config = of.config.unwrap_or_default();
    let mount = |mount: MountPoint| Some((mount.destination?, PathBuf::from(mount.source?)));
    let labels = config.labels.unwrap_or_default();
    Published {
        name: of.name.unwrap_or_default().trim_start_matches('/').to_owned(),
        program: of.path.unwrap_or_default(),
        arguments: of.args.unwrap_or_default(),
        environment: config.env.unwrap_or_default(),
        mounts: of
            .mounts
            .unwrap_or_default()
            .into_iter()
            .filter_map(mount)
            .collect(),
        is_removed_when_stopped: of.host_config.and_then(|host| host.auto_remove) == Some(true),
        is_of_a_swarm: labels.contains_key("com.docker.swarm.service.id"),
    }
}
