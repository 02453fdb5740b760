//! Locks between processes: `flock` on files that are never unlinked, so that a killed holder leaves none behind. A lock
//! belongs to the open file: it is held until the file, and each copy of it that a child was given, is closed.

use std::fs::{File, OpenOptions, TryLockError};
use std::io;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::time::{Duration, Instant};

/// Pause between two tries of who waits for no longer than some time.
const PAUSE: Duration = Duration::from_millis(2);

/// The file at `path`, to be locked: made where it is missing, its owner's alone, and what is in it stays.
///
/// # Errors
/// When it cannot be opened.
pub(crate) fn open(path: &Path) -> io::Result<File> {
    let mut options = OpenOptions::new();
    options.read(true).write(true).create(true).truncate(false);
    options.mode(0o600).open(path)
}

/// Waits until nobody else has the lock at `path`, and takes it.
///
/// # Errors
/// When its file cannot be opened or locked.
pub(crate) fn take(path: &Path) -> io::Result<File> {
    let file = open(path)?;
    file.lock()?;
    Ok(file)
}

/// Takes the lock at `path`. `None` where somebody else has it, or a share of it.
///
/// # Errors
/// As for [`take`].
pub(crate) fn try_take(path: &Path) -> io::Result<Option<File>> {
    let file = open(path)?;
    try_lock(&file).map(|got| got.then_some(file))
}

/// As [`try_take`], of a file or folder that is open. Gives whether it was got.
///
/// # Errors
/// When it cannot be locked.
pub(crate) fn try_lock(file: &File) -> io::Result<bool> {
    tried(file.try_lock())
}

/// Takes a share of the lock at `path`. `None` where somebody else has the whole of it.
///
/// # Errors
/// As for [`take`].
pub(crate) fn try_share(path: &Path) -> io::Result<Option<File>> {
    let file = open(path)?;
    tried(file.try_lock_shared()).map(|got| got.then_some(file))
}

/// Takes the lock of `file`, which others may have for up to `patience`. Gives whether it was got.
pub(crate) fn take_within(file: &File, patience: Duration) -> bool {
    within(patience, || file.try_lock())
}

/// As [`take_within`], a share of it.
pub(crate) fn share_within(file: &File, patience: Duration) -> bool {
    within(patience, || file.try_lock_shared())
}

/// Whether somebody has the whole lock at `path`.
pub(crate) fn is_taken(path: &Path) -> bool {
    File::open(path).is_ok_and(|file| matches!(file.try_lock_shared(), Err(TryLockError::WouldBlock)))
}

fn within(patience: Duration, try_lock: impl Fn() -> Result<(), TryLockError>) -> bool {
    let began = Instant::now();
    while try_lock().is_err() {
        if began.elapsed() > patience {
            return false;
        }
        std::thread::sleep(PAUSE);
    }
    true
}

fn tried(locked: Result<(), TryLockError>) -> io::Result<bool> {
    match locked {
        Ok(()) => Ok(true),
        Err(TryLockError::WouldBlock) => Ok(false),
        Err(TryLockError::Error(error)) => Err(error),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lock_is_one_holders_or_shared_and_goes_with_its_file() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("lock");
        let other = open(&path).unwrap();
        let whole = take(&path).unwrap();
        assert!(is_taken(&path));
        assert!(try_take(&path).unwrap().is_none() && try_share(&path).unwrap().is_none());
        assert!(!take_within(&other, Duration::ZERO) && !share_within(&other, Duration::ZERO));
        drop(whole);

        assert!(!is_taken(&path));
        let share = try_share(&path).unwrap().unwrap();
        assert!(!is_taken(&path) && try_take(&path).unwrap().is_none());
        assert!(share_within(&other, Duration::ZERO));
        drop(share);
        assert!(take_within(&other, Duration::ZERO));
    }
}
