//! The routes on disk: written whole, and never in place.

use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::error::ProxyError;
use super::say;
use super::table::StoredRoute;
use crate::failpoint;

/// The version that this program writes.
const VERSION: u32 = 1;

/// The routes that are not in their place yet.
const NEW: &str = "routes.json.new";

/// A larger file is none of ours.
const MAX: u64 = 64 << 20;

#[derive(Serialize, Deserialize)]
struct Routes {
    version: u32,
    routes: Vec<StoredRoute>,
}

#[derive(Deserialize)]
struct AnyVersion {
    version: u32,
}

/// What was found at the start.
pub(super) struct Loaded {
    pub(super) routes: Vec<StoredRoute>,
    /// Where a file that could not be read was put aside.
    pub(super) aside: Option<PathBuf>,
}

/// Reads the routes. A file that cannot be understood is put aside and said so, since overwriting it would
/// destroy what it may still tell.
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
    if let Ok(AnyVersion { version }) = serde_json::from_slice(&text)
        && version > VERSION
    {
        return Err(ProxyError::failed(format!(
            "{} was written by a newer deployer (version {version} of the file; this one knows {VERSION})",
            path.display()
        )));
    }
    match serde_json::from_slice::<Routes>(&text) {
        Ok(Routes { routes, .. }) => Ok(Loaded { routes, aside: None }),
        Err(error) => {
            let aside = folder.join(format!(
                "routes.json.unreadable-{}",
                jiff::Timestamp::now().as_second()
            ));
            fs::rename(&path, &aside).map_err(failed)?;
            say!(
                "{} cannot be understood ({error}) and was moved to {}. NO ROUTE IS IN FORCE: every request is \
                 answered 503 until `deployer recover` has found the routes again",
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

/// Writes the routes; when this returns they survive a crash. When it fails the former ones are still there.
pub(super) fn store(folder: &Path, routes: &[StoredRoute]) -> io::Result<()> {
    let text = serde_json::to_vec(&Routes {
        version: VERSION,
        routes: routes.to_vec(),
    })?;
    let new = folder.join(NEW);
    failpoint::at("routes.json.begun");
    let written = write(&new, &text).and_then(|()| fs::rename(&new, folder.join("routes.json")));
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
