//! The tree that a compose file is read from: a folder, by its descriptor. Nothing outside of it is opened.

use std::fs::File;
use std::io::{self, Read};
use std::os::fd::OwnedFd;
use std::path::Path;

use rustix::fs::{FileType, Mode, OFlags, ResolveFlags};
use rustix::io::Errno;

/// Tries of a look-up that the kernel gave up because something was renamed meanwhile.
const TRIES: usize = 8;

/// A folder with everything below it.
#[derive(Debug)]
pub struct Tree {
    root: OwnedFd,
}

/// What stands at a path.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Found {
    File,
    Folder,
    /// A FIFO, a socket or a device.
    Other,
    Nothing,
    /// The path, or a link on it, leads out of the tree.
    Outside,
}

/// Why a file of the tree is not read: the end of a sentence that begins with its path.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(super) enum Unread {
    #[error("is not in the tree")]
    Missing,
    #[error("leads out of the tree, of which alone files are read")]
    Outside,
    #[error("is no file")]
    NoFile,
    #[error("is larger than {0} KiB")]
    TooLarge(u64),
    #[error("cannot be read")]
    Failed,
}

impl Tree {
    /// Opens the folder `path`.
    ///
    /// # Errors
    /// When it is no folder that can be read.
    pub fn open(path: &Path) -> io::Result<Self> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let root = rustix::fs::open(path, flags, Mode::empty())?;
        Ok(Self { root })
    }

    /// Whether there is a file at `path`.
    pub fn has_file(&self, path: &str) -> bool {
        self.find(path) == Found::File
    }

    /// What stands at `path`, links inside the tree followed.
    pub(super) fn find(&self, path: &str) -> Found {
        match self.at(path, OFlags::PATH) {
            Ok(file) => match kind(&file) {
                Some(FileType::RegularFile) => Found::File,
                Some(FileType::Directory) => Found::Folder,
                _ => Found::Other,
            },
            Err(Errno::XDEV | Errno::LOOP) => Found::Outside,
            Err(_) => Found::Nothing,
        }
    }

    /// The bytes of the file `path`, at most `max` of them; never waits, as for the writer of a FIFO.
    pub(super) fn read(&self, path: &str, max: u64) -> Result<Vec<u8>, Unread> {
        let opened = self.at(path, OFlags::RDONLY | OFlags::NONBLOCK | OFlags::NOCTTY);
        let file = opened.map_err(|error| match error {
            Errno::XDEV | Errno::LOOP => Unread::Outside,
            Errno::NOENT | Errno::NOTDIR | Errno::NAMETOOLONG => Unread::Missing,
            Errno::NXIO => Unread::NoFile,
            _ => Unread::Failed,
        })?;
        if kind(&file) != Some(FileType::RegularFile) {
            return Err(Unread::NoFile);
        }
        let mut bytes = Vec::new();
        let read = File::from(file).take(max + 1).read_to_end(&mut bytes);
        match read {
            Ok(size) if size as u64 > max => Err(Unread::TooLarge(max >> 10)),
            Ok(_) => Ok(bytes),
            Err(_) => Err(Unread::Failed),
        }
    }

    fn at(&self, path: &str, flags: OFlags) -> Result<OwnedFd, Errno> {
        let flags = flags | OFlags::CLOEXEC;
        let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_MAGICLINKS;
        for _ in 1..TRIES {
            match rustix::fs::openat2(&self.root, path, flags, Mode::empty(), resolve) {
                Err(Errno::AGAIN) => {}
                opened => return opened,
            }
        }
        Err(Errno::AGAIN)
    }
}

fn kind(file: &OwnedFd) -> Option<FileType> {
    let stat = rustix::fs::fstat(file).ok()?;
    Some(FileType::from_raw_mode(stat.st_mode))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::symlink;

    #[test]
    fn nothing_outside_of_the_tree_is_read_and_no_fifo_waited_for() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path();
        std::fs::create_dir(path.join("in")).unwrap();
        std::fs::write(path.join("in/file"), "hello").unwrap();
        std::fs::write(path.join("secret"), "no").unwrap();
        symlink("file", path.join("in/inside")).unwrap();
        symlink("../secret", path.join("in/up")).unwrap();
        symlink("/etc/hostname", path.join("in/host")).unwrap();
        symlink("round", path.join("in/round")).unwrap();
        rustix::fs::mkfifoat(rustix::fs::CWD, path.join("in/fifo"), Mode::RWXU).unwrap();
        let tree = Tree::open(&path.join("in")).unwrap();
        assert_eq!(tree.read("inside", 10), Ok(b"hello".to_vec()));
        assert_eq!(tree.read("./x/../file", 10), Err(Unread::Missing));
        for outside in ["up", "host", "round", "../secret", "/etc/hostname"] {
            assert_eq!(tree.read(outside, 10), Err(Unread::Outside), "{outside}");
            assert_eq!(tree.find(outside), Found::Outside, "{outside}");
        }
        assert_eq!(tree.read("fifo", 10), Err(Unread::NoFile));
        assert_eq!(tree.read(".", 10), Err(Unread::NoFile));
        assert_eq!(tree.read("file", 4), Err(Unread::TooLarge(0)));
        assert_eq!(tree.find("fifo"), Found::Other);
        assert_eq!(tree.find("."), Found::Folder);
    }
}
