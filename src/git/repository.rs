//! A slot's repository: bare, with the configuration and the hook that a release needs.

use std::io::Write;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use git2::{ConfigLevel, ErrorCode, ObjectType, Repository, RepositoryInitOptions};
use jiff::Timestamp;

use super::error::GitError;
use super::push::{ObjectId, whole_name};
use super::worktree::{self, CheckedOut};
use crate::model::escaped;
use crate::model::{Commit, SlotName};

/// Bytes of a commit or a tag, which is held in memory as a whole: no honest message has as many.
const MESSAGE_MAX: usize = 16 << 20;

/// The hook with its three places to fill in.
const HOOK: &str = include_str!("../../hooks/post-receive");

/// What git is told in the repository's own configuration, where it overrides the user's and the system's.
const CONFIG: [(&str, &str); 14] = [
    // `git push -o no-promote`.
    ("receive.advertisePushOptions", "true"),
    // What is stored is sound: no `.git` or `..` in a tree, no entry twice.
    ("receive.fsckObjects", "true"),
    // Faults that old tools left in honest histories, and that harm nothing.
    ("receive.fsck.zeroPaddedFilemode", "ignore"),
    ("receive.fsck.badFilemode", "ignore"),
    ("receive.fsck.badTimezone", "ignore"),
    ("receive.fsck.missingSpaceBeforeDate", "ignore"),
    ("receive.fsck.missingSpaceBeforeEmail", "ignore"),
    ("receive.fsck.nullSha1", "ignore"),
    // A push that deletes the branch is answered by the hook, which says what still runs.
    ("receive.denyDeleteCurrent", "ignore"),
    // A commit that a force push replaced is still there to be deployed again.
    ("core.logAllRefUpdates", "true"),
    // From this size on git streams a file instead of holding it in memory.
    ("core.bigFileThreshold", "16m"),
    // The user's own hooks folder must not take this one's place. Relative to the repository.
    ("core.hooksPath", "hooks"),
    ("gc.auto", "6700"),
    // Readable by the owner alone, whatever the umask of the process that writes.
    ("core.sharedRepository", "0600"),
];

/// The bare repository that a slot's remote is.
pub struct SlotRepository {
    repository: Repository,
    path: PathBuf,
}

/// What people want to know of a commit.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CommitFacts {
    /// The commit; where a tag was asked for, the one that it names.
    pub commit: Commit,
    /// The first line of its message: printable, at most 100 characters.
    pub subject: String,
    /// Its author's name: printable, at most 100 characters.
    pub author: String,
    /// When it was committed; the epoch where the commit holds no possible time.
    pub time: Timestamp,
}

impl SlotRepository {
    /// Makes the bare repository at `path`, or mends the one that is there: its configuration, its hook
    /// `post-receive` with the text `hook`, and HEAD on `branch`. What was pushed is left as it is.
    ///
    /// # Errors
    /// When the folder cannot be written, belongs to another user, or holds something else.
    pub fn create(path: &Path, branch: &str, hook: &str) -> Result<Self, GitError> {
        let head = whole_name(branch);
        if !git2::Reference::is_valid_name(&head) {
            return Err(GitError::BadBranch {
                branch: branch.to_owned(),
            });
        }
        let mut options = RepositoryInitOptions::new();
        options
            .bare(true)
            .mkpath(true)
            .external_template(false)
            .initial_head(&head);
        Repository::init_opts(path, &options)
            .map_err(|e| GitError::repository(path, "make the repository", &e))?;

        let slot = Self::open(path)?;
        slot.configure()?;
        slot.write_hook(hook)?;
        slot.repository
            .set_head(&head)
            .map_err(|e| slot.error("set HEAD", &e))?;
        Ok(slot)
    }

    /// Opens the bare repository at `path`.
    ///
    /// # Errors
    /// When there is none, it has a working tree, or it belongs to another user.
    pub fn open(path: &Path) -> Result<Self, GitError> {
        let repository = Repository::open(path).map_err(|e| GitError::open(path, &e))?;
        if !repository.is_bare() {
            return Err(GitError::NotARepository {
                path: path.to_owned(),
                detail: "it has a working tree of its own".into(),
            });
        }
        Ok(Self {
            repository,
            path: path.to_owned(),
        })
    }

    /// The repository's folder, as it was given.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The tip of `branch`, if it exists: what a repository holds, which is not what runs.
    ///
    /// # Errors
    /// When the reference cannot be read.
    pub fn tip(&self, branch: &str) -> Result<Option<ObjectId>, GitError> {
        match self.repository.refname_to_id(&whole_name(branch)) {
            Ok(id) => Ok(Some(ObjectId(id))),
            Err(e) if e.code() == ErrorCode::NotFound => Ok(None),
            Err(e) => Err(self.error("read the branch", &e)),
        }
    }

    /// The commit that `id` is, or that the tag `id` names, and what to tell people of it.
    ///
    /// # Errors
    /// When the repository has no such object, or it leads to no commit.
    pub fn commit_facts(&self, id: ObjectId) -> Result<CommitFacts, GitError> {
        let commit = self.commit(id)?;
        let id = commit.id().to_string();
        Ok(CommitFacts {
            commit: id.parse().expect("git's ids are 40 hexadecimal digits"),
            subject: escaped(commit.summary_bytes().unwrap_or_default(), 100),
            author: escaped(commit.author().name_bytes(), 100),
            time: Timestamp::from_second(commit.time().seconds()).unwrap_or(Timestamp::UNIX_EPOCH),
        })
    }

