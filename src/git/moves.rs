//! Whether git can move references, found by git itself before anything depends on it.
//!
//! Git asks the hook `update` before it looks whether the reference can move at all. A gate that releases in that hook has
//! to know beforehand: the same transaction is begun, which takes the locks and compares the names, and given up again.

use std::io::{Seek, Write};
use std::path::{Path, PathBuf};
use std::time::Duration;

use rustix::fs::{Access, access};

use super::error::GitError;
use super::push::RefUpdate;
use super::repository::SlotRepository;
use crate::ground::child::{self, Ended};
use crate::model::escaped;

/// How long git may take: it waits for a lock for up to 5 seconds, as the repository's configuration says.
const DEADLINE: Duration = Duration::from_secs(30);
/// Bytes of what git says that are read.
const SAID_MAX: u64 = 64 << 10;

/// Why git cannot move a reference.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Obstacle {
    /// A reference is there beside which this one cannot be: `refs/heads/main/x` beside `refs/heads/main`.
    InTheWay {
        /// The whole name of the one that is there. Not made printable.
        there: String,
        /// The whole name of the one that cannot be made. Not made printable.
        wanted: String,
    },
    /// It is no longer where the push found it.
    HasMoved,
    /// Somebody else has locked it, or left this lock file behind.
    Locked(PathBuf),
    /// Anything else, in git's own words: printable, at most 300 characters.
    Other(String),
}

impl SlotRepository {
    /// Whether the reference of `update` is already where the update wants it.
    pub fn has_moved(&self, update: &RefUpdate) -> bool {
        self.is_at(&update.reference, update.new)
    }

    /// What keeps git from making all of `updates` at once. Nothing is changed.
    ///
    /// # Errors
    /// When git cannot be run.
    pub fn obstacle(&self, updates: &[&RefUpdate]) -> Result<Option<Obstacle>, GitError> {
        let ended = self.try_moves(updates)?;
        if ended.out.windows(12).any(|said| said == b"prepare: ok\n") {
            let references = updates.iter().map(|update| update.reference.as_str());
            let mut files = references.chain(["HEAD"]).flat_map(|name| {
                [
                    (self.path().join("logs").join(name), "logs"),
                    (self.path().join(name), "files"),
                ]
            });
            return Ok(files.find_map(|(file, what)| file_obstacle(&file, what)));
        }
        let said = String::from_utf8_lossy(&ended.err);
        let said = said.trim_start_matches("fatal: ");
        // A git older than 2.27 cannot try, and takes what it takes.
        if said.starts_with("unknown command: start") {
            return Ok(None);
        }
        Ok(Some(read(said)))
    }

    fn try_moves(&self, updates: &[&RefUpdate]) -> Result<Ended, GitError> {
        let failed = |e| GitError::io("ask git about", self.path(), e);
        let mut asked = tempfile::tempfile().map_err(failed)?;
        asked.write_all(transaction(updates).as_bytes()).map_err(failed)?;
        asked.rewind().map_err(failed)?;
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        let ended = runtime.map_err(failed)?.block_on(async {
            // The git that takes the push is the first one in its hooks' PATH.
            let path = std::env::var("PATH").unwrap_or_default();
            let mut git = child::command("git", &path);
            git.arg("--git-dir").arg(self.path());
            git.args(["update-ref", "--stdin"]).stdin(asked);
            child::run(&mut git, DEADLINE, SAID_MAX).await
        });
        ended
            .map_err(failed)?
            .ok_or_else(|| failed(std::io::ErrorKind::TimedOut.into()))
    }
}

/// What keeps git from writing `file`, a reference's own or that of its log. It looks there only when it moves the
/// reference, behind all that can be tried: a left-over lock below a packed branch's name, or a log, is found by this alone.
fn file_obstacle(file: &Path, what: &str) -> Option<Obstacle> {
    let other = |why: String| Some(Obstacle::Other(escaped(why.as_bytes(), 300)));
    if file.is_dir() && has_file(file) {
        return other(format!("there are still {what} under {}", file.display()));
    }
    let there = file.ancestors().find(|path| path.exists())?;
    if there != file && !there.is_dir() {
        return other(format!("{} is no folder", there.display()));
    }
    let error = access(there, Access::WRITE_OK).err()?;
    let error = std::io::Error::from(error);
    other(format!("cannot write {}: {error}", there.display()))
}

