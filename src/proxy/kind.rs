//! The proxy of a host, whichever it is: everything goes to the kind that is in use, which `deployer proxy switch`
//! changes and an edit of the configuration does not.

use std::net::{SocketAddr, SocketAddrV4};
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::answers::{Applied, Checked, ClosedPort, Drained, OutInstance};
use super::error::ProxyError;
use super::external;
use super::in_use::{self, InUse, Place};
use super::route::AppRoute;
use super::side::Side;
use crate::model::{AppName, ProxyKind, Settings};

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

    /// The proxy at `place`, whether traffic goes through it or not.
    pub fn side(&self, place: Place) -> Side {
        Side::new(place, &self.settings, &self.folder)
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

    /// What differs between the proxy that is wanted and the one that is in use, and what to do, as a sentence.
    pub fn differs(&self) -> Option<String> {
        let (wanted, used) = (self.wanted(), self.used().ok()?);
        let switch = command(wanted.kind);
        if let Some(other) = used.other {
            let text = match other.kind == used.place.kind {
                true => format!("a switch of {} to another address was broken off", other.kind),
                false => format!(
                    "a switch between {} and {} was broken off",
                    used.place.kind, other.kind
                ),
            };
            return Some(format!(
                "{text}: `deployer recover` ends it; traffic goes through {}",
                used.place.kind
            ));
        }
        (used.place.kind != wanted.kind).then(|| {
            format!(
                "deployer.toml says {}, traffic goes through {} at {}: `{switch}` changes that",
                wanted.kind, used.place.kind, used.place.listen
            )
        })
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

    /// Makes sure that it answers.
    ///
    /// # Errors
    /// When it does not.
    pub async fn ready(&self) -> Result<(), ProxyError> {
        self.current()?.ready().await
    }

    /// As [`Side::put_route`]. From the first route on, the kind that is in use stays so until it is switched.
    ///
    /// # Errors
    /// As for [`Side::put_route`].
    pub async fn put_route(&self, route: &AppRoute) -> Result<Applied, ProxyError> {
        let used = self.used()?;
        let kept = in_use::read(&self.folder)?;
        if used.other.is_none() && kept.is_none_or(|kept| kept.place.kind != used.place.kind) {
            self.use_now(used.place, None)?;
        }
        let applied = self.side(used.place).put_route(route).await?;
        if kept.is_some_and(|kept| kept.other.is_none() && kept.place.listen != used.place.listen) {
            self.use_now(used.place, None)?;
        }
        Ok(applied)
    }

    /// As [`Side::remove_route`].
    ///
    /// # Errors
    /// As for [`Side::put_route`].
    pub async fn remove_route(&self, app: &AppName) -> Result<(), ProxyError> {
        self.current()?.remove_route(app).await
    }

    /// As [`Side::routes`].
    ///
    /// # Errors
    /// When the proxy does not answer.
    pub async fn routes(&self) -> Result<Vec<AppRoute>, ProxyError> {
        self.current()?.routes().await
    }

    /// As [`Side::out`].
    ///
    /// # Errors
    /// When the proxy does not answer.
    pub async fn out(&self) -> Result<Vec<OutInstance>, ProxyError> {
        self.current()?.out().await
    }

    /// As [`Side::closed_ports`].
    ///
    /// # Errors
    /// When the proxy does not answer.
    pub async fn closed_ports(&self) -> Result<Vec<ClosedPort>, ProxyError> {
        self.current()?.closed_ports().await
    }

    /// As [`Side::problems`].
    ///
    /// # Errors
    /// When that cannot be told.
    pub async fn problems(&self) -> Result<Vec<String>, ProxyError> {
        self.current()?.problems().await
    }

    /// As [`Side::drain`].
    ///
    /// # Errors
    /// When the proxy does not answer.
    pub async fn drain(&self, upstreams: &[SocketAddrV4], deadline: Duration) -> Result<Drained, ProxyError> {
        self.current()?.drain(upstreams, deadline).await
    }

    /// As [`Side::check`].
    ///
    /// # Errors
    /// When nothing answers there within 10 seconds.
    pub async fn check(
        &self,
        app: &AppName,
        host: &str,
        path: &str,
        check: &str,
    ) -> Result<Checked, ProxyError> {
        self.current()?.check(app, host, path, check).await
    }

    fn used(&self) -> Result<InUse, ProxyError> {
        in_use::of(&self.folder, &self.settings.proxy)
    }

    /// The side that traffic goes through now.
    ///
    /// # Errors
    /// When that cannot be told.
    pub fn current(&self) -> Result<Side, ProxyError> {
        Ok(self.side(self.used()?.place))
    }
}

/// The command that switches to `kind`.
fn command(kind: ProxyKind) -> String {
    let word = kind.program().map_or("embedded", |program| program.as_str());
    format!("deployer proxy switch {word}")
}
