//! The engine edge: images, instances and deployer's network, through the Docker Engine's API.
//!
//! Labels are the truth about what runs: an instance carries its app, slot, lane, release and image, and
//! [`Engine::instances`] reads them back.

mod build;
mod cache;
mod context;
mod env_file;
mod error;
mod ignore;
mod images;
mod instance;
mod instance_spec;
mod lines;
mod logs;
mod network;
mod progress;

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE};
use bollard::errors::Error as Api;
use bollard::{API_DEFAULT_VERSION, BollardRequest, Docker};

pub use build::{BuildRequest, BuilderKind};
pub use context::ContextError;
pub use error::EngineError;
pub use images::{ImageFacts, Removed};
pub use instance::{Ending, Health, HealthStatus, Instance, InstanceState, Status};
pub use instance_spec::InstanceSpec;

use crate::model::EngineSettings;
use error::Call;

/// How long the Engine may take to answer a plain call.
const ANSWER: Duration = Duration::from_secs(60);
/// How long it may take to answer the first one.
const FIRST_ANSWER: Duration = Duration::from_secs(10);
/// The API of Engine 20.10.
const OLDEST_API: (usize, usize) = (1, 41);

/// A connection to the Docker Engine. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Engine {
    docker: Docker,
    settings: Arc<EngineSettings>,
}

impl Engine {
    /// Connects to the Engine and agrees on a version of its API.
    ///
    /// # Errors
    /// [`EngineError::Unreachable`], [`EngineError::Denied`], [`EngineError::BadHost`], [`EngineError::TooOld`].
    pub async fn connect(settings: &EngineSettings) -> Result<Self, EngineError> {
        let host = settings.host.as_str();
        let call = Call {
            host,
            what: "connect to the Docker Engine",
            image: None,
        };
        let docker = dial(host).map_err(|error| match error {
            Some(api) => call.error(api),
            None => EngineError::BadHost {
                host: host.to_owned(),
            },
        })?;
        let docker = docker.with_request_modifier(url_safe_credentials);
        let negotiated = tokio::time::timeout(FIRST_ANSWER, docker.negotiate_version()).await;
        let docker = negotiated
            .map_err(|_| EngineError::Unreachable {
                host: host.to_owned(),
                reason: format!("no answer within {} s", FIRST_ANSWER.as_secs()),
            })?
            .map_err(|api| call.error(api))?;
        let api = docker.client_version();
        if (api.major_version, api.minor_version) < OLDEST_API {
            return Err(EngineError::TooOld {
                host: host.to_owned(),
                api: api.to_string(),
            });
        }
        Ok(Self {
            docker,
            settings: Arc::new(settings.clone()),
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

fn dial(host: &str) -> Result<Docker, Option<Api>> {
    let seconds = ANSWER.as_secs();
    match host.split_once("://") {
        Some(("unix", path)) if path.starts_with('/') => {
            Docker::connect_with_unix(host, seconds, API_DEFAULT_VERSION).map_err(Some)
        }
        Some(("tcp" | "http", address)) if !address.is_empty() => {
            Docker::connect_with_http(host, seconds, API_DEFAULT_VERSION).map_err(Some)
        }
        _ => Err(None),
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
