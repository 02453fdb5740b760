//! The engine edge: images, instances and deployer's network, through the Docker Engine's API.
//!
//! Labels are the truth about what runs: an instance carries its app, slot, lane, release and image, and
//! [`Engine::instances`] reads them back.

mod about;
mod arguments;
mod base_images;
mod build;
mod build_hint;
mod cache;
mod context;
mod endings;
mod env_file;
mod error;
#[cfg(feature = "fuzzing")]
pub(crate) mod fuzzing;
mod ignore;
mod images;
mod instance;
mod instance_spec;
mod lines;
mod logs;
mod network;
mod plain;
mod progress;
mod published;
mod said;
mod sockets;

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE};
use bollard::errors::Error as Api;
use bollard::{API_DEFAULT_VERSION, BollardRequest, ClientVersion, Docker};
use tokio::sync::OnceCell;

pub use build::{BuildRequest, BuilderKind};
pub use context::ContextError;
pub use endings::{Endings, OwnEnding};
pub use error::EngineError;
pub use images::{Healthcheck, ImageFacts, Removed, Transfer};
pub use instance::{Ending, Health, HealthStatus, Instance, InstanceState, Status};
pub use instance_spec::InstanceSpec;
pub use logs::LogRange;
pub use network::NetworkEnd;
pub use published::Published;

use crate::model::EngineSettings;
use plain::Place;
use said::Call;

/// How long the Engine may take to answer a plain call.
const ANSWER: Duration = Duration::from_secs(60);

/// A connection to the Docker Engine. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Engine {
    docker: Docker,
    settings: Arc<EngineSettings>,
    /// The newest builder that it has.
    builder: BuilderKind,
    /// Whether it runs a HEALTHCHECK more often while a container starts.
    has_start_interval: bool,
    /// Where it keeps everything, once it was asked.
    data_root: Arc<OnceCell<PathBuf>>,
}

impl Engine {
    /// Connects to the Engine and agrees on a version of its API.
    ///
    /// # Errors
    /// [`EngineError::Unreachable`], [`EngineError::Denied`], [`EngineError::BadHost`], [`EngineError::TooOld`].
    pub async fn connect(settings: &EngineSettings) -> Result<Self, EngineError> {
        let host = settings.host.as_str();
        let about = about::about(host).await?;
        let docker = dial(host, about.api).map_err(|api| {
            let call = Call {
                host,
                what: "connect to the Docker Engine",
                image: None,
            };
            call.error(api)
        })?;
        Ok(Self {
            docker: docker.with_request_modifier(url_safe_credentials),
            settings: Arc::new(settings.clone()),
            builder: about.builder,
            has_start_interval: about.has_start_interval(),
            data_root: Arc::default(),
        })
    }

    /// Asks the Engine for a sign of life.
    ///
    /// # Errors
    /// [`EngineError::Unreachable`], or what else keeps it from answering.
    pub async fn answers(&self) -> Result<(), EngineError> {
        let answered = self.docker.ping().await;
        answered
            .map(drop)
            .map_err(|api| self.call("reach the Docker Engine").error(api))
    }

    /// Whether it runs a HEALTHCHECK more often while a container starts, by `--start-interval`: Engine 25 and newer.
    pub fn has_start_interval(&self) -> bool {
        self.has_start_interval
    }

    fn call<'a>(&'a self, what: &'a str) -> Call<'a> {
        Call {
            host: &self.settings.host,
            what,
            image: None,
        }
    }

    fn registry_call<'a>(&'a self, what: &'a str, image: &'a str) -> Call<'a> {
        Call {
            image: Some(image),
            ..self.call(what)
        }
    }

    /// The same connection for calls that answer late.
    fn patient(&self, timeout: Duration) -> Docker {
        self.docker.clone().with_timeout(timeout)
    }
}

/// Reads an env_file as the start of an instance will, and gives nothing of it.
///
/// # Errors
/// [`EngineError::EnvFileUnreadable`], [`EngineError::EnvFileMode`], [`EngineError::EnvFile`].
pub fn check_env_file(path: &Path) -> Result<(), EngineError> {
    env_file::read(path).map(drop)
}

/// A client of the Engine at `host` in its API `(major, minor)`, or in the newest that bollard knows.
fn dial(host: &str, (major_version, minor_version): (usize, usize)) -> Result<Docker, Api> {
    let offered = ClientVersion {
        major_version,
        minor_version,
    };
    let version = if offered < *API_DEFAULT_VERSION {
        &offered
    } else {
        API_DEFAULT_VERSION
    };
    let seconds = ANSWER.as_secs();
    match Place::of(host) {
        Some(Place::Socket(_)) => Docker::connect_with_unix(host, seconds, version),
        _ => Docker::connect_with_http(host, seconds, version),
    }
}

/// The Engine wants the URL-safe alphabet in these two headers; the client library writes the standard one,
/// with which some passwords are taken for none.
fn url_safe_credentials(mut request: BollardRequest) -> BollardRequest {
    for name in ["x-registry-auth", "x-registry-config"] {
        if let Some(value) = request.headers_mut().get_mut(name)
            && let Ok(decoded) = STANDARD.decode(value.as_bytes())
            && let Ok(mut encoded) = http::HeaderValue::from_str(&URL_SAFE.encode(decoded))
        {
            encoded.set_sensitive(true);
            *value = encoded;
        }
    }
    request
}

macro_rules! id {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Serialize, serde::Deserialize)]
        #[serde(transparent)]
        pub struct $name(String);

        impl $name {
            /// The whole id.
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl From<String> for $name {
            fn from(id: String) -> Self {
                Self(id)
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
                to.pad(&self.0)
            }
        }
    };
}

id!(
    /// A container's id at the Engine.
    ContainerId
);
id!(
    /// An image's id at the Engine: `sha256:…` of its configuration, not of its manifest.
    ImageId
);
id!(
    /// A network's id at the Engine.
    NetworkId
);
