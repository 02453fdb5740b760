//! The proxy, whichever it is: what a release asks of it goes to the embedded one, or to the program that flips.

use std::net::SocketAddrV4;
use std::path::Path;
use std::time::Duration;

use super::answers::{Applied, Checked, ClosedPort, Drained, OutInstance};
use super::embedded::Control;
use super::error::ProxyError;
use super::external::External;
use super::route::AppRoute;
use crate::model::{AppName, ProxyKind, ProxySettings, Settings};

/// The proxy of a host. Costs nothing to make, and holds no connection between two calls.
#[derive(Debug)]
pub struct Proxy {
    settings: ProxySettings,
    control: Control,
    external: Option<External>,
}

impl Proxy {
    /// The proxy that `settings` name; `folder` is `STATE/proxy`.
    pub fn new(settings: &Settings, folder: &Path) -> Self {
        let program = settings.proxy.kind.program();
        Self {
            settings: settings.proxy.clone(),
            control: Control::new(&folder.join("control.sock")),
            external: program.map(|program| External::new(program, settings, folder)),
        }
    }

    /// What it is.
    pub fn kind(&self) -> ProxyKind {
        self.settings.kind
    }

    /// Makes sure that it answers.
    ///
    /// # Errors
    /// When it does not.
    pub async fn ready(&self) -> Result<(), ProxyError> {
        if self.kind().has_embedded() {
            self.control.info().await?;
        }
        match &self.external {
            Some(external) => external.ready().await,
            None => Ok(()),
        }
    }

    /// Makes `route` the whole route of its app. When this returns, the route is durable, and every request that is
    /// routed from then on follows it.
    ///
    /// # Errors
    /// [`ProxyError::Refused`] when the route clashes with another, a slot port is taken, the program refuses its
    /// configuration, or the route cannot be written: nothing has changed then.
    pub async fn put_route(&self, route: &AppRoute) -> Result<Applied, ProxyError> {
        match (&self.external, self.kind().has_embedded()) {
            (Some(external), false) => external.put_route(route).await,
            (front, _) => {
                if let Some(front) = front {
                    front.put_front().await?;
                }
                self.control.put_route(route).await
            }
        }
    }

    /// Removes the route of `app`, and closes its slot ports. Without such a route nothing happens.
    ///
    /// # Errors
    /// As for [`Proxy::put_route`].
    pub async fn remove_route(&self, app: &AppName) -> Result<(), ProxyError> {
        match self.flipping() {
            Some(external) => external.remove_route(app).await,
            None => self.control.remove_route(app).await,
        }
    }

    /// Every route in force, by the app's name.
    ///
    /// # Errors
    /// When the proxy does not answer.
    pub async fn routes(&self) -> Result<Vec<AppRoute>, ProxyError> {
        match self.flipping() {
            Some(external) => external.routes().await,
            None => self.control.routes().await,
        }
    }

    /// The instances that get no request because they could not be reached, by app, slot and number.
    ///
    /// # Errors
    /// When the proxy does not answer.
    pub async fn out(&self) -> Result<Vec<OutInstance>, ProxyError> {
        match self.flipping() {
            Some(external) => external.out().await,
            None => self.control.out().await,
        }
    }

    /// Slot ports that the proxy routes and does not listen on. A program other than the embedded proxy refuses a
    /// configuration with such a port.
    ///
    /// # Errors
    /// When the proxy does not answer.
    pub async fn closed_ports(&self) -> Result<Vec<ClosedPort>, ProxyError> {
        match self.flipping() {
            Some(_) => Ok(Vec::new()),
            None => Ok(self.control.info().await?.closed_ports),
        }
    }

    /// What is not as it should be beside the routes: a sentence each.
    ///
    /// # Errors
    /// When that cannot be told.
    pub async fn problems(&self) -> Result<Vec<String>, ProxyError> {
        match &self.external {
            Some(external) => external.problems().await,
            None => Ok(Vec::new()),
        }
    }

    /// Waits until nothing is in flight on `upstreams`, or until `deadline`, and then breaks off what is left, as far
    /// as the proxy can; else it ends with its instance.
    ///
    /// # Errors
    /// When the proxy does not answer.
    pub async fn drain(&self, upstreams: &[SocketAddrV4], deadline: Duration) -> Result<Drained, ProxyError> {
        match self.flipping() {
            Some(external) => external.drain(upstreams, deadline).await,
            None => self.control.drain(upstreams, deadline).await,
        }
    }

    /// Asks for `path` of `host` at the public port, as any client would, and gives which release of `app` has
    /// answered. `check` is the token that [`Proxy::put_route`] gave.
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
        match self.flipping() {
            Some(external) => external.check(app, host, path, check).await,
            None => self.control.check(self.settings.listen, host, path, check).await,
        }
    }

    /// The program that flips by itself.
    fn flipping(&self) -> Option<&External> {
        self.external.as_ref().filter(|_| !self.kind().has_embedded())
    }
}
