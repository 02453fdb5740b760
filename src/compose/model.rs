//! What a compose file says, in words of our own.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use super::fault::At;

/// A compose file that was read and found good.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Model {
    /// The file, relative to the tree.
    pub file: String,
    /// The services that a release has.
    pub services: BTreeMap<String, Service>,
    /// Services that are left out, with the profiles that would bring them in.
    pub left_out: BTreeMap<String, BTreeSet<String>>,
    /// The networks by name.
    pub networks: BTreeSet<String>,
    /// The named volumes.
    pub volumes: BTreeSet<String>,
    /// The secrets, and where each comes from.
    pub secrets: BTreeMap<String, FileSource>,
    /// The configs, and where each comes from.
    pub configs: BTreeMap<String, FileSource>,
    /// What became of each key, in the order of the file.
    pub keys: Vec<KeyRead>,
    /// What else there is to say.
    pub notes: Vec<String>,
}

/// What became of one key.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct KeyRead {
    /// The service that it is of, if it is of one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub service: Option<String>,
    /// The key, with `*` for names: `services.*.logging`.
    pub key: String,
    /// Where it stands.
    #[serde(flatten)]
    pub at: At,
    /// Whether it was taken; else it was ignored.
    pub taken: bool,
    /// As what it was taken, or why not.
    pub becomes: String,
}

/// One service.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Service {
    /// Where it begins.
    pub at: At,
    /// The image's reference; beside `build`, only a name.
    pub image: Option<String>,
    /// How it is built.
    pub build: Option<Build>,
    /// The arguments; absent: the image's.
    pub command: Option<Vec<String>>,
    /// The program; absent: the image's.
    pub entrypoint: Option<Vec<String>>,
    /// Variables; `None` takes one away from the image. Values of `env_file` are among them.
    pub environment: BTreeMap<String, Option<String>>,
    /// The ports of `ports`.
    pub ports: Vec<Port>,
    /// The ports of `expose`.
    pub expose: Vec<Port>,
    /// The mounts of `volumes` and `tmpfs`.
    pub mounts: Vec<Mount>,
    /// What it waits for, by service.
    pub depends_on: BTreeMap<String, Dependency>,
    /// `links`: the other service, by the name that it has for this one.
    pub links: BTreeMap<String, String>,
    /// When it is ready.
    pub healthcheck: Option<Healthcheck>,
    /// What happens when it ends by itself.
    pub restart: Restart,
    /// The networks that it joins, with its names there.
    pub networks: BTreeMap<String, BTreeSet<String>>,
    /// `container_name`.
    pub container_name: Option<String>,
    /// `hostname`.
    pub hostname: Option<String>,
    /// The profiles that it is of.
    pub profiles: BTreeSet<String>,
    /// Secrets that are copied in.
    pub secrets: Vec<FileUse>,
    /// Configs that are copied in.
    pub configs: Vec<FileUse>,
    /// Instances.
    pub replicas: u32,
    /// Limits.
    pub resources: Resources,
    /// How its processes run.
    pub process: Process,
    /// `x-deployer: { scope: … }`
    pub scope: Option<super::Scope>,
    /// `x-deployer: { public: … }`
    pub public: Option<bool>,
}

/// How processes run.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Process {
    /// `user`
    pub user: Option<String>,
    /// `group_add`
    pub group_add: Vec<String>,
    /// `working_dir`
    pub working_dir: Option<String>,
    /// `init`
    pub init: Option<bool>,
    /// `stop_signal`
    pub stop_signal: Option<String>,
    /// `stop_grace_period`
    pub stop_grace: Option<Duration>,
    /// `read_only`
    pub read_only: bool,
    /// `shm_size`, in bytes.
    pub shm_size: Option<u64>,
    /// `ulimits`: soft and hard.
    pub ulimits: BTreeMap<String, (i64, i64)>,
    /// `cap_drop`
    pub cap_drop: Vec<String>,
    /// `security_opt: [no-new-privileges]`
    pub no_new_privileges: bool,
    /// `platform`
    pub platform: Option<String>,
    /// `extra_hosts`: names and their addresses.
    pub extra_hosts: BTreeSet<(String, String)>,
}

