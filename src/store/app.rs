//! `app.json`: what `app create` gave an app for good.

use std::fs;
use std::io;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use super::{AppLock, Store, StoreError, durable};
use crate::model::{AppName, ParseError, SlotPorts};

const FILE: &str = "app.json";
const FORMAT: u32 = 1;

/// What an app was given when it was created; it never changes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AppFile {
    /// The number of the app's address block, from 0.
    pub index: u32,
    /// The slot ports, unless the configuration names others.
    pub ports: SlotPorts,
}

impl Store {
    /// The apps that were created, by name.
    ///
    /// # Errors
    /// When the folder is there but cannot be listed.
    pub fn apps(&self) -> Result<Vec<AppName>, StoreError> {
        let folder = self.root().join("apps");
        let entries = match fs::read_dir(&folder) {
            Ok(entries) => entries,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            Err(error) => return Err(StoreError::io("list", &folder)(error)),
        };
        let mut names: Vec<AppName> = entries
            .filter_map(Result::ok)
            .filter_map(|entry| {
                let name: Result<AppName, ParseError> = entry.file_name().to_str()?.parse();
                name.ok()
            })
            .filter(|name| self.has_app(name))
            .collect();
        names.sort();
        Ok(names)
    }

    /// Whether `app` was created: its `app.json` is there, readable or not.
    pub fn has_app(&self, app: &AppName) -> bool {
        self.app_folder(app).join(FILE).exists()
    }

    /// What `app` was given. `None` when there is no such app.
    ///
    /// # Errors
    /// When the file is there but is not what deployer wrote.
    pub fn app_file(&self, app: &AppName) -> Result<Option<AppFile>, StoreError> {
        durable::read_sealed(&self.app_folder(app).join(FILE), FORMAT)
    }

    /// Creates `app`'s folder and writes what it is given.
    ///
    /// # Errors
    /// When the folder or the file cannot be written.
    pub fn write_app_file(&self, app: &AppName, file: &AppFile) -> Result<(), StoreError> {
        durable::create_folder(&self.app_folder(app).join("releases"))?;
        durable::create_folder(&self.app_folder(app).join("worktrees"))?;
        durable::create_folder(&self.repositories(app))?;
        durable::write_sealed(&self.app_folder(app).join(FILE), FORMAT, file)
    }

    /// Keeps a copy of what the locked app was given, where that cannot be read, and gives its name. The file itself
    /// stays until it is written anew: at no moment is there no such app.
    ///
    /// # Errors
    /// When the copy cannot be made.
    pub fn keep_app_file_aside(&self, lock: &AppLock) -> Result<Option<PathBuf>, StoreError> {
        durable::keep_copy_aside(&self.app_folder(lock.app()).join(FILE))
    }

    /// Removes everything about `app`: history, worktrees and repositories. `app.json` goes first, so that
    /// an interrupted removal leaves no app, only files that the next one sweeps.
    ///
    /// # Errors
    /// When something cannot be removed.
    pub fn remove_app(&self, app: &AppName) -> Result<(), StoreError> {
        let file = self.app_folder(app).join(FILE);
        match fs::remove_file(&file) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                return Err(StoreError::io("remove", &file)(error));
            }
            _ => {}
        }
        for folder in [self.app_folder(app), self.repositories(app)] {
            match fs::remove_dir_all(&folder) {
                Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                    return Err(StoreError::io("remove", &folder)(error));
                }
                _ => {}
            }
        }
        Ok(())
    }
}
