//! Folders, files and links: how they should be, and replacing them so that none is ever half there.

use std::fs::{self, DirBuilder, Metadata, Permissions};
use std::io::{self, Read, Write};
use std::os::unix::fs::{MetadataExt, PermissionsExt, chown, symlink};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};

use super::account::Account;
use super::thing::{Found, Verb};
use crate::model::escaped;

/// The mode of folders on the way to a thing, where there are none yet.
const FOLDER_MODE: u32 = 0o755;
/// The bits of a mode that are a matter of permission.
const MODE_BITS: u32 = 0o7777;
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
fn difference(is: &Metadata, mode: u32, owner: &Owner) -> Result<Option<String>> {
    let (was, wanted) = (is.mode() & MODE_BITS, owner.ids()?);
    let mode = (was != mode).then(|| format!("mode {mode:04o} instead of {was:04o}"));
    let owner = (wanted != Some((is.uid(), is.gid()))).then(|| format!("owner {}", owner.user));
    let all: Vec<String> = mode.into_iter().chain(owner).collect();
    Ok((!all.is_empty()).then(|| all.join(", ")))
}

/// What stands at `path` itself, links not followed; none where nothing does.
fn at(path: &Path) -> Result<Option<Metadata>> {
    match fs::symlink_metadata(path) {
        Ok(found) => Ok(Some(found)),
        Err(error)
            if matches!(
                error.kind(),
                io::ErrorKind::NotFound | io::ErrorKind::NotADirectory
            ) =>
        {
            Ok(None)
        }
        Err(error) => Err(error).with_context(|| format!("cannot look at {}", path.display())),
    }
}

/// Makes the folders above `path` that are missing, for everybody to read.
fn make_way(path: &Path) -> Result<()> {
    let missing: Vec<&Path> = path
        .ancestors()
        .skip(1)
        .take_while(|folder| !folder.exists())
        .collect();
    for folder in missing.into_iter().rev() {
        make_folder(folder, FOLDER_MODE)?;
    }
    Ok(())
}

/// Makes one folder with this mode, whatever the umask.
fn make_folder(path: &Path, mode: u32) -> Result<()> {
    let made = DirBuilder::new().create(path);
    made.and_then(|()| fs::set_permissions(path, Permissions::from_mode(mode)))
        .with_context(|| format!("cannot make the folder {}", path.display()))
}

