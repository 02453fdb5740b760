//! Durable writes: a reader, or the next boot, sees the old content whole or the new content whole.
//!
//! ```text
//! new file beside the old one → content, owner, mode → fsync → rename → fsync of the folder
//! ```
//!
//! Everything is named by the descriptor of its folder, so that root can work in folders that others may change.
//! Fail points stand between the steps: `NAME.begun`, `NAME.written`, `NAME.renamed`, `NAME.durable`. The order of the
//! system calls is watched by `every_durable_write_is_synced_in_order` in tests/release and tests/install.

use std::ffi::{OsStr, OsString};
use std::fmt::Display;
use std::fs::{self, File};
use std::io::{self, Write};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;

use rustix::fs::{AtFlags, Gid, Mode, OFlags, Uid};
use rustix::io::Errno;

use super::failpoint;

/// How the name of a file begins that is not in its place yet: the number of its process and another number follow.
const NEW_PREFIX: &str = ".deployer-";

/// Names that are tried for a file that is not in its place yet.
const NEW_NAMES: u32 = 100;

/// How a folder is opened.
const AS_FOLDER: OFlags = OFlags::RDONLY.union(OFlags::DIRECTORY).union(OFlags::CLOEXEC);

/// Replaces the file at `path` by one with this mode and content. When this returns, it survives a crash.
///
/// # Errors
/// When it cannot be written. The former file is then still there, unless only the folder could not be synced.
pub(crate) fn replace(path: &Path, mode: u32, content: &[u8]) -> io::Result<()> {
    let (folder, name) = split(path)?;
    replace_in(open_folder(folder)?, name, mode, None, |file| {
        file.write_all(content)
    })
}

/// As [`replace`], of the file `name` in the open `folder`, with what `fill` writes. `owner` is user and group; where
/// there is none, it is this process's own.
///
/// # Errors
/// As there.
pub(crate) fn replace_in(
    folder: impl AsFd,
    name: &OsStr,
    mode: u32,
    owner: Option<(u32, u32)>,
    fill: impl FnOnce(&mut File) -> io::Result<()>,
) -> io::Result<()> {
    let folder = folder.as_fd();
    failpoint::at(format_args!("{}.begun", name.display()));
    let (new, mut file) = create_in(folder)?;
    let written = fill(&mut file).and_then(|()| {
        if let Some((uid, gid)) = owner {
            rustix::fs::fchown(&file, Some(Uid::from_raw(uid)), Some(Gid::from_raw(gid)))?;
        }
        rustix::fs::fchmod(&file, Mode::from_raw_mode(mode))?;
        file.sync_all()
    });
    put(folder, &new, name, written)
}

/// As [`replace_in`], with a link to `to` in the place of a file.
///
/// # Errors
/// As there.
pub(crate) fn replace_link_in(folder: impl AsFd, name: &OsStr, to: &Path) -> io::Result<()> {
    let folder = folder.as_fd();
    let (new, ()) = under_new_name(|new| rustix::fs::symlinkat(to, folder, new))?;
    put(folder, &new, name, Ok(()))
}

/// As [`replace`], for what a crash of the machine may take: a reader sees the old or the new content whole, and
/// nothing is synced. Only its owner may read it.
///
/// # Errors
/// As there.
pub(crate) fn replace_unsynced(path: &Path, content: &[u8]) -> io::Result<()> {
    let (folder, name) = split(path)?;
    let folder = open_folder(folder)?;
    let (new, mut file) = create_in(folder.as_fd())?;
    let put = file
        .write_all(content)
        .and_then(|()| Ok(rustix::fs::renameat(&folder, &new, &folder, name)?));
    if put.is_err() {
        remove(folder.as_fd(), &new);
    }
    put
}

/// Appends `content` to `file`, which was opened to append. When this returns, it survives a crash. `point` names its
/// fail points.
///
/// # Errors
/// When it cannot be written; then the file may end in a part of it.
pub(crate) fn append(mut file: &File, content: &[u8], point: impl Display) -> io::Result<()> {
    failpoint::at(format_args!("{point}.begun"));
    let written = file.write_all(content);
    failpoint::at(format_args!("{point}.written"));
    written.and_then(|()| file.sync_data())?;
    failpoint::at(format_args!("{point}.durable"));
    Ok(())
}

