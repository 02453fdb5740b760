//! What can go wrong with a repository or a worktree, in words for the person who pushed.

use std::io;
use std::path::{Path, PathBuf};

use crate::ground::told::Hint;
use crate::model::escaped;

/// Why a repository could not be made or read, or a tree not be checked out.
///
/// Paths that came from a tree are printable and cut to 200 characters.
#[derive(Debug, thiserror::Error)]
pub enum GitError {
    /// There is no repository, or what is there is damaged or of a kind that cannot be read.
    #[error("{} is not a usable git repository: {detail}", path.display())]
    NotARepository {
        /// The repository's folder.
        path: PathBuf,
        /// What git's library said.
        detail: String,
    },
    /// The repository belongs to another user, whose configuration is not to be trusted.
    #[error(
        "the repository {} belongs to another user{}",
        path.display(),
        Hint("run deployer as the user that owns its state folder")
    )]
    Owner {
        /// The repository's folder.
        path: PathBuf,
    },
    /// Git's library, or git, failed at `doing`.
    #[error("{}: could not {doing}: {detail}", repository.display())]
    Repository {
        /// The repository's folder.
        repository: PathBuf,
        /// What was tried, as the end of "could not …".
        doing: String,
        /// What it said.
        detail: String,
    },
    /// The repository has no such object, or it is, and points to, no commit.
    #[error("{} has no commit {id} (any more){}", repository.display(), Hint("push it again"))]
    NoCommit {
        /// The repository's folder.
        repository: PathBuf,
        /// The object that was asked for.
        id: String,
    },
    /// A path that has to stand in a script is not valid UTF-8.
    #[error("the path {} is not valid UTF-8 and cannot stand in a hook", path.display())]
    NotUtf8 {
        /// The path.
        path: PathBuf,
    },
    /// A branch name that git does not allow.
    #[error("{branch:?} is not a branch's name")]
    BadBranch {
        /// The name that was given.
        branch: String,
    },
    /// The tree has a name that no honest tree has: `.`, `..`, `.git`, a name with `/`, or one name twice.
    #[error("the tree has the forbidden name {path:?}; nothing was checked out")]
    BadName {
        /// Where in the tree.
        path: String,
    },
    /// The tree has an entry that is neither file, symbolic link, folder nor submodule.
    #[error("{path:?} in the tree has the unknown mode {mode:o}; nothing was checked out")]
    BadMode {
        /// Where in the tree.
        path: String,
        /// Its mode.
        mode: i32,
    },
    /// A symbolic link's target is empty, too long or no text.
    #[error("the symbolic link {path:?} has no usable target")]
    BadLink {
        /// Where in the tree.
        path: String,
    },
    /// A name or a path is longer than a file system takes.
    #[error("{path:?} in the tree is {length} bytes long where {max} fit; nothing was checked out")]
    PathTooLong {
        /// Where in the tree.
        path: String,
        /// Its length in bytes: of the name, or of the longest path under it.
        length: usize,
        /// How many bytes fit.
        max: usize,
    },
    /// The tree has more entries than a checkout takes.
    #[error("the tree has more than {max} files and folders; nothing was checked out")]
    TooMany {
        /// The bound.
        max: u64,
    },
    /// A commit or a tag is larger than anyone writes.
    #[error(
        "{id} has {size} bytes where {max} are the most that a commit or a tag may have; nothing was checked out"
    )]
    TooLarge {
        /// The commit or tag.
        id: String,
        /// Its size in bytes.
        size: u64,
        /// The bound.
        max: u64,
    },
    /// The tree's folders are nested deeper than a checkout takes.
    #[error("the tree's folders are nested more than {max} deep; nothing was checked out")]
    TooDeep {
        /// The bound.
        max: u32,
    },
    /// The disk, or the user's share of it, is full.
    #[error("no space is left for {}{}", path.display(), Hint("df -h, df -i, deployer prune"))]
    NoSpace {
        /// What was being written.
        path: PathBuf,
    },
    /// Another file system is mounted inside the worktree.
    #[error("{} is a mount point inside a worktree{}", path.display(), Hint("unmount it"))]
    Mount {
        /// The mount point.
        path: PathBuf,
    },
    /// A file or folder could not be `doing`.
    #[error("could not {doing} {}: {source}", path.display())]
    Io {
        /// What was tried, as a verb.
        doing: &'static str,
        /// The file or folder.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// The caller asked to stop.
    #[error("the checkout was stopped")]
    Stopped,
}

/// What the system says of a disk, or a user's share of it, that is full: git's library passes on the words alone.
const FULL: [&str; 2] = ["No space left on device", "Disk quota exceeded"];

impl GitError {
    /// The error for `doing` something to `path`, a full disk told apart.
    pub(super) fn io(doing: &'static str, path: &Path, source: impl Into<io::Error>) -> Self {
        let source = source.into();
        let path = PathBuf::from(escaped(path.as_os_str().as_encoded_bytes(), 500));
        match source.kind() {
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => Self::NoSpace { path },
            io::ErrorKind::CrossesDevices | io::ErrorKind::ResourceBusy => Self::Mount { path },
            _ => Self::Io { doing, path, source },
        }
    }

    /// The error for git's library failing at `doing` something in `repository`, a full disk told apart.
    pub(super) fn repository(repository: &Path, doing: impl Into<String>, source: &git2::Error) -> Self {
        if source.class() == git2::ErrorClass::Os && FULL.iter().any(|full| source.message().ends_with(full))
        {
            let path = repository.to_owned();
            return Self::NoSpace { path };
        }
        Self::Repository {
            repository: repository.to_owned(),
            doing: doing.into(),
            detail: escaped(source.message().as_bytes(), 300),
        }
    }

    /// The error for opening what is at `path` as a repository.
    pub(super) fn open(path: &Path, source: &git2::Error) -> Self {
        match source.code() {
            git2::ErrorCode::Owner => Self::Owner {
                path: path.to_owned(),
            },
            _ => Self::NotARepository {
                path: path.to_owned(),
                detail: escaped(source.message().as_bytes(), 300),
            },
        }
    }
}