/// Puts what `fill` writes at `path` in one step, so that at each moment the old or the new file is there, whole.
fn replace(
    path: &Path,
    mode: u32,
    owner: &Owner,
    fill: impl FnOnce(&mut fs::File) -> io::Result<()>,
) -> Result<()> {
    make_way(path)?;
    let (uid, gid) = owner.wanted()?;
    let folder = path.parent().expect("a file stands in a folder");
    let put = || -> io::Result<()> {
        let mut new = tempfile::Builder::new()
            .prefix(".deployer-")
            .tempfile_in(folder)?;
        fill(new.as_file_mut())?;
        chown(new.path(), Some(uid), Some(gid))?;
        fs::set_permissions(new.path(), Permissions::from_mode(mode))?;
        new.as_file().sync_all()?;
        new.persist(path).map_err(|error| error.error)?;
        fs::File::open(folder)?.sync_all()
    };
    put().with_context(|| format!("cannot write {}", path.display()))
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
        let Some(_) = at(&self.path)? else {
            return Ok(Found::ToDo(Verb::Create, String::new()));
        };
        // A link to a folder is a folder: larger disks are elsewhere.
        let is =
            fs::metadata(&self.path).with_context(|| format!("cannot look at {}", self.path.display()))?;
        if !is.is_dir() {
            bail!("{} is no folder: move it away", self.path.display());
        }
        if self.keep {
            return Ok(Found::There);
        }
        let differs = difference(&is, self.mode, &self.owner)?;
        Ok(differs.map_or(Found::There, |how| Found::ToDo(Verb::Change, how)))
    }

    pub(super) fn make(&self) -> Result<Option<String>> {
        let (uid, gid) = self.owner.wanted()?;
        if at(&self.path)?.is_none() {
            make_way(&self.path)?;
            make_folder(&self.path, self.mode)?;
        }
        chown(&self.path, Some(uid), Some(gid))
            .and_then(|()| fs::set_permissions(&self.path, Permissions::from_mode(self.mode)))
            .with_context(|| format!("cannot change mode and owner of {}", self.path.display()))?;
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
        let Some(is) = at(&self.path)? else {
            return Ok(Found::ToDo(Verb::Create, String::new()));
        };
        if let Some(reader) = &self.kept_for {
            return self.look_at_kept(reader);
        }
        if !is.is_file() {
            bail!("{} is no regular file: move it away", self.path.display());
        }
        let text = fs::read(&self.path).with_context(|| format!("cannot read {}", self.path.display()))?;
        if text != self.text {
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

/// A copy of a program.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Program {
    /// The program.
    pub from: PathBuf,
    /// Its copy.
    pub to: PathBuf,
}

impl Program {
    pub(super) fn name(&self) -> String {
        self.to.display().to_string()
    }

    pub(super) fn look(&self) -> Result<Found> {
        let Some(is) = at(&self.to)? else {
            return Ok(Found::ToDo(Verb::Create, String::new()));
        };
        if is.is_dir() {
            bail!("{} is a folder: move it away", self.to.display());
        }
        let same = is.is_file() && same_content(&self.from, &self.to)?;
        if !same {
            return Ok(Found::ToDo(Verb::Change, format!("to {}", self.from.display())));
        }
        let differs = difference(&is, 0o755, &Owner::root())?;
        Ok(differs.map_or(Found::There, |how| Found::ToDo(Verb::Change, how)))
    }

    pub(super) fn make(&self) -> Result<Option<String>> {
        let mut from =
            fs::File::open(&self.from).with_context(|| format!("cannot read {}", self.from.display()))?;
        replace(&self.to, 0o755, &Owner::root(), |to| {
            io::copy(&mut from, to).map(drop)
        })?;
        Ok(None)
    }
}

fn same_content(one: &Path, other: &Path) -> Result<bool> {
    let compare = || -> io::Result<bool> {
        let (mut one, mut other) = (fs::File::open(one)?, fs::File::open(other)?);
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
    };
    compare().with_context(|| format!("cannot compare {} with {}", one.display(), other.display()))
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
        let Some(is) = at(&self.path)? else {
            return Ok(Found::ToDo(Verb::Create, String::new()));
        };
        if !is.is_symlink() {
            bail!("{} is no link: move it away", self.path.display());
        }
        let to = fs::read_link(&self.path).with_context(|| format!("cannot read {}", self.path.display()))?;
        if to != self.to {
            return Ok(Found::ToDo(Verb::Change, format!("it led to {}", to.display())));
        }
        Ok(Found::There)
    }

    pub(super) fn make(&self) -> Result<Option<String>> {
        make_way(&self.path)?;
        let folder = self.path.parent().expect("a link stands in a folder");
        let put = || -> io::Result<()> {
            // The name of a file that is gone again is free for a link.
            let new = tempfile::Builder::new()
                .prefix(".deployer-")
                .make_in(folder, |path| symlink(&self.to, path))?;
            new.into_temp_path()
                .persist(&self.path)
                .map_err(|error| error.error)?;
            fs::File::open(folder)?.sync_all()
        };
        put().with_context(|| format!("cannot make the link {}", self.path.display()))?;
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
            Some(is) if is.is_dir() => Found::LeftOut("it is a folder".into()),
            Some(_) => Found::ToDo(Verb::Remove, String::new()),
        })
    }

    pub(super) fn make(&self) -> Result<Option<String>> {
        fs::remove_file(&self.path).with_context(|| format!("cannot remove {}", self.path.display()))?;
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
            Some(is) if !is.is_dir() => Found::LeftOut("it is no folder".into()),
            Some(_) => match self.others()? {
                Some(other) => Found::LeftOut(format!(
                    "{other} and perhaps more is in it, which is not deployer's"
                )),
                None => Found::ToDo(Verb::Remove, String::new()),
            },
        })
    }

    /// Something in it that is somebody else's.
    fn others(&self) -> Result<Option<String>> {
        let list = || -> io::Result<Option<String>> {
            for entry in fs::read_dir(&self.path)? {
                let name = entry?.file_name();
                if !self.ours.iter().any(|ours| name == *ours) {
                    return Ok(Some(escaped(name.as_encoded_bytes(), NAME_MAX)));
                }
            }
            Ok(None)
        };
        list().with_context(|| format!("cannot list {}", self.path.display()))
    }

    pub(super) fn make(&self) -> Result<Option<String>> {
        fs::remove_dir(&self.path).with_context(|| format!("cannot remove {}", self.path.display()))?;
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
            Some(is) if !is.is_dir() => {
                Found::LeftOut("it is no folder; what it leads to is left alone".into())
            }
            Some(_) => Found::ToDo(Verb::Remove, "with everything in it".into()),
        })
    }

    pub(super) fn make(&self) -> Result<Option<String>> {
        fs::remove_dir_all(&self.path).with_context(|| format!("cannot remove {}", self.path.display()))?;
        Ok(None)
    }
}
