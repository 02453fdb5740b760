//! The locks of the state folder: who may change what.

use std::fs::File;
use std::io::{Read, Seek, SeekFrom, Write};
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::{Store, StoreError, durable};
use crate::ground::{failpoint, lock};
use crate::model::{AppName, ReleaseId, Slot};

/// The file, in the state folder, whose lock whoever changes the file of keys holds.
pub const KEYS_LOCK: &str = "keys.lock";

/// How long who only looks whether a release has a worker may be in the way of who becomes it: a moment.
const LOOK: Duration = Duration::from_millis(100);

/// Held by each release while it pushes or pulls, and by whoever collects the registry alone.
const REGISTRY: &str = "registry.lock";

/// Proof that this process alone may change an app.
#[derive(Debug)]
pub struct AppLock {
    app: AppName,
    file: File,
}

/// Proof that this process alone may write in a slot's worktree and repository, as what prepares a release does.
#[derive(Debug)]
pub struct SlotLock {
    file: File,
}

/// Who holds an app's or a slot's lock, for people to read.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Holder {
    /// The process.
    pub pid: u32,
    /// What it is: "release", "recover", "prune", "app remove".
    pub what: String,
    /// The release, when it is one.
    pub release: Option<ReleaseId>,
    /// The step that it is at.
    pub step: Option<String>,
}

impl Holder {
    /// This process, which does this.
    fn this(what: &str, release: Option<ReleaseId>, step: Option<&str>) -> Self {
        Self {
            pid: std::process::id(),
            what: what.to_owned(),
            release,
            step: step.map(str::to_owned),
        }
    }

    /// Who has written that they hold the lock at `path`.
    fn of(path: &Path) -> Option<Self> {
        let mut text = String::new();
        let file = File::open(path).ok()?;
        file.take(4096).read_to_string(&mut text).ok()?;
        serde_json::from_str(&text).ok()
    }

    /// What cannot be written is left out: it is for people's eyes only.
    fn write(&self, mut file: &File) {
        let text = serde_json::to_string(self).expect("plain data is JSON");
        let _ = file
            .set_len(0)
            .and_then(|()| file.seek(SeekFrom::Start(0)))
            .and_then(|_| file.write_all(text.as_bytes()));
    }
}

impl AppLock {
    /// The app that is locked.
    pub fn app(&self) -> &AppName {
        &self.app
    }

    /// Says what the holder does now.
    pub fn says(&mut self, what: &str, release: Option<ReleaseId>, step: Option<&str>) {
        Holder::this(what, release, step).write(&self.file);
    }
}

impl Drop for AppLock {
    fn drop(&mut self) {
        failpoint::at("lock.held-to-the-end");
        let _ = self.file.set_len(0);
    }
}

impl SlotLock {
    /// Says what the holder does now.
    pub fn says(&mut self, what: &str, release: Option<ReleaseId>, step: Option<&str>) {
        Holder::this(what, release, step).write(&self.file);
    }
}

impl Drop for SlotLock {
    fn drop(&mut self) {
        let _ = self.file.set_len(0);
    }
}

/// Proof that this process is a release's worker, or is about to start it.
///
/// It belongs to the open file, so that the receiver of a push takes it before the release can be seen and
/// hands it on to the worker as the worker's standard input: there is no moment at which nobody holds it.
#[derive(Debug)]
pub struct WorkerLock {
    file: File,
}

impl WorkerLock {
    /// The lock at `path`, which was handed to this process as its standard input.
    pub(super) fn from_stdin(path: &Path) -> Result<Self, StoreError> {
        let stdin = std::io::stdin()
            .as_fd()
            .try_clone_to_owned()
            .map_err(StoreError::io("take", path))?;
        let file = File::from(stdin);
        file.try_lock()
            .map_err(|error| StoreError::io("lock", path)(error.into()))?;
        Ok(Self { file })
    }

    /// The lock at `path`; `None` where another process has it.
    pub(super) fn try_take(path: &Path) -> Result<Option<Self>, StoreError> {
        let file = lock::open(path).map_err(StoreError::io("open", path))?;
        if !lock::take_within(&file, LOOK) {
            return Ok(None);
        }
        failpoint::at("worker-lock.taken");
        Ok(Some(Self { file }))
    }

