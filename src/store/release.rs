//! A release's folder: its record, its journal, its log and its worker's lock.

use std::fs::{self, File};
use std::io;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::{AppLock, Meant, Moment, Store, StoreError, WorkerLock, durable};
use crate::ground::{failpoint, lock};
use crate::model::{AppName, By, Commit, Intent, ReleaseId, Slot, Source};

const RECORD: &str = "record.json";
const CANCEL: &str = "cancel";
const PRUNED: &str = "pruned";
/// 2 since a record tells who asked for the release, 3 since it tells whether base images are asked for anew, 4 since it
/// tells source and intent.
const FORMAT: u32 = 4;

/// What a release is: written once, before anything is done for it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Record {
    /// The release's number.
    pub id: ReleaseId,
    /// The slot that it is for.
    pub slot: Slot,
    /// Where it comes from.
    pub source: Source,
    /// What is to become of it.
    pub intent: Intent,
    /// The release whose source this is, where that is released once more.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub redeploys: Option<ReleaseId>,
    /// Whether its build asks the registries for the base images anew.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub pull: bool,
    /// What must still be so when its turn comes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub meant: Option<Meant>,
    /// For a push that waits for its release: what must still be so when its turn comes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub gated: Option<Gated>,
    /// Who asked for it; none where an older deployer received it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub by: Option<By>,
    /// What they asked, as it was given: one line, printable.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub command: Option<String>,
    /// When it was received.
    pub received: Moment,
}

impl Record {
    /// Whether somebody pushed what it is of.
    pub fn is_push(&self) -> bool {
        self.source.reference().is_some() && self.redeploys.is_none()
    }

    /// Whether an image is built for it.
    pub fn builds(&self) -> bool {
        !self.intent.keeps_what_runs() && self.source.builds()
    }

    /// The earlier release whose image its slot gets again. None where it gets another one, or none.
    pub fn goes_back_to(&self) -> Option<ReleaseId> {
        self.source.release().filter(|_| !self.intent.keeps_what_runs())
    }
}

/// A push whose branch moves only once its release is good.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Gated {
    /// What the branch was at when the push came, and has to be at for git to move it; absent where there was none.
    pub from: Option<Commit>,
}

/// A release's folder.
#[derive(Debug, Clone)]
pub struct ReleaseDir {
    app: AppName,
    id: ReleaseId,
    path: PathBuf,
}

/// Proof that no other release of an app gets its number meanwhile: whoever gets a higher one sees this one's record
/// and its worker.
#[derive(Debug)]
pub struct Numbers {
    app: AppName,
    _file: File,
}

impl Store {
    /// Waits until nobody else gives a release of `app` its number, and keeps others from it until the result is
    /// dropped. It is held for no longer than a record is written and a worker started.
    ///
    /// # Errors
    /// When the lock's file cannot be opened.
    pub fn lock_numbers(&self, app: &AppName) -> Result<Numbers, StoreError> {
        let path = self.app_folder(app).join("numbers");
        let file = lock::take(&path).map_err(StoreError::io("lock", &path))?;
        Ok(Numbers {
            app: app.clone(),
            _file: file,
        })
    }

    /// Gives the next number to a release, takes its worker's lock and writes its record, which `record` makes.
    ///
    /// # Errors
    /// When the folder or the record cannot be written, or `record` fails; nothing of the release is then left.
    pub fn new_release(
        &self,
        numbers: &Numbers,
        record: impl FnOnce(ReleaseId) -> Result<Record, StoreError>,
    ) -> Result<(ReleaseDir, Record, WorkerLock), StoreError> {
        let app = &numbers.app;
        let folder = self.releases_folder(app);
        let newest = self.newest(app)?.max(self.newest_running(app));
        let mut next = newest.map_or(1, |newest| newest.0 + 1);

        let release = loop {
            let path = folder.join(next.to_string());
            match fs::DirBuilder::new().mode(0o700).create(&path) {
                Ok(()) => break self.release(app, ReleaseId(next)),
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => next += 1,
                Err(error) => return Err(StoreError::io("make", &path)(error)),
            }
        };
        failpoint::at("number.taken");
        let written = record(release.id).and_then(|record| {
            let lock = release.write_record(&record)?;
            Ok((record, lock))
        });
        match written {
            Ok((record, lock)) => Ok((release, record, lock)),
            Err(error) => {
                release.remove()?;
                Err(error)
            }
        }
    }

    /// The folder of release `id`, which may not be there.
    pub fn release(&self, app: &AppName, id: ReleaseId) -> ReleaseDir {
        ReleaseDir {
            app: app.clone(),
            id,
            path: self.releases_folder(app).join(id.to_string()),
        }
    }

    /// The releases of `app` that have a folder, the oldest first.
    ///
    /// # Errors
    /// When the folder cannot be listed.
    pub fn releases(&self, app: &AppName) -> Result<Vec<ReleaseDir>, StoreError> {
        let folder = self.releases_folder(app);
        let mut found: Vec<ReleaseDir> = fs::read_dir(&folder)
            .map_err(StoreError::io("list", &folder))?
            .filter_map(Result::ok)
            .filter_map(|entry| entry.file_name().to_str()?.parse().ok())
            .map(|id| self.release(app, id))
            .collect();
        found.sort_by_key(|release| release.id);
        Ok(found)
    }

    /// Puts a file of a release of the locked app aside that cannot be read, and gives its new name.
    ///
    /// # Errors
    /// When it cannot be renamed.
    pub fn keep_aside(&self, _lock: &AppLock, file: &Path) -> Result<PathBuf, StoreError> {
        durable::keep_aside(file)
    }

