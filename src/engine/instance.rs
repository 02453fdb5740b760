//! Instances: containers on deployer's network, known again by their labels.

use std::collections::HashMap;
use std::net::{Ipv4Addr, SocketAddrV4};
use std::time::Duration;

use bollard::errors::Error as Api;
use bollard::models::{
    ContainerState, ContainerStateStatusEnum, ContainerSummary, ContainerSummaryStateEnum,
    ContainerUpdateBody, HealthStatusEnum, RestartPolicyNameEnum,
};
use bollard::query_parameters::{
    CreateContainerOptions, InspectContainerOptions, InspectNetworkOptions, ListContainersOptions,
    RemoveContainerOptions, StartContainerOptions, StopContainerOptions,
};
use jiff::Timestamp;
use tokio::time::{Instant, sleep};

use super::error_mapping::is_gone;
use super::instance_spec::{
    InstanceSpec, LABEL_APP, LABEL_COMMIT, LABEL_ENDPOINTS, LABEL_IMAGE, LABEL_INDEX, LABEL_INSTALLATION,
    LABEL_LANE, LABEL_NETWORK, LABEL_RELEASE, LABEL_SERVICE, LABEL_SLOT, LABEL_STATE, container_name,
    restart_policy, told,
};
use super::lines::one_line;
use super::{ContainerId, Engine, EngineError, NetworkId};
use crate::ground::failpoint;
use crate::model::{AppName, Commit, ImageRef, InstanceName, Lane, ReleaseId, Restart, Slot};

/// How much longer than its grace a stop may take: the Engine kills, and waits for the end.
const AFTER_GRACE: Duration = Duration::from_secs(30);
/// How long a container whose removal has begun may take to be gone.
const REMOVAL: Duration = Duration::from_secs(30);
/// Characters of a HEALTHCHECK's output that are told.
const HEALTH_OUTPUT_MAX: usize = 400;

/// A container of deployer's, read back from its labels.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Instance {
    /// The container.
    pub id: ContainerId,
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
    /// What it runs.
    pub image: ImageRef,
    /// The commit that its release is of, where it is of one.
    pub commit: Option<Commit>,
    /// The name of the network that it was made for.
    pub network: String,
    /// The installation that made it; none where an older deployer has.
    pub installation: Option<String>,
    /// The state folder of that installation.
    pub state: String,
    /// Where the instances of its service listen, in the order of their numbers.
    pub endpoints: Vec<SocketAddrV4>,
    /// Its own address.
    pub address: Ipv4Addr,
    /// Whether it runs now.
    pub running: bool,
}

/// How an instance is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct InstanceState {
    /// Whether it runs.
    pub status: Status,
    /// What its HEALTHCHECK says, where it has one.
    pub health: Option<Health>,
    /// How its process ended the last time, where it ever did.
    pub ending: Option<Ending>,
    /// When it was created; the year 1970 where the Engine does not say.
    pub created: Timestamp,
}

/// How an instance's process ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ending {
    /// When.
    pub at: Timestamp,
    /// The exit code; 0 once it runs again, since the Engine forgets it.
    pub code: i64,
    /// Whether it went over its memory limit.
    pub oom: bool,
    /// How often the Engine has started it again by itself since it was last started by a command.
    pub restarts: u64,
}

/// Whether an instance runs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Status {
    /// It is created and was never started.
    Created,
    /// It runs.
    Running {
        /// Since when.
        since: Timestamp,
    },
    /// A command has paused it: it answers nothing.
    Paused,
    /// It ended.
    Exited {
        /// The exit code of its process.
        code: i64,
        /// Whether it went over its memory limit.
        oom: bool,
        /// What the Engine says about it; often empty.
        error: String,
    },
    /// It ended, and the Engine is about to start it again.
    Restarting,
    /// It is removed.
    Gone,
}

/// A HEALTHCHECK's verdict.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Health {
    /// The verdict.
    pub status: HealthStatus,
    /// The last check's output, printable, on one line.
    pub last_output: String,
}

/// What a HEALTHCHECK says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum HealthStatus {
    /// Nothing yet.
    Starting,
    /// Healthy.
    Healthy,
    /// Unhealthy.
    Unhealthy,
}

