//! What a commit's tree comes to, read from the repository alone: nothing is checked out.

use std::collections::HashMap;
use std::path::{Component, Path};

use git2::{ObjectType, Odb, Oid, Repository};

use super::error::GitError;
use super::tree::{Folder, Kind, Tree};
use super::worktree::TARGET_MAX;

/// What a tree comes to once it is checked out.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Weight {
    /// Files and symbolic links.
    pub files: u64,
    /// Their bytes.
    pub bytes: u64,
}

/// What stands at a path of a tree.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Found {
    /// A file, and its size in bytes.
    File(u64),
    /// A symbolic link, there or on the way, that stays in the tree as far as its own words tell.
    Link,
    /// A symbolic link, there or on the way, that leads out of the tree.
    Outside,
    /// Nothing, or something that is no file.
    Nothing,
}

/// What the tree `root` comes to, which is judged as it would be at its checkout into `worktree`.
pub(super) fn of(
    repository: &Repository,
    path: &Path,
    root: Oid,
    worktree: &Path,
) -> Result<Weight, GitError> {
    let tree = Tree::read(repository, path, root, worktree)?;
    let failed = |e| GitError::repository(path, "read its objects", &e);
    let odb = repository.odb().map_err(failed)?;
    let mut scale = Scale {
        tree: &tree,
        odb: &odb,
        weighed: HashMap::new(),
    };
    scale.folder(tree.root()).map_err(failed)
}

/// Each folder is weighed once, however often it occurs.
struct Scale<'a> {
    tree: &'a Tree,
    odb: &'a Odb<'a>,
    weighed: HashMap<Oid, Weight>,
}

impl Scale<'_> {
    fn folder(&mut self, folder: &Folder) -> Result<Weight, git2::Error> {
        let mut sum = Weight::default();
        for entry in &folder.entries {
            let weight = match entry.kind {
                Kind::File | Kind::Executable | Kind::Link => Weight {
                    files: 1,
                    bytes: self.odb.read_header(entry.id)?.0 as u64,
                },
                Kind::Folder => self.known(entry.id)?,
                Kind::Submodule => Weight::default(),
            };
            sum.files = sum.files.saturating_add(weight.files);
            sum.bytes = sum.bytes.saturating_add(weight.bytes);
        }
        Ok(sum)
    }

    fn known(&mut self, id: Oid) -> Result<Weight, git2::Error> {
        if let Some(weight) = self.weighed.get(&id) {
            return Ok(*weight);
        }
        let tree = self.tree;
        let weight = self.folder(tree.folder(id))?;
        self.weighed.insert(id, weight);
        Ok(weight)
    }
}

/// What stands at `path` below `top`.
pub(super) fn find(repository: &Repository, top: &git2::Tree<'_>, path: &Path) -> Found {
    let names: Vec<_> = path
        .components()
        .filter(|part| *part != Component::CurDir)
        .collect();
    let mut at = top.clone();
    for (depth, name) in names.iter().enumerate() {
        let Component::Normal(name) = name else {
            return Found::Outside;
        };
        let Some((kind, id)) = at
            .get_name_bytes(name.as_encoded_bytes())
            .map(|entry| (Kind::of(entry.filemode_raw()), entry.id()))
        else {
            return Found::Nothing;
        };
        let is_last = depth + 1 == names.len();
        match kind {
            Some(Kind::Link) => return led_by(&small(repository, id), depth),
            Some(Kind::Folder) if !is_last => match repository.find_tree(id) {
                Ok(below) => at = below,
                Err(_) => return Found::Nothing,
            },
            Some(Kind::File | Kind::Executable) if is_last => {
                let size = repository.odb().and_then(|odb| odb.read_header(id));
                return size.map_or(Found::Nothing, |(size, _)| Found::File(size as u64));
            }
            _ => return Found::Nothing,
        }
    }
    Found::Nothing
}

/// The content `id`; of one that is longer than a link's target can be, nothing.
fn small(repository: &Repository, id: Oid) -> Vec<u8> {
    let size = repository.odb().and_then(|odb| odb.read_header(id));
    match size {
        Ok((size, ObjectType::Blob)) if size as u64 <= TARGET_MAX => repository
            .find_blob(id)
            .map_or_else(|_| Vec::new(), |blob| blob.content().to_vec()),
        _ => Vec::new(),
    }
}

/// Where a link leads that stands `depth` folders deep: out of the tree as soon as its target goes further up, or
/// begins at the host's root.
fn led_by(target: &[u8], depth: usize) -> Found {
    let mut depth = depth;
    if target.starts_with(b"/") {
        return Found::Outside;
    }
    for part in target.split(|&byte| byte == b'/') {
        match part {
            b"" | b"." => {}
            b".." if depth == 0 => return Found::Outside,
            b".." => depth -= 1,
            _ => depth += 1,
        }
    }
    Found::Link
}
