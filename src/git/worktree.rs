//! A folder made exactly a tree: nothing left from before, nothing outside it touched, only what differs written.
//!
//! Files hold the bytes that the commit holds. Git's attributes are not applied (`text`, `eol`, `ident`,
//! `working-tree-encoding`, `export-ignore`), no filter is run, and neither Git LFS nor submodules are fetched:
//! the result depends on the commit alone, not on who checks it out where. Modes are 0644 and 0755 whatever the
//! umask. A submodule is an empty folder, as it is in a fresh clone.

use std::collections::HashSet;
use std::ffi::{CStr, OsStr};
use std::fs::File;
use std::io;
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use git2::{ObjectType, Oid, Repository};
use rustix::fs::{FileType, Mode, OFlags, Stat};

use super::blobs::{Blobs, CopyError};
use super::disk::{self, Remover};
use super::error::GitError;
use super::stat_cache::{CachedFile, StatCache, StatCacheWriter};
use super::tree::{Entry, Folder, Kind, Tree, joined, shown};
use crate::ground::failpoint;

/// Notes of one kind that are kept; the rest is only counted.
const NOTES_MAX: u64 = 20;
/// Bytes of a symbolic link's target that Linux takes.
pub(super) const TARGET_MAX: u64 = 4095;
/// Bytes of a Git LFS pointer at most, by its specification.
const POINTER_MAX: u64 = 1024;

/// What a checkout did.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct CheckedOut {
    /// Files and symbolic links that the tree has.
    pub files: u64,
    /// Those of them that were written; the others were right already and are untouched, times included.
    pub written: u64,
    /// Files and the like that were there and are not in the tree.
    pub removed: u64,
    /// What the tree has that is not in the worktree as one might expect: at most 20 of a kind.
    pub notes: Vec<Note>,
    /// Submodules in the tree, noted or not.
    pub submodules: u64,
    /// Pointers of Git LFS in the tree, noted or not.
    pub pointers: u64,
}

/// Something in a tree that a pusher may expect to be more than it is. Paths are printable.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Note {
    /// A submodule: an empty folder.
    Submodule {
        /// Where in the tree.
        path: String,
    },
    /// A pointer of Git LFS, not the file that it points to.
    LfsPointer {
        /// Where in the tree.
        path: String,
    },
}

/// Makes `worktree` the tree `root` of `repository`, which lies at `path`.
pub(super) fn checkout(
    repository: &Repository,
    path: &Path,
    root: Oid,
    worktree: &Path,
    go_on: &dyn Fn() -> bool,
) -> Result<CheckedOut, GitError> {
    let tree = Tree::read(repository, path, root, worktree)?;
    let index = disk::beside(worktree, ".index");
    let top = disk::open_top(worktree).map_err(|e| GitError::io("open", worktree, e))?;
    let device = disk::device(&top).map_err(|e| GitError::io("look at", worktree, e))?;

    failpoint::at("checkout.begun");
    let mut run = Run {
        tree: &tree,
        worktree,
        go_on,
        device,
        blobs: Blobs::new(repository, path),
        remover: Remover::new(&top, device),
        cache: StatCache::load(&index),
        next_cache: StatCacheWriter::default(),
        news: false,
        done: CheckedOut::default(),
    };
    run.folder(tree.root(), &top, &mut Vec::new())?;
    failpoint::at("checkout.exact");
    run.save(&index)
}

/// A checkout under way.
struct Run<'a> {
    tree: &'a Tree,
    worktree: &'a Path,
    go_on: &'a dyn Fn() -> bool,
    device: u64,
    blobs: Blobs<'a>,
    remover: Remover<'a>,
    cache: StatCache,
    next_cache: StatCacheWriter,
    /// Whether a file got a record that it did not have.
    news: bool,
    done: CheckedOut,
}

