//! What can go wrong at the Engine, told apart in one place.

use std::net::Ipv4Addr;
use std::path::PathBuf;
use std::time::Duration;

use super::build_context::ContextError;
use super::lines::one_line;
use crate::ground::told::{Hint, Hints};
use crate::model::Subnet;

/// Characters of a foreign text that an error shows.
pub(super) const REASON_MAX: usize = 600;

/// What went wrong at the Engine, or at the registry that it talks to.
#[derive(Debug, thiserror::Error)]
pub enum EngineError {
    /// Nothing answers at the Engine's address.
    #[error(
        "the Docker Engine does not answer at {host}: {reason}{}",
        Hint("is it running? See `engine.host`")
    )]
    Unreachable {
        /// The Engine's address.
        host: String,
        /// What the system said.
        reason: String,
    },
    /// The socket is there, and not for this user.
    #[error(
        "not allowed to talk to the Docker Engine at {host}{}",
        Hint("add this user to the group `docker`")
    )]
    Denied {
        /// The Engine's address.
        host: String,
    },
    /// The address is of a kind that is not known.
    #[error(
        "{host:?} is no address of a Docker Engine{}",
        Hint("like unix:///var/run/docker.sock or tcp://127.0.0.1:2375")
    )]
    BadHost {
        /// The address.
        host: String,
    },
    /// The Engine is older than 20.10.
    #[error("the Docker Engine at {host} speaks API {api}; 1.41 is needed (Engine 20.10 or newer)")]
    TooOld {
        /// The Engine's address.
        host: String,
        /// Its API version.
        api: String,
    },
    /// deployer's network exists, and is not as the configuration wants it.
    #[error(
        "the network {name} has {has}, the configuration wants {wants}{}",
        Hint("set `engine.subnet` to it, or remove the network once nothing runs on it")
    )]
    NetworkDiffers {
        /// The network's name.
        name: String,
        /// What it has: its driver or its subnets.
        has: String,
        /// What it should have.
        wants: String,
    },
    /// The network that a container was made on was removed: it can never be started again.
    #[error(
        "the network that {instance} was made on is gone{}",
        Hint("`deployer recover` makes both anew")
    )]
    NetworkGone {
        /// The instance.
        instance: String,
    },
    /// The wanted subnet is used by something else.
    #[error(
        "the subnet {subnet} is taken by {with}{}",
        Hint("set `engine.subnet` to a free one")
    )]
    NetworkClash {
        /// The wanted subnet.
        subnet: Subnet,
        /// What uses it.
        with: String,
    },
    /// The Engine has several networks of deployer's name.
    #[error(
        "there are several networks named {name}: {}{}",
        ids.join(", "),
        Hint("remove all but one with `docker network rm ID`")
    )]
    NetworkAmbiguous {
        /// The name.
        name: String,
        /// Their ids.
        ids: Vec<String>,
    },
    /// The build's context cannot be sent.
    #[error(transparent)]
    Context(#[from] ContextError),
    /// A step of the build failed.
    #[error("the build failed{}: {reason}{}", at(step), Hints(hints))]
    Build {
        /// The instruction that failed, as the builder names it, where it is known.
        step: Option<String>,
        /// The exit code of its command, where it was a command.
        code: Option<i64>,
        /// The builder's words.
        reason: String,
        /// What helps.
        hints: Vec<String>,
        /// The last lines of the step's output.
        last: Vec<String>,
    },
    /// A base image that was to be asked for anew cannot be pulled.
    #[error("the base image {image} could not be pulled anew: {reason}{}", Hints(hints))]
    BaseImage {
        /// The image, as the Dockerfile names it.
        image: String,
        /// The builder's words.
        reason: String,
        /// What helps.
        hints: Vec<String>,
    },
    /// The registry takes no connection.
    #[error(
        "the registry {registry} does not answer: {reason}{}",
        Hint("is it running? See `registry.address`")
    )]
    RegistryRefused {
        /// `HOST[:PORT]`.
        registry: String,
        /// The Engine's words.
        reason: String,
    },
    /// The registry speaks plain http, and the Engine wants https.
    #[error(
        "the registry {registry} speaks plain http, which the Docker Engine does only with loopback addresses{}",
        Hint("`insecure-registries` in /etc/docker/daemon.json")
    )]
    RegistryPlain {
        /// `HOST[:PORT]`.
        registry: String,
    },
    /// The registry wants a login, or another one.
    #[error(
        "the registry {registry} refused the login: {reason}{}",
        Hint("`registry.username` and `registry.password_file`")
    )]
    Unauthorized {
        /// `HOST[:PORT]`.
        registry: String,
        /// The Engine's words.
        reason: String,
    },
    /// The registry answered that it failed itself (a 5xx): the Engine keeps its reason to itself.
    #[error(
        "the registry {registry} failed while trying to {what}: {reason}{}",
        Hint("its own log has the cause; a full disk is the usual one")
    )]
    RegistryFailed {
        /// `HOST[:PORT]`.
        registry: String,
        /// What was being done.
        what: String,
        /// The Engine's words.
        reason: String,
    },
    /// A registry took what was sent, or promised what was asked for, and then did nothing.
    #[error(
        "the registry {registry} made no progress for {} while trying to {what}{}",
        seconds(timeout),
        Hint("see whether it hangs; one that is only slow needs a longer `registry.transfer_timeout`")
    )]
    RegistrySilent {
        /// `HOST[:PORT]`.
        registry: String,
        /// What was being done.
        what: String,
        /// How long nothing was heard.
        timeout: Duration,
    },
    /// There is no such image or repository.
    #[error("there is no image {reference}: {reason}")]
    Unknown {
        /// The image.
        reference: String,
        /// The Engine's words.
        reason: String,
    },
    /// A disk is full: the host's, or the registry's.
    #[error(
        "no space left while trying to {what}: {reason}{}",
        Hint("`deployer prune`, `docker system df`")
    )]
    NoSpace {
        /// What was being done.
        what: String,
        /// The Engine's words.
        reason: String,
    },
    /// It took too long.
    #[error("it took too long to {what}: {reason}")]
    Timeout {
        /// What was being done.
        what: String,
        /// Who gave up, and when.
        reason: String,
    },
    /// The connection broke, or the other side is overloaded for now.
    #[error("interrupted while trying to {what}: {reason}")]
    Interrupted {
        /// What was being done.
        what: String,
        /// The Engine's words.
        reason: String,
    },
    /// A planned address is used by a container.
    #[error(
        "the address {address} of {instance} is used by {by}{}",
        Hint("remove that container or give it another address")
    )]
    AddressTaken {
        /// The planned address.
        address: Ipv4Addr,
        /// The instance that should have it.
        instance: String,
        /// What has it.
        by: String,
    },
    /// An instance's name is used by a container that is not deployer's.
    #[error(
        "the name {name} is used by a container that is not deployer's ({id}){}",
        Hint("rename or remove it")
    )]
    NameTaken {
        /// The name.
        name: String,
        /// The container's id.
        id: String,
    },
    /// A line of an env_file is not `NAME=value`. Its text is not told: it may be a secret.
    #[error("{}, line {line}: {reason}", path.display())]
    EnvFile {
        /// The file.
        path: PathBuf,
        /// The line's number, from 1.
        line: usize,
        /// What is wrong with it.
        reason: String,
    },
    /// Others than its owner may read the env_file, which holds secrets.
    #[error(
        "the env_file {} is open to others (mode {mode:04o}){}",
        path.display(),
        Hint(format!("chmod 600 {}", path.display()))
    )]
    EnvFileMode {
        /// The file.
        path: PathBuf,
        /// Its permission bits.
        mode: u32,
    },
    /// The env_file cannot be read.
    #[error("cannot read the env_file {}: {reason}", path.display())]
    EnvFileUnreadable {
        /// The file.
        path: PathBuf,
        /// What the system said.
        reason: std::io::Error,
    },
    /// Everything else.
    #[error("cannot {what}: {reason}")]
    Other {
        /// What was being done.
        what: String,
        /// The Engine's words.
        reason: String,
    },
}

fn seconds(time: &Duration) -> String {
    format!("{} s", time.as_secs_f64())
}

fn at(step: &Option<String>) -> String {
    step.as_ref()
        .map(|step| format!(" at {step}"))
        .unwrap_or_default()
}

impl EngineError {
    /// Whether the same call may well succeed a little later.
    pub fn is_transient(&self) -> bool {
        matches!(
            self,
            Self::RegistryRefused { .. }
                | Self::RegistryFailed { .. }
                | Self::Timeout { .. }
                | Self::Interrupted { .. }
                | Self::Unreachable { .. }
        )
    }

    pub(super) fn other(what: &str, reason: impl ToString) -> Self {
        Self::Other {
            what: what.to_owned(),
            reason: one_line(&reason.to_string(), REASON_MAX),
        }
    }
}
