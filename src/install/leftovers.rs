//! Files that an install which was killed had not put into their places yet.

use std::collections::BTreeSet;
use std::ffi::{OsStr, OsString};
use std::path::{Path, PathBuf};

use anyhow::Result;

use super::found::{Found, Verb};
use super::open_folder::OpenFolder;
use crate::ground::durable::is_new;

/// The most names that are looked at in a folder.
const NAMES_MAX: usize = 4096;

/// No such files in these folders. Nothing is said where there are none.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Leftovers {
    /// The folders.
    pub folders: BTreeSet<PathBuf>,
}

impl Leftovers {
    pub(super) fn name(&self) -> String {
        "what a killed install left".to_owned()
    }

    pub(super) fn look(&self) -> Result<Found> {
        for folder in &self.folders {
            let Some((folder, names)) = left_in(folder)? else {
                continue;
            };
            if let Some(name) = names.first() {
                let path = folder.path().join(name);
                return Ok(Found::ToDo(Verb::Remove, path.display().to_string()));
            }
        }
        Ok(Found::Gone)
    }

    pub(super) fn make(&self) -> Result<Option<String>> {
        for folder in &self.folders {
            let Some((folder, names)) = left_in(folder)? else {
                continue;
            };
            for name in names {
                folder.remove_file(&name)?;
            }
        }
        Ok(None)
    }
}

fn left_in(path: &Path) -> Result<Option<(OpenFolder, Vec<OsString>)>> {
    // What else the user may have put in its place is not for this to refuse.
    let Ok(Some(folder)) = OpenFolder::at(path) else {
        return Ok(None);
    };
    let mut names = folder.names(NAMES_MAX)?;
    let is_file = |name: &OsStr| matches!(folder.entry(name), Ok(Some(entry)) if !entry.is_folder());
    // Its process is gone, whatever its number says: [`super::turn`] lets only one work at a time.
    names.retain(|name| is_new(name) && is_file(name));
    Ok(Some((folder, names)))
}
