//! Files that must survive a crash, the routes above all: sealed, written whole, and never in place.

use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use rustix::fs::{Mode, OFlags};
use rustix::io::Errno;
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::error::ProxyError;
use super::say;
use crate::failpoint;
use crate::model::sealed::{self, Unopened};

/// The format that this program writes.
const FORMAT: u32 = 1;

/// A larger file is none of ours.
const MAX: u64 = 64 << 20;

/// What a folder is called until it has its mode.
const NEW_FOLDER: &str = ".new";

/// Makes `folder`, and its parents, readable by everybody whatever the umask says. Each appears with its mode: nobody looks
/// at that again.
pub(super) fn make_readable(folder: &Path) -> io::Result<()> {
    if folder.is_dir() {
        return Ok(());
    }
    if let Some(parent) = folder.parent() {
        make_readable(parent)?;
    }
    let mut new = folder.as_os_str().to_owned();
    new.push(NEW_FOLDER);
    match fs::create_dir(&new) {
        // Of a process that was killed.
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return Err(error),
        _ => {}
    }
    fs::set_permissions(&new, fs::Permissions::from_mode(0o755))?;
    fs::rename(&new, folder)
}

/// What was found at the start.
pub(super) struct Loaded<T> {
    /// None where there is no such file, or none that can be read.
    pub(super) content: Option<T>,
    /// Where a file that could not be read was put aside.
    pub(super) aside: Option<PathBuf>,
}

/// Reads the routes of the file `name`. A file that is damaged is put aside and said so: a route that may be wrong is worse than none,
/// and overwriting the file would destroy what it may still tell.
///
/// # Errors
/// When a newer deployer has written it, or it cannot be read at all.
pub(super) fn load<T: DeserializeOwned>(folder: &Path, name: &str) -> Result<Loaded<T>, ProxyError> {
    let path = folder.join(name);
    let failed = |error: io::Error| ProxyError::failed(format!("cannot read {}: {error}", path.display()));
    let text = match read(&path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            return Ok(Loaded {
                content: None,
                aside: None,
            });
        }
        text => text.map_err(failed)?,
    };
    match sealed::open(FORMAT, &text) {
        Ok(content) => Ok(Loaded {
            content: Some(content),
            aside: None,
        }),
        Err(Unopened::Newer { found }) => Err(ProxyError::failed(format!(
            "{} was written by a newer deployer (format {found}; this one knows {FORMAT})",
            path.display()
        ))),
        Err(Unopened::Damaged { reason }) => {
            let aside = put_aside(&path).map_err(failed)?;
            say!(
                "{} is not readable ({reason}) and was moved to {}. NO ROUTE IS IN FORCE: every request is answered \
                 503 until `deployer recover` has found the routes again",
                path.display(),
                aside.display()
            );
            Ok(Loaded {
                content: None,
                aside: Some(aside),
            })
        }
    }
}

/// What is in the file at `path`: a regular file, and no link to one. The folder is the user's whom root asks about the
/// proxy of, so that a pipe or a device in its place is neither waited for nor read without end.
///
/// # Errors
/// When it is missing, something else, or larger than [`MAX`].
pub(super) fn read(path: &Path) -> io::Result<Vec<u8>> {
    let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
    let file = match rustix::fs::open(path, flags, Mode::empty()) {
        Ok(fd) => File::from(fd),
        Err(Errno::LOOP) => return Err(io::Error::other("it is a link: remove it")),
        Err(error) => return Err(error.into()),
    };
    if !file.metadata()?.is_file() {
        return Err(io::Error::other("it is no regular file: remove it"));
    }
    let mut text = Vec::new();
    file.take(MAX + 1).read_to_end(&mut text)?;
    if text.len() as u64 > MAX {
        return Err(io::Error::other(format!(
            "it is larger than {MAX} bytes: remove it"
        )));
    }
    Ok(text)
}

/// Removes what a process that was killed had half written of the file `name`: it never came into force. Only for whoever
/// alone writes the file: another one's would be lost.
pub(super) fn sweep(folder: &Path, name: &str) {
    let _ = fs::remove_file(new(&folder.join(name)));
}

/// Moves `path` to a name that no other file has, whatever the clock says.
fn put_aside(path: &Path) -> io::Result<PathBuf> {
    let name = path.file_name().unwrap_or_default().display();
    let second = jiff::Timestamp::now().as_second();
    let names = (1_u32..).map(|number| match number {
        1 => format!("{name}.unreadable-{second}"),
        _ => format!("{name}.unreadable-{second}-{number}"),
    });
    let mut free = names
        .map(|name| path.with_file_name(name))
        .filter(|aside| !aside.exists());
    let aside = free.next().expect("numbers do not end");
    fs::rename(path, &aside)?;
    Ok(aside)
}

