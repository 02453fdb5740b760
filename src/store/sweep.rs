//! Sweeping: what killed processes have left half written goes.

use std::ffi::OsStr;
use std::fs;
use std::io;
use std::path::Path;

use super::{AppLock, ReleaseDir, Store, StoreError};
use crate::ground::durable::is_new;
use crate::model::Slot;

impl Store {
    /// Removes the files of the locked app that a killed process was about to put into their places, but for those beside a
    /// worktree that somebody is at, and the releases that never came to be because their receiver was killed before their record was written.
    ///
    /// # Errors
    /// When something cannot be listed or removed.
    pub fn sweep(&self, lock: &AppLock) -> Result<(), StoreError> {
        let folder = self.app_folder(lock.app());
        sweep_folder(&folder)?;
        let slots = Slot::BOTH.map(|slot| self.try_lock_slot(lock.app(), slot));
        let slots = slots.into_iter().collect::<Result<Vec<_>, _>>()?;
        if slots.iter().all(Option::is_some) {
            sweep_folder(&folder.join("worktrees"))?;
        }
        drop(slots);
        // While a release gets its number its folder has no record yet.
        let _numbers = self.lock_numbers(lock.app())?;
        for release in self.releases(lock.app())? {
            if !release.has_worker() {
                sweep_release(&release)?;
            }
        }
        Ok(())
    }
}

fn sweep_release(release: &ReleaseDir) -> Result<(), StoreError> {
    sweep_folder(release.path())?;
    let is_nothing = |name: &str| name == "worker";
    if names(release.path())?.iter().all(|name| is_nothing(name)) {
        release.remove()?;
    }
    Ok(())
}

/// Removes what is not in its place yet: nobody else writes in `folder` while its lock is held.
fn sweep_folder(folder: &Path) -> Result<(), StoreError> {
    for name in names(folder)? {
        let path = folder.join(&name);
        if is_new(OsStr::new(&name)) {
            fs::remove_file(&path).map_err(StoreError::io("remove", &path))?;
        }
    }
    Ok(())
}

/// The names in `folder`; none when it is not there.
fn names(folder: &Path) -> Result<Vec<String>, StoreError> {
    let listed = match fs::read_dir(folder) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        listed => listed.map_err(StoreError::io("list", folder))?,
    };
    let names = listed.map(|entry| Ok(entry?.file_name().to_string_lossy().into_owned()));
    names
        .collect::<io::Result<_>>()
        .map_err(StoreError::io("list", folder))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{AppName, ReleaseId};

    #[test]
    fn only_what_is_half_written_and_nobodys_goes() {
        let root = tempfile::tempdir().unwrap();
        let store = Store::new(root.path());
        let app: AppName = "shop".parse().unwrap();
        let releases = root.path().join("apps/shop/releases");
        for release in ["1", "2", "3"] {
            fs::create_dir_all(releases.join(release)).unwrap();
        }
        for file in [
            "1/record.json",
            "1/.deployer-7-0",
            "2/worker",
            "2/.deployer-7-0",
            "3/worker",
            "3/.deployer-7-0",
        ] {
            fs::write(releases.join(file), "").unwrap();
        }
        fs::write(root.path().join("apps/shop/.deployer-7-1"), "").unwrap();
        let lock = store.try_lock(&app).unwrap().unwrap();
        let at_work = store.release(&app, ReleaseId(3)).try_work().unwrap().unwrap();

        store.sweep(&lock).unwrap();

        assert!(!root.path().join("apps/shop/.deployer-7-1").exists());
        assert!(releases.join("1/record.json").exists() && !releases.join("1/.deployer-7-0").exists());
        assert!(!releases.join("2").exists());
        assert!(releases.join("3/.deployer-7-0").exists());
        drop(at_work);
        store.sweep(&lock).unwrap();
        assert!(!releases.join("3").exists());
    }
}
