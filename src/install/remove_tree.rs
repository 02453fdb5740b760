//! Removing a folder with everything in it, whoever may write to it meanwhile: no link is followed, no more folders are
//! open at once than a fixed number, and no other file system is entered.

use std::ffi::{OsStr, OsString};

use anyhow::{Context, Result, bail};
use rustix::fs::{AtFlags, Dev};
use rustix::io::Errno;

use super::open_folder::OpenFolder;
use crate::ground::failpoint;

/// Folders within folders that are open at once. What is deeper is moved up first.
const DEPTH_MAX: usize = 64;
/// Names that are held in memory at once, of each folder that is open.
const NAMES_MAX: usize = 1024;
/// How often it is begun anew, where something is written there meanwhile.
const ROUNDS: usize = 20;

/// Removes the folder `name` of `above`. None there is fine.
///
/// # Errors
/// When something cannot be removed, is on another file system, or is written all the time.
pub(super) fn remove_tree(above: &OpenFolder, name: &OsStr) -> Result<()> {
    let Some(top) = above.folder(name)? else {
        return Ok(());
    };
    let mut removal = Removal {
        device: device(&top)?,
        top,
        moved: 0,
    };
    for _ in 0..ROUNDS {
        removal.empty(None, 0)?;
        match rustix::fs::unlinkat(above.fd(), name, AtFlags::REMOVEDIR) {
            Ok(()) | Err(Errno::NOENT) => return Ok(()),
            Err(Errno::NOTEMPTY | Errno::EXIST) => {}
            Err(error) => return Err(failed(above, name, error)),
        }
    }
    bail!(
        "{} fills again while it is removed: end the processes that write there, then try again",
        removal.top.path().display()
    )
}

struct Removal {
    top: OpenFolder,
    device: Dev,
    /// How many folders were moved up.
    moved: u64,
}

impl Removal {
    /// Removes what is in `folder`, or in the top; what others put there meanwhile may be left.
    fn empty(&mut self, folder: Option<&OpenFolder>, depth: usize) -> Result<()> {
        loop {
            let names = folder.unwrap_or(&self.top).names(NAMES_MAX)?;
            let mut is_changed = false;
            for name in &names {
                is_changed |= self.remove(folder, name, depth)?;
            }
            if !is_changed {
                return Ok(());
            }
        }
    }

    /// Removes `name`, whatever it is. Gives whether it is gone from there.
    fn remove(&mut self, folder: Option<&OpenFolder>, name: &OsStr, depth: usize) -> Result<bool> {
        let from = folder.unwrap_or(&self.top);
        let as_file = match rustix::fs::unlinkat(from.fd(), name, AtFlags::empty()) {
            Ok(()) | Err(Errno::NOENT) => {
                failpoint::at("tree.file-gone");
                return Ok(true);
            }
            Err(error) => error,
        };
        if !matches!(as_file, Errno::ISDIR | Errno::PERM) || !is_folder(from, name)? {
            return Err(failed(from, name, as_file));
        }
        if depth == DEPTH_MAX {
            return self.move_up(folder, name).map(|()| true);
        }
        let Some(below) = from.folder(name)? else {
            return Ok(true);
        };
        if device(&below)? != self.device {
            bail!(
                "{} is another file system: unmount it, or remove it yourself, then try again",
                below.path().display()
            );
        }
        self.empty(Some(&below), depth + 1)?;
        let from = folder.unwrap_or(&self.top);
        match rustix::fs::unlinkat(from.fd(), name, AtFlags::REMOVEDIR) {
            Ok(()) | Err(Errno::NOENT) => Ok(true),
            Err(Errno::NOTEMPTY | Errno::EXIST | Errno::NOTDIR) => Ok(false),
            Err(error) => Err(failed(from, name, error)),
        }
    }

    fn move_up(&mut self, folder: Option<&OpenFolder>, name: &OsStr) -> Result<()> {
        let from = folder.unwrap_or(&self.top);
        loop {
            self.moved += 1;
            let to = OsString::from(format!(".deployer-removed-{}", self.moved));
            match rustix::fs::renameat(from.fd(), name, self.top.fd(), &to) {
                Ok(()) | Err(Errno::NOENT) => return Ok(()),
                Err(Errno::NOTEMPTY | Errno::EXIST | Errno::NOTDIR | Errno::ISDIR) => {}
                Err(error) => return Err(failed(from, name, error)),
            }
        }
    }
}

fn is_folder(folder: &OpenFolder, name: &OsStr) -> Result<bool> {
    Ok(folder.entry(name)?.is_some_and(|entry| entry.is_folder()))
}

fn device(folder: &OpenFolder) -> Result<Dev> {
    let is = rustix::fs::fstat(folder.fd()).map_err(std::io::Error::from);
    let is = is.with_context(|| format!("cannot look at {}", folder.path().display()))?;
    Ok(is.st_dev)
}

fn failed(folder: &OpenFolder, name: &OsStr, error: Errno) -> anyhow::Error {
    let what = format!("cannot remove {}", folder.path().join(name).display());
    anyhow::Error::from(std::io::Error::from(error)).context(what)
}
