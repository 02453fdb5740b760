//! Locks: `flock` on files that are never unlinked, so that a killed holder leaves none behind.

use std::fs::{File, OpenOptions, TryLockError};
use std::io::{Read, Seek, SeekFrom, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use serde::{Deserialize, Serialize};

use super::{ReleaseDir, Store, StoreError};
use crate::model::{AppName, ReleaseId};

/// Proof that this process alone may change an app.
#[derive(Debug)]
pub struct AppLock {
    app: AppName,
    file: File,
}

/// Who holds an app's lock, for people to read.
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

impl AppLock {
    /// The app that is locked.
    pub fn app(&self) -> &AppName {
        &self.app
    }

    /// Says what the holder does now. What cannot be written is left out: it is for people's eyes only.
    pub fn says(&mut self, what: &str, release: Option<ReleaseId>, step: Option<&str>) {
        let holder = Holder {
            pid: std::process::id(),
            what: what.to_owned(),
            release,
            step: step.map(str::to_owned),
        };
        let text = serde_json::to_string(&holder).expect("plain data is JSON");
        let written = self
            .file
            .set_len(0)
            .and_then(|()| self.file.seek(SeekFrom::Start(0)))
            .and_then(|_| self.file.write_all(text.as_bytes()));
        drop(written);
    }
}

impl Drop for AppLock {
    fn drop(&mut self) {
        let emptied = self.file.set_len(0);
        drop(emptied);
    }
}

/// Proof that this process is the release's worker.
#[derive(Debug)]
pub struct WorkerLock {
    _file: File,
}

impl Store {
    /// Takes `app`'s lock if it is free. `None` when another process holds it.
    ///
    /// # Errors
    /// When the lock's file cannot be opened.
    pub fn try_lock(&self, app: &AppName) -> Result<Option<AppLock>, StoreError> {
        let path = self.app_folder(app).join("lock");
        Ok(try_flock(&path)?.map(|file| AppLock {
            app: app.clone(),
            file,
        }))
    }

    /// Who holds `app`'s lock, as far as it can be told.
    pub fn holder(&self, app: &AppName) -> Option<Holder> {
        let mut text = String::new();
        let file = File::open(self.app_folder(app).join("lock")).ok()?;
        file.take(4096).read_to_string(&mut text).ok()?;
        serde_json::from_str(&text).ok()
    }
}

impl ReleaseDir {
    /// Becomes the release's worker. `None` when it has one.
    ///
    /// # Errors
    /// When the lock's file cannot be opened.
    pub fn try_work(&self) -> Result<Option<WorkerLock>, StoreError> {
        let file = try_flock(&self.path().join("worker"))?;
        Ok(file.map(|file| WorkerLock { _file: file }))
    }

    /// Whether a process works on this release now.
    pub fn has_worker(&self) -> bool {
        matches!(self.try_work(), Ok(None))
    }
}

fn try_flock(path: &Path) -> Result<Option<File>, StoreError> {
    let file = OpenOptions::new()
        .read(true)
        .write(true)
        .create(true)
        .truncate(false)
        .mode(0o600)
        .open(path)
        .map_err(StoreError::io("open", path))?;
    match file.try_lock() {
        Ok(()) => Ok(Some(file)),
        Err(TryLockError::WouldBlock) => Ok(None),
        Err(TryLockError::Error(error)) => Err(StoreError::io("lock", path)(error)),
    }
}
