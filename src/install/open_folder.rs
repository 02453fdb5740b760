//! Folders that root opens although others may write to some of them.
//!
//! A path is walked from `/`, one name at a time, each folder opened by the descriptor of the one before it. In a folder
//! that only root may write, links are followed as the system has them (`/bin` → `usr/bin`). From the first folder that
//! others may write on, no link is followed any more, and whatever is made, changed or removed there is named by the
//! descriptor of its folder: it makes no difference what others put on the path meanwhile.

use std::collections::VecDeque;
use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::io::{self, Read};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Component, Path, PathBuf};

use anyhow::{Context, Result, bail};
use rustix::fs::{AtFlags, Dir, FileType, Gid, Mode, OFlags, Stat, Uid};
use rustix::io::Errno;

use super::account::Account;
use crate::ground::{durable, failpoint};

/// The mode of folders on the way to a thing, where there are none yet.
const WAY_MODE: u32 = 0o755;
/// The bits of a mode that are a matter of permission.
pub(super) const MODE_BITS: u32 = 0o7777;
/// Write permission for a group or for everybody. Of a folder with an access control list it stands for the list, too.
const OTHERS_WRITE: u32 = 0o022;
/// In such a folder nobody but its owner moves or removes what is another's.
const STICKY: u32 = 0o1000;
/// As many links as the kernel follows on one path.
const LINKS_MAX: usize = 40;
/// The mode of a folder that is not its owner's yet.
const NEW_FOLDER: Mode = Mode::RWXU;

/// How a folder is opened: itself, and no link in its place.
const AS_FOLDER: OFlags = OFlags::RDONLY
    .union(OFlags::DIRECTORY)
    .union(OFlags::NOFOLLOW)
    .union(OFlags::CLOEXEC);

/// What stands under a name, links not followed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Entry {
    pub(super) kind: FileType,
    /// Permission bits alone.
    pub(super) mode: u32,
    pub(super) uid: u32,
    pub(super) gid: u32,
    /// Whether it is a file with a second name somewhere.
    pub(super) has_other_names: bool,
}

impl From<Stat> for Entry {
    fn from(is: Stat) -> Self {
        let kind = FileType::from_raw_mode(is.st_mode);
        Self {
            kind,
            mode: is.st_mode & MODE_BITS,
            uid: is.st_uid,
            gid: is.st_gid,
            has_other_names: kind == FileType::RegularFile && is.st_nlink > 1,
        }
    }
}

impl Entry {
    pub(super) fn is_folder(&self) -> bool {
        self.kind == FileType::Directory
    }
}

/// A folder, open, and where it really is.
#[derive(Debug)]
pub struct OpenFolder {
    fd: OwnedFd,
    path: PathBuf,
    is: Entry,
    /// Whether others than root choose what stands here: the folder is theirs, or they may write to one above it.
    is_of_others: bool,
    /// Whether others than root may put another folder into its place.
    is_in_others: bool,
}

/// What a step of a walk leads to.
enum Step {
    Folder(OpenFolder),
    Nothing,
    Link(PathBuf),
}

impl OpenFolder {
    /// The folder at `path`, which is absolute; none where it, or one above it, is not there.
    ///
    /// # Errors
    /// When it is no folder, cannot be opened, or is behind a link that others than root may have made.
    pub fn at(path: &Path) -> Result<Option<Self>> {
        let walk = Walk::begin(path)?;
        Ok(walk.finish(false)?.ok())
    }

    /// As [`OpenFolder::at`]; where it is not there, the innermost folder on the way that is.
    ///
    /// # Errors
    /// As there.
    pub fn nearest(path: &Path) -> Result<Result<Self, Self>> {
        Walk::begin(path)?.finish(false)
    }

    /// As [`OpenFolder::at`], of the folder that `path` stands in, with the name that it has there.
    pub(super) fn above(path: &Path) -> Result<Option<(Self, &OsStr)>> {
        let (folder, name) = split(path)?;
        Ok(OpenFolder::at(folder)?.map(|folder| (folder, name)))
    }

    /// As [`OpenFolder::above`]; folders that are missing are made, root's, for everybody to read.
    pub(super) fn make_way(path: &Path) -> Result<(Self, &OsStr)> {
        let (folder, name) = split(path)?;
        let made = Walk::begin(folder)?.finish(true)?;
        let made = made.map_err(|_| anyhow::anyhow!("{} was not made", folder.display()))?;
        Ok((made, name))
    }

    /// The user who owns it.
    pub fn uid(&self) -> u32 {
        self.is.uid
    }

    /// The group of its owner.
    pub fn gid(&self) -> u32 {
        self.is.gid
    }

