//! The Engine's API version and builder, from the headers of its answer to a ping, which is cheap. For `/version` it
//! runs two other programs each time.

use std::io::{self, ErrorKind};
use std::time::Duration;

use http::HeaderMap;
use tokio::time::timeout;

use super::EngineError;
use super::plain_http::EngineAddress;

/// How long the Engine may take to answer the first call.
const FIRST_ANSWER: Duration = Duration::from_secs(10);
/// The API of Engine 20.10.
const OLDEST_API: (usize, usize) = (1, 41);
/// The API of Engine 25, the first one with HEALTHCHECK's `--start-interval`.
const START_INTERVAL: (usize, usize) = (1, 44);

/// The Engine's two builders.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BuilderKind {
    /// BuildKit.
    Buildkit,
    /// The classic builder.
    Classic,
}

/// What the Engine says about itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct About {
    /// The newest version of the API that it speaks.
    pub(super) api: (usize, usize),
    /// The newest builder that it has.
    pub(super) builder: BuilderKind,
}

impl About {
    /// Whether the Engine runs a HEALTHCHECK more often while a container starts.
    pub(super) fn has_start_interval(&self) -> bool {
        self.api >= START_INTERVAL
    }
}

/// Asks the Engine at `host` what it is.
///
/// # Errors
/// [`EngineError::BadHost`], [`EngineError::Unreachable`], [`EngineError::Denied`], [`EngineError::TooOld`].
pub(super) async fn about(host: &str) -> Result<About, EngineError> {
    let address = EngineAddress::of(host).ok_or_else(|| EngineError::BadHost {
        host: host.to_owned(),
    })?;
    let unreachable = |reason: String| EngineError::Unreachable {
        host: host.to_owned(),
        reason,
    };
    let answer = timeout(FIRST_ANSWER, address.get("/_ping"))
        .await
        .map_err(|_| unreachable(format!("no answer within {} s", FIRST_ANSWER.as_secs())))?;
    let answer = answer.map_err(|error| match error.kind() {
        ErrorKind::PermissionDenied => EngineError::Denied {
            host: host.to_owned(),
        },
        _ => unreachable(why(&error)),
    })?;
    let about = read(answer.headers())
        .ok_or_else(|| unreachable(format!("it answers {} and is no Engine", answer.status())))?;
    if about.api < OLDEST_API {
        return Err(EngineError::TooOld {
            host: host.to_owned(),
            api: format!("{}.{}", about.api.0, about.api.1),
        });
    }
    Ok(about)
}

fn why(error: &io::Error) -> String {
    match error.kind() {
        ErrorKind::NotFound => "there is no such socket".to_owned(),
        ErrorKind::ConnectionRefused => "the connection was refused".to_owned(),
        _ => error.to_string(),
    }
}

fn read(headers: &HeaderMap) -> Option<About> {
    let text = |name: &str| headers.get(name)?.to_str().ok();
    let (major, minor) = text("api-version")?.split_once('.')?;
    // Every Linux Engine since 18.09 has BuildKit built in; Windows ones have none, and look-alikes of the Engine
    // neither.
    let docker = text("server").is_some_and(|server| server.starts_with("Docker/"));
    let linux = text("ostype").is_some_and(|system| system.eq_ignore_ascii_case("linux"));
    Some(About {
        api: (major.parse().ok()?, minor.parse().ok()?),
        builder: if docker && linux {
            BuilderKind::Buildkit
        } else {
            BuilderKind::Classic
        },
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(headers: &[(&'static str, &'static str)]) -> Option<About> {
        let headers = headers.iter().map(|(name, value)| {
            let name: http::HeaderName = name.parse().unwrap();
            (name, value.parse().unwrap())
        });
        read(&headers.collect())
    }

    #[test]
    fn buildkit_is_what_a_docker_engine_on_linux_has() {
        let docker = ("server", "Docker/20.10.24+dfsg1 (linux)");
        let about = told(&[("api-version", "1.41"), ("ostype", "linux"), docker]).unwrap();
        assert_eq!((about.api, about.builder), ((1, 41), BuilderKind::Buildkit));
        for other in [
            [("ostype", "linux"), ("server", "Libpod/4.3.1 (linux)")],
            [("ostype", "windows"), docker],
        ] {
            let about = told(&[&[("api-version", "1.52")], &other[..]].concat()).unwrap();
            assert_eq!((about.api, about.builder), ((1, 52), BuilderKind::Classic));
        }
    }

    #[test]
    fn what_names_no_api_is_no_engine() {
        assert_eq!(told(&[("server", "nginx")]), None);
        assert_eq!(told(&[("api-version", "new")]), None);
    }
}