impl Engine {
    /// Creates and starts an instance on deployer's network, which must be there. One of the same name that an
    /// interrupted run left behind is removed first; when the start fails nothing is left.
    ///
    /// # Errors
    /// [`EngineError::AddressTaken`], [`EngineError::NameTaken`], [`EngineError::EnvFile`], [`EngineError::Unknown`]
    /// when the image is not on this host, or the Engine's.
    pub async fn start(&self, spec: &InstanceSpec) -> Result<ContainerId, EngineError> {
        let Some(network) = self.find_network().await? else {
            return Err(EngineError::other(
                &format!("create {}", spec.told()),
                format!("there is no network {}", self.settings.network),
            ));
        };
        self.start_on(&network, spec).await
    }

    /// Like [`Engine::start`], on the network that [`Engine::ensure_network`] has just given.
    ///
    /// # Errors
    /// As for [`Engine::start`].
    pub async fn start_on(
        &self,
        network: &NetworkId,
        spec: &InstanceSpec,
    ) -> Result<ContainerId, EngineError> {
        let id = self.create_on(network, spec).await?;
        let started = self
            .docker
            .start_container(id.as_str(), None::<StartContainerOptions>)
            .await;
        failpoint::at("instance.started");
        let Err(api) = started else { return Ok(id) };
        let error = self.start_error(api, &spec.told(), spec.address()).await;
        self.remove(&id).await?;
        Err(error)
    }

    /// Creates an instance on the network that [`Engine::ensure_network`] has just given, and does not start it:
    /// [`Engine::start_again`] does.
    ///
    /// # Errors
    /// As for [`Engine::start`].
    pub async fn create_on(
        &self,
        network: &NetworkId,
        spec: &InstanceSpec,
    ) -> Result<ContainerId, EngineError> {
        failpoint::at("instance.create");
        let id = self.create(network, spec).await?;
        failpoint::at("instance.created");
        Ok(id)
    }

    /// Sets what the Engine does when the instance ends by itself, unless that is set already: to be called once it
    /// is ready.
    ///
    /// # Errors
    /// The Engine's.
    pub async fn settle(&self, id: &ContainerId, restart: Restart) -> Result<(), EngineError> {
        let wanted = restart_policy(restart);
        // To ask costs a tenth of what it costs to set.
        if self.restart_policy_of(id).await? == wanted.name {
            return Ok(());
        }
        let update = ContainerUpdateBody {
            restart_policy: Some(wanted),
            ..ContainerUpdateBody::default()
        };
        failpoint::at("instance.settle");
        let updated = self.docker.update_container(id.as_str(), update).await;
        failpoint::at("instance.settled");
        updated.map_err(|api| self.call("set an instance's restart policy").error(api))
    }

    async fn restart_policy_of(
        &self,
        id: &ContainerId,
    ) -> Result<Option<RestartPolicyNameEnum>, EngineError> {
        let inspected = self
            .docker
            .inspect_container(id.as_str(), None::<InspectContainerOptions>)
            .await
            .map_err(|api| self.call("look at an instance").error(api))?;
        let host_config = inspected.host_config;
        Ok(host_config.and_then(|config| config.restart_policy?.name))
    }

    /// How the instance is now.
    ///
    /// # Errors
    /// The Engine's. That the container is gone is a state.
    pub async fn instance_state(&self, id: &ContainerId) -> Result<InstanceState, EngineError> {
        match self
            .docker
            .inspect_container(id.as_str(), None::<InspectContainerOptions>)
            .await
        {
            Ok(found) => {
                let restarts = found.restart_count.unwrap_or_default().try_into();
                let created = found
                    .created
                    .and_then(|at| Timestamp::from_nanosecond(at.unix_timestamp_nanos()).ok());
                Ok(state_of(
                    found.state.unwrap_or_default(),
                    restarts.unwrap_or_default(),
                    created.unwrap_or(Timestamp::UNIX_EPOCH),
                ))
            }
            Err(api) if is_gone(&api) => Ok(InstanceState {
                status: Status::Gone,
                health: None,
                ending: None,
                created: Timestamp::UNIX_EPOCH,
            }),
            Err(api) => Err(self.call("look at an instance").error(api)),
        }
    }