    /// Where it really is, links resolved.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Whether others than root may put another folder into its place.
    pub fn may_be_replaced(&self) -> bool {
        self.is_in_others
    }

    /// Whether others than root choose what stands in it.
    pub fn is_of_others(&self) -> bool {
        self.is_of_others
    }

    pub(super) fn is(&self) -> Entry {
        self.is
    }

    pub(super) fn fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }

    /// What stands there as `name`; none where nothing does.
    pub(super) fn entry(&self, name: &OsStr) -> Result<Option<Entry>> {
        match rustix::fs::statat(&self.fd, name, AtFlags::SYMLINK_NOFOLLOW) {
            Ok(is) => Ok(Some(is.into())),
            Err(Errno::NOENT) => Ok(None),
            Err(error) => Err(self.failed("look at", name, error)),
        }
    }

    /// Opens the regular file `name` to read. Where others may write, one that has a second name is refused: it may be
    /// anybody's.
    pub(super) fn open_file(&self, name: &OsStr) -> Result<File> {
        // A pipe in its place must not be waited for.
        let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
        let fd = match rustix::fs::openat(&self.fd, name, flags, Mode::empty()) {
            Ok(fd) => fd,
            Err(Errno::LOOP | Errno::NXIO) => return Err(self.no_file(name)),
            Err(error) => return Err(self.failed("open", name, error)),
        };
        let is: Entry = rustix::fs::fstat(&fd)
            .map_err(|error| self.failed("look at", name, error))?
            .into();
        if is.kind != FileType::RegularFile {
            return Err(self.no_file(name));
        }
        if self.is_of_others && is.has_other_names {
            bail!(
                "{} has a second name elsewhere, and others than root may have given it this one: move it away",
                self.path.join(name).display()
            );
        }
        Ok(fd.into())
    }

    fn no_file(&self, name: &OsStr) -> anyhow::Error {
        anyhow::anyhow!(
            "{} is no regular file: move it away",
            self.path.join(name).display()
        )
    }

    /// What is in the regular file `name`, at most `max` bytes of it.
    pub(super) fn read_file(&self, name: &OsStr, max: usize) -> Result<Vec<u8>> {
        let mut text = Vec::new();
        let read = self.open_file(name)?.take(max as u64).read_to_end(&mut text);
        read.with_context(|| format!("cannot read {}", self.path.join(name).display()))?;
        Ok(text)
    }

    /// Where the link `name` leads.
    pub(super) fn read_link(&self, name: &OsStr) -> Result<PathBuf> {
        let to = rustix::fs::readlinkat(&self.fd, name, Vec::new())
            .map_err(|error| self.failed("read the link", name, error))?;
        Ok(OsString::from_vec(to.into_bytes()).into())
    }

    /// Makes the folder `name` with this mode, whatever the umask, and gives it to `owner`: user and group. One that stays
    /// this process's has its mode from the beginning, since nobody looks at it again; another one is out of everybody's
    /// reach until it is its owner's.
    pub(super) fn make_folder(&self, name: &OsStr, mode: u32, owner: Option<(u32, u32)>) -> Result<Self> {
        let first = owner.map_or(Mode::from_raw_mode(mode), |_| NEW_FOLDER);
        // The umask is the whole process's: this is its only thread that makes anything.
        let umask = rustix::process::umask(Mode::empty());
        let made = rustix::fs::mkdirat(&self.fd, name, first);
        rustix::process::umask(umask);
        made.map_err(|error| self.failed("make the folder", name, error))?;
        failpoint::at(format_args!("{}.folder", name.display()));
        let Step::Folder(made) = self.step(name)? else {
            bail!(
                "{} was taken away while it was made",
                self.path.join(name).display()
            );
        };
        made.give_to(mode, owner)?;
        Ok(made)
    }

    /// Gives it this mode and this owner: user and group.
    ///
    /// # Errors
    /// As [`OpenFolder::check_may_go_to`].
    pub(super) fn give_to(&self, mode: u32, owner: Option<(u32, u32)>) -> Result<()> {
        let own = rustix::process::geteuid().as_raw();
        self.check_may_go_to(owner.map_or(own, |(uid, _)| uid))?;
        let uid = owner.map(|(uid, _)| Uid::from_raw(uid));
        let gid = owner.map(|(_, gid)| Gid::from_raw(gid));
        rustix::fs::fchown(&self.fd, uid, gid)
            .and_then(|()| rustix::fs::fchmod(&self.fd, Mode::from_raw_mode(mode)))
            .map_err(io::Error::from)
            .with_context(|| format!("cannot change mode and owner of {}", self.path.display()))
    }

    /// Refuses to give a folder to the user `uid` that others may have moved where it is: it is given only to whom it
    /// belongs already, or from root as long as nothing is in it.
    ///
    /// # Errors
    /// When it is somebody else's.
    pub(super) fn check_may_go_to(&self, uid: u32) -> Result<()> {
        if !self.is_in_others || self.is.uid == uid || (self.is.uid == 0 && self.is_empty()?) {
            return Ok(());
        }
        bail!(
            "{0} belongs to {1}, and others than root may have put it there: as root, deployer does not give it to {2}. \
             Move it away; or, where it is meant to be {2}'s, `chown -hR {2}: {0}`",
            self.path.display(),
            name_of(self.is.uid),
            name_of(uid)
        )
    }

    /// Puts what `fill` writes there as `name` in one step, so that at each moment the old or the new file is there,
    /// whole.
    pub(super) fn replace_file(
        &self,
        name: &OsStr,
        mode: u32,
        owner: (u32, u32),
        fill: impl FnOnce(&mut File) -> io::Result<()>,
    ) -> Result<()> {
        durable::replace_in(&self.fd, name, mode, Some(owner), fill)
            .with_context(|| format!("cannot write {}", self.path.join(name).display()))
    }

    /// Puts a link to `to` there as `name`, in one step.
    pub(super) fn replace_link(&self, name: &OsStr, to: &Path) -> Result<()> {
        durable::replace_link_in(&self.fd, name, to)
            .with_context(|| format!("cannot make the link {}", self.path.join(name).display()))
    }

    /// Removes the file or link `name`, and nothing that it leads to.
    pub(super) fn remove_file(&self, name: &OsStr) -> Result<()> {
        rustix::fs::unlinkat(&self.fd, name, AtFlags::empty())
            .map_err(|error| self.failed("remove", name, error))
    }

    /// Removes the folder `name`, in which nothing is.
    pub(super) fn remove_empty_folder(&self, name: &OsStr) -> Result<()> {
        rustix::fs::unlinkat(&self.fd, name, AtFlags::REMOVEDIR)
            .map_err(|error| self.failed("remove", name, error))
    }

    /// At most `max` names of what is in it.
    pub(super) fn names(&self, max: usize) -> Result<Vec<OsString>> {
        let list = || -> io::Result<Vec<OsString>> {
            let mut names = Vec::new();
            for entry in Dir::read_from(&self.fd)? {
                let name = entry?.file_name().to_bytes().to_owned();
                if name != b"." && name != b".." {
                    names.push(OsString::from_vec(name));
                }
                if names.len() == max {
                    break;
                }
            }
            Ok(names)
        };
        list().with_context(|| format!("cannot list {}", self.path.display()))
    }

    fn is_empty(&self) -> Result<bool> {
        Ok(self.names(1)?.is_empty())
    }

    /// Whether it is as one that was made for another owner and not given to it yet.
    ///
    /// # Errors
    /// When it cannot be listed.
    pub(super) fn is_not_given_yet(&self) -> Result<bool> {
        let is_new = (self.is.uid, self.is.gid, self.is.mode) == (0, 0, NEW_FOLDER.as_raw_mode());
        Ok(is_new && self.is_empty()?)
    }

    /// The folder `name`, which nobody put a link in the place of; none where it is gone.
    pub(super) fn folder(&self, name: &OsStr) -> Result<Option<Self>> {
        match self.step(name)? {
            Step::Folder(folder) => Ok(Some(folder)),
            Step::Nothing => Ok(None),
            Step::Link(_) => bail!("{} is a link: move it away", self.path.join(name).display()),
        }
    }

    /// One step of a walk: what `name` is here.
    fn step(&self, name: &OsStr) -> Result<Step> {
        match rustix::fs::openat(&self.fd, name, AS_FOLDER, Mode::empty()) {
            Ok(fd) => Ok(Step::Folder(self.below(fd, name)?)),
            Err(Errno::NOENT) => Ok(Step::Nothing),
            Err(Errno::LOOP | Errno::NOTDIR) => self.step_at_no_folder(name),
            Err(error) => Err(self.failed("open", name, error)),
        }
    }

    fn below(&self, fd: OwnedFd, name: &OsStr) -> Result<Self> {
        let is: Entry = rustix::fs::fstat(&fd)
            .map_err(|error| self.failed("look at", name, error))?
            .into();
        let stays_here = self.is.uid == 0 && self.is.mode & STICKY != 0 && is.uid == 0;
        let is_in_others = self.is_of_others && !stays_here;
        Ok(Self {
            fd,
            path: self.path.join(name),
            is,
            is_of_others: is_in_others || others_may_write(is),
            is_in_others,
        })
    }

    fn step_at_no_folder(&self, name: &OsStr) -> Result<Step> {
        let path = self.path.join(name);
        let path = path.display();
        match self.entry(name)?.map(|entry| entry.kind) {
            None => Ok(Step::Nothing),
            Some(FileType::Symlink) if self.is_of_others => bail!(
                "{path} is a link, in a folder that others than root may write to: as root, deployer does not follow it. \
                 Remove it (`rm {path}`); or name the folder that it leads to in {}",
                crate::config::DEFAULT_PATH
            ),
            Some(FileType::Symlink) => Ok(Step::Link(self.read_link(name)?)),
            Some(FileType::Directory) => bail!("{path} was changed while it was looked at: try again"),
            Some(_) => bail!("{path} is no folder: move it away"),
        }
    }

    fn failed(&self, doing: &str, name: &OsStr, error: Errno) -> anyhow::Error {
        let what = format!("cannot {doing} {}", self.path.join(name).display());
        anyhow::Error::from(io::Error::from(error)).context(what)
    }
}

