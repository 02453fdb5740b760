//! Which error an answer of the Engine stands for.

use std::time::Duration;

use bollard::errors::Error as Api;

use super::error::{EngineError, REASON_MAX};
use super::lines::one_line;
use crate::model::DOCKER_HUB;

/// What an API call was for, so that its error can say so.
#[derive(Debug, Clone, Copy)]
pub(super) struct Call<'a> {
    /// The Engine's address.
    pub(super) host: &'a str,
    /// What is being done, as in "cannot …".
    pub(super) what: &'a str,
    /// The image, where the call goes to a registry.
    pub(super) image: Option<&'a str>,
}

impl Call<'_> {
    /// The error that `api` stands for.
    pub(super) fn error(self, api: Api) -> EngineError {
        let (status, text) = match api {
            Api::DockerResponseServerError { status_code, message } => (Some(status_code), message),
            Api::DockerStreamError { error } => (None, error),
            Api::DockerContainerWaitError { error, .. } => (None, error),
            Api::RequestTimeoutError => return self.timeout("the Docker Engine did not answer in time"),
            transport => return self.transport_error(&transport),
        };
        self.engine_error(status, &text)
    }

    /// The error for a wait that was given up.
    pub(super) fn timeout(self, reason: &str) -> EngineError {
        EngineError::Timeout {
            what: self.what.to_owned(),
            reason: reason.to_owned(),
        }
    }

    /// The error for a registry that was given up.
    pub(super) fn registry_silent(self, timeout: Duration) -> EngineError {
        EngineError::RegistrySilent {
            registry: registry_of(self.image.unwrap_or_default()).to_owned(),
            what: self.what.to_owned(),
            timeout,
        }
    }

    /// The connection to the Engine itself failed.
    fn transport_error(self, error: &Api) -> EngineError {
        let host = self.host.to_owned();
        let mut texts = vec![error.to_string()];
        let mut cause = std::error::Error::source(error);
        let mut kind = match error {
            Api::SocketNotFoundError(_) => Some(std::io::ErrorKind::NotFound),
            _ => None,
        };
        while let Some(inner) = cause {
            let text = inner.to_string();
            if !texts.iter().any(|known| known.contains(&text)) {
                texts.push(text);
            }
            kind = kind.or(inner.downcast_ref::<std::io::Error>().map(std::io::Error::kind));
            cause = inner.source();
        }
        let reason = one_line(&texts.join(": "), REASON_MAX);
        match kind {
            Some(std::io::ErrorKind::PermissionDenied) => EngineError::Denied { host },
            Some(std::io::ErrorKind::NotFound) => EngineError::Unreachable {
                host,
                reason: "there is no such socket".to_owned(),
            },
            Some(std::io::ErrorKind::ConnectionRefused) => EngineError::Unreachable {
                host,
                reason: "the connection was refused".to_owned(),
            },
            _ if matches!(error, Api::HyperLegacyError { err } if err.is_connect()) => {
                EngineError::Unreachable { host, reason }
            }
            _ if has_hung_up(&reason) => EngineError::Interrupted {
                what: self.what.to_owned(),
                reason: format!("the Docker Engine at {host} went away"),
            },
            _ => EngineError::Interrupted {
                what: self.what.to_owned(),
                reason,
            },
        }
    }

    /// The error for a failure that the Engine reports; its text often quotes a registry.
    fn engine_error(self, status: Option<u16>, text: &str) -> EngineError {
        let what = self.what.to_owned();
        let reason = one_line(text, REASON_MAX);
        let registry = registry_of(self.image.unwrap_or_default()).to_owned();
        let remote = self.image.is_some();
        match kind_of(&text.to_lowercase()) {
            Kind::NoSpace => EngineError::NoSpace { what, reason },
            Kind::Plain if remote => EngineError::RegistryPlain { registry },
            Kind::Unauthorized if remote => EngineError::Unauthorized { registry, reason },
            Kind::Timeout => EngineError::Timeout { what, reason },
            Kind::Refused if remote => EngineError::RegistryRefused { registry, reason },
            Kind::Interrupted => EngineError::Interrupted { what, reason },
            Kind::Failed if remote => EngineError::RegistryFailed {
                registry,
                what,
                reason,
            },
            Kind::Unknown if remote => self.unknown(reason),
            _ if remote && status == Some(404) => self.unknown(reason),
            _ => EngineError::Other { what, reason },
        }
    }

    fn unknown(self, reason: String) -> EngineError {
        EngineError::Unknown {
            reference: self.image.unwrap_or_default().to_owned(),
            reason,
        }
    }
}

/// Whether a broken connection was closed by the Engine's end: it was stopped, or killed.
fn has_hung_up(reason: &str) -> bool {
    let words = [
        "connection closed",
        "connection reset",
        "broken pipe",
        "unexpected eof",
        "error reading a body",
    ];
    let reason = reason.to_lowercase();
    words.iter().any(|word| reason.contains(word))
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    NoSpace,
    Plain,
    Unauthorized,
    Timeout,
    Refused,
    Interrupted,
    Failed,
    Unknown,
    Other,
}

