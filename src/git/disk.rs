//! Folders and files by descriptor and single name: no path is ever followed, so that whatever stands in a
//! worktree, a symbolic link included, nothing outside it is read, changed or removed.

use std::ffi::{CStr, CString};
use std::io;
use std::os::fd::{AsRawFd, OwnedFd};
use std::path::{Path, PathBuf};

use rustix::fs::{AtFlags, Dir, FileType, Mode, OFlags, Stat};
use rustix::io::Errno;

/// The mode of every folder in a worktree, whatever the umask.
const FOLDER_MODE: u32 = 0o755;
/// Folders in folders that a removal descends into before it moves the rest up: each holds a descriptor.
const DEPTH_MAX: u32 = 64;

/// Opens the worktree's own folder, making it and those above it where they are missing.
pub(super) fn open_top(worktree: &Path) -> io::Result<OwnedFd> {
    let name = worktree.file_name().ok_or(io::ErrorKind::InvalidInput)?;
    let parent = match worktree.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    };
    std::fs::create_dir_all(parent)?;
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let parent = rustix::fs::open(parent, flags, Mode::empty())?;
    enter(&parent, &CString::new(name.as_encoded_bytes())?, None)
}

/// Opens the folder `name` of `parent`, made anew where it is missing or something else stands there.
///
/// With `device`, a folder on another one is an error (`EXDEV`): it is a mount, and its content belongs outside.
pub(super) fn enter(parent: &OwnedFd, name: &CStr, device: Option<u64>) -> io::Result<OwnedFd> {
    let make =
        || rustix::fs::mkdirat(parent, name, Mode::from_raw_mode(0o700)).and_then(|()| open(parent, name));
    let folder = match open(parent, name) {
        Err(Errno::NOENT) => make()?,
        Err(Errno::NOTDIR | Errno::LOOP) => {
            rustix::fs::unlinkat(parent, name, AtFlags::empty())?;
            make()?
        }
        opened => opened?,
    };
    let stat = rustix::fs::fstat(&folder)?;
    same_device(&stat, device)?;
    if mode_of(&stat) != FOLDER_MODE {
        rustix::fs::fchmod(&folder, Mode::from_raw_mode(FOLDER_MODE))?;
    }
    Ok(folder)
}

/// The file beside `path` whose name is longer by `suffix`.
pub(super) fn beside(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.file_name().unwrap_or_default().to_owned();
    name.push(suffix);
    path.with_file_name(name)
}

/// The names in `folder`, without `.` and `..`.
pub(super) fn list(folder: &OwnedFd) -> io::Result<Vec<CString>> {
    let mut names = Vec::new();
    for entry in Dir::read_from(folder)? {
        let entry = entry?;
        if !matches!(entry.file_name().to_bytes(), b"." | b"..") {
            names.push(entry.file_name().to_owned());
        }
    }
    Ok(names)
}

/// What stands in `folder` under `name`, itself and not what it may point to.
pub(super) fn look(folder: &OwnedFd, name: &CStr) -> io::Result<Stat> {
    Ok(rustix::fs::statat(folder, name, AtFlags::SYMLINK_NOFOLLOW)?)
}

/// The device that `folder` is on.
#[allow(
    clippy::unnecessary_cast,
    reason = "the types in Stat differ between processors"
)]
pub(super) fn device(folder: &OwnedFd) -> io::Result<u64> {
    Ok(rustix::fs::fstat(folder)?.st_dev as u64)
}

/// Whether `stat` is of a file or link that only this user and nobody by another name could have changed.
pub(super) fn is_own(stat: &Stat) -> bool {
    stat.st_nlink == 1 && stat.st_uid == rustix::process::geteuid().as_raw()
}

/// The type of file behind `stat`.
pub(super) fn type_of(stat: &Stat) -> FileType {
    FileType::from_raw_mode(stat.st_mode)
}

/// Removes whatever stands in a worktree, folders of any depth included.
pub(super) struct Remover<'a> {
    /// The worktree's own folder.
    top: &'a OwnedFd,
    device: u64,
    /// Folders moved up to `top` because they lay too deep, still to be removed.
    moved: Vec<CString>,
    /// How many files, links and the like were removed.
    pub(super) removed: u64,
}

impl<'a> Remover<'a> {
    /// Removes in the worktree `top`, which is on `device`.
    pub(super) fn new(top: &'a OwnedFd, device: u64) -> Self {
        Self {
            top,
            device,
            moved: Vec::new(),
            removed: 0,
        }
    }

    /// Removes `name` from `folder`, with all that is in it.
    pub(super) fn remove(&mut self, folder: &OwnedFd, name: &CStr) -> io::Result<()> {
        self.descend(folder, name, 0)?;
        while let Some(name) = self.moved.pop() {
            self.descend(self.top, &name, 0)?;
        }
        Ok(())
    }

    fn descend(&mut self, parent: &OwnedFd, name: &CStr, depth: u32) -> io::Result<()> {
        match rustix::fs::unlinkat(parent, name, AtFlags::empty()) {
            Ok(()) => {
                self.removed += 1;
                return Ok(());
            }
            Err(Errno::ISDIR) => {}
            Err(error) => return Err(error.into()),
        }
        if depth == DEPTH_MAX {
            return self.move_up(parent, name);
        }
        let folder = open(parent, name)?;
        let stat = rustix::fs::fstat(&folder)?;
        same_device(&stat, Some(self.device))?;
        if mode_of(&stat) & 0o700 != 0o700 {
            rustix::fs::fchmod(&folder, Mode::from_raw_mode(0o700))?;
        }
        for name in list(&folder)? {
            self.descend(&folder, &name, depth + 1)?;
        }
        Ok(rustix::fs::unlinkat(parent, name, AtFlags::REMOVEDIR)?)
    }

    /// Moves a folder up to the top under a name that is free there. Should it stay, the next checkout finds it
    /// as one more thing that the tree does not have.
    fn move_up(&mut self, parent: &OwnedFd, name: &CStr) -> io::Result<()> {
        let mut number = 0;
        let free = loop {
            let free = CString::new(format!(".deployer-removed-{number}"))?;
            match look(self.top, &free) {
                Err(error) if error.kind() == io::ErrorKind::NotFound => break free,
                looked => drop(looked?),
            }
            number += 1;
        };
        rustix::fs::renameat(parent, name, self.top, &free)?;
        self.moved.push(free);
        Ok(())
    }
}

/// Opens the folder `name` of `parent`, also where its mode forbids it to its owner.
fn open(parent: &OwnedFd, name: &CStr) -> rustix::io::Result<OwnedFd> {
    let flags = OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    match rustix::fs::openat(parent, name, flags | OFlags::RDONLY, Mode::empty()) {
        Err(Errno::ACCESS) => {
            let handle = rustix::fs::openat(parent, name, flags | OFlags::PATH, Mode::empty())?;
            let path = format!("/proc/self/fd/{}", handle.as_raw_fd());
            rustix::fs::chmod(path, Mode::from_raw_mode(0o700))?;
            rustix::fs::openat(parent, name, flags | OFlags::RDONLY, Mode::empty())
        }
        opened => opened,
    }
}

#[allow(
    clippy::unnecessary_cast,
    reason = "the types in Stat differ between processors"
)]
fn same_device(stat: &Stat, device: Option<u64>) -> io::Result<()> {
    match device {
        Some(device) if device != stat.st_dev as u64 => Err(Errno::XDEV.into()),
        _ => Ok(()),
    }
}

/// The permission bits behind `stat`, with set-user-id and the like.
pub(super) fn mode_of(stat: &Stat) -> u32 {
    stat.st_mode & 0o7777
}