/// The user's name; the number of one who has none.
fn name_of(uid: u32) -> String {
    let account = Account::numbered(uid).ok().flatten();
    account.map_or_else(|| uid.to_string(), |account| account.name)
}

fn others_may_write(is: Entry) -> bool {
    is.uid != 0 || is.mode & OTHERS_WRITE != 0
}

/// A path's folder and its name there.
fn split(path: &Path) -> Result<(&Path, &OsStr)> {
    path.parent()
        .zip(path.file_name())
        .with_context(|| format!("{} names nothing in a folder", path.display()))
}

/// A walk from `/`.
struct Walk {
    /// The folders so far, from `/`: `..` goes back to the one that was come from.
    come_by: Vec<OpenFolder>,
    ahead: VecDeque<OsString>,
    links: usize,
}

impl Walk {
    fn begin(path: &Path) -> Result<Self> {
        if !path.is_absolute() {
            bail!("{} is not an absolute path", path.display());
        }
        Ok(Self {
            come_by: vec![root()?],
            ahead: names(path).collect(),
            links: 0,
        })
    }

    /// The folder at the end; or, where one is missing and is not to be made, the last one that is there.
    fn finish(mut self, make: bool) -> Result<Result<OpenFolder, OpenFolder>> {
        while let Some(name) = self.ahead.pop_front() {
            if name == ".." {
                self.back();
                continue;
            }
            let here = self.here();
            match here.step(&name)? {
                Step::Folder(folder) => self.come_by.push(folder),
                Step::Link(to) => self.follow(&to)?,
                Step::Nothing if make => {
                    let made = here.make_folder(&name, WAY_MODE, None)?;
                    self.come_by.push(made);
                }
                Step::Nothing => return Ok(Err(self.end())),
            }
        }
        Ok(Ok(self.end()))
    }