    /// Every container of deployer's, running or not; only those of `app`, where one is given. Sorted by app,
    /// slot, release, service and index.
    ///
    /// # Errors
    /// The Engine's.
    pub async fn instances(&self, app: Option<&AppName>) -> Result<Vec<Instance>, EngineError> {
        let network = &self.settings.network;
        let mut labels = vec![format!("{LABEL_NETWORK}={network}")];
        labels.extend(app.map(|app| format!("{LABEL_APP}={app}")));
        self.instances_with(labels).await
    }

    /// As [`Engine::instances`], of every installation and on every network.
    ///
    /// # Errors
    /// The Engine's.
    pub async fn instances_of_all(&self) -> Result<Vec<Instance>, EngineError> {
        self.instances_with(vec![LABEL_NETWORK.to_owned()]).await
    }

    async fn instances_with(&self, labels: Vec<String>) -> Result<Vec<Instance>, EngineError> {
        let options = ListContainersOptions {
            all: true,
            filters: Some(HashMap::from([("label".to_owned(), labels)])),
            ..ListContainersOptions::default()
        };
        let listed = self.docker.list_containers(Some(options)).await;
        let listed = listed.map_err(|api| self.call("list the instances").error(api))?;
        let mut instances: Vec<Instance> = listed.iter().filter_map(instance_of).collect();
        instances
            .sort_by(|a, b| (&a.app, a.slot, a.release, &a.name).cmp(&(&b.app, b.slot, b.release, &b.name)));
        Ok(instances)
    }

    /// Stops an instance: SIGTERM, and SIGKILL after `grace`. That it is stopped or gone already is fine.
    ///
    /// # Errors
    /// The Engine's.
    pub async fn stop(&self, id: &ContainerId, grace: Duration) -> Result<(), EngineError> {
        let options = StopContainerOptions {
            t: Some(i32::try_from(grace.as_secs()).unwrap_or(i32::MAX)),
            signal: None,
        };
        let docker = self.patient(grace + AFTER_GRACE);
        failpoint::at("instance.stop");
        let stopped = docker.stop_container(id.as_str(), Some(options)).await;
        failpoint::at("instance.stopped");
        match stopped {
            Err(api) if !is_gone(&api) => Err(self.call("stop an instance").error(api)),
            _ => Ok(()),
        }
    }

    /// Starts a stopped instance again, at the same address, or lets a paused one go on. That it runs already is fine.
    ///
    /// # Errors
    /// [`EngineError::AddressTaken`], [`EngineError::NetworkGone`], or the Engine's.
    pub async fn start_again(&self, id: &ContainerId) -> Result<(), EngineError> {
        failpoint::at("instance.start-again");
        let started = self
            .docker
            .start_container(id.as_str(), None::<StartContainerOptions>)
            .await;
        failpoint::at("instance.started-again");
        let Err(api) = started else { return Ok(()) };
        if self.instance_state(id).await?.status == Status::Paused {
            let goes_on = self.docker.unpause_container(id.as_str()).await;
            return goes_on.map_err(|api| self.call("let a paused instance go on").error(api));
        }
        let all = self.instances(None).await?;
        match all.into_iter().find(|instance| instance.id == *id) {
            Some(Instance {
                app,
                slot,
                release,
                name,
                address,
                ..
            }) => Err(self
                .start_error(api, &told(&app, slot, release, &name), address)
                .await),
            None => Err(self.call("start an instance again").error(api)),
        }
    }

    /// Removes an instance with its anonymous volumes, killing it where it still runs. That it is gone already is
    /// fine; when this returns it is gone.
    ///
    /// # Errors
    /// The Engine's.
    pub async fn remove(&self, id: &ContainerId) -> Result<(), EngineError> {
        let options = RemoveContainerOptions {
            force: true,
            v: true,
            link: false,
        };
        failpoint::at("instance.remove");
        let removed = self.docker.remove_container(id.as_str(), Some(options)).await;
        failpoint::at("instance.removed");
        match removed {
            Ok(()) => Ok(()),
            Err(api) if is_gone(&api) => Ok(()),
            Err(Api::DockerResponseServerError { status_code: 409, .. }) => self.wait_until_gone(id).await,
            Err(api) => Err(self.call("remove an instance").error(api)),
        }
    }

