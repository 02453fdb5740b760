//! Folders, files and links: how they should be, and replacing them so that none is ever half there.

use std::ffi::{OsStr, OsString};
use std::fs;
use std::io::{self, Read, Write};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use rustix::fs::FileType;

use super::account::Account;
use super::found::{Found, Verb};
use super::open_folder::{Entry, OpenFolder};
use super::remove_tree::remove_tree;
use crate::model::escaped;

/// What this process runs.
const RUNNING: &str = "/proc/self/exe";
/// Programs are compared in pieces of this size.
const PIECE: usize = 64 << 10;
/// The most characters of a stranger's name in one of our sentences.
const NAME_MAX: usize = 80;

/// Who owns a thing: users by name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Owner {
    /// The user.
    pub user: String,
    /// Whose first group its group is.
    pub group_of: String,
}

impl Owner {
    /// Root's, and root's group.
    pub fn root() -> Owner {
        Owner::of("root")
    }

    /// `user`'s own, and that of the user's first group.
    pub fn of(user: &str) -> Owner {
        Owner {
            user: user.to_owned(),
            group_of: user.to_owned(),
        }
    }

    /// The numbers of user and group; none while a user is still to be made.
    fn ids(&self) -> Result<Option<(u32, u32)>> {
        let user = Account::named(&self.user)?;
        let group = Account::named(&self.group_of)?;
        Ok(user.zip(group).map(|(user, group)| (user.uid, group.gid)))
    }

    fn wanted(&self) -> Result<(u32, u32)> {
        self.ids()?
            .with_context(|| format!("there is no user {} or {}", self.user, self.group_of))
    }
}

/// How mode and owner differ from what is wanted; none where they do not.
fn difference(is: &Entry, mode: u32, owner: &Owner) -> Result<Option<String>> {
    let (was, wanted) = (is.mode, owner.ids()?);
    let mode = (was != mode).then(|| format!("mode {mode:04o} instead of {was:04o}"));
    let owner = (wanted != Some((is.uid, is.gid))).then(|| format!("owner {}", owner.user));
    let all: Vec<String> = mode.into_iter().chain(owner).collect();
    Ok((!all.is_empty()).then(|| all.join(", ")))
}

/// What stands at `path` itself, links not followed, with the folder that it stands in; none where nothing does.
fn at(path: &Path) -> Result<Option<(OpenFolder, &OsStr, Entry)>> {
    let Some((folder, name)) = OpenFolder::above(path)? else {
        return Ok(None);
    };
    let entry = folder.entry(name)?;
    Ok(entry.map(|entry| (folder, name, entry)))
}

/// Puts what `fill` writes at `path` in one step, so that at each moment the old or the new file is there, whole.
fn replace(
    path: &Path,
    mode: u32,
    owner: &Owner,
    fill: impl FnOnce(&mut fs::File) -> io::Result<()>,
) -> Result<()> {
    let (folder, name) = OpenFolder::make_way(path)?;
    folder.replace_file(name, mode, owner.wanted()?, fill)
}

/// A folder.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Folder {
    /// Where.
    pub path: PathBuf,
    /// Its mode.
    pub mode: u32,
    /// Its owner.
    pub owner: Owner,
    /// Whether mode and owner of one that is there are left as they are.
    pub keep: bool,
}

impl Folder {
    pub(super) fn name(&self) -> String {
        self.path.display().to_string()
    }

    pub(super) fn look(&self) -> Result<Found> {
        // A link to a folder is a folder: larger disks are elsewhere.
        let Some(folder) = OpenFolder::at(&self.path)? else {
            if at(&self.path)?.is_some() {
                bail!("{} is a link to a folder that is not there", self.path.display());
            }
            return Ok(Found::ToDo(Verb::Create, String::new()));
        };
        if self.keep && !folder.is_not_given_yet()? {
            return Ok(Found::There);
        }
        if let Some((uid, _)) = self.owner.ids()? {
            folder.check_may_go_to(uid)?;
        }
        let differs = difference(&folder.is(), self.mode, &self.owner)?;
        Ok(differs.map_or(Found::There, |how| Found::ToDo(Verb::Change, how)))
    }