    fn here(&self) -> &OpenFolder {
        self.come_by.last().expect("a walk begins at /")
    }

    fn end(mut self) -> OpenFolder {
        self.come_by.pop().expect("a walk begins at /")
    }

    fn back(&mut self) {
        if self.come_by.len() > 1 {
            self.come_by.pop();
        }
    }

    fn follow(&mut self, to: &Path) -> Result<()> {
        self.links += 1;
        if self.links > LINKS_MAX {
            bail!(
                "{} is behind more than {LINKS_MAX} links",
                self.here().path.display()
            );
        }
        if to.is_absolute() {
            self.come_by.truncate(1);
        }
        for name in names(to).collect::<Vec<_>>().into_iter().rev() {
            self.ahead.push_front(name);
        }
        Ok(())
    }
}

fn root() -> Result<OpenFolder> {
    let fd = rustix::fs::open("/", AS_FOLDER, Mode::empty());
    let fd = fd.map_err(io::Error::from).context("cannot open /")?;
    let is: Entry = rustix::fs::fstat(&fd)
        .map_err(io::Error::from)
        .context("cannot look at /")?
        .into();
    Ok(OpenFolder {
        fd,
        path: "/".into(),
        is,
        is_of_others: others_may_write(is),
        is_in_others: false,
    })
}

/// The names of a path, `..` among them.
fn names(path: &Path) -> impl Iterator<Item = OsString> {
    path.components().filter_map(|part| match part {
        Component::Normal(name) => Some(name.to_owned()),
        Component::ParentDir => Some(OsStr::from_bytes(b"..").to_owned()),
        _ => None,
    })
}