    /// Makes the folder `worktree` be exactly the tree of `commit`, rewriting only what differs.
    ///
    /// Beside the folder a file of the same name and `.index` is kept; losing it costs time, nothing else.
    /// `go_on` is asked between files; once it says no, the checkout ends with [`GitError::Stopped`].
    /// Whatever ended a checkout before its end, the next one is exact again. Two at once in one worktree are
    /// the caller's to prevent.
    ///
    /// # Errors
    /// When the tree is no honest one (then the worktree is untouched), or the disk refuses.
    pub fn checkout(
        &self,
        commit: &Commit,
        worktree: &Path,
        go_on: &dyn Fn() -> bool,
    ) -> Result<CheckedOut, GitError> {
        let tree = self.commit(commit.into())?.tree_id();
        worktree::checkout(&self.repository, &self.path, tree, worktree, go_on)
    }

    fn commit(&self, id: ObjectId) -> Result<git2::Commit<'_>, GitError> {
        let header = self.repository.odb().and_then(|odb| odb.read_header(id.0));
        if let Ok((size, _)) = header
            && size > MESSAGE_MAX
        {
            return Err(GitError::TooLarge {
                id: id.to_string(),
                size: size as u64,
                max: MESSAGE_MAX as u64,
            });
        }
        let object = self.repository.find_object(id.0, None);
        let commit = object.and_then(|object| object.peel(ObjectType::Commit));
        commit
            .ok()
            .and_then(|object| object.into_commit().ok())
            .ok_or_else(|| GitError::NoCommit {
                repository: self.path.clone(),
                id: id.to_string(),
            })
    }

    fn configure(&self) -> Result<(), GitError> {
        let failed = |e| self.error("write its configuration", &e);
        let own = self
            .repository
            .config()
            .and_then(|all| all.open_level(ConfigLevel::Local));
        let mut own = own.map_err(failed)?;
        for (name, value) in CONFIG {
            if own.get_string(name).ok().as_deref() != Some(value) {
                own.set_str(name, value).map_err(failed)?;
            }
        }
        Ok(())
    }

    fn write_hook(&self, hook: &str) -> Result<(), GitError> {
        let folder = self.path.join("hooks");
        let path = folder.join("post-receive");
        let write = || {
            std::fs::create_dir_all(&folder)?;
            let mut file = tempfile::NamedTempFile::new_in(&folder)?;
            file.write_all(hook.as_bytes())?;
            file.as_file().set_permissions(PermissionsExt::from_mode(0o755))?;
            file.as_file().sync_all()?;
            file.persist(&path).map_err(|e| e.error)?;
            std::fs::File::open(&folder)?.sync_all()
        };
        write().map_err(|e| GitError::io("write", &path, e))
    }

    fn error(&self, doing: &str, source: &git2::Error) -> GitError {
        GitError::repository(&self.path, doing, source)
    }
}

/// The text of the hook `post-receive`: it execs `deployer` with `config` for `slot`, all three quoted for sh.
///
/// # Errors
/// When a path is not valid UTF-8.
pub fn hook_script(deployer: &Path, config: &Path, slot: &SlotName) -> Result<String, GitError> {
    let text = |path: &Path| {
        let text = path.to_str().map(quoted);
        text.ok_or_else(|| GitError::NotUtf8 {
            path: path.to_owned(),
        })
    };
    let mut script = String::new();
    // The places stand between two `@`: every second part is one, and nothing that was filled in is read again.
    for (index, part) in HOOK.split('@').enumerate() {
        match part {
            _ if index % 2 == 0 => script.push_str(part),
            "DEPLOYER" => script.push_str(&text(deployer)?),
            "CONFIG" => script.push_str(&text(config)?),
            "SLOT" => script.push_str(&quoted(&slot.to_string())),
            other => unreachable!("hooks/post-receive has the unknown place {other}"),
        }
    }
    Ok(script)
}

/// `text` as one word of sh.
fn quoted(text: &str) -> String {
    format!("'{}'", text.replace('\'', r"'\''"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_hook_is_one_exec_line_however_odd_the_paths() {
        let slot: SlotName = "shop/green".parse().unwrap();
        let script = hook_script(
            Path::new("/usr/bin/deployer"),
            Path::new("/etc/@SLOT@ it's $(x)"),
            &slot,
        );
        let script = script.unwrap();
        assert_eq!(
            script.lines().last().unwrap(),
            r"exec '/usr/bin/deployer' --config '/etc/@SLOT@ it'\''s $(x)' hook post-receive --slot 'shop/green'"
        );
        assert!(script.starts_with("#!/bin/sh\n"));
        let invalid: &std::ffi::OsStr = std::os::unix::ffi::OsStrExt::from_bytes(b"/\xff");
        assert!(matches!(
            hook_script(Path::new(invalid), Path::new("/c"), &slot),
            Err(GitError::NotUtf8 { .. })
        ));
    }
}