/// How an image is built.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Build {
    /// Where it is said.
    pub at: At,
    /// The folder, relative to the tree; `.` is the tree.
    pub context: String,
    /// The Dockerfile, relative to the context.
    pub dockerfile: String,
    /// The Dockerfile itself.
    pub dockerfile_inline: Option<String>,
    /// The arguments; `None` leaves the Dockerfile's default.
    pub args: BTreeMap<String, Option<String>>,
    /// The stage.
    pub target: Option<String>,
}

/// A port of a service.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Port {
    /// The port in the container.
    pub target: u16,
    /// `tcp` or `udp`.
    pub protocol: String,
    /// The port, or the range, that Compose would publish.
    pub published: Option<String>,
    /// The address where Compose would publish it.
    pub host_ip: Option<String>,
}

/// A mount.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mount {
    /// Where it is said.
    pub at: At,
    /// What is mounted.
    pub source: Source,
    /// The path in the container.
    pub target: String,
    /// Whether it cannot be written to.
    pub read_only: bool,
}

/// What is mounted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Source {
    /// A named volume, one for both slots; and a folder in it.
    Volume {
        /// Its name in the file.
        name: String,
        /// A folder of it.
        subpath: Option<String>,
        /// Whether the image's files are not copied into an empty one.
        nocopy: bool,
    },
    /// A volume without a name: each instance has its own.
    Anonymous,
    /// A file or folder of the tree, copied in.
    Copied(String),
    /// A developer's mount over what was built: it is not mounted.
    Dropped(String),
    /// A folder in memory, of so many bytes.
    Memory {
        /// The most bytes.
        size: Option<u64>,
        /// The folder's mode.
        mode: Option<u32>,
    },
}

/// What a service waits for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Dependency {
    /// Where it is said.
    pub at: At,
    /// What it waits for.
    pub condition: Condition,
    /// Whether the other one may be left out.
    pub required: bool,
}

/// `condition`
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Condition {
    /// It runs.
    Started,
    /// Its health check says healthy.
    Healthy,
    /// It has ended with 0.
    Completed,
}

/// `healthcheck`; what is absent is the image's, or the Engine's default.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Healthcheck {
    /// `["NONE"]`, `["CMD", …]` or `["CMD-SHELL", …]`.
    pub test: Option<Vec<String>>,
    /// `interval`
    pub interval: Option<Duration>,
    /// `timeout`
    pub timeout: Option<Duration>,
    /// `retries`
    pub retries: Option<u64>,
    /// `start_period`
    pub start_period: Option<Duration>,
    /// `start_interval`
    pub start_interval: Option<Duration>,
}

/// `restart`
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Restart {
    /// Nothing is said.
    #[default]
    Unsaid,
    /// It stays ended.
    No,
    /// It is started again.
    Always,
    /// It is started again, unless somebody stopped it.
    UnlessStopped,
    /// It is started again after an error, so many times at most.
    OnFailure(Option<u32>),
}

/// Limits and reservations.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Resources {
    /// CPUs.
    pub cpus: Option<f64>,
    /// Bytes.
    pub memory: Option<u64>,
    /// Processes.
    pub pids: Option<u32>,
    /// Bytes that are kept for it.
    pub memory_reservation: Option<u64>,
}

/// Where a secret or config comes from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum FileSource {
    /// A file of the tree.
    File(String),
    /// The value of a variable.
    Variable(String),
    /// Its content.
    Content(String),
}

/// A secret or config in a service.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FileUse {
    /// Its name at the top of the file.
    pub source: String,
    /// The path in the container.
    pub target: String,
    /// Its owner.
    pub uid: Option<String>,
    /// Its group.
    pub gid: Option<String>,
    /// Its mode.
    pub mode: Option<u32>,
}

impl Model {
    /// The ignored keys, each once, with the first place and the services that have it.
    pub fn ignored(&self) -> Vec<(&KeyRead, BTreeSet<&str>)> {
        let mut ignored: Vec<(&KeyRead, BTreeSet<&str>)> = Vec::new();
        for read in self.keys.iter().filter(|read| !read.taken) {
            let service = read.service.as_deref();
            match ignored.iter_mut().find(|(first, _)| first.key == read.key) {
                Some((_, services)) => services.extend(service),
                None => ignored.push((read, service.into_iter().collect())),
            }
        }
        ignored
    }
}
