//! Which kind of proxy traffic goes through, whatever the configuration wants: `STATE/proxy/kind.json`.

use std::io;
use std::net::SocketAddr;
use std::path::Path;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::embedded::ROUTES as EMBEDDED_ROUTES;
use super::error::ProxyError;
use super::external::ROUTES as EXTERNAL_ROUTES;
use super::file;
use crate::ground::durable;
use crate::ground::sealed::{self, Unopened};
use crate::model::{ProxyKind, ProxySettings};

/// The file's name in the proxy's folder.
const FILE: &str = "kind.json";

/// Its format.
const FORMAT: u32 = 1;

/// A kind of proxy at a public address.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Place {
    /// Who serves the public port, and who flips.
    pub kind: ProxyKind,
    /// The public port.
    pub listen: SocketAddr,
}

impl Place {
    /// The one that `settings` want.
    pub(super) fn wanted(settings: &ProxySettings) -> Self {
        Self {
            kind: settings.kind,
            listen: settings.listen,
        }
    }
}

/// What traffic goes through.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct InUse {
    /// It serves everything, but for the moments of a switch.
    pub(super) place: Place,
    /// The other side of a switch that has not ended: whatever it has is to be let go.
    pub(super) other: Option<Place>,
}

/// What traffic goes through, where `settings` want what they want. As long as nothing is routed, that is what is
/// wanted.
///
/// # Errors
/// When a newer deployer has written it, or it cannot be read at all.
pub(super) fn of(folder: &Path, settings: &ProxySettings) -> Result<InUse, ProxyError> {
    let wanted = Place::wanted(settings);
    let place = match read(folder)? {
        Some(used) if used.other.is_some() => return Ok(used),
        Some(used) if used.place.kind == wanted.kind => match wanted.kind {
            // It listens where it was told to when it started.
            ProxyKind::Embedded => used.place,
            _ => wanted,
        },
        Some(used) if has_routes(folder, used.place.kind) => used.place,
        Some(_) => wanted,
        // Before there was this file there was the embedded proxy alone.
        None if !wanted.kind.has_embedded() && has_routes(folder, ProxyKind::Embedded) => Place {
            kind: ProxyKind::Embedded,
            ..wanted
        },
        None => wanted,
    };
    Ok(InUse { place, other: None })
}

/// Writes it; when this returns it survives a crash.
///
/// # Errors
/// When it cannot be written: it is as before.
pub(super) fn write(folder: &Path, used: &InUse) -> Result<(), ProxyError> {
    let write = || {
        durable::make_folder(folder, 0o700)?;
        durable::replace(&folder.join(FILE), 0o600, &sealed::seal(FORMAT, used))
    };
    write().map_err(|error| {
        ProxyError::refused(format!(
            "{} cannot be written: {error}",
            folder.join(FILE).display()
        ))
    })
}

/// As it was written; none where there is none. A damaged one is said, and taken for none: what is wanted, or what has
/// routes, is in use then.
pub(super) fn read(folder: &Path) -> Result<Option<InUse>, ProxyError> {
    let path = folder.join(FILE);
    let text = match file::read(&path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        read => {
            read.map_err(|error| ProxyError::failed(format!("cannot read {}: {error}", path.display())))?
        }
    };
    match sealed::open(FORMAT, &text) {
        Ok(used) => Ok(Some(used)),
        Err(Unopened::Newer { found }) => Err(ProxyError::failed(format!(
            "{} was written by a newer deployer (format {found}; this one knows {FORMAT})",
            path.display()
        ))),
        Err(Unopened::Damaged { .. }) => Ok(None),
    }
}

/// Whether a kind routes anything, as far as its file tells; one that cannot be read may.
fn has_routes(folder: &Path, kind: ProxyKind) -> bool {
    let path = match kind {
        ProxyKind::Flip(program) => folder.join(program.as_str()).join(EXTERNAL_ROUTES),
        _ => folder.join(EMBEDDED_ROUTES),
    };
    let text = match file::read(&path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return false,
        Err(_) => return true,
        Ok(text) => text,
    };
    match sealed::open::<Value>(1, &text) {
        Ok(Value::Array(routes)) => !routes.is_empty(),
        Ok(Value::Object(kept)) => kept
            .get("apps")
            .and_then(Value::as_object)
            .is_none_or(|apps| !apps.is_empty()),
        _ => true,
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;
    use crate::model::Program;

    fn settings(kind: ProxyKind, listen: &str) -> ProxySettings {
        let mut settings = crate::config::of_text(Path::new("/deployer.toml"), "")
            .unwrap()
            .proxy;
        settings.kind = kind;
        settings.listen = listen.parse().unwrap();
        settings
    }

    fn place(kind: ProxyKind, listen: &str) -> Place {
        Place {
            kind,
            listen: listen.parse().unwrap(),
        }
    }

    #[test]
    fn what_is_wanted_is_in_use_until_something_is_routed_elsewhere() {
        let folder = tempfile::tempdir().unwrap();
        let nginx = settings(ProxyKind::Flip(Program::Nginx), "127.0.0.1:80");
        let wanted = Place::wanted(&nginx);
        let used = || of(folder.path(), &nginx).unwrap().place;
        assert_eq!(used(), wanted);

        let routes = sealed::seal(1, &["a route"]);
        fs::write(folder.path().join(EMBEDDED_ROUTES), routes).unwrap();
        let embedded = place(ProxyKind::Embedded, "127.0.0.1:80");
        assert_eq!(used(), embedded, "an older deployer's routes");

        let elsewhere = place(ProxyKind::Embedded, "127.0.0.1:8080");
        let kept = InUse {
            place: elsewhere,
            other: None,
        };
        write(folder.path(), &kept).unwrap();
        assert_eq!(used(), elsewhere);

        let none: [&str; 0] = [];
        fs::write(folder.path().join(EMBEDDED_ROUTES), sealed::seal(1, &none)).unwrap();
        assert_eq!(used(), wanted, "nothing is routed any more");
    }

    #[test]
    fn a_damaged_file_is_none() {
        let folder = tempfile::tempdir().unwrap();
        let used = InUse {
            place: place(ProxyKind::Front(Program::Caddy), "127.0.0.1:80"),
            other: None,
        };
        write(folder.path(), &used).unwrap();
        assert_eq!(read(folder.path()).unwrap(), Some(used));
        let mut text = fs::read(folder.path().join(FILE)).unwrap();
        text[20] ^= 1;
        fs::write(folder.path().join(FILE), text).unwrap();
        assert_eq!(read(folder.path()).unwrap(), None);
    }
}