    /// Another call is removing it.
    async fn wait_until_gone(&self, id: &ContainerId) -> Result<(), EngineError> {
        let deadline = Instant::now() + REMOVAL;
        while self.instance_state(id).await?.status != Status::Gone {
            if Instant::now() > deadline {
                let reason = format!("it was not gone after {} s", REMOVAL.as_secs());
                return Err(self.call("remove an instance").timeout(&reason));
            }
            sleep(Duration::from_millis(50)).await;
        }
        Ok(())
    }

    async fn create(&self, network: &NetworkId, spec: &InstanceSpec) -> Result<ContainerId, EngineError> {
        let name = spec.container_name(&self.settings.network);
        let body = spec.container(&self.settings.network, network)?;
        let options = CreateContainerOptions {
            name: Some(name.clone()),
            platform: String::new(),
        };
        let mut created = self
            .docker
            .create_container(Some(options.clone()), body.clone())
            .await;
        if matches!(
            created,
            Err(Api::DockerResponseServerError { status_code: 409, .. })
        ) {
            self.remove_left_over(spec, &name).await?;
            created = self.docker.create_container(Some(options), body).await;
        }
        let image = spec.image.to_string();
        created.map(|container| ContainerId(container.id)).map_err(|api| {
            let what = format!("create {}", spec.told());
            match is_gone(&api) {
                true => self.registry_call(&what, &image).error(api),
                false => self.call(&what).error(api),
            }
        })
    }

    /// The name is taken: by what an interrupted run of the same release left behind, or by a stranger.
    async fn remove_left_over(&self, spec: &InstanceSpec, name: &str) -> Result<(), EngineError> {
        let found = match self
            .docker
            .inspect_container(name, None::<InspectContainerOptions>)
            .await
        {
            Ok(found) => found,
            Err(api) if is_gone(&api) => return Ok(()),
            Err(api) => return Err(self.call("look at an instance").error(api)),
        };
        let id = ContainerId(found.id.unwrap_or_default());
        let labels = found.config.and_then(|config| config.labels).unwrap_or_default();
        let is = |label: &str, value: &str| labels.get(label).is_some_and(|has| has == value);
        if is(LABEL_NETWORK, &self.settings.network) && is(LABEL_APP, spec.app.as_str()) {
            return self.remove(&id).await;
        }
        Err(EngineError::NameTaken {
            name: name.to_owned(),
            id: id.as_str().chars().take(12).collect(),
        })
    }

    async fn start_error(&self, api: Api, instance: &str, address: Ipv4Addr) -> EngineError {
        let taken = |text: &str| text.to_lowercase().contains("address already in use");
        let no_network = |text: &str| text.starts_with("network ") && text.ends_with(" not found");
        match &api {
            Api::DockerResponseServerError { message, .. } if no_network(message.trim()) => {
                EngineError::NetworkGone {
                    instance: instance.to_owned(),
                }
            }
            Api::DockerResponseServerError { message, .. } if taken(message) => EngineError::AddressTaken {
                address,
                instance: instance.to_owned(),
                by: self
                    .holder_of(address)
                    .await
                    .unwrap_or_else(|| "another container".to_owned()),
            },
            _ => self.call(&format!("start {instance}")).error(api),
        }
    }

    /// The container that has `address` on deployer's network.
    async fn holder_of(&self, address: Ipv4Addr) -> Option<String> {
        let network = self.find_network().await.ok()??;
        let inspected = self
            .docker
            .inspect_network(network.as_str(), None::<InspectNetworkOptions>)
            .await;
        let containers = inspected.ok()?.containers?;
        let prefix = format!("{address}/");
        let holder = containers.into_values().find(|endpoint| {
            endpoint
                .ipv4_address
                .as_ref()
                .is_some_and(|with| with.starts_with(&prefix))
        })?;
        Some(format!(
            "the container {}",
            one_line(&holder.name.unwrap_or_default(), 100)
        ))
    }
}