impl Run<'_> {
    /// Makes `on_disk` the folder `wanted`, which lies at `path`.
    fn folder(&mut self, wanted: &Folder, on_disk: &OwnedFd, path: &mut Vec<u8>) -> Result<(), GitError> {
        let there = self.keep_only(wanted, on_disk, path)?;
        for entry in &wanted.entries {
            if !(self.go_on)() {
                return Err(GitError::Stopped);
            }
            let above = path.len();
            *path = joined(path, entry.name.as_bytes());
            match entry.kind {
                Kind::Folder => {
                    let below = self.enter(on_disk, &entry.name, path)?;
                    self.folder(self.tree.folder(entry.id), &below, path)?;
                }
                Kind::Submodule => {
                    let below = self.enter(on_disk, &entry.name, path)?;
                    self.keep_only(&Folder::default(), &below, path)?;
                    self.note_submodule(path);
                }
                Kind::File | Kind::Executable | Kind::Link => {
                    self.file(entry, on_disk, there.contains(entry.name.as_c_str()), path)?;
                }
            }
            path.truncate(above);
        }
        Ok(())
    }

    /// Removes from `on_disk` what `wanted` has not, and gives the names of `wanted` that are there.
    fn keep_only<'w>(
        &mut self,
        wanted: &'w Folder,
        on_disk: &OwnedFd,
        path: &[u8],
    ) -> Result<HashSet<&'w CStr>, GitError> {
        let names: HashSet<&CStr> = wanted.entries.iter().map(|entry| entry.name.as_c_str()).collect();
        let mut there = HashSet::with_capacity(names.len());
        for name in disk::list(on_disk).map_err(|e| self.error("list", path, e))? {
            match names.get(name.as_c_str()) {
                Some(name) => drop(there.insert(*name)),
                None => self.remove(on_disk, &name, &joined(path, name.as_bytes()))?,
            }
        }
        Ok(there)
    }

    /// Makes the file or link at `path` what `entry` says; `there` tells whether anything stands in its place.
    fn file(&mut self, entry: &Entry, folder: &OwnedFd, there: bool, path: &[u8]) -> Result<(), GitError> {
        if there {
            let stat = disk::look(folder, &entry.name).map_err(|e| self.error("look at", path, e))?;
            if let Some(record) = self
                .cache
                .same(path, &CachedFile::new(entry.id, entry.kind, false, &stat))
            {
                self.add(path, &record);
                return Ok(());
            }
            if self.is_right(entry, folder, &stat, path)? {
                let pointer = self.has_pointer(entry, folder, &stat, path)?;
                self.news = true;
                self.add(path, &CachedFile::new(entry.id, entry.kind, pointer, &stat));
                return Ok(());
            }
            // Not counted as removed: the name stays. What is in a folder in its place does count.
            let before = self.remover.removed;
            self.remove(folder, &entry.name, path)?;
            if disk::type_of(&stat) != FileType::Directory {
                self.remover.removed = before;
            }
        }
        failpoint::at("checkout.file-gone");
        let record = match entry.kind {
            Kind::Link => self.write_link(entry, folder, path)?,
            _ => self.write_file(entry, folder, path)?,
        };
        failpoint::at("checkout.file-written");
        self.news = true;
        self.done.written += 1;
        self.add(path, &record);
        Ok(())
    }

    /// Whether the file or link that looks like `stat` holds what `entry` says, found by reading it.
    fn is_right(&self, entry: &Entry, folder: &OwnedFd, stat: &Stat, path: &[u8]) -> Result<bool, GitError> {
        if !disk::is_own(stat) {
            return Ok(false);
        }
        let failed = |e| self.error("read", path, e);
        let holds = match (entry.kind, disk::type_of(stat)) {
            (Kind::Link, FileType::Symlink) => {
                let target = rustix::fs::readlinkat(folder, &entry.name, Vec::new());
                let target = target.map_err(|e| failed(e.into()))?;
                Oid::hash_object(ObjectType::Blob, target.as_bytes())
            }
            (Kind::File | Kind::Executable, FileType::RegularFile)
                if disk::mode_of(stat) == mode(entry.kind) =>
            {
                let file = open(folder, &entry.name).map_err(failed)?;
                // By descriptor, as the library would follow a path.
                Oid::hash_file(ObjectType::Blob, format!("/proc/self/fd/{}", file.as_raw_fd()))
            }
            _ => return Ok(false),
        };
        Ok(holds.is_ok_and(|id| id == entry.id))
    }

    fn write_file(&mut self, entry: &Entry, folder: &OwnedFd, path: &[u8]) -> Result<CachedFile, GitError> {
        let flags = OFlags::RDWR | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let file = rustix::fs::openat(folder, &entry.name, flags, Mode::from_raw_mode(0o600));
        let mut file = File::from(file.map_err(|e| self.error("write", path, e.into()))?);
        self.blobs.copy(entry.id, &mut file).map_err(|error| {
            // What is half written is of no use, and on a full disk its room is needed.
            let _ = rustix::fs::unlinkat(folder, &entry.name, rustix::fs::AtFlags::empty());
            match error {
                CopyError::Read(error) => error,
                CopyError::Write(error) => self.error("write", path, error),
            }
        })?;
        let finish = || {
            rustix::fs::fchmod(&file, Mode::from_raw_mode(mode(entry.kind)))?;
            let stat = rustix::fs::fstat(&file)?;
            Ok(CachedFile::new(entry.id, entry.kind, is_pointer(&file)?, &stat))
        };
        finish().map_err(|e| self.error("write", path, e))
    }

    fn write_link(&self, entry: &Entry, folder: &OwnedFd, path: &[u8]) -> Result<CachedFile, GitError> {
        let target = self.blobs.small(entry.id, TARGET_MAX)?;
        let target = target.filter(|target| !target.is_empty() && !target.contains(&0));
        let target = target.ok_or_else(|| GitError::BadLink { path: shown(path) })?;
        let made = rustix::fs::symlinkat(&target, folder, &entry.name);
        let looked = made
            .map_err(Into::into)
            .and_then(|()| disk::look(folder, &entry.name));
        let stat = looked.map_err(|e| self.error("write", path, e))?;
        Ok(CachedFile::new(entry.id, entry.kind, false, &stat))
    }

    /// Whether the file that looks like `stat` is a pointer of Git LFS.
    fn has_pointer(
        &self,
        entry: &Entry,
        folder: &OwnedFd,
        stat: &Stat,
        path: &[u8],
    ) -> Result<bool, GitError> {
        if disk::type_of(stat) != FileType::RegularFile {
            return Ok(false);
        }
        let read = || is_pointer(&open(folder, &entry.name)?);
        read().map_err(|e| self.error("read", path, e))
    }

    /// Counts a file that is right now, and keeps its record.
    fn add(&mut self, path: &[u8], record: &CachedFile) {
        self.done.files += 1;
        if record.pointer {
            self.done.pointers += 1;
            if self.done.pointers <= NOTES_MAX {
                self.done.notes.push(Note::LfsPointer { path: shown(path) });
            }
        }
        self.next_cache.add(path, record);
    }

    fn note_submodule(&mut self, path: &[u8]) {
        self.done.submodules += 1;
        if self.done.submodules <= NOTES_MAX {
            self.done.notes.push(Note::Submodule { path: shown(path) });
        }
    }

    fn enter(&self, folder: &OwnedFd, name: &CStr, path: &[u8]) -> Result<OwnedFd, GitError> {
        disk::enter(folder, name, Some(self.device)).map_err(|e| self.error("open", path, e))
    }

    fn remove(&mut self, folder: &OwnedFd, name: &CStr, path: &[u8]) -> Result<(), GitError> {
        self.remover
            .remove(folder, name)
            .map_err(|e| self.error("remove", path, e))
    }

    /// Keeps the records for the next checkout, unless it would find there what is there already.
    fn save(self, index: &Path) -> Result<CheckedOut, GitError> {
        if self.news || self.cache.len() as u64 != self.done.files {
            self.next_cache
                .save(index)
                .map_err(|e| GitError::io("write", index, e))?;
        }
        Ok(CheckedOut {
            removed: self.remover.removed,
            ..self.done
        })
    }

    fn error(&self, doing: &'static str, path: &[u8], source: io::Error) -> GitError {
        let path: PathBuf = self.worktree.join(OsStr::from_bytes(path));
        GitError::io(doing, &path, source)
    }
}

/// The permission bits of a file.
fn mode(kind: Kind) -> u32 {
    if kind == Kind::Executable { 0o755 } else { 0o644 }
}

/// Opens the file `name` to read it; not one that became a link or a pipe meanwhile.
fn open(folder: &OwnedFd, name: &CStr) -> io::Result<File> {
    let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
    Ok(rustix::fs::openat(folder, name, flags, Mode::empty())?.into())
}

/// Whether `file` is a pointer of Git LFS.
fn is_pointer(file: &File) -> io::Result<bool> {
    const START: &[u8] = b"version https://git-lfs";
    let mut start = [0; START.len()];
    if file.metadata()?.len() > POINTER_MAX || file.read_at(&mut start, 0)? < START.len() {
        return Ok(false);
    }
    Ok(start == START)
}
