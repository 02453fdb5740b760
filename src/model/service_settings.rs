//! What the configuration says of one service: how its image is built, and how its instances run.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

/// One service of an app.
#[derive(Debug, Clone, PartialEq)]
pub struct ServiceSettings {
    /// The port that instances listen on; absent: the image's single EXPOSE.
    pub container_port: Option<u16>,
    /// How the image is built.
    pub build: BuildSettings,
    /// Instances per slot.
    pub instances: u8,
    /// How instances are run.
    pub run: RunSettings,
    /// When an instance is ready.
    pub probe: Probe,
}

impl Default for ServiceSettings {
    fn default() -> Self {
        Self {
            container_port: None,
            build: BuildSettings {
                dockerfile: "Dockerfile".into(),
                context: ".".into(),
                args: BTreeMap::new(),
                target: None,
                pull: false,
                deadline: Duration::from_secs(30 * 60),
            },
            instances: 1,
            run: RunSettings {
                env: BTreeMap::new(),
                env_file: None,
                volumes: Vec::new(),
                memory: None,
                cpus: None,
                pids: None,
                restart: Restart::Always,
                stop_grace: Duration::from_secs(10),
                log_size: 10 << 20,
            },
            probe: Probe {
                kind: ProbeKind::Http {
                    path: "/".into(),
                    status: (200, 399),
                    host: None,
                },
                interval: Duration::from_millis(200),
                timeout: Duration::from_secs(2),
                deadline: Duration::from_secs(30),
            },
        }
    }
}

/// How an image is built.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BuildSettings {
    /// The Dockerfile, relative to the context.
    pub dockerfile: String,
    /// The context, relative to the tree's root; `.` is the root.
    pub context: String,
    /// Build arguments.
    pub args: BTreeMap<String, String>,
    /// The stage to build.
    pub target: Option<String>,
    /// Whether every build asks the registries for its base images anew.
    pub pull: bool,
    /// How long a build may take.
    pub deadline: Duration,
}

/// How instances are run.
#[derive(Debug, Clone, PartialEq)]
pub struct RunSettings {
    /// Environment.
    pub env: BTreeMap<String, String>,
    /// A file of `NAME=value` lines, read at every start; `env` wins.
    pub env_file: Option<PathBuf>,
    /// Volumes.
    pub volumes: Vec<Volume>,
    /// Memory limit in bytes.
    pub memory: Option<u64>,
    /// CPU limit, in CPUs.
    pub cpus: Option<f64>,
    /// Limit of processes.
    pub pids: Option<u32>,
    /// What the Engine does when an instance ends by itself, once it was ready.
    pub restart: Restart,
    /// How long an instance has between SIGTERM and SIGKILL.
    pub stop_grace: Duration,
    /// Bytes of one of the three log files that the Engine keeps per instance.
    pub log_size: u64,
}

/// A mount: a named volume or a host's path.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Volume {
    /// A volume's name or an absolute path on the host.
    pub source: String,
    /// An absolute path in the container.
    pub target: String,
    /// Mounted read-only.
    pub read_only: bool,
}

/// `restart`
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Restart {
    /// Always: also after the Engine was killed.
    Always,
    /// When it ended with an error.
    OnFailure,
    /// Never.
    No,
}

/// When an instance is ready.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Probe {
    /// What is asked.
    pub kind: ProbeKind,
    /// Time from one try's end to the next.
    pub interval: Duration,
    /// How long one try may take.
    pub timeout: Duration,
    /// How long an instance may take to become ready.
    pub deadline: Duration,
}

/// What a probe asks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ProbeKind {
    /// `GET path` must be answered with `status`.
    Http {
        /// Path and query.
        path: String,
        /// The statuses that mean ready, from and to, both included.
        status: (u16, u16),
        /// The Host header; absent: the app's first host, else `localhost`.
        host: Option<String>,
    },
    /// A connection must be accepted.
    Tcp,
    /// The image's own HEALTHCHECK must say healthy.
    Healthcheck,
}