/// The instance that a listed container is; none where its labels or its name are not of deployer's making.
///
/// The name counts too: a Dockerfile can put any label on the containers that its own build runs in.
fn instance_of(found: &ContainerSummary) -> Option<Instance> {
    let labels = found.labels.as_ref()?;
    let label = |name: &str| labels.get(name).map(String::as_str);
    let (repository, digest) = label(LABEL_IMAGE)?.split_once('@')?;
    let name = InstanceName {
        service: label(LABEL_SERVICE)?.parse().ok()?,
        index: label(LABEL_INDEX)?.parse().ok()?,
    };
    let endpoints = label(LABEL_ENDPOINTS)?.split(',');
    let endpoints: Vec<SocketAddrV4> = endpoints.map(|at| at.parse().ok()).collect::<Option<_>>()?;
    let instance = Instance {
        id: ContainerId(found.id.clone()?),
        app: label(LABEL_APP)?.parse().ok()?,
        slot: label(LABEL_SLOT)?.parse().ok()?,
        lane: label(LABEL_LANE)?.parse().ok()?,
        release: label(LABEL_RELEASE)?.parse().ok()?,
        image: ImageRef {
            repository: repository.to_owned(),
            digest: digest.parse().ok()?,
        },
        commit: label(LABEL_COMMIT).and_then(|commit| commit.parse().ok()),
        network: label(LABEL_NETWORK)?.to_owned(),
        installation: label(LABEL_INSTALLATION)
            .filter(|id| !id.is_empty())
            .map(str::to_owned),
        state: label(LABEL_STATE).unwrap_or_default().to_owned(),
        address: *endpoints.get(usize::from(name.index))?.ip(),
        name,
        endpoints,
        running: found.state == Some(ContainerSummaryStateEnum::RUNNING),
    };
    let name = container_name(
        &instance.network,
        &instance.app,
        instance.slot,
        instance.release,
        &instance.name,
    );
    let names = found.names.as_ref()?;
    names
        .iter()
        .any(|has| has.strip_prefix('/') == Some(&name))
        .then_some(instance)
}

fn state_of(state: ContainerState, restarts: u64, created: Timestamp) -> InstanceState {
    use ContainerStateStatusEnum as Of;
    let ending = ending_of(&state, restarts);
    let status = match state.status.unwrap_or(Of::EMPTY) {
        Of::CREATED => Status::Created,
        Of::PAUSED => Status::Paused,
        Of::RUNNING | Of::STOPPING => Status::Running {
            since: state
                .started_at
                .and_then(|at| at.parse().ok())
                .unwrap_or(Timestamp::UNIX_EPOCH),
        },
        Of::RESTARTING => Status::Restarting,
        Of::REMOVING | Of::DEAD => Status::Gone,
        Of::EXITED | Of::EMPTY => Status::Exited {
            code: state.exit_code.unwrap_or_default(),
            oom: state.oom_killed.unwrap_or_default(),
            error: one_line(&state.error.unwrap_or_default(), HEALTH_OUTPUT_MAX),
        },
    };
    let health = state.health.and_then(|health| {
        let status = match health.status? {
            HealthStatusEnum::STARTING => HealthStatus::Starting,
            HealthStatusEnum::HEALTHY => HealthStatus::Healthy,
            HealthStatusEnum::UNHEALTHY => HealthStatus::Unhealthy,
            HealthStatusEnum::NONE | HealthStatusEnum::EMPTY => return None,
        };
        let last = health
            .log
            .and_then(|mut log| log.pop())
            .and_then(|check| check.output);
        Some(Health {
            status,
            last_output: one_line(&last.unwrap_or_default(), HEALTH_OUTPUT_MAX),
        })
    });
    InstanceState {
        status,
        health,
        ending,
        created,
    }
}

/// The Engine writes the year 1 where it has none.
fn ending_of(state: &ContainerState, restarts: u64) -> Option<Ending> {
    let at: Timestamp = state.finished_at.as_ref()?.parse().ok()?;
    (at > Timestamp::UNIX_EPOCH).then(|| Ending {
        at,
        code: state.exit_code.unwrap_or_default(),
        oom: state.oom_killed.unwrap_or_default(),
        restarts,
    })
}
