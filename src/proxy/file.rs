//! The routes on disk: sealed, written whole, and never in place.

use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};

use super::error::ProxyError;
use super::say;
use super::table::StoredRoute;
use crate::failpoint;
use crate::model::sealed::{self, Unopened};

/// The format that this program writes.
const FORMAT: u32 = 1;

/// The routes that are not in their place yet.
const NEW: &str = "routes.json.new";

/// A larger file is none of ours.
const MAX: u64 = 64 << 20;

/// What was found at the start.
pub(super) struct Loaded {
    pub(super) routes: Vec<StoredRoute>,
    /// Where a file that could not be read was put aside.
    pub(super) aside: Option<PathBuf>,
}

/// Reads the routes. A file that is damaged is put aside and said so: a route that may be wrong is worse than none,
/// and overwriting the file would destroy what it may still tell.
///
/// # Errors
/// When a newer deployer has written it, or it cannot be read at all.
pub(super) fn load(folder: &Path) -> Result<Loaded, ProxyError> {
    let path = folder.join("routes.json");
    // Of a proxy that was killed while it wrote: what it had not put in place never came into force.
    let _ = fs::remove_file(folder.join(NEW));
    let failed = |error: io::Error| ProxyError::failed(format!("cannot read {}: {error}", path.display()));
    let mut text = Vec::new();
    match File::open(&path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            return Ok(Loaded {
                routes: Vec::new(),
                aside: None,
            });
        }
        opened => opened
            .map_err(failed)?
            .take(MAX)
            .read_to_end(&mut text)
            .map_err(failed)?,
    };
    match sealed::open(FORMAT, &text) {
        Ok(routes) => Ok(Loaded { routes, aside: None }),
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
                routes: Vec::new(),
                aside: Some(aside),
            })
        }
    }
}

/// Moves `path` to a name that no other file has, whatever the clock says.
fn put_aside(path: &Path) -> io::Result<PathBuf> {
    let second = jiff::Timestamp::now().as_second();
    let names = (1_u32..).map(|number| match number {
        1 => format!("routes.json.unreadable-{second}"),
        _ => format!("routes.json.unreadable-{second}-{number}"),
    });
    let mut free = names
        .map(|name| path.with_file_name(name))
        .filter(|aside| !aside.exists());
    let aside = free.next().expect("numbers do not end");
    fs::rename(path, &aside)?;
    Ok(aside)
}

/// Writes the routes; when this returns they survive a crash. When it fails the former ones are still there.
pub(super) fn store(folder: &Path, routes: &[StoredRoute]) -> io::Result<()> {
    let new = folder.join(NEW);
    failpoint::at("routes.json.begun");
    let written = write(&new, &sealed::seal(FORMAT, &routes))
        .and_then(|()| fs::rename(&new, folder.join("routes.json")));
    if let Err(error) = written {
        let _ = fs::remove_file(&new);
        return Err(error);
    }
    failpoint::at("routes.json.renamed");
    File::open(folder)?.sync_all()?;
    failpoint::at("routes.json.durable");
    Ok(())
}

fn write(path: &Path, text: &[u8]) -> io::Result<()> {
    let mut file = File::create(path)?;
    file.write_all(text)?;
    file.sync_all()?;
    failpoint::at("routes.json.written");
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{ReleaseId, Slot};
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
                live: Some(Slot::Green),
                slots: slots
                    .into_iter()
                    .map(|(slot, port, target)| (slot, SlotRoute { port, target }))
                    .collect(),
            },
            check: "0123".into(),
        }]
    }

    /// What is read of `text`; none where it was put aside.
    fn read(text: &[u8]) -> Option<Vec<StoredRoute>> {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join("routes.json"), text).unwrap();
        let loaded = load(folder.path()).unwrap();
        match loaded.aside {
            Some(aside) => {
                assert_eq!(fs::read(aside).unwrap(), text);
                assert!(loaded.routes.is_empty() && !folder.path().join("routes.json").exists());
                None
            }
            None => Some(loaded.routes),
        }
    }

    #[test]
    fn no_damaged_bit_and_no_cut_is_read_as_another_route() {
        let folder = tempfile::tempdir().unwrap();
        store(folder.path(), &routes()).unwrap();
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
