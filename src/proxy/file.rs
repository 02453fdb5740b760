//! The routes' file: sealed, written whole, and put aside where it cannot be read.

use std::fs::{self, File};
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use rustix::fs::{Mode, OFlags};
use rustix::io::Errno;
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::error::ProxyError;
use super::say;
use crate::ground::durable;
use crate::ground::sealed::{self, Unopened};

/// The format that this program writes.
const FORMAT: u32 = 1;

/// A larger file is none of ours.
const MAX: u64 = 64 << 20;

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
    durable::replace(&folder.join(name), 0o600, &sealed::seal(FORMAT, routes))
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