/// The kind of error that a lower-case text of the Engine stands for. The order matters: a text can hold several of these
/// words.
fn kind_of(text: &str) -> Kind {
    let words: &[(Kind, &[&str])] = &[
        (
            Kind::NoSpace,
            &[
                "no space left on device",
                "disk quota exceeded",
                "507 insufficient storage",
            ],
        ),
        (Kind::Plain, &["server gave http response to https client"]),
        (
            Kind::Unauthorized,
            &[
                "unauthorized",
                "no basic auth credentials",
                "resource is denied",
                "access denied",
                "403 forbidden",
            ],
        ),
        (
            Kind::Timeout,
            &[
                "i/o timeout",
                "deadline exceeded",
                "client.timeout",
                "handshake timeout",
                "connection timed out",
            ],
        ),
        (
            Kind::Refused,
            &[
                "connection refused",
                "no such host",
                "no route to host",
                "network is unreachable",
                "server misbehaving",
            ],
        ),
        (
            Kind::Interrupted,
            &[
                "connection reset",
                "broken pipe",
                "unexpected eof",
                "429 too many",
                "toomanyrequests",
                "502 bad gateway",
                "503 service unavailable",
                "504 gateway timeout",
            ],
        ),
        (Kind::Failed, &["500 internal server error"]),
        (
            Kind::Unknown,
            &[
                "manifest unknown",
                "name unknown",
                "not found",
                "does not exist",
                "no such image",
            ],
        ),
    ];
    let found = words
        .iter()
        .find(|(_, words)| words.iter().any(|word| text.contains(word)));
    match found {
        Some((kind, _)) => *kind,
        None if text.ends_with(": eof") => Kind::Interrupted,
        None => Kind::Other,
    }
}

/// Whether a text of the Engine says that a disk is full.
pub(super) fn says_no_space(text: &str) -> bool {
    kind_of(&text.to_lowercase()) == Kind::NoSpace
}

/// Whether a text of the Engine says that a registry refused a login, or wants one.
pub(super) fn says_unauthorized(text: &str) -> bool {
    kind_of(&text.to_lowercase()) == Kind::Unauthorized
}

/// Whether the Engine answered that the thing is not there.
pub(super) fn is_gone(error: &Api) -> bool {
    matches!(error, Api::DockerResponseServerError { status_code: 404, .. })
}

/// `HOST[:PORT]` of an image's name; the Docker Hub where it has none.
pub(super) fn registry_of(image: &str) -> &str {
    match image.split_once('/') {
        Some((host, _)) if host.contains(['.', ':']) || host == "localhost" => host,
        _ => DOCKER_HUB,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const CALL: Call<'static> = Call {
        host: "unix:///var/run/docker.sock",
        what: "push 127.0.0.1:5000/shop:1",
        image: Some("127.0.0.1:5000/shop:1"),
    };

    fn told(text: &str) -> EngineError {
        CALL.error(Api::DockerStreamError {
            error: text.to_owned(),
        })
    }

    #[test]
    fn what_the_engine_says_of_a_registry_is_told_apart() {
        // As Engine 20.10 and docker-registry 2.8 say it.
        for (text, wanted) in [
            ("no basic auth credentials", "refused the login"),
            ("unauthorized: authentication required", "refused the login"),
            (
                "Get \"http://127.0.0.1:5000/v2/shop/manifests/1\": no basic auth credentials",
                "refused the login",
            ),
            (
                "Head \"https://r.example/v2/shop/manifests/1\": denied: requested access to the resource is denied",
                "refused the login",
            ),
            (
                "Get \"http://127.0.0.1:5000/v2/\": dial tcp 127.0.0.1:5000: connect: connection refused",
                "does not answer",
            ),
            (
                "Get \"https://r.example/v2/\": dial tcp: lookup r.example: no such host",
                "does not answer",
            ),
            (
                "manifest for 127.0.0.1:5000/shop:1 not found: manifest unknown: manifest unknown",
                "there is no image",
            ),
            (
                "An image does not exist locally with the tag: 127.0.0.1:5000/shop",
                "there is no image",
            ),
            (
                "write /var/lib/docker/tmp/x: no space left on device",
                "no space left",
            ),
            (
                "received unexpected HTTP status: 500 Internal Server Error",
                "its own log",
            ),
            (
                "received unexpected HTTP status: 503 Service Unavailable",
                "interrupted",
            ),
            (
                "Get \"https://10.0.0.1/v2/\": http: server gave HTTP response to HTTPS client",
                "plain http",
            ),
            (
                "Get \"https://10.0.0.1/v2/\": net/http: request canceled (Client.Timeout exceeded while awaiting headers)",
                "took too long",
            ),
            (
                "Get \"https://10.0.0.1/v2/\": dial tcp 10.0.0.1:443: i/o timeout",
                "took too long",
            ),
            ("Get \"http://127.0.0.1:5000/v2/\": EOF", "interrupted"),
            ("something new", "cannot push"),
        ] {
            let error = told(text);
            assert!(error.to_string().contains(wanted), "{text}: {error}");
        }
    }

    #[test]
    fn only_what_may_pass_is_worth_another_try() {
        for (text, wanted) in [
            ("connect: connection refused", true),
            ("i/o timeout", true),
            ("connection reset by peer", true),
            ("500 Internal Server Error", true),
            ("no basic auth credentials", false),
            ("manifest unknown", false),
            ("no space left on device", false),
            ("something new", false),
        ] {
            assert_eq!(told(text).is_transient(), wanted, "{text}");
        }
    }

    #[test]
    fn a_foreign_text_is_bounded_and_printable() {
        let told = told(&format!("\x1b[2Jbad\n{}", "x".repeat(5_000))).to_string();
        assert!(told.len() < 1_000 && !told.contains(['\x1b', '\n']), "{told}");
    }

    #[test]
    fn the_registry_of_an_image_is_the_part_before_the_first_slash() {
        for (image, wanted) in [
            ("127.0.0.1:5000/a/b:1", "127.0.0.1:5000"),
            ("localhost/a", "localhost"),
            ("r.example/a", "r.example"),
            ("team/a", "docker.io"),
            ("a", "docker.io"),
        ] {
            assert_eq!(registry_of(image), wanted);
        }
    }
}
