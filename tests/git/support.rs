//! A folder with a slot's repository in it, git without anyone's configuration, and pictures of folders.

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use deployer::git::{CheckedOut, GitError, SlotRepository};
use deployer::model::Commit;
use git2::{ObjectType, Oid, Repository, Signature};
use tempfile::TempDir;

pub(crate) const FILE: u32 = 0o100_644;
pub(crate) const EXECUTABLE: u32 = 0o100_755;
pub(crate) const LINK: u32 = 0o120_000;
pub(crate) const FOLDER: u32 = 0o040_000;
pub(crate) const SUBMODULE: u32 = 0o160_000;

/// `git` in `folder`, with the same author everywhere and nobody's configuration.
pub(crate) fn git(folder: &Path) -> Command {
    let mut command = Command::new("git");
    deployer::git::without_git(&mut command)
        .current_dir(folder)
        .env("GIT_CONFIG_GLOBAL", "/dev/null")
        .env("GIT_CONFIG_NOSYSTEM", "1")
        .envs(["GIT_AUTHOR_NAME", "GIT_COMMITTER_NAME"].map(|name| (name, "Ann")))
        .envs(["GIT_AUTHOR_EMAIL", "GIT_COMMITTER_EMAIL"].map(|name| (name, "ann@example.org")));
    command
}

/// Runs git, which must succeed, and gives what it printed.
pub(crate) fn run(command: &mut Command) -> String {
    let output = command.output().unwrap();
    assert!(output.status.success(), "{command:?}: {}", told(&output));
    String::from_utf8_lossy(&output.stdout).trim().to_owned()
}

