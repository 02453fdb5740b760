//! Leftovers: what a git that was killed has left in a repository, and no git takes away.

use std::ffi::OsStr;
use std::fs;
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use super::error::GitError;
use super::repository::SlotRepository;
use crate::ground::durable;

/// How long nothing has changed in a leftover before it is taken for one. Git works on such a file without a pause; what
/// waits for a slow client is found by its process.
const UNTOUCHED: Duration = Duration::from_secs(10 * 60);

/// The variable by which git tells its processes which quarantine they write to.
const QUARANTINE: &[u8] = b"GIT_QUARANTINE_PATH=";

/// What a push that broke off, or another git, has left behind.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Leftover {
    /// The file or folder.
    pub path: PathBuf,
    /// Its size in bytes, with all that is in it.
    pub bytes: u64,
}

impl SlotRepository {
    /// What killed processes of git have left in the repository: quarantines of pushes, half-written packs and objects,
    /// and lock files. Nothing is counted that a process uses, or that has changed within ten minutes.
    ///
    /// # Errors
    /// When a folder of the repository cannot be listed.
    pub fn leftovers(&self) -> Result<Vec<Leftover>, GitError> {
        let found = candidates(self.path()).map_err(|e| GitError::io("list", self.path(), e))?;
        if found.is_empty() {
            return Ok(Vec::new());
        }
        let in_use = quarantines_in_use();
        let now = SystemTime::now();
        let is_old = |path: &PathBuf| {
            newest(path).is_ok_and(|changed| now.duration_since(changed).is_ok_and(|age| age >= UNTOUCHED))
        };
        let is_nobodys = |path: &PathBuf| match &in_use {
            InUse::Named(paths) => !paths.contains(&path.canonicalize().unwrap_or_else(|_| path.clone())),
            InUse::Unknown => false,
        };
        let mut leftovers: Vec<Leftover> = found
            .into_iter()
            .filter(|path| is_old(path) && is_nobodys(path))
            .map(|path| Leftover {
                bytes: size(&path),
                path,
            })
            .collect();
        leftovers.sort_by(|a, b| a.path.cmp(&b.path));
        Ok(leftovers)
    }

    /// Removes a leftover that [`Self::leftovers`] gave.
    ///
    /// # Errors
    /// When it cannot be removed.
    pub fn remove_leftover(&self, leftover: &Leftover) -> Result<(), GitError> {
        let path = &leftover.path;
        let removed = match fs::symlink_metadata(path) {
            Ok(it) if it.is_dir() => fs::remove_dir_all(path),
            Ok(_) => fs::remove_file(path),
            Err(error) => Err(error),
        };
        match removed {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(GitError::io("remove", path, error)),
            _ => Ok(()),
        }
    }
}

/// Everything in the repository at `path` that has the name of something unfinished.
fn candidates(path: &Path) -> io::Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    let objects = path.join("objects");
    take(&objects, &mut found, |name| {
        // The second name is the one that git had before 2.35.
        name.starts_with(b"tmp_objdir-") || name.starts_with(b"incoming-")
    })?;
    for folder in folders(&objects)? {
        take(&folder, &mut found, |name| {
            [&b"tmp_"[..], b".tmp-"]
                .iter()
                .any(|begin| name.starts_with(begin))
        })?;
    }
    take(&path.join("hooks"), &mut found, |name| {
        durable::is_new(OsStr::from_bytes(name))
    })?;
    take(path, &mut found, is_lock)?;
    let mut refs = vec![path.join("refs")];
    while let Some(folder) = refs.pop() {
        take(&folder, &mut found, is_lock)?;
        refs.extend(folders(&folder)?);
    }
    Ok(found)
}

/// No reference can have such a name.
fn is_lock(name: &[u8]) -> bool {
    name.ends_with(b".lock")
}

fn take(folder: &Path, found: &mut Vec<PathBuf>, fits: impl Fn(&[u8]) -> bool) -> io::Result<()> {
    for entry in entries(folder)? {
        if fits(entry.file_name().as_bytes()) {
            found.push(entry.path());
        }
    }
    Ok(())
}

/// The folders in `folder`, but for quarantines, whose contents go with them.
fn folders(folder: &Path) -> io::Result<Vec<PathBuf>> {
    let is_folder = |entry: &fs::DirEntry| entry.file_type().is_ok_and(|kind| kind.is_dir());
    let named = |entry: &fs::DirEntry| !entry.file_name().as_bytes().starts_with(b"tmp_");
    let all = entries(folder)?
        .into_iter()
        .filter(|entry| is_folder(entry) && named(entry));
    Ok(all.map(|entry| entry.path()).collect())
}

/// What is in `folder`; nothing where it is not there.
fn entries(folder: &Path) -> io::Result<Vec<fs::DirEntry>> {
    match fs::read_dir(folder) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Vec::new()),
        listed => listed?.collect(),
    }
}

/// When anything at or under `path` was last changed.
fn newest(path: &Path) -> io::Result<SystemTime> {
    let it = fs::symlink_metadata(path)?;
    let mut newest = it.modified()?;
    if it.is_dir() {
        for entry in entries(path)? {
            newest = newest.max(self::newest(&entry.path())?);
        }
    }
    Ok(newest)
}

/// The bytes at and under `path`; 0 for what went away meanwhile.
fn size(path: &Path) -> u64 {
    match fs::symlink_metadata(path) {
        Ok(it) if it.is_dir() => {
            let inside = entries(path).unwrap_or_default();
            inside.iter().map(|entry| size(&entry.path())).sum()
        }
        Ok(it) => it.len(),
        Err(_) => 0,
    }
}

/// Which quarantines some process of this machine writes to.
enum InUse {
    Named(Vec<PathBuf>),
    /// A process of git is another user's, and does not tell.
    Unknown,
}

/// Asks every process which quarantine it was given: git's own ones for unpacking, and the hooks that it calls.
fn quarantines_in_use() -> InUse {
    let mut paths = Vec::new();
    for entry in entries(Path::new("/proc")).unwrap_or_default() {
        if !entry.file_name().as_bytes().iter().all(u8::is_ascii_digit) {
            continue;
        }
        match fs::read(entry.path().join("environ")) {
            Ok(environment) => paths.extend(quarantine_in(&environment)),
            Err(error) if error.kind() == io::ErrorKind::PermissionDenied => {
                if unpacks(&fs::read(entry.path().join("cmdline")).unwrap_or_default()) {
                    return InUse::Unknown;
                }
            }
            // It has ended.
            Err(_) => {}
        }
    }
    InUse::Named(paths)
}

fn quarantine_in(environment: &[u8]) -> Option<PathBuf> {
    let mut variables = environment.split(|&byte| byte == 0);
    let path = variables.find_map(|variable| variable.strip_prefix(QUARANTINE))?;
    let path = Path::new(OsStr::from_bytes(path));
    Some(path.canonicalize().unwrap_or_else(|_| path.to_owned()))
}

/// Whether a command line is one of git's that write to a quarantine.
fn unpacks(command: &[u8]) -> bool {
    let mut words = command.split(|&byte| byte == 0);
    words.any(|word| {
        [&b"index-pack"[..], b"unpack-objects", b"receive-pack"]
            .iter()
            .any(|name| word.ends_with(name))
    })
}
