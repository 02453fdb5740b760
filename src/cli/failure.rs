//! A command's failure and its exit code.

use std::process::ExitCode;

use crate::ground::told::Told;
use crate::release::{Busy, NotFound};

/// What a command gives, or why it failed.
pub(super) type Result<T = ()> = std::result::Result<T, Failure>;

/// The exit codes beside 0, done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Code {
    /// Something failed.
    Failed = 1,
    /// A usage error; clap exits with the same code.
    Usage = 2,
    /// The release failed, was cancelled or was superseded.
    ReleaseFailed = 3,
    /// Another run holds the app.
    Busy = 4,
    /// There is no such app, slot or release.
    NotFound = 5,
    /// The key that came over ssh may not do this.
    NotAllowed = 6,
    /// The embedded proxy is not in use: another kind flips. The proxy's unit names this code, so that systemd does not
    /// restart it.
    NotInUse = 7,
}

impl Code {
    /// Every exit code, 0 included, with what it means.
    pub(super) fn meanings() -> impl Iterator<Item = (u8, &'static str)> {
        let all = [
            Self::Failed,
            Self::Usage,
            Self::ReleaseFailed,
            Self::Busy,
            Self::NotFound,
            Self::NotAllowed,
            Self::NotInUse,
        ];
        let all = all.into_iter().map(|code| (code as u8, code.meaning()));
        std::iter::once((0, "done")).chain(all)
    }

    fn meaning(self) -> &'static str {
        match self {
            Self::Failed => "failed",
            Self::Usage => "the command line is wrong",
            Self::ReleaseFailed => "the release failed, or was superseded, cancelled or interrupted",
            Self::Busy => "another release or command works on the app, and did not end within 5 s",
            Self::NotFound => "no such app, slot or release",
            Self::NotAllowed => "not allowed: the key that came over ssh may not do this",
            Self::NotInUse => "`proxy run`: another program is the proxy, and there is nothing to do",
        }
    }
}

/// A command's failure: the code that it ends with, and what is said.
#[derive(Debug)]
pub(super) struct Failure {
    code: Code,
    told: Option<Told>,
}

impl Failure {
    /// A failure, and what is told of it.
    pub(super) fn new(code: Code, told: impl Into<Told>) -> Self {
        Self {
            code,
            told: Some(told.into()),
        }
    }

    /// A failure whose message was printed already.
    pub(super) fn silent(code: Code) -> Self {
        Self { code, told: None }
    }

    /// The exit code.
    pub(super) fn code(&self) -> Code {
        self.code
    }

    /// Whether it is a usage error.
    pub(super) fn is_usage(&self) -> bool {
        self.code == Code::Usage
    }

    /// The message, with what helps behind it.
    pub(super) fn message(&self) -> Option<String> {
        self.told.as_ref().map(Told::to_string)
    }

    /// Prints the message on standard error, and gives the exit code.
    pub(super) fn report(self) -> ExitCode {
        if let Some(told) = self.told {
            eprintln!("deployer: {told}");
        }
        ExitCode::from(self.code as u8)
    }
}

impl From<anyhow::Error> for Failure {
    fn from(error: anyhow::Error) -> Self {
        let code = if error.is::<NotFound>() {
            Code::NotFound
        } else if error.is::<Busy>() {
            Code::Busy
        } else {
            Code::Failed
        };
        Self::new(code, Told::of(&error))
    }
}

impl From<crate::config::ConfigError> for Failure {
    fn from(error: crate::config::ConfigError) -> Self {
        Self::new(Code::Failed, Told::of(&error))
    }
}

impl From<crate::store::StoreError> for Failure {
    fn from(error: crate::store::StoreError) -> Self {
        anyhow::Error::from(error).into()
    }
}

impl From<crate::proxy::ProxyError> for Failure {
    fn from(error: crate::proxy::ProxyError) -> Self {
        anyhow::Error::from(error).into()
    }
}

impl From<crate::engine::EngineError> for Failure {
    fn from(error: crate::engine::EngineError) -> Self {
        anyhow::Error::from(error).into()
    }
}