/// Makes `folder` with this mode, and those above it that are missing, each durable in the one that it stands in. One
/// that is there stays as it is, and is made durable: whoever made it may have been killed before it was.
///
/// # Errors
/// When one of them cannot be made.
pub(crate) fn make_folder(folder: &Path, mode: u32) -> io::Result<()> {
    let above = folder.parent().unwrap_or(Path::new("/"));
    let make = || match folder.is_dir() {
        true => sync_folder(above),
        false => make_whole(folder, mode),
    };
    match make() {
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            make_folder(above, mode)?;
            make()
        }
        made => made,
    }
}

/// Makes a folder that appears with its mode, whatever the umask says: nobody looks at that again. Durable when this answers.
fn make_whole(folder: &Path, mode: u32) -> io::Result<()> {
    let (above, name) = split(folder)?;
    let above = open_folder(above)?;
    let (new, ()) = under_new_name(|new| rustix::fs::mkdirat(&above, new, Mode::RWXU))?;
    failpoint::at(format_args!("{}.folder", name.display()));
    let made = rustix::fs::openat(&above, &new, AS_FOLDER | OFlags::NOFOLLOW, Mode::empty())
        .and_then(|made| {
            rustix::fs::fchmod(&made, Mode::from_raw_mode(mode))?;
            rustix::fs::fsync(made)
        })
        .and_then(|()| rustix::fs::renameat(&above, &new, &above, name));
    if made.is_err() {
        let _ = rustix::fs::unlinkat(&above, &new, AtFlags::REMOVEDIR);
    }
    made?;
    Ok(rustix::fs::fsync(above)?)
}

/// Makes a folder's entries durable.
///
/// # Errors
/// When it cannot be opened or synced.
pub(crate) fn sync_folder(folder: &Path) -> io::Result<()> {
    Ok(rustix::fs::fsync(open_folder(folder)?)?)
}

/// Removes what processes that are gone had not put into its place yet in `folder`. What cannot be removed stays: it is
/// in nobody's way.
pub(crate) fn sweep(folder: &Path) {
    for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
        if is_left(&entry.file_name()) {
            let path = entry.path();
            let _ = fs::remove_file(&path).or_else(|_| fs::remove_dir(&path));
        }
    }
}

/// A name for a file of this process that is not in its place yet.
pub(crate) fn new_name(number: u32) -> OsString {
    format!("{NEW_PREFIX}{}-{number}", std::process::id()).into()
}

/// Whether it is the name of a file that is not in its place yet.
pub(crate) fn is_new(name: &OsStr) -> bool {
    writer(name).is_some()
}

/// Whether it is the name of a file that is not in its place yet, and whose process is gone.
pub(crate) fn is_left(name: &OsStr) -> bool {
    writer(name).is_some_and(|process| !is_alive(process))
}

/// The process that a name like that of [`new_name`] tells of.
fn writer(name: &OsStr) -> Option<u32> {
    let (process, number) = name.to_str()?.strip_prefix(NEW_PREFIX)?.split_once('-')?;
    number.parse::<u32>().ok()?;
    process.parse().ok()
}

/// One that nobody has waited for yet has ended all the same.
fn is_alive(process: u32) -> bool {
    let told = fs::read(format!("/proc/{process}/stat")).unwrap_or_default();
    // The second field is the program's name in brackets, and may hold anything.
    let after = told.iter().rposition(|&byte| byte == b')');
    let state = after.and_then(|at| told.get(at + 2));
    state.is_some_and(|state| !matches!(state, b'Z' | b'X'))
}

fn split(path: &Path) -> io::Result<(&Path, &OsStr)> {
    match (path.parent(), path.file_name()) {
        (Some(folder), Some(name)) if folder == Path::new("") => Ok((Path::new("."), name)),
        (Some(folder), Some(name)) => Ok((folder, name)),
        _ => Err(io::ErrorKind::InvalidInput.into()),
    }
}

fn open_folder(folder: &Path) -> io::Result<OwnedFd> {
    Ok(rustix::fs::open(folder, AS_FOLDER, Mode::empty())?)
}

/// A new file, this user's alone until it is in its place.
fn create_in(folder: BorrowedFd<'_>) -> io::Result<(OsString, File)> {
    let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let make = |new: &OsStr| rustix::fs::openat(folder, new, flags, Mode::RUSR | Mode::WUSR);
    let (new, file) = under_new_name(make)?;
    Ok((new, file.into()))
}

