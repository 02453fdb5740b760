//! A commit's tree, read whole and judged before a single file is touched.

use std::collections::{HashMap, HashSet};
use std::ffi::CString;
use std::path::Path;

use git2::{Oid, Repository};

use super::error::GitError;
use crate::model::escaped;

/// Entries (files, links, folders, submodules) of one checkout. The largest public repositories have half as many.
const ENTRIES_MAX: u64 = 1_000_000;
/// Folders in folders. Each level of a checkout holds a file descriptor, and 1,024 are what a process has.
const DEPTH_MAX: u32 = 200;
/// Bytes of one folder's object, which is held in memory as a whole: a million names of a usual length.
const FOLDER_MAX: u64 = 64 << 20;
/// Bytes of one name (NAME_MAX) and of a path with its terminating zero (PATH_MAX) on Linux.
const NAME_MAX: usize = 255;
const PATH_MAX: usize = 4096;

/// All folders of a tree, by their id: one that occurs many times is held once, so that a tree made to unfold
/// into billions of files is counted without unfolding it.
pub(super) struct Tree {
    root: Oid,
    folders: HashMap<Oid, Folder>,
}

/// One folder of a tree; the default one is empty.
#[derive(Default)]
pub(super) struct Folder {
    /// Its entries, in git's order; names are unique and safe to use below a folder.
    pub(super) entries: Vec<Entry>,
    /// Entries in it and in all folders below.
    count: u64,
    /// Levels of folders below it.
    height: u32,
    /// Bytes of the longest path below it.
    longest: usize,
}

/// One entry of a folder.
pub(super) struct Entry {
    /// Its name: not empty, no `/`, neither `.`, `..` nor `.git`.
    pub(super) name: CString,
    /// What it is.
    pub(super) kind: Kind,
    /// The object that holds its content; a commit of another repository for a submodule.
    pub(super) id: Oid,
}

/// What an entry is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    File,
    Executable,
    Link,
    Folder,
    Submodule,
}

impl Tree {
    /// Reads the tree `root`, to be checked out into `worktree`.
    pub(super) fn read(
        repository: &Repository,
        path: &Path,
        root: Oid,
        worktree: &Path,
    ) -> Result<Self, GitError> {
        let mut reader = Reader {
            repository,
            path,
            // The `/` after the worktree's own path and the zero at the end.
            path_max: PATH_MAX.saturating_sub(worktree.as_os_str().len() + 2),
            folders: HashMap::new(),
        };
        reader.folder(root, &mut Vec::new(), 0)?;
        Ok(Self {
            root,
            folders: reader.folders,
        })
    }

    /// The folder at the top.
    pub(super) fn root(&self) -> &Folder {
        self.folder(self.root)
    }

    /// The folder that an entry of this tree names.
    pub(super) fn folder(&self, id: Oid) -> &Folder {
        &self.folders[&id]
    }
}

struct Reader<'a> {
    repository: &'a Repository,
    path: &'a Path,
    path_max: usize,
    folders: HashMap<Oid, Folder>,
}