/// What `git update-ref --stdin` reads: references have neither blanks nor line ends in their names.
fn transaction(updates: &[&RefUpdate]) -> String {
    let zeros = "0".repeat(40);
    let mut text = "start\n".to_owned();
    for RefUpdate { old, new, reference } in updates {
        let old = old.map_or_else(|| zeros.clone(), |old| old.to_string());
        text += &match new {
            Some(new) => format!("update {reference} {new} {old}\n"),
            None => format!("delete {reference} {old}\n"),
        };
    }
    text + "prepare\nabort\n"
}

/// What git said of a transaction that cannot be.
fn read(said: &str) -> Obstacle {
    let line = said.lines().next().unwrap_or_default();
    let why = line.strip_prefix("prepare: ").unwrap_or(line);
    let quoted = |before: &str, after: &str| {
        let (_, rest) = why.split_once(before)?;
        rest.split_once(after).map(|(found, _)| found.to_owned())
    };
    if let Some(path) = quoted("Unable to create '", "': File exists") {
        return Obstacle::Locked(path.into());
    }
    let in_the_way = why.split_once("': '").and_then(|(_, rest)| {
        let (there, rest) = rest.split_once("' exists; cannot create '")?;
        Some((there, rest.strip_suffix('\'')?))
    });
    if let Some((there, wanted)) = in_the_way {
        let (there, wanted) = (there.to_owned(), wanted.to_owned());
        return Obstacle::InTheWay { there, wanted };
    }
    let moved = [
        " but expected ",
        "reference already exists",
        "unable to resolve reference",
    ];
    match moved.iter().any(|moved| why.contains(moved)) {
        true => Obstacle::HasMoved,
        false => Obstacle::Other(escaped(why.as_bytes(), 300)),
    }
}

/// Whether there is a file anywhere below `folder`; git itself removes folders that are empty.
fn has_file(folder: &Path) -> bool {
    let Ok(entries) = std::fs::read_dir(folder) else {
        return true;
    };
    entries.flatten().any(|entry| match entry.file_type() {
        Ok(kind) if kind.is_dir() => has_file(&entry.path()),
        _ => true,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_git_says_is_told_apart() {
        for (said, obstacle) in [
            (
                "prepare: cannot lock ref 'refs/heads/main': 'refs/heads/main/hotfix' exists; cannot create \
                 'refs/heads/main'\n",
                Obstacle::InTheWay {
                    there: "refs/heads/main/hotfix".into(),
                    wanted: "refs/heads/main".into(),
                },
            ),
            (
                "prepare: cannot lock ref 'refs/heads/a': is at 12 but expected 34\n",
                Obstacle::HasMoved,
            ),
            (
                "prepare: cannot lock ref 'refs/heads/a': reference already exists\n",
                Obstacle::HasMoved,
            ),
            (
                "prepare: cannot lock ref 'refs/heads/a': unable to resolve reference 'refs/heads/a'\n",
                Obstacle::HasMoved,
            ),
            (
                "prepare: cannot lock ref 'HEAD': Unable to create '/srv/green.git/HEAD.lock': File exists.\n\nAnother git",
                Obstacle::Locked("/srv/green.git/HEAD.lock".into()),
            ),
            (
                "prepare: cannot lock ref 'refs/heads/a': Unable to create '/srv/a.lock': Permission denied\n",
                Obstacle::Other(
                    "cannot lock ref 'refs/heads/a': Unable to create '/srv/a.lock': Permission denied"
                        .into(),
                ),
            ),
            (
                "invalid ref format: \u{9b}\n",
                Obstacle::Other("invalid ref format: \\u{9b}".into()),
            ),
            ("", Obstacle::Other(String::new())),
        ] {
            assert_eq!(read(said), obstacle, "{said}");
        }
    }
}
