//! The store edge: the state folder, written so that a crash or a full disk loses nothing.
//!
//! ```text
//! audit.log                   who did what, a line an action
//! audit.repeats               how many more of the same there were
//! identity.json               which installation this is, and the Engine and network that its containers are on
//! registry.lock               shared by what uses the registry, held alone while it is collected
//! registry/size.json          what a registry on this host had on its disk
//! apps/shop/app.json          what `app create` gave: address block and slot ports
//! apps/shop/state.json        what runs in each slot, which one is live, the last flips
//! apps/shop/lock              held by the one run that may change the app
//! apps/shop/numbers           held while a release gets its number
//! apps/shop/releases/42/      record.json, journal, log, and the worker's own lock
//! apps/shop/pushes/           pushes whose branch has not moved yet
//! apps/shop/worktrees/green   the slot's tree
//! git/shop/green.git          the slot's repository
//! proxy/                      the proxy's routes and its control socket
//! ```

mod action;
mod app;
mod audit;
mod audit_repeats;
#[cfg(test)]
mod damage_tests;
mod durable;
#[cfg(feature = "fuzzing")]
pub(crate) mod fuzzing;
mod identity;
mod journal;
mod lock;
mod log;
#[cfg(test)]
mod log_tests;
mod moment;
mod process;
mod push;
mod registry_size;
mod release;
mod state;
mod sweep;
mod watch;

use std::path::{Path, PathBuf};

use crate::ground::told::Hint;
use crate::model::{AppName, Slot};

pub use action::{Action, ActionOutcome};
pub use app::AppFile;
pub use audit::{Actions, Line};
pub use identity::Identity;
pub use journal::{Journal, JournalError};
pub use lock::{AppLock, Holder, KEYS_LOCK, SlotLock, WorkerLock};
pub use log::{Log, LogLine, LogReader};
pub use moment::Moment;
pub use process::Process;
pub use push::PushNote;
pub use registry_size::{CollectedSize, RegistrySize};
pub use release::{Gated, Numbers, Record, ReleaseDir};
pub use state::{AppState, FLIPS_KEPT, Flip, Live, Meant, Running, RunningService};
pub use watch::Watch;

/// The state folder cannot give or keep what was asked of it.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// A file or folder could not be read or written.
    #[error("cannot {doing} {}: {}", path.display(), sentence(cause))]
    Io {
        /// What was being done: "write".
        doing: &'static str,
        /// The file or folder.
        path: PathBuf,
        /// What the system answered. The sentence says it, so that it is not told as a source once more.
        cause: std::io::Error,
    },
    /// A file does not hold what deployer wrote.
    #[error("{} is not readable: {reason}", path.display())]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// Why, in a few words.
        reason: String,
    },
    /// A file was written by a newer deployer.
    #[error("{} was written by a newer deployer (format {found}; this one knows {known}){}", path.display(), Hint("install that version again"))]
    Newer {
        /// The file.
        path: PathBuf,
        /// The file's format.
        found: u32,
        /// The newest format that this program knows.
        known: u32,
    },
}

impl StoreError {
    fn io(doing: &'static str, path: &Path) -> impl FnOnce(std::io::Error) -> StoreError {
        let path = path.to_owned();
        move |cause| StoreError::Io { doing, path, cause }
    }
}

fn sentence(error: &std::io::Error) -> String {
    match error.kind() {
        std::io::ErrorKind::StorageFull => "no space left on the disk".into(),
        std::io::ErrorKind::PermissionDenied => {
            "permission denied (run as the user that owns the state folder; where it was copied here under another user's \
             number, as root: `chown -R USER: FOLDER`)"
                .into()
        }
        _ => error.to_string(),
    }
}

/// The state folder.
#[derive(Debug, Clone)]
pub struct Store {
    root: PathBuf,
}

impl Store {
    /// The state folder at `root`; it need not exist yet.
    pub fn new(root: impl Into<PathBuf>) -> Self {
        Self { root: root.into() }
    }

    /// The folder itself.
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// The proxy's folder.
    pub fn proxy(&self) -> PathBuf {
        self.root.join("proxy")
    }

    /// The bare repository of a slot.
    pub fn repository(&self, app: &AppName, slot: Slot) -> PathBuf {
        self.repositories(app).join(format!("{slot}.git"))
    }

    /// The folder of an app's repositories.
    pub fn repositories(&self, app: &AppName) -> PathBuf {
        self.all_repositories().join(app.as_str())
    }

    /// The folder of every app's repositories.
    pub fn all_repositories(&self) -> PathBuf {
        self.root.join("git")
    }

    /// The worktree of a slot.
    pub fn worktree(&self, app: &AppName, slot: Slot) -> PathBuf {
        self.app_folder(app).join("worktrees").join(slot.as_str())
    }

    /// The folder of everything else about an app.
    pub fn app_folder(&self, app: &AppName) -> PathBuf {
        self.root.join("apps").join(app.as_str())
    }

    /// How many bytes are free for the app's worktrees, once one of them was made.
    ///
    /// # Errors
    /// When the file system does not tell.
    pub fn free(&self, app: &AppName) -> Result<Option<u64>, StoreError> {
        let folder = self.app_folder(app).join("worktrees");
        match rustix::fs::statvfs(&folder) {
            Err(rustix::io::Errno::NOENT) => Ok(None),
            told => {
                let told =
                    told.map_err(|error| StoreError::io("ask for the free space of", &folder)(error.into()))?;
                Ok(Some(told.f_bavail.saturating_mul(told.f_frsize)))
            }
        }
    }
}
