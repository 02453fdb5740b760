//! Why a configuration is refused.

use std::io;
use std::path::{Path, PathBuf};

use super::fault::{Fault, Finding};
use crate::ground::told::Hint;

/// The most faults that one error lists.
const LISTED_MAX: usize = 20;

/// The configuration cannot be read, or is wrong. No variant holds the file's text, since values in it may be secret.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// There is no file.
    #[error(
        "there is no configuration at {path}{}",
        Hint("copy deployer.toml.example there, or name another file with --config or DEPLOYER_CONFIG"),
        path = .path.display()
    )]
    Missing {
        /// Where it should be.
        path: PathBuf,
    },
    /// This user may not read the file.
    #[error(
        "the configuration at {path} may not be read by this user{}",
        Hint("run as the user that deployer runs as, or let that user read the file"),
        path = .path.display()
    )]
    Denied {
        /// The file.
        path: PathBuf,
    },
    /// The file cannot be read for another reason.
    #[error("the configuration at {path} cannot be read: {source}", path = .path.display())]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// What the system said, or what the file is instead.
        source: io::Error,
    },
    /// What the file says is wrong.
    #[error("{}", listed(.path, .faults, *.more))]
    Wrong {
        /// The file.
        path: PathBuf,
        /// The faults in the order of the file, 20 at most.
        faults: Vec<Fault>,
        /// How many more there are.
        more: usize,
    },
}

impl ConfigError {
    /// The file at `path`, whose text is `source`, has these faults, which may be in any order.
    pub(super) fn wrong(path: &Path, source: &str, mut findings: Vec<Finding>) -> Self {
        findings.sort_by_key(|finding| finding.span.start);
        let more = findings.len().saturating_sub(LISTED_MAX);
        findings.truncate(LISTED_MAX);
        let fault = |finding| Fault::new(source, finding);
        ConfigError::Wrong {
            path: path.to_path_buf(),
            faults: findings.into_iter().map(fault).collect(),
            more,
        }
    }
}

/// The error for `source`, met while reading `path`.
pub(super) fn reading(path: &Path, source: io::Error) -> ConfigError {
    let path = path.to_path_buf();
    match source.kind() {
        io::ErrorKind::NotFound | io::ErrorKind::NotADirectory => ConfigError::Missing { path },
        io::ErrorKind::PermissionDenied => ConfigError::Denied { path },
        _ => ConfigError::Unreadable { path, source },
    }
}

fn listed(path: &Path, faults: &[Fault], more: usize) -> String {
    let shown = faults
        .iter()
        .map(|fault| format!("{}:{fault}\n\n", path.display()));
    let count = match faults.len() + more {
        1 => "1 fault".to_owned(),
        all if more == 0 => format!("{all} faults"),
        all => format!("{all} faults, {more} of them not shown"),
    };
    shown.collect::<String>() + &count + ": the whole file is refused, and nothing was changed."
}
