//! What can go wrong between deployer and the registry, told apart as far as a person can act on it.

use std::error::Error;
use std::io;
use std::path::PathBuf;

use super::answer::Answer;
use crate::ground::told::Hint;
use crate::model::escaped;

/// Why the registry did not do what it was asked. Text that came from it is printable and cut to 300 characters.
#[derive(Debug, thiserror::Error)]
pub enum RegistryError {
    /// The configured address is none.
    #[error("{address:?} is not a registry's address: HOST or HOST:PORT")]
    Address {
        /// The address as configured.
        address: String,
    },
    /// The password cannot be read.
    #[error("the registry's password could not be read from {}: {detail}", path.display())]
    Password {
        /// The configured file.
        path: PathBuf,
        /// Why not.
        detail: String,
    },
    /// A user is configured, and no file with the password.
    #[error("the registry's user {username:?} has no password{}", Hint(format_args!("{section}.password_file")))]
    NoPassword {
        /// The section that names the user.
        section: String,
        /// The user.
        username: String,
    },
    /// Others than its owner may read or change the password's file.
    #[error(
        "the registry's password file {} is open to others (mode {mode:04o}){}",
        path.display(),
        Hint(format!("chmod 600 {}", path.display()))
    )]
    PasswordMode {
        /// The configured file.
        path: PathBuf,
        /// Its permission bits.
        mode: u32,
    },
    /// Nothing listens at the address.
    #[error(
        "the registry {address} refuses connections: nothing listens there{}",
        Hint("is it running?")
    )]
    Refused {
        /// The registry.
        address: String,
    },
    /// The address leads nowhere: no such host, no route, a connection that broke.
    #[error("the registry {address} cannot be reached: {detail}")]
    Unreachable {
        /// The registry.
        address: String,
        /// What the system said.
        detail: String,
    },
    /// It did not answer in time.
    #[error("the registry {address} did not answer within {seconds}s")]
    Timeout {
        /// The registry.
        address: String,
        /// The time that it had.
        seconds: u64,
    },
    /// No secure connection came about.
    #[error(
        "no TLS connection to the registry {address}: {detail}{}",
        Hint(format_args!(
            "is its authority known to this system, or in /etc/docker/certs.d/{address}? For plain http: registry.plain_http"
        ))
    )]
    Tls {
        /// The registry.
        address: String,
        /// What was wrong with the certificate or the handshake.
        detail: String,
    },
    /// It wants a user and a password, or other ones.
    #[error(
        "the registry {address} {}{}",
        unauthorized(username.as_deref()),
        Hint(format_args!("{section}.username, {section}.password_file"))
    )]
    Unauthorized {
        /// The registry.
        address: String,
        /// The user that was tried; absent where none is configured.
        username: Option<String>,
        /// The section of the configuration that names the user, or would.
        section: String,
    },
    /// The user is known and may not do this.
    #[error("the registry {address} does not allow it to this user: {detail}")]
    Denied {
        /// The registry.
        address: String,
        /// What it said.
        detail: String,
    },
    /// It does not have this repository.
    #[error("the registry {address} has no repository {repository}")]
    Unknown {
        /// The registry.
        address: String,
        /// The repository within it.
        repository: String,
    },
    /// Its disk is full.
    #[error(
        "the registry {address} has no space left{}",
        Hint("free its disk; deployer prune")
    )]
    NoSpace {
        /// The registry.
        address: String,
    },
    /// Something answers there that is no registry.
    #[error("what answers at {address} is not a registry: {detail}")]
    NotARegistry {
        /// The address.
        address: String,
        /// What gave it away.
        detail: String,
    },
    /// Any other refusal.
    #[error("the registry {address} answered {status}: {detail}")]
    Other {
        /// The registry.
        address: String,
        /// The HTTP status.
        status: u16,
        /// What it said.
        detail: String,
    },
}

fn unauthorized(username: Option<&str>) -> String {
    match username {
        Some(username) => format!("does not accept the user {username:?} with this password"),
        None => "wants a user and a password".to_owned(),
    }
}

impl RegistryError {
    /// Whether it is about this one request: the registry may well do the next one.
    pub fn is_of_one_request(&self) -> bool {
        matches!(
            self,
            Self::Denied { .. } | Self::Unknown { .. } | Self::Other { .. }
        )
    }

    /// How often a request that ended like this is sent in all, as it may succeed a moment later.
    pub(super) fn tries(&self) -> usize {
        match self {
            Self::Refused { .. } | Self::Unreachable { .. } => 3,
            Self::Other { status, .. } if *status >= 500 || *status == 429 => 3,
            // One try takes long enough.
            Self::Timeout { .. } => 2,
            _ => 1,
        }
    }

    /// The error for a request to `address` that got no answer within `seconds`.
    pub(super) fn unanswered(address: &str, seconds: u64, error: &reqwest::Error) -> Self {
        let address = address.to_owned();
        if error.is_timeout() {
            return Self::Timeout { address, seconds };
        }
        let mut last = error.to_string();
        let mut next = error.source();
        while let Some(cause) = next {
            if let Some(tls) = tls_error(cause) {
                let detail = escaped(tls.to_string().as_bytes(), 300);
                return Self::Tls { address, detail };
            }
            if let Some(http) = cause.downcast_ref::<hyper::Error>()
                && http.is_parse()
            {
                let detail = format!("it does not speak HTTP ({http})");
                return Self::NotARegistry { address, detail };
            }
            if let Some(io) = cause.downcast_ref::<io::Error>()
                && io.kind() == io::ErrorKind::ConnectionRefused
            {
                return Self::Refused { address };
            }
            last = cause.to_string();
            next = cause.source();
        }
        let detail = escaped(last.as_bytes(), 300);
        Self::Unreachable { address, detail }
    }

    /// The error for an `answer` that is a refusal.
    pub(super) fn refused(address: &str, answer: &Answer) -> Self {
        let address = address.to_owned();
        if answer.status == 507 || is_no_space(&answer.body) {
            return Self::NoSpace { address };
        }
        let detail = match &answer.body[..] {
            [] => "it gave no reason".to_owned(),
            body => escaped(body.trim_ascii(), 300),
        };
        match answer.status {
            401 | 403 => Self::Denied { address, detail },
            status => Self::Other {
                address,
                status,
                detail,
            },
        }
    }
}

/// A TLS error, also where it is wrapped in errors of the system's kind, which hide it from `source`.
fn tls_error<'a>(mut cause: &'a (dyn Error + 'static)) -> Option<&'a rustls::Error> {
    loop {
        if let Some(tls) = cause.downcast_ref() {
            return Some(tls);
        }
        cause = cause.downcast_ref::<io::Error>()?.get_ref()?;
    }
}

/// Whether a refusal's reason is a full disk. The registry's filesystem driver gives the bare error number.
fn is_no_space(body: &[u8]) -> bool {
    let body = String::from_utf8_lossy(body);
    body.contains("no space left on device") || body.contains("\"Err\":28}")
}
