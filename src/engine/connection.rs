//! The connection to the Docker Engine, which every call goes by.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE};
use bollard::errors::Error as Api;
use bollard::{API_DEFAULT_VERSION, BollardRequest, ClientVersion, Docker};
use tokio::sync::OnceCell;

use super::EngineError;
use super::about::{self, BuilderKind};
use super::error_mapping::Call;
use super::plain_http::EngineAddress;
use crate::model::EngineSettings;

/// How long the Engine may take to answer a plain call.
pub(super) const ANSWER: Duration = Duration::from_secs(60);

/// A connection to the Docker Engine. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Engine {
    pub(super) docker: Docker,
    pub(super) settings: Arc<EngineSettings>,
    /// The newest builder that it has.
    pub(super) builder: BuilderKind,
    /// Whether it runs a HEALTHCHECK more often while a container starts.
    has_start_interval: bool,
    /// Where it keeps everything, once it was asked.
    pub(super) data_root: Arc<OnceCell<PathBuf>>,
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

    /// Pings the Engine.
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

    pub(super) fn call<'a>(&'a self, what: &'a str) -> Call<'a> {
        Call {
            host: &self.settings.host,
            what,
            image: None,
        }
    }

    pub(super) fn registry_call<'a>(&'a self, what: &'a str, image: &'a str) -> Call<'a> {
        Call {
            image: Some(image),
            ..self.call(what)
        }
    }

    /// The same connection for calls that answer late.
    pub(super) fn patient(&self, timeout: Duration) -> Docker {
        self.docker.clone().with_timeout(timeout)
    }
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
    match EngineAddress::of(host) {
        Some(EngineAddress::Socket(_)) => Docker::connect_with_unix(host, seconds, version),
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