    fn newest(&self, app: &AppName) -> Result<Option<ReleaseId>, StoreError> {
        Ok(self.releases(app)?.last().map(|release| release.id))
    }

    /// The newest release that runs: its number is not given again even if its folder was lost.
    fn newest_running(&self, app: &AppName) -> Option<ReleaseId> {
        let state = self.state(app).ok()?;
        state.slots.values().map(|running| running.release).max()
    }

    pub(super) fn releases_folder(&self, app: &AppName) -> PathBuf {
        self.app_folder(app).join("releases")
    }
}

impl ReleaseDir {
    /// The app.
    pub fn app(&self) -> &AppName {
        &self.app
    }

    /// The release's number.
    pub fn id(&self) -> ReleaseId {
        self.id
    }

    /// The folder.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The release's record. `None` when it has none: it does not exist, or its hook was killed while writing it.
    ///
    /// # Errors
    /// When the record is not what deployer wrote.
    pub fn record(&self) -> Result<Option<Record>, StoreError> {
        durable::read_sealed(&self.path.join(RECORD), FORMAT)
    }

    /// Becomes the release's worker. `None` when it has one.
    ///
    /// # Errors
    /// When the lock's file cannot be opened.
    pub fn try_work(&self) -> Result<Option<WorkerLock>, StoreError> {
        WorkerLock::try_take(&self.worker_lock())
    }

    /// Becomes the release's worker by the lock that was handed to this process as its standard input.
    ///
    /// # Errors
    /// When standard input cannot be taken, or is not the lock of this release.
    pub fn work_from_stdin(&self) -> Result<WorkerLock, StoreError> {
        WorkerLock::from_stdin(&self.worker_lock())
    }

    /// Whether a process works on this release now.
    pub fn has_worker(&self) -> bool {
        lock::is_taken(&self.worker_lock())
    }

    fn worker_lock(&self) -> PathBuf {
        self.path.join("worker")
    }

    fn write_record(&self, record: &Record) -> Result<WorkerLock, StoreError> {
        let lock = self.try_work()?.expect("nobody else knows of a new release");
        durable::write_sealed(&self.path.join(RECORD), FORMAT, record)?;
        let folder = self.path.parent().expect("it stands in the app's folder");
        durable::sync_folder(folder)?;
        failpoint::at("number.durable");
        Ok(lock)
    }

    /// Asks the release's worker to stop before the flip.
    ///
    /// # Errors
    /// When the request cannot be written.
    pub fn ask_to_cancel(&self) -> Result<(), StoreError> {
        durable::write(&self.path.join(CANCEL), b"")
    }

    /// Whether the release's worker was asked to stop.
    pub fn is_cancelled(&self) -> bool {
        self.path.join(CANCEL).exists()
    }

    /// Notes that the release's image is gone.
    ///
    /// # Errors
    /// When the note cannot be written.
    pub fn mark_pruned(&self) -> Result<(), StoreError> {
        durable::write(&self.path.join(PRUNED), b"")
    }

    /// Whether the release's image is gone.
    pub fn is_pruned(&self) -> bool {
        self.path.join(PRUNED).exists()
    }

    /// Removes the folder.
    ///
    /// # Errors
    /// When something in it cannot be removed.
    pub fn remove(&self) -> Result<(), StoreError> {
        match fs::remove_dir_all(&self.path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                Err(StoreError::io("remove", &self.path)(error))
            }
            _ => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::damage_tests::{green_runs_7, record};

    fn promotion(id: ReleaseId) -> Record {
        let intent = Intent::Promote { from: None };
        Record { intent, ..record(id) }
    }

    #[test]
    fn a_record_that_does_not_tell_who_asked_is_read() {
        let folder = tempfile::tempdir().unwrap();
        let store = Store::new(folder.path());
        let release = store.release(&"shop".parse().unwrap(), ReleaseId(3));
        fs::create_dir_all(release.path()).unwrap();
        let record = promotion(ReleaseId(3));
        durable::write_sealed(&release.path().join(RECORD), 1, &record).unwrap();
        assert!(
            !fs::read_to_string(release.path().join(RECORD))
                .unwrap()
                .contains("\"by\"")
        );
        assert_eq!(release.record().unwrap(), Some(record));
    }

    #[test]
    fn a_release_whose_record_is_not_made_leaves_nothing() {
        let folder = tempfile::tempdir().unwrap();
        let store = Store::new(folder.path());
        let app: AppName = "shop".parse().unwrap();
        fs::create_dir_all(store.releases_folder(&app)).unwrap();
        let fails = |_| {
            Err(StoreError::io("write", Path::new("audit.log"))(
                io::ErrorKind::StorageFull.into(),
            ))
        };
        let numbers = store.lock_numbers(&app).unwrap();
        assert!(store.new_release(&numbers, fails).is_err());
        assert!(store.releases(&app).unwrap().is_empty());
    }

    #[test]
    fn the_number_of_what_runs_is_not_given_again_when_the_history_is_lost() {
        let folder = tempfile::tempdir().unwrap();
        let store = Store::new(folder.path());
        let app: AppName = "shop".parse().unwrap();
        fs::create_dir_all(store.releases_folder(&app)).unwrap();
        let state = green_runs_7();
        store
            .write_state(&store.try_lock(&app).unwrap().unwrap(), &state)
            .unwrap();

        let (release, ..) = store
            .new_release(&store.lock_numbers(&app).unwrap(), |id| Ok(promotion(id)))
            .unwrap();

        assert_eq!(release.id(), ReleaseId(8));
    }
}