/// Makes something under a name that nothing has yet.
fn under_new_name<T>(make: impl Fn(&OsStr) -> Result<T, Errno>) -> io::Result<(OsString, T)> {
    for number in 0..NEW_NAMES {
        let new = new_name(number);
        match make(&new) {
            Ok(made) => return Ok((new, made)),
            Err(Errno::EXIST) => {}
            Err(error) => return Err(error.into()),
        }
    }
    Err(io::Error::other(format!(
        "its folder is full of files named {NEW_PREFIX}…: remove them"
    )))
}

/// Moves `new` into its place, unless it was not written whole.
fn put(folder: BorrowedFd<'_>, new: &OsStr, name: &OsStr, written: io::Result<()>) -> io::Result<()> {
    let put = written.and_then(|()| {
        failpoint::at(format_args!("{}.written", name.display()));
        rustix::fs::renameat(folder, new, folder, name)?;
        failpoint::at(format_args!("{}.renamed", name.display()));
        Ok(rustix::fs::fsync(folder)?)
    });
    match put {
        Ok(()) => failpoint::at(format_args!("{}.durable", name.display())),
        Err(_) => remove(folder, new),
    }
    put
}

fn remove(folder: BorrowedFd<'_>, new: &OsStr) {
    let _ = rustix::fs::unlinkat(folder, new, AtFlags::empty());
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    fn names(folder: &Path) -> Vec<OsString> {
        let mut names: Vec<_> = fs::read_dir(folder)
            .unwrap()
            .map(|entry| entry.unwrap().file_name())
            .collect();
        names.sort();
        names
    }

    #[test]
    fn what_cannot_be_written_whole_leaves_what_was_there_and_nothing_else() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("file");
        replace(&path, 0o640, b"old").unwrap();
        let fails = |file: &mut File| {
            file.write_all(b"half")?;
            Err(io::ErrorKind::StorageFull.into())
        };

        let open = open_folder(folder.path()).unwrap();
        replace_in(&open, OsStr::new("file"), 0o600, None, fails).unwrap_err();
        fs::create_dir(folder.path().join("folder")).unwrap();
        replace(&folder.path().join("folder"), 0o600, b"new").unwrap_err();
        replace_unsynced(&folder.path().join("folder"), b"new").unwrap_err();

        assert_eq!(fs::read(&path).unwrap(), b"old");
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o7777, 0o640);
        assert_eq!(names(folder.path()), ["file", "folder"]);
    }

    #[test]
    fn only_the_files_of_processes_that_are_gone_are_left() {
        // A process that has ended, and that nobody has waited for.
        let mut ended = std::process::Command::new("true").spawn().unwrap();
        let ended_id = ended.id();
        while is_alive(ended_id) {
            std::thread::yield_now();
        }
        let own = new_name(0);
        for (name, left) in [
            (".deployer-4194999-0", true),
            (format!(".deployer-{ended_id}-7").as_str(), true),
            (own.to_str().unwrap(), false),
            (".deployer-4194999", false),
            (".deployer-4194999-x", false),
            (".deployer-removed-1", false),
            ("deployer-4194999-0", false),
        ] {
            assert_eq!(is_left(OsStr::new(name)), left, "{name}");
        }
        ended.wait().unwrap();

        let folder = tempfile::tempdir().unwrap();
        for name in [".deployer-4194999-0", own.to_str().unwrap(), "file"] {
            fs::write(folder.path().join(name), "").unwrap();
        }
        sweep(folder.path());
        assert_eq!(names(folder.path()), [own, "file".into()]);
    }

    #[test]
    fn what_a_killed_process_had_of_a_folder_goes_and_is_never_taken_for_it() {
        let root = tempfile::tempdir().unwrap();
        fs::create_dir(root.path().join(".deployer-4194999-0")).unwrap();
        make_folder(&root.path().join("a"), 0o755).unwrap();
        let mode = fs::metadata(root.path().join("a")).unwrap().permissions().mode();
        assert_eq!(mode & 0o7777, 0o755);
        sweep(root.path());
        assert_eq!(names(root.path()), ["a"]);
    }

    #[test]
    fn a_folder_is_made_with_those_above_it() {
        let root = tempfile::tempdir().unwrap();
        let folder = root.path().join("a/b/c");
        make_folder(&folder, 0o700).unwrap();
        make_folder(&folder, 0o755).unwrap();
        for made in [&folder, &root.path().join("a")] {
            assert_eq!(fs::metadata(made).unwrap().permissions().mode() & 0o7777, 0o700);
        }
        fs::write(root.path().join("file"), "").unwrap();
        make_folder(&root.path().join("file"), 0o700).unwrap_err();
    }
}