impl Reader<'_> {
    /// Reads the folder `id` at `path`, which lies `depth` folders deep, and all below it.
    fn folder(&mut self, id: Oid, path: &mut Vec<u8>, depth: u32) -> Result<(), GitError> {
        if depth > DEPTH_MAX {
            return Err(GitError::TooDeep { max: DEPTH_MAX });
        }
        if !self.folders.contains_key(&id) {
            let entries = self.entries(id, path)?;
            let folder = self.measured(entries, path, depth)?;
            self.folders.insert(id, folder);
        }
        // A folder met before was judged where it stood then: here it may lie deeper, under a longer path.
        let folder = &self.folders[&id];
        if folder.count > ENTRIES_MAX {
            return Err(GitError::TooMany { max: ENTRIES_MAX });
        }
        if depth + folder.height > DEPTH_MAX {
            return Err(GitError::TooDeep { max: DEPTH_MAX });
        }
        let length = path.len() + 1 + folder.longest;
        if length > self.path_max {
            return Err(GitError::PathTooLong {
                path: shown(path),
                length,
                max: self.path_max,
            });
        }
        Ok(())
    }

    /// The entries of the folder `id`, each judged by itself.
    fn entries(&self, id: Oid, path: &[u8]) -> Result<Vec<Entry>, GitError> {
        let failed = |e| GitError::repository(self.path, format!("read the tree {id}"), &e);
        let header = self.repository.odb().and_then(|odb| odb.read_header(id));
        if header.map_err(failed)?.0 as u64 > FOLDER_MAX {
            return Err(GitError::TooMany { max: ENTRIES_MAX });
        }
        let tree = self.repository.find_tree(id).map_err(failed)?;
        let mut names = HashSet::with_capacity(tree.len());
        let mut entries = Vec::with_capacity(tree.len());
        for entry in tree.iter() {
            let at = || shown(&joined(path, entry.name_bytes()));
            let name = safe_name(entry.name_bytes()).ok_or_else(|| GitError::BadName { path: at() })?;
            if name.as_bytes().len() > NAME_MAX {
                return Err(GitError::PathTooLong {
                    path: at(),
                    length: name.as_bytes().len(),
                    max: NAME_MAX,
                });
            }
            if !names.insert(name.clone()) {
                return Err(GitError::BadName { path: at() });
            }
            let mode = entry.filemode_raw();
            let kind = Kind::of(mode).ok_or_else(|| GitError::BadMode { path: at(), mode })?;
            entries.push(Entry {
                name,
                kind,
                id: entry.id(),
            });
        }
        Ok(entries)
    }

    /// The folder that `entries` make, once the folders among them are read.
    fn measured(&mut self, entries: Vec<Entry>, path: &mut Vec<u8>, depth: u32) -> Result<Folder, GitError> {
        let (mut count, mut height, mut longest) = (entries.len() as u64, 0, 0);
        for entry in &entries {
            let name = entry.name.as_bytes();
            longest = longest.max(name.len());
            if entry.kind == Kind::Folder {
                let above = path.len();
                *path = joined(path, name);
                self.folder(entry.id, path, depth + 1)?;
                path.truncate(above);
                let below = &self.folders[&entry.id];
                count = count.saturating_add(below.count);
                height = height.max(below.height + 1);
                longest = longest.max(name.len() + 1 + below.longest);
            }
        }
        Ok(Folder {
            entries,
            count,
            height,
            longest,
        })
    }
}

impl Kind {
    /// The kind behind a tree's mode. Old tools wrote modes like 100664: as git does, only the type and the
    /// owner's execute bit count.
    pub(super) fn of(mode: i32) -> Option<Self> {
        match mode & 0o170_000 {
            0o040_000 => Some(Self::Folder),
            0o100_000 if mode & 0o100 != 0 => Some(Self::Executable),
            0o100_000 => Some(Self::File),
            0o120_000 => Some(Self::Link),
            0o160_000 => Some(Self::Submodule),
            _ => None,
        }
    }
}

/// The name, if it means an entry of its own folder and nothing else. `.git` is refused in any case of letters:
/// git run in the worktree, by whomever, would take orders from it.
fn safe_name(name: &[u8]) -> Option<CString> {
    let bad =
        matches!(name, b"" | b"." | b"..") || name.contains(&b'/') || name.eq_ignore_ascii_case(b".git");
    if bad { None } else { CString::new(name).ok() }
}

/// `path/name`, or `name` at the top.
pub(super) fn joined(path: &[u8], name: &[u8]) -> Vec<u8> {
    match path {
        [] => name.to_vec(),
        _ => [path, b"/", name].concat(),
    }
}

/// A tree's path as people read it.
pub(super) fn shown(path: &[u8]) -> String {
    escaped(path, 200)
}