    /// Ends the work on the release while this process goes on: whoever follows the release has seen its end.
    pub fn release(&self) {
        let _ = self.file.unlock();
        // To unlock is seen by nobody; this is, by a `Watch`.
        let _ = self.file.set_len(0);
        failpoint::at("worker-lock.free");
    }

    /// The lock as a child's standard input: the child holds it as long as it lives.
    pub fn into_stdio(self) -> Stdio {
        self.file.into()
    }
}

impl Store {
    /// Takes `app`'s lock if it is free. `None` when another process holds it.
    ///
    /// # Errors
    /// When the lock's file cannot be opened.
    pub fn try_lock(&self, app: &AppName) -> Result<Option<AppLock>, StoreError> {
        let path = self.app_folder(app).join("lock");
        let Some(file) = lock::try_take(&path).map_err(StoreError::io("lock", &path))? else {
            return Ok(None);
        };
        failpoint::at("lock.taken");
        Ok(Some(AppLock {
            app: app.clone(),
            file,
        }))
    }

    /// Takes the lock of `slot` of `app` if it is free. `None` when another process holds it.
    ///
    /// # Errors
    /// When the lock's file cannot be opened.
    pub fn try_lock_slot(&self, app: &AppName, slot: Slot) -> Result<Option<SlotLock>, StoreError> {
        let path = self.slot_lock(app, slot);
        let Some(file) = lock::try_take(&path).map_err(StoreError::io("lock", &path))? else {
            return Ok(None);
        };
        failpoint::at("slot-lock.taken");
        Ok(Some(SlotLock { file }))
    }

    /// Waits until nobody else creates an app, and keeps others from it until the result is dropped.
    ///
    /// # Errors
    /// When the lock's file cannot be opened.
    pub fn lock_apps(&self) -> Result<File, StoreError> {
        self.lock_all("apps.lock")
    }

    /// Waits until nobody else changes the file of keys, and keeps others from it until the result is dropped.
    ///
    /// # Errors
    /// When the lock's file cannot be opened.
    pub fn lock_keys(&self) -> Result<File, StoreError> {
        self.lock_all(KEYS_LOCK)
    }

    /// Waits until nobody else writes down what is in force, and keeps others from it until the result is dropped.
    ///
    /// # Errors
    /// When the lock's file cannot be opened.
    pub fn lock_identity(&self) -> Result<File, StoreError> {
        self.lock_all("identity.lock")
    }

    /// Has the registry not be collected until the result is dropped. `None` while it is being collected.
    ///
    /// # Errors
    /// When the lock's file cannot be opened.
    pub fn try_use_registry(&self) -> Result<Option<File>, StoreError> {
        durable::create_folder(self.root())?;
        let path = self.root().join(REGISTRY);
        lock::try_share(&path).map_err(StoreError::io("lock", &path))
    }

    /// Has no release use the registry until the result is dropped. `None` while one does.
    ///
    /// # Errors
    /// When the lock's file cannot be opened.
    pub fn try_take_registry(&self) -> Result<Option<File>, StoreError> {
        durable::create_folder(self.root())?;
        let path = self.root().join(REGISTRY);
        lock::try_take(&path).map_err(StoreError::io("lock", &path))
    }

    fn lock_all(&self, name: &str) -> Result<File, StoreError> {
        durable::create_folder(self.root())?;
        let path = self.root().join(name);
        lock::take(&path).map_err(StoreError::io("lock", &path))
    }

    /// Who holds `app`'s lock, as far as it can be told.
    pub fn holder(&self, app: &AppName) -> Option<Holder> {
        Holder::of(&self.app_folder(app).join("lock"))
    }

    /// Who holds the lock of `slot` of `app`, as far as it can be told.
    pub fn slot_holder(&self, app: &AppName, slot: Slot) -> Option<Holder> {
        Holder::of(&self.slot_lock(app, slot))
    }

    fn slot_lock(&self, app: &AppName, slot: Slot) -> PathBuf {
        self.app_folder(app).join(format!("{slot}.lock"))
    }
}