/// Writes the routes; when this returns they survive a crash. When it fails the former ones are still there.
pub(super) fn store<T: Serialize>(folder: &Path, name: &str, routes: &T) -> io::Result<()> {
    replace(&folder.join(name), &sealed::seal(FORMAT, routes), 0o600)
}

/// Replaces `path` by `text`, with these permissions; when this returns the file survives a crash. When it fails the
/// former one is still there.
pub(super) fn replace(path: &Path, text: &[u8], mode: u32) -> io::Result<()> {
    let name = path.file_name().unwrap_or_default().display();
    let (folder, new) = (path.parent().unwrap_or(Path::new("/")), new(path));
    failpoint::at(format_args!("{name}.begun"));
    let written = write(&new, text, mode).and_then(|()| {
        failpoint::at(format_args!("{name}.written"));
        fs::rename(&new, path)
    });
    if let Err(error) = written {
        let _ = fs::remove_file(&new);
        return Err(error);
    }
    failpoint::at(format_args!("{name}.renamed"));
    File::open(folder)?.sync_all()?;
    failpoint::at(format_args!("{name}.durable"));
    Ok(())
}

/// What is not in the place of `path` yet.
fn new(path: &Path) -> PathBuf {
    let mut name = path.file_name().unwrap_or_default().to_owned();
    name.push(".new");
    path.with_file_name(name)
}

fn write(path: &Path, text: &[u8], mode: u32) -> io::Result<()> {
    let mut file = File::create(path)?;
    file.set_permissions(fs::Permissions::from_mode(mode))?;
    file.write_all(text)?;
    file.sync_all()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{ReleaseId, Slot};
    use crate::proxy::route::StoredRoute;
    use crate::proxy::{AppRoute, SlotRoute, Target};

    fn routes() -> Vec<StoredRoute> {
        let target = Target {
            release: ReleaseId(7),
            upstreams: vec!["10.213.1.128:8080".parse().unwrap()],
            probe: None,
        };
        let slots = [(Slot::Blue, 50101, None), (Slot::Green, 50100, Some(target))];
        vec![StoredRoute {
            route: AppRoute {
                app: "shop".parse().unwrap(),
                hosts: vec!["shop.test".into()],
                response_timeout: None,
                body_timeout: None,
                live: Some(Slot::Green),
                slots: slots
                    .into_iter()
                    .map(|(slot, port, target)| (slot, SlotRoute { port, target }))
                    .collect(),
                trailers: false,
            },
            check: "0123".into(),
        }]
    }

    /// What is read of `text`; none where it was put aside.
    fn read(text: &[u8]) -> Option<Vec<StoredRoute>> {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join("routes.json"), text).unwrap();
        let loaded = load(folder.path(), "routes.json").unwrap();
        match loaded.aside {
            Some(aside) => {
                assert_eq!(fs::read(aside).unwrap(), text);
                assert!(loaded.content.is_none() && !folder.path().join("routes.json").exists());
                None
            }
            None => loaded.content,
        }
    }

    #[test]
    fn no_damaged_bit_and_no_cut_is_read_as_another_route() {
        let folder = tempfile::tempdir().unwrap();
        store(folder.path(), "routes.json", &routes()).unwrap();
        let good = fs::read(folder.path().join("routes.json")).unwrap();
        assert_eq!(read(&good), Some(routes()));
        for at in 0..good.len() {
            let unharmed = |read: Option<Vec<StoredRoute>>| read.is_none_or(|read| read == routes());
            assert!(unharmed(read(&good[..at])), "cut at {at}");
            for bit in 0..8 {
                let mut flipped = good.clone();
                flipped[at] ^= 1 << bit;
                assert!(unharmed(read(&flipped)), "bit {bit} of byte {at}");
            }
        }
    }

    #[test]
    fn a_folder_that_a_killed_process_began_is_readable_when_it_is_there() {
        let root = tempfile::tempdir().unwrap();
        let folder = root.path().join("a/b");
        fs::create_dir_all(root.path().join("a/b.new")).unwrap();
        let closed = fs::Permissions::from_mode(0o700);
        fs::set_permissions(root.path().join("a/b.new"), closed).unwrap();
        make_readable(&folder).unwrap();
        assert_eq!(fs::metadata(&folder).unwrap().permissions().mode() & 0o777, 0o755);
        assert!(!root.path().join("a/b.new").exists());
        make_readable(&folder).unwrap();
    }

    #[test]
    fn files_of_one_second_are_all_kept_aside() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("routes.json");
        let asides = ["a", "b", "c"].map(|text| {
            fs::write(&path, text).unwrap();
            put_aside(&path).unwrap()
        });
        assert_eq!(
            asides.map(|aside| fs::read_to_string(aside).unwrap()),
            ["a", "b", "c"]
        );
    }
}
