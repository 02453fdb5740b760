//! Objects that git's own tools would not make.

use std::path::Path;

use git2::{ObjectType, Oid, Repository};

pub(super) const FILE: u32 = 0o100_644;
pub(super) const LINK: u32 = 0o120_000;
pub(super) const FOLDER: u32 = 0o040_000;
pub(super) const SUBMODULE: u32 = 0o160_000;

const AUTHOR: &str = "Tess Ter <tess@localhost> 1700000000 +0000";

/// A pusher's repository, into which anything can be put.
pub(super) struct Forge {
    objects: Repository,
}

impl Forge {
    pub(super) fn new(repository: &Path) -> Self {
        Self {
            objects: Repository::open(repository).expect("the pusher's repository"),
        }
    }

    pub(super) fn blob(&self, content: impl AsRef<[u8]>) -> Oid {
        self.objects.blob(content.as_ref()).expect("a blob is written")
    }

    /// A folder's object of these entries, in this order.
    pub(super) fn tree(&self, entries: &[(u32, &[u8], Oid)]) -> Oid {
        let mut raw = Vec::new();
        for (mode, name, id) in entries {
            raw.extend(format!("{mode:o} ").bytes());
            raw.extend(*name);
            raw.push(0);
            raw.extend(id.as_bytes());
        }
        self.raw(ObjectType::Tree, &raw)
    }

    /// `tree` below `depth` folders, each named `name`.
    pub(super) fn nested(&self, mut tree: Oid, name: &[u8], depth: usize) -> Oid {
        for _ in 0..depth {
            tree = self.tree(&[(FOLDER, name, tree)]);
        }
        tree
    }

    /// A commit of `tree`, with no parent.
    pub(super) fn commit(&self, tree: Oid) -> Oid {
        self.commit_with(tree, &[], "work")
    }

    pub(super) fn commit_with(&self, tree: Oid, parents: &[Oid], message: &str) -> Oid {
        let mut raw = format!("tree {tree}\n");
        for parent in parents {
            raw += &format!("parent {parent}\n");
        }
        raw += &format!("author {AUTHOR}\ncommitter {AUTHOR}\n\n{message}\n");
        self.raw(ObjectType::Commit, raw.as_bytes())
    }

    /// A commit as old clients wrote them: nobody's, at no possible time, with a message in another encoding.
    pub(super) fn old_commit(&self, tree: Oid) -> Oid {
        let by = "<> 99999999999999999999 +0000";
        let head = format!("tree {tree}\nauthor {by}\ncommitter\n\n");
        self.raw(ObjectType::Commit, &[head.as_bytes(), b"caf\xe9 \0\n"].concat())
    }

    /// The folder's object of `commit`, a revision.
    pub(super) fn tree_of(&self, commit: &str) -> Oid {
        let found = self.objects.revparse_single(&format!("{commit}^{{tree}}"));
        found.expect("a commit").id()
    }

    /// The folder's object of `commit` with further entries, each in its place by git's order.
    pub(super) fn tree_with(&self, commit: &str, more: &[(u32, &[u8], Oid)]) -> Oid {
        let tree = self.objects.find_tree(self.tree_of(commit)).expect("a tree");
        let mut entries: Vec<(u32, Vec<u8>, Oid)> = tree
            .iter()
            .map(|entry| (entry.filemode() as u32, entry.name_bytes().to_vec(), entry.id()))
            .chain(more.iter().map(|(mode, name, id)| (*mode, name.to_vec(), *id)))
            .collect();
        // A folder's name counts as if it ended in a slash.
        entries.sort_by_key(|(mode, name, _)| match *mode {
            FOLDER => [name, &b"/"[..]].concat(),
            _ => name.clone(),
        });
        let entries: Vec<(u32, &[u8], Oid)> = entries
            .iter()
            .map(|(mode, name, id)| (*mode, name.as_slice(), *id))
            .collect();
        self.tree(&entries)
    }

    fn raw(&self, kind: ObjectType, content: &[u8]) -> Oid {
        let odb = self.objects.odb().expect("the repository's objects");
        odb.write(kind, content).expect("an object is written")
    }
}