    pub(super) fn make(&self) -> Result<Option<String>> {
        let owner = Some(self.owner.wanted()?);
        match OpenFolder::at(&self.path)? {
            Some(folder) => folder.give_to(self.mode, owner)?,
            None => {
                let (above, name) = OpenFolder::make_way(&self.path)?;
                above.make_folder(name, self.mode, owner)?;
            }
        }
        Ok(None)
    }
}

/// A file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct File {
    /// Where.
    pub path: PathBuf,
    /// What is in it.
    pub text: Vec<u8>,
    /// Its mode.
    pub mode: u32,
    /// Its owner.
    pub owner: Owner,
    /// The user whose file it is from then on, where that is somebody else's than ours: one that is there is left as
    /// it is, and only looked at whether that user can read it.
    pub kept_for: Option<String>,
}

impl File {
    pub(super) fn name(&self) -> String {
        self.path.display().to_string()
    }

    pub(super) fn look(&self) -> Result<Found> {
        let Some((folder, name, is)) = at(&self.path)? else {
            return Ok(Found::ToDo(Verb::Create, String::new()));
        };
        if let Some(reader) = &self.kept_for {
            return self.look_at_kept(reader);
        }
        // One byte more tells that it is longer.
        if folder.read_file(name, self.text.len() + 1)? != self.text {
            return Ok(Found::ToDo(Verb::Change, "its content".into()));
        }
        let differs = difference(&is, self.mode, &self.owner)?;
        Ok(differs.map_or(Found::There, |how| Found::ToDo(Verb::Change, how)))
    }

    fn look_at_kept(&self, reader: &str) -> Result<Found> {
        let is =
            fs::metadata(&self.path).with_context(|| format!("cannot look at {}", self.path.display()))?;
        let Some(user) = Account::named(reader)? else {
            return Ok(Found::There);
        };
        let is_readable = match () {
            () if is.uid() == user.uid => is.mode() & 0o400 != 0,
            () if is.gid() == user.gid => is.mode() & 0o040 != 0,
            () => is.mode() & 0o004 != 0,
        };
        if is_readable {
            return Ok(Found::There);
        }
        let path = self.path.display();
        Ok(Found::LeftOut(format!(
            "it is there, and {reader} cannot read it: `chgrp {} {path} && chmod 0640 {path}`",
            user.gid
        )))
    }

    pub(super) fn make(&self) -> Result<Option<String>> {
        replace(&self.path, self.mode, &self.owner, |file| {
            file.write_all(&self.text)
        })?;
        Ok(None)
    }
}

/// A copy of the program that runs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Program {
    /// Where it was started from.
    pub from: PathBuf,
    /// Its copy.
    pub to: PathBuf,
}

impl Program {
    pub(super) fn name(&self) -> String {
        self.to.display().to_string()
    }

    pub(super) fn look(&self) -> Result<Found> {
        let Some((folder, name, is)) = at(&self.to)? else {
            return Ok(Found::ToDo(Verb::Create, String::new()));
        };
        if is.is_folder() {
            bail!("{} is a folder: move it away", self.to.display());
        }
        let same = is.kind == FileType::RegularFile
            && same_content(self.open()?, folder.open_file(name)?).with_context(|| {
                format!(
                    "cannot compare {} with {}",
                    self.from.display(),
                    self.to.display()
                )
            })?;
        if !same {
            return Ok(Found::ToDo(Verb::Change, format!("to {}", self.from.display())));
        }
        let differs = difference(&is, 0o755, &Owner::root())?;
        Ok(differs.map_or(Found::There, |how| Found::ToDo(Verb::Change, how)))
    }

    /// The program that runs, and not what somebody may have put into its place since.
    fn open(&self) -> Result<fs::File> {
        fs::File::open(RUNNING).with_context(|| format!("cannot read {}", self.from.display()))
    }

    pub(super) fn make(&self) -> Result<Option<String>> {
        let mut from = self.open()?;
        replace(&self.to, 0o755, &Owner::root(), |to| {
            io::copy(&mut from, to).map(drop)
        })?;
        Ok(None)
    }
}

fn same_content(mut one: fs::File, mut other: fs::File) -> io::Result<bool> {
    if one.metadata()?.len() != other.metadata()?.len() {
        return Ok(false);
    }
    let (mut left, mut right) = (Vec::new(), Vec::new());
    loop {
        left.clear();
        right.clear();
        (&mut one).take(PIECE as u64).read_to_end(&mut left)?;
        (&mut other).take(PIECE as u64).read_to_end(&mut right)?;
        if left != right || left.is_empty() {
            return Ok(left == right);
        }
    }
}

