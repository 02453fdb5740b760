//! The proxy of a host: which kind is in use, which `deployer proxy switch` changes and an edit of the configuration
//! does not.

use std::fmt;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use super::answers::Applied;
use super::backend::Backend;
use super::backend::embedded::Embedded;
use super::backend::front::Front;
use super::error::ProxyError;
use super::external::{self, External};
use super::in_use::{self, InUse, Place};
use super::route::AppRoute;
use crate::model::{ProxyKind, Settings};

/// What differs between the proxy that is wanted and the one that is in use.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum KindDiffers {
    /// A switch was broken off.
    BrokenOff {
        /// What traffic goes through.
        used: Place,
        /// The other side.
        other: Place,
    },
    /// The configuration was edited, and nothing was switched.
    Edited {
        /// What traffic goes through.
        used: Place,
        /// What the configuration wants.
        wanted: Place,
    },
}

/// The proxy of a host. Costs nothing to make, and holds no connection between two calls.
#[derive(Debug)]
pub struct Proxy {
    settings: Settings,
    /// `STATE/proxy`.
    folder: PathBuf,
}

impl Proxy {
    /// The proxy of the host that `settings` are for; `folder` is `STATE/proxy`.
    pub fn new(settings: &Settings, folder: &Path) -> Self {
        Self {
            settings: settings.clone(),
            folder: folder.to_owned(),
        }
    }

    /// What the configuration wants.
    pub fn wanted(&self) -> Place {
        Place::wanted(&self.settings.proxy)
    }

    /// What traffic goes through now: read anew at each call, since a command may outlive a switch.
    ///
    /// # Errors
    /// When that cannot be told.
    pub fn in_use(&self) -> Result<Place, ProxyError> {
        Ok(self.used()?.place)
    }

    /// The other side of a switch that was broken off.
    ///
    /// # Errors
    /// As for [`Proxy::in_use`].
    pub fn broken_off(&self) -> Result<Option<Place>, ProxyError> {
        Ok(self.used()?.other)
    }

    /// The public port that is in use; the one that is wanted where that cannot be told.
    pub fn listen(&self) -> SocketAddr {
        self.in_use()
            .map_or(self.settings.proxy.listen, |used| used.listen)
    }

    /// The proxy at `place`, whether traffic goes through it or not. This is where the kind is chosen, and nowhere else.
    pub fn at(&self, place: Place) -> Box<dyn Backend> {
        let mut settings = self.settings.clone();
        settings.proxy.kind = place.kind;
        settings.proxy.listen = place.listen;
        let embedded = || Embedded::new(place, &self.folder);
        let external = |program| External::new(program, &settings, &self.folder);
        match place.kind {
            ProxyKind::Embedded => Box::new(embedded()),
            ProxyKind::Flip(program) => Box::new(external(program)),
            ProxyKind::Front(program) => Box::new(Front::new(external(program), embedded())),
        }
    }

    /// Notes what is in use, with the other side of a switch as long as it has not ended. Durable when this returns.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn use_now(&self, place: Place, other: Option<Place>) -> Result<(), ProxyError> {
        in_use::write(&self.folder, &InUse { place, other })
    }

    /// Notes where the embedded proxy listens, which starts now.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn embedded_starts(&self) -> Result<(), ProxyError> {
        let used = self.used()?;
        let wanted = self.wanted();
        let is_new = in_use::read(&self.folder)?.is_none_or(|kept| kept.place != wanted);
        let is_it = (used.place.kind, wanted.kind) == (ProxyKind::Embedded, ProxyKind::Embedded);
        match used.other.is_none() && is_it && is_new {
            true => self.use_now(wanted, None),
            false => Ok(()),
        }
    }

    /// What differs between the proxy that is wanted and the one that is in use.
    pub fn differs(&self) -> Option<KindDiffers> {
        let (wanted, used) = (self.wanted(), self.used().ok()?);
        if let Some(other) = used.other {
            let used = used.place;
            return Some(KindDiffers::BrokenOff { used, other });
        }
        let used = used.place;
        (used.kind != wanted.kind).then_some(KindDiffers::Edited { used, wanted })
    }

    /// That the program that is wanted is not there, as a sentence.
    pub fn missing(&self) -> Option<String> {
        let program = self.settings.proxy.kind.program()?;
        (!external::is_installed(program, &self.settings.proxy)).then(|| {
            format!(
                "deployer.toml says {}, and there is no {} on this machine: install it, or change `kind` in [proxy]",
                self.settings.proxy.kind,
                program.as_str()
            )
        })
    }

    /// As [`Backend::put_route`]. From the first route on, the kind that is in use stays so until it is switched.
    ///
    /// # Errors
    /// As for [`Backend::put_route`].
    pub async fn put_route(&self, route: &AppRoute) -> Result<Applied, ProxyError> {
        let used = self.used()?;
        let kept = in_use::read(&self.folder)?;
        if used.other.is_none() && kept.is_none_or(|kept| kept.place.kind != used.place.kind) {
            self.use_now(used.place, None)?;
        }
        let applied = self.at(used.place).put_route(route).await?;
        if kept.is_some_and(|kept| kept.other.is_none() && kept.place.listen != used.place.listen) {
            self.use_now(used.place, None)?;
        }
        Ok(applied)
    }

    fn used(&self) -> Result<InUse, ProxyError> {
        in_use::of(&self.folder, &self.settings.proxy)
    }

    /// What traffic goes through now.
    ///
    /// # Errors
    /// When that cannot be told.
    pub fn current(&self) -> Result<Box<dyn Backend>, ProxyError> {
        Ok(self.at(self.used()?.place))
    }
}

impl KindDiffers {
    /// What is so, as a sentence without a full stop.
    pub fn message(&self) -> String {
        match self {
            Self::BrokenOff { used, other } if used.kind == other.kind => format!(
                "a switch of {} to another address was broken off; traffic goes through {}",
                other.kind, used.kind
            ),
            Self::BrokenOff { used, other } => format!(
                "a switch between {} and {} was broken off; traffic goes through {}",
                used.kind, other.kind, used.kind
            ),
            Self::Edited { used, wanted } => format!(
                "deployer.toml says {}, traffic goes through {} at {}",
                wanted.kind, used.kind, used.listen
            ),
        }
    }

    /// What to do.
    pub fn hint(&self) -> String {
        match self {
            Self::BrokenOff { .. } => "`deployer recover` ends it".to_owned(),
            Self::Edited { wanted, .. } => format!("`{}` changes that", command(wanted.kind)),
        }
    }
}

impl fmt::Display for KindDiffers {
    fn fmt(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(to, "{}: {}", self.message(), self.hint())
    }
}

/// The command that switches to `kind`.
fn command(kind: ProxyKind) -> String {
    let word = kind.program().map_or("embedded", |program| program.as_str());
    format!("deployer proxy switch {word}")
}
