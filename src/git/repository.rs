//! A slot's repository: bare, with the configuration and the hooks that a release needs.

use std::io;
use std::path::{Path, PathBuf};

use git2::{ConfigLevel, ErrorCode, ObjectType, Oid, Repository, RepositoryInitOptions};
use jiff::Timestamp;

use super::commit::{self, Written};
use super::error::GitError;
use super::fsck;
use super::hook::Hook;
use super::push::{ObjectId, whole_name};
use super::references::HIDDEN;
use super::weight::{self, Found, Weight};
use super::worktree::{self, CheckedOut};
use crate::ground::durable;
use crate::model::escaped;
use crate::model::{Commit, Gate, ReleaseId};

/// Bytes of a commit or a tag, which is held in memory as a whole: no honest message has as many.
const MESSAGE_MAX: usize = 16 << 20;

/// Tags that name tags, one after the other, until a commit comes.
const TAGS_MAX: usize = 100;

/// What git is told in the repository's own configuration, where it overrides the user's and the system's.
const CONFIG: [(&str, &str); 13] = [
    // `git push -o no-promote`.
    ("receive.advertisePushOptions", "true"),
    // What is stored is sound: no `.git` or `..` in a tree, no entry twice.
    ("receive.fsckObjects", "true"),
    // A push that deletes the branch is answered by the hook, which says what still runs.
    ("receive.denyDeleteCurrent", "ignore"),
    // Going back by a force push is a release like any other, whatever the system's configuration says.
    ("receive.denyNonFastForwards", "false"),
    ("receive.denyDeletes", "false"),
    // Never "updateInstead", which refuses a push after its hooks have taken it.
    ("receive.denyCurrentBranch", "refuse"),
    // How long git waits, in milliseconds, for a lock that another git holds: the branch of a release that is live has to
    // move.
    ("core.filesRefLockTimeout", "5000"),
    ("core.packedRefsTimeout", "5000"),
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

/// [`CONFIG`], and the faults of pushed objects that are let through.
fn config() -> impl Iterator<Item = (String, &'static str)> {
    let all = CONFIG.iter().map(|(name, value)| ((*name).to_owned(), *value));
    all.chain(fsck::settings().map(|name| (name, "ignore")))
}

/// Git's name for the most bytes that one push may bring.
const MAX_INPUT: &str = "receive.maxInputSize";

/// Git's name for letting a push from a shallow clone come as far as `pre-receive`, which declines it with a sentence.
/// Without it git declines by itself, in words that help nobody.
const SHALLOW: &str = "receive.shallowUpdate";

/// What stands in the hooks that deployer has written.
const OURS: &[u8] = b"# Written by deployer";

/// What keeps the commits of releases from being taken for rubbish, whatever becomes of the branches.
const KEPT: &str = "refs/deployer/releases/";

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
    /// `post-receive` with the text `hook`, and HEAD on `branch`. What was pushed is left as it is. What follows from
    /// the settings of its app is told by [`Self::take`].
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
        slot.write_hook(Hook::PostReceive, hook)?;
        slot.repository
            .set_head(&head)
            .map_err(|e| slot.error("set HEAD", &e))?;
        Ok(slot)
    }

    /// Makes the repository take pushes of at most `max_push` bytes, and have these hooks, with their texts, and none
    /// of deployer's others. A hook of somebody else's stays, unless it stands in the place of one of these.
    ///
    /// # Errors
    /// When its configuration or a hook cannot be written.
    pub fn take(&self, max_push: u64, hooks: &[(Hook, String)]) -> Result<(), GitError> {
        let failed = |e| self.error("write its configuration", &e);
        let mut own = self.own_config().map_err(failed)?;
        own.set_str(MAX_INPUT, &max_push.to_string()).map_err(failed)?;
        for (hook, text) in hooks {
            self.write_hook(*hook, text)?;
        }
        let has_pre_receive = hooks.iter().any(|(hook, _)| *hook == Hook::PreReceive);
        own.set_bool(SHALLOW, has_pre_receive).map_err(failed)?;
        let unwanted = |hook: &Hook| !hooks.iter().any(|(wanted, _)| wanted == hook);
        Hook::ALL
            .into_iter()
            .filter(unwanted)
            .try_for_each(|hook| self.remove_hook(hook))
    }

    /// Whether the repository takes pushes of at most `max_push` bytes, has the hooks of `gate`, whatever their texts, and
    /// is configured as [`Self::create`] does it.
    pub fn takes(&self, max_push: u64, gate: Gate) -> bool {
        let Ok(mut own) = self.own_config() else {
            return false;
        };
        let Ok(snapshot) = own.snapshot() else {
            return false;
        };
        let limit = snapshot.get_i64(MAX_INPUT);
        let is_list =
            |(name, values): &(&str, &[&str])| list(&snapshot, name).is_ok_and(|there| there == *values);
        limit.is_ok_and(|limit| u64::try_from(limit) == Ok(max_push))
            && config().all(|(name, value)| snapshot.get_str(&name) == Ok(value))
            && snapshot.get_bool(SHALLOW) == Ok(true)
            && HIDDEN.iter().all(is_list)
            && Hook::ALL
                .into_iter()
                .all(|hook| self.has_hook(hook) == hook.is_of(gate))
    }

    /// Keeps the commit of release `id`, and what it needs, from git's collection of rubbish: a push that was declined
    /// has left it on no branch.
    ///
    /// # Errors
    /// When the reference cannot be written.
    pub fn keep(&self, id: ReleaseId, commit: &Commit) -> Result<(), GitError> {
        let commit = ObjectId::from(commit);
        let kept = self
            .repository
            .reference(&format!("{KEPT}{id}"), commit.0, true, "release");
        kept.map(drop)
            .map_err(|e| self.error("keep the release's commit", &e))
    }

    /// Lets go of the commits of releases that are not `wanted`.
    ///
    /// # Errors
    /// When a reference cannot be read or removed.
    pub fn keep_only(&self, wanted: impl Fn(ReleaseId) -> bool) -> Result<(), GitError> {
        let failed = |e| self.error("let go of a release's commit", &e);
        let all = self.repository.references_glob(&format!("{KEPT}*"));
        for reference in all.map_err(failed)? {
            let mut reference = reference.map_err(failed)?;
            let number = reference
                .name()
                .ok()
                .and_then(|name| name.strip_prefix(KEPT)?.parse().ok());
            if number.is_some_and(|id| !wanted(id)) {
                reference.delete().map_err(failed)?;
            }
        }
        Ok(())
    }

    /// What the tree of `commit` comes to, checked out into `worktree`.
    ///
    /// # Errors
    /// As [`Self::checkout`] where the tree is no honest one.
    pub fn weigh(&self, commit: &Commit, worktree: &Path) -> Result<Weight, GitError> {
        let tree = self.tree_of(commit)?;
        weight::of(&self.repository, &self.path, tree, worktree)
    }

    /// What stands at `path`, relative to the top, in the tree of `commit`.
    ///
    /// # Errors
    /// When the commit cannot be read.
    pub fn find(&self, commit: &Commit, path: &Path) -> Result<Found, GitError> {
        let tree = self.repository.find_tree(self.tree_of(commit)?);
        let tree = tree.map_err(|e| self.error("read the tree", &e))?;
        Ok(weight::find(&self.repository, &tree, path))
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

    /// Whether the reference with this whole name names `id`; with none, whether there is no such reference.
    pub(super) fn is_at(&self, reference: &str, id: Option<ObjectId>) -> bool {
        match self.repository.refname_to_id(reference) {
            Ok(at) => id == Some(ObjectId(at)),
            Err(error) => id.is_none() && error.code() == ErrorCode::NotFound,
        }
    }

    /// The commit that `id` is, or that the tag `id` names, and what to tell people of it.
    ///
    /// # Errors
    /// When the repository has no such object, or it leads to no commit.
    pub fn commit_facts(&self, id: ObjectId) -> Result<CommitFacts, GitError> {
        let (id, object) = self.commit(id)?;
        let written = self.written(id, &object)?;
        let time = written.seconds.map(Timestamp::from_second);
        Ok(CommitFacts {
            commit: id
                .to_string()
                .parse()
                .expect("git's ids are 40 hexadecimal digits"),
            subject: escaped(&written.subject, 100),
            author: escaped(written.author, 100),
            time: time.and_then(Result::ok).unwrap_or(Timestamp::UNIX_EPOCH),
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
        let tree = self.tree_of(commit)?;
        worktree::checkout(&self.repository, &self.path, tree, worktree, go_on)
    }

    /// The commit that `id` is, or that the tag `id` names: its id and its object.
    fn commit(&self, id: ObjectId) -> Result<(Oid, Vec<u8>), GitError> {
        let no_commit = || GitError::NoCommit {
            repository: self.path.clone(),
            id: id.to_string(),
        };
        let objects = self.repository.odb().map_err(|_| no_commit())?;
        let mut at = id.0;
        for _ in 0..TAGS_MAX {
            let (size, _) = objects.read_header(at).map_err(|_| no_commit())?;
            if size > MESSAGE_MAX {
                return Err(GitError::TooLarge {
                    id: at.to_string(),
                    size: size as u64,
                    max: MESSAGE_MAX as u64,
                });
            }
            let object = objects.read(at).map_err(|_| no_commit())?;
            at = match object.kind() {
                ObjectType::Commit => return Ok((at, object.data().to_vec())),
                ObjectType::Tag => commit::tagged(object.data()).ok_or_else(no_commit)?,
                _ => break,
            };
        }
        Err(no_commit())
    }

    /// The tree of a commit.
    fn tree_of(&self, commit: &Commit) -> Result<Oid, GitError> {
        let (id, object) = self.commit(commit.into())?;
        Ok(self.written(id, &object)?.tree)
    }

    fn written<'a>(&self, id: Oid, object: &'a [u8]) -> Result<Written<'a>, GitError> {
        Written::read(object).ok_or_else(|| GitError::NoCommit {
            repository: self.path.clone(),
            id: id.to_string(),
        })
    }

    fn configure(&self) -> Result<(), GitError> {
        let failed = |e| self.error("write its configuration", &e);
        let mut own = self.own_config().map_err(failed)?;
        for (name, value) in config() {
            if own.get_string(&name).ok().as_deref() != Some(value) {
                own.set_str(&name, value).map_err(failed)?;
            }
        }
        for (name, values) in HIDDEN {
            Self::set_list(&mut own, name, values).map_err(failed)?;
        }
        Ok(())
    }

    /// Makes the list of values of `name` exactly `values`, in their order.
    fn set_list(own: &mut git2::Config, name: &str, values: &[&str]) -> Result<(), git2::Error> {
        let there = list(own, name)?;
        if there == values {
            return Ok(());
        }
        if !there.is_empty() {
            own.remove_multivar(name, ".*")?;
        }
        for value in values {
            // An expression that no value fits: the value is put behind those that are there.
            own.set_multivar(name, "^$.", value)?;
        }
        Ok(())
    }

    fn own_config(&self) -> Result<git2::Config, git2::Error> {
        self.repository.config()?.open_level(ConfigLevel::Local)
    }

    fn hook_path(&self, hook: Hook) -> PathBuf {
        self.path.join("hooks").join(hook.file_name())
    }

    fn write_hook(&self, hook: Hook, text: &str) -> Result<(), GitError> {
        let path = self.hook_path(hook);
        let folder = self.path.join("hooks");
        let write = || {
            durable::make_folder(&folder, 0o755)?;
            durable::replace(&path, 0o755, text.as_bytes())
        };
        write().map_err(|e| GitError::io("write", &path, e))
    }

    /// Whether the hook is there, and deployer's.
    fn has_hook(&self, hook: Hook) -> bool {
        let text = std::fs::read(self.hook_path(hook)).unwrap_or_default();
        text.windows(OURS.len()).any(|part| part == OURS)
    }

    /// Removes the hook, unless somebody else wrote it.
    fn remove_hook(&self, hook: Hook) -> Result<(), GitError> {
        let path = self.hook_path(hook);
        if !self.has_hook(hook) {
            return Ok(());
        }
        match std::fs::remove_file(&path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                Err(GitError::io("remove", &path, error))
            }
            _ => Ok(()),
        }
    }

    fn error(&self, doing: &str, source: &git2::Error) -> GitError {
        GitError::repository(&self.path, doing, source)
    }
}

/// Every value of `name`, in their order.
fn list(own: &git2::Config, name: &str) -> Result<Vec<String>, git2::Error> {
    let mut there = Vec::new();
    own.multivar(name, None)?
        .for_each(|entry| there.push(entry.value().unwrap_or_default().to_owned()))?;
    Ok(there)
}