/// What a command said to its user.
pub(crate) fn told(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

/// A slot's repository with its worktree, and a folder beside them that nothing may touch.
pub(crate) struct Slot {
    pub(crate) folder: TempDir,
    pub(crate) repository: SlotRepository,
    pub(crate) objects: Repository,
}

impl Slot {
    pub(crate) fn new() -> Self {
        let folder = TempDir::new().unwrap();
        let path = folder.path().join("green.git");
        let repository = SlotRepository::create(&path, "main", "#!/bin/sh\n").unwrap();
        let slot = Self {
            objects: Repository::open(&path).unwrap(),
            repository,
            folder,
        };
        fs::create_dir(slot.outside()).unwrap();
        fs::write(slot.outside().join("file"), "outside").unwrap();
        slot
    }

    pub(crate) fn worktree(&self) -> PathBuf {
        self.folder.path().join("worktrees/green")
    }

    pub(crate) fn index(&self) -> PathBuf {
        self.folder.path().join("worktrees/green.index")
    }

    pub(crate) fn outside(&self) -> PathBuf {
        self.folder.path().join("outside")
    }

    /// Panics when anything outside the worktree was touched.
    pub(crate) fn assert_outside_untouched(&self) {
        let outside = self.outside();
        assert_eq!(picture(&outside).len(), 1);
        assert_eq!(fs::read(outside.join("file")).unwrap(), b"outside");
        assert_eq!(fs::metadata(outside.join("file")).unwrap().mode() & 0o7777, 0o644);
        assert_eq!(fs::metadata(outside).unwrap().mode() & 0o7777, 0o755);
    }

    /// Stores a content.
    pub(crate) fn blob(&self, content: impl AsRef<[u8]>) -> Oid {
        self.objects.blob(content.as_ref()).unwrap()
    }

    /// Stores a folder as it is given: unlike git's own tools, without judging the names.
    pub(crate) fn tree(&self, entries: &[(u32, &[u8], Oid)]) -> Oid {
        let mut entries = entries.to_vec();
        // Git's order: a folder's name counts as if it ended in a slash.
        entries.sort_by_key(|(mode, name, _)| {
            if *mode == FOLDER {
                [name, &b"/"[..]].concat()
            } else {
                name.to_vec()
            }
        });
        let mut raw = Vec::new();
        for (mode, name, id) in entries {
            raw.extend(format!("{mode:o} ").bytes());
            raw.extend(name);
            raw.push(0);
            raw.extend(id.as_bytes());
        }
        self.objects.odb().unwrap().write(ObjectType::Tree, &raw).unwrap()
    }

    /// A commit of the folder `tree`.
    pub(crate) fn commit(&self, tree: Oid) -> Commit {
        let ann = Signature::now("Ann", "ann@example.org").unwrap();
        let raw =
            format!("tree {tree}\nauthor {ann} 1700000000 +0000\ncommitter {ann} 1700000000 +0000\n\nwork\n");
        let id = self
            .objects
            .odb()
            .unwrap()
            .write(ObjectType::Commit, raw.as_bytes());
        id.unwrap().to_string().parse().unwrap()
    }

    /// A commit of these files.
    pub(crate) fn files(&self, files: &[(u32, &str, &str)]) -> Commit {
        let entries: Vec<_> = files
            .iter()
            .map(|(mode, name, content)| (*mode, name.as_bytes(), self.blob(content)))
            .collect();
        self.commit(self.tree(&entries))
    }

    pub(crate) fn try_checkout(&self, commit: &Commit) -> Result<CheckedOut, GitError> {
        self.repository.checkout(commit, &self.worktree(), &|| true)
    }

    /// Checks out `commit`, which must leave exactly what `git archive` makes of it.
    pub(crate) fn checkout(&self, commit: &Commit) -> CheckedOut {
        let done = self.try_checkout(commit).unwrap();
        self.assert_exact(commit);
        done
    }

    /// Panics when the worktree differs from what `git archive` makes of `commit`.
    pub(crate) fn assert_exact(&self, commit: &Commit) {
        let wanted = TempDir::new().unwrap();
        let archive = wanted.path().join("tree.tar");
        let tree = wanted.path().join("tree");
        fs::create_dir(&tree).unwrap();
        run(git(self.repository.path())
            .args(["-c", "tar.umask=022", "archive", "--format=tar", "-o"])
            .arg(&archive)
            .arg(commit.as_str()));
        // As root, tar would give the files to the archive's owner and keep modes; so it does here for all.
        let mut tar = Command::new("tar");
        run(tar
            .arg("-xpf")
            .arg(&archive)
            .arg("--no-same-owner")
            .arg("-C")
            .arg(&tree));
        assert_eq!(picture(&self.worktree()), picture(&tree));
        self.assert_outside_untouched();
    }
}

/// What stands at a path: type and permission bits, and the content or the link's target.
pub(crate) type Thing = (u32, Vec<u8>);

/// Everything below `folder`, by path.
pub(crate) fn picture(folder: &Path) -> BTreeMap<PathBuf, Thing> {
    let mut seen = BTreeMap::new();
    let mut left = vec![folder.to_owned()];
    while let Some(at) = left.pop() {
        for entry in fs::read_dir(&at).unwrap() {
            let path = entry.unwrap().path();
            let stat = fs::symlink_metadata(&path).unwrap();
            let content = if stat.is_symlink() {
                fs::read_link(&path).unwrap().as_os_str().as_bytes().to_vec()
            } else if stat.is_file() {
                fs::read(&path).unwrap()
            } else {
                Vec::new()
            };
            if stat.is_dir() {
                left.push(path.clone());
            }
            let mode = if stat.is_symlink() {
                stat.mode() & 0o170_000
            } else {
                stat.mode()
            };
            seen.insert(path.strip_prefix(folder).unwrap().to_owned(), (mode, content));
        }
    }
    seen
}

pub(crate) fn chmod(path: &Path, mode: u32) {
    fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
}

pub(crate) fn bytes(path: &[u8]) -> &Path {
    Path::new(OsStr::from_bytes(path))
}

/// Small, seeded and the same everywhere: xorshift64*.
pub(crate) struct Random(u64);

impl Random {
    pub(crate) fn new(seed: u64) -> Self {
        Self(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1)
    }

    /// A number from 0 to `below` - 1.
    pub(crate) fn below(&mut self, below: usize) -> usize {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        (self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 33) as usize % below
    }

    pub(crate) fn pick<'a, T>(&mut self, from: &'a [T]) -> &'a T {
        &from[self.below(from.len())]
    }
}
