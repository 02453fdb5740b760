//! Files that an install which was killed had not put into their places yet.

use std::collections::BTreeSet;
use std::ffi::{OsStr, OsString};
use std::path::{Path, PathBuf};

use anyhow::Result;

use super::open_folder::{NEW_PREFIX, OpenFolder};
use super::thing::{Found, Verb};

/// The most names that are looked at in a folder.
const NAMES_MAX: usize = 4096;

/// No such files in these folders. Nothing is said where there are none.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Leftovers {
    /// The folders. One that others than root may write to is left alone.
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
    let Some(folder) = OpenFolder::at(path)?.filter(|folder| !folder.is_of_others()) else {
        return Ok(None);
    };
    let mut names = folder.names(NAMES_MAX)?;
    names.retain(|name| is_left(name));
    Ok(Some((folder, names)))
}

/// Whether it is a new file's name. Its process is gone: [`super::turn`] lets only one work at a time.
fn is_left(name: &OsStr) -> bool {
    let numbers = name.to_str().and_then(|name| name.strip_prefix(NEW_PREFIX));
    let numbers = numbers.and_then(|numbers| numbers.split_once('-'));
    numbers.is_some_and(|(process, number)| process.parse::<u32>().is_ok() && number.parse::<u32>().is_ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_left_is_told_by_its_name() {
        for (name, left) in [
            (".deployer-4194999-0", true),
            (".deployer-4194999", false),
            (".deployer-4194999-x", false),
            ("deployer-4194999-0", false),
        ] {
            assert_eq!(is_left(OsStr::new(name)), left, "{name}");
        }
    }
}