/// A symbolic link.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Link {
    /// Where.
    pub path: PathBuf,
    /// Where it leads.
    pub to: PathBuf,
}

impl Link {
    pub(super) fn name(&self) -> String {
        format!("{} → {}", self.path.display(), self.to.display())
    }

    pub(super) fn look(&self) -> Result<Found> {
        let Some((folder, name, is)) = at(&self.path)? else {
            return Ok(Found::ToDo(Verb::Create, String::new()));
        };
        if is.kind != FileType::Symlink {
            bail!("{} is no link: move it away", self.path.display());
        }
        let to = folder.read_link(name)?;
        if to != self.to {
            return Ok(Found::ToDo(Verb::Change, format!("it led to {}", to.display())));
        }
        Ok(Found::There)
    }

    pub(super) fn make(&self) -> Result<Option<String>> {
        let (folder, name) = OpenFolder::make_way(&self.path)?;
        folder.replace_link(name, &self.to)?;
        Ok(None)
    }
}

/// A file or link that is to be no more.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Gone {
    /// Where.
    pub path: PathBuf,
    /// Whether nothing is said where it is gone already: most servers never had it.
    pub is_rare: bool,
}

impl Gone {
    pub(super) fn name(&self) -> String {
        self.path.display().to_string()
    }

    pub(super) fn look(&self) -> Result<Found> {
        Ok(match at(&self.path)? {
            None => Found::Gone,
            Some((_, _, is)) if is.is_folder() => Found::LeftOut("it is a folder".into()),
            Some(_) => Found::ToDo(Verb::Remove, String::new()),
        })
    }

    pub(super) fn make(&self) -> Result<Option<String>> {
        if let Some((folder, name)) = OpenFolder::above(&self.path)? {
            folder.remove_file(name)?;
        }
        Ok(None)
    }
}

/// A folder that is to be no more once nothing is in it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EmptyFolder {
    /// Where.
    pub path: PathBuf,
    /// The names of what is in it and goes before it.
    pub ours: Vec<&'static str>,
}

impl EmptyFolder {
    pub(super) fn name(&self) -> String {
        self.path.display().to_string()
    }

    pub(super) fn look(&self) -> Result<Found> {
        Ok(match at(&self.path)? {
            None => Found::Gone,
            Some((_, _, is)) if !is.is_folder() => Found::LeftOut("it is no folder".into()),
            Some((above, name, _)) => match self.others(&above, name)? {
                Some(other) => Found::LeftOut(format!(
                    "{other} and perhaps more is in it, which is not deployer's"
                )),
                None => Found::ToDo(Verb::Remove, String::new()),
            },
        })
    }

    /// Something in it that is somebody else's.
    fn others(&self, above: &OpenFolder, name: &OsStr) -> Result<Option<String>> {
        let Some(folder) = above.folder(name)? else {
            return Ok(None);
        };
        // One more than are ours is somebody else's.
        let names = folder.names(self.ours.len() + 1)?;
        let is_other = |name: &&OsString| !self.ours.iter().any(|ours| *name == ours);
        let other = names.iter().find(is_other);
        Ok(other.map(|name| escaped(name.as_encoded_bytes(), NAME_MAX)))
    }

    pub(super) fn make(&self) -> Result<Option<String>> {
        if let Some((above, name)) = OpenFolder::above(&self.path)? {
            above.remove_empty_folder(name)?;
        }
        Ok(None)
    }
}

/// A folder that is to be no more, with everything in it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tree {
    /// Where.
    pub path: PathBuf,
}

impl Tree {
    pub(super) fn name(&self) -> String {
        self.path.display().to_string()
    }

    pub(super) fn look(&self) -> Result<Found> {
        Ok(match at(&self.path)? {
            None => Found::Gone,
            Some((_, _, is)) if !is.is_folder() => {
                Found::LeftOut("it is no folder; what it leads to is left alone".into())
            }
            Some(_) => Found::ToDo(Verb::Remove, "with everything in it".into()),
        })
    }

    pub(super) fn make(&self) -> Result<Option<String>> {
        if let Some((above, name)) = OpenFolder::above(&self.path)? {
            remove_tree(&above, name)?;
        }
        Ok(None)
    }
}
