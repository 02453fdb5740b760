//! What the hooks of one push tell each other: git calls them one after the other, and tells each of them another part.

use std::fs;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use super::{Process, Store, StoreError, durable};
use crate::ground::durable::{is_left, is_new, replace_unsynced};
use crate::ground::failpoint;
use crate::model::{AppName, Asked, ReleaseId, Slot};

/// A push under way whose branch has not moved yet.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PushNote {
    /// The slot that it is for.
    pub slot: Slot,
    /// What its options ask for.
    pub asked: Asked,
    /// Its release, once it has one.
    pub release: Option<ReleaseId>,
    /// All that it brings, in git's order: `OLD NEW REFERENCE`, as a hook is told.
    #[serde(default)]
    pub updates: Vec<String>,
}

impl Store {
    /// Notes a push that `receiver` is taking, in place of what was noted of it before. It need not outlive a crash:
    /// the push does not.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn note_push(&self, app: &AppName, receiver: Process, note: &PushNote) -> Result<(), StoreError> {
        let path = self.push_note_path(app, receiver);
        let folder = self.pushes_folder(app);
        if !folder.is_dir() {
            durable::create_folder(&folder)?;
        }
        let text = serde_json::to_vec(note).expect("a note is JSON");
        replace_unsynced(&path, &text).map_err(StoreError::io("write", &path))?;
        failpoint::at("push.noted");
        Ok(())
    }

    /// What was noted of the push that `receiver` is taking.
    pub fn push_note(&self, app: &AppName, receiver: Process) -> Option<PushNote> {
        let text = fs::read(self.push_note_path(app, receiver)).ok()?;
        serde_json::from_slice(&text).ok()
    }

    /// Forgets the push that `receiver` is taking.
    pub fn forget_push(&self, app: &AppName, receiver: Process) {
        let _ = fs::remove_file(self.push_note_path(app, receiver));
    }

    /// The pushes to `app` that were noted and are under way. What was noted of others is removed.
    pub fn pushes(&self, app: &AppName) -> Vec<PushNote> {
        let Ok(folder) = fs::read_dir(self.pushes_folder(app)) else {
            return Vec::new();
        };
        let mut notes = Vec::new();
        for entry in folder.flatten() {
            let name = entry.file_name();
            match name.to_string_lossy().parse::<Process>() {
                Ok(receiver) if receiver.is_alive() => notes.extend(self.push_note(app, receiver)),
                Err(()) if is_new(&name) && !is_left(&name) => {}
                _ => drop(fs::remove_file(entry.path())),
            }
        }
        notes
    }

    fn push_note_path(&self, app: &AppName, receiver: Process) -> PathBuf {
        self.pushes_folder(app).join(receiver.to_string())
    }

    fn pushes_folder(&self, app: &AppName) -> PathBuf {
        self.app_folder(app).join("pushes")
    }
}
