//! What takes routes: the embedded proxy, a program that flips by itself (`external/flip.rs`), or a program in front of
//! the embedded proxy.

pub(super) mod embedded;
pub(super) mod front;

use std::fmt::Debug;
use std::net::{SocketAddr, SocketAddrV4};
use std::time::Duration;

use futures_util::future::BoxFuture;

use super::answers::{Applied, Checked, ClosedPort, Drained, Mismatch, OutInstance};
use super::error::ProxyError;
use super::in_use::Place;
use super::route::AppRoute;
use super::visit::Visit;
use crate::model::{AppName, ProxyKind};

/// An answer that is waited for.
pub type Answer<'a, T> = BoxFuture<'a, Result<T, ProxyError>>;

/// One kind of proxy at one public address.
pub trait Backend: Debug + Send + Sync {
    /// What it is, and where.
    fn place(&self) -> Place;

    /// Where its public port really is: the embedded proxy may have been started by a former configuration.
    ///
    /// # Errors
    /// When it does not answer.
    fn listens(&self) -> Answer<'_, SocketAddr>;

    /// Makes sure that it answers.
    ///
    /// # Errors
    /// When it does not.
    fn ready(&self) -> Answer<'_, ()>;

    /// Makes `route` the whole route of its app. When this returns, the route is durable, and every request that is
    /// routed from then on follows it.
    ///
    /// # Errors
    /// [`ProxyError::Refused`] when the route clashes with another, the program refuses its configuration, or the route
    /// cannot be written: nothing has changed then.
    fn put_route<'a>(&'a self, route: &'a AppRoute) -> Answer<'a, Applied>;

    /// Removes the route of `app`, and closes its slot ports. Without such a route nothing happens.
    ///
    /// # Errors
    /// As for [`Backend::put_route`].
    fn remove_route<'a>(&'a self, app: &'a AppName) -> Answer<'a, ()>;

    /// Every route in force, by the app's name.
    ///
    /// # Errors
    /// When the proxy does not answer.
    fn routes(&self) -> Answer<'_, Vec<AppRoute>>;

    /// The instances that get no request because they could not be reached, by app, slot and number.
    ///
    /// # Errors
    /// When the proxy does not answer.
    fn out(&self) -> Answer<'_, Vec<OutInstance>>;

    /// Slot ports that the proxy routes and does not listen on, since somebody else has them. The embedded proxy tries
    /// them again and again; another program has them again from the next route of their app on.
    ///
    /// # Errors
    /// When the proxy does not answer.
    fn closed_ports(&self) -> Answer<'_, Vec<ClosedPort>>;

    /// What is not as it should be of a program's configuration.
    ///
    /// # Errors
    /// When that cannot be told.
    fn mismatches(&self) -> Answer<'_, Vec<Mismatch>>;

    /// Waits until nothing is in flight on `upstreams`, or until `deadline`, and then breaks off what is left, as far
    /// as the proxy can; else it ends with its instance.
    ///
    /// # Errors
    /// When the proxy does not answer.
    fn drain<'a>(&'a self, upstreams: &'a [SocketAddrV4], deadline: Duration) -> Answer<'a, Drained>;

    /// Asks for `path` of `host` where only deployer's part answers, and gives which release of `app` has: at the public
    /// port where that is the embedded proxy's own, at its socket behind a program in front, and at the door that a
    /// program has for deployer. `check` is the token that [`Backend::put_route`] gave.
    ///
    /// # Errors
    /// When nothing answers there within 10 seconds.
    fn check<'a>(
        &'a self,
        app: &'a AppName,
        host: &'a str,
        path: &'a str,
        check: &'a str,
    ) -> Answer<'a, Checked>;

    /// What a visitor who asks for `path` of `host` is answered at the public port of a program, `within` that time; none
    /// where the public port is the embedded proxy's own.
    ///
    /// # Errors
    /// When no answer comes.
    fn visit<'a>(
        &'a self,
        app: &'a AppName,
        host: &'a str,
        path: &'a str,
        within: Duration,
    ) -> BoxFuture<'a, Option<Result<Visit, ProxyError>>>;

    /// Makes sure that the embedded proxy runs, whichever ports it has, where it is a part of this.
    ///
    /// # Errors
    /// When it does not.
    fn embedded_answers(&self) -> Answer<'_, ()>;

    /// Makes sure that it can leave for `other`.
    ///
    /// # Errors
    /// When the user's own part of the program's configuration needs deployer's.
    fn can_leave(&self, other: Place) -> Answer<'_, ()>;

    /// Does everything that can be done for `routes` to be in force here without taking a port from anybody: routes are
    /// put, a program's configuration is written and checked. What it serves already goes on.
    ///
    /// # Errors
    /// When it does not answer, or refuses: what was written is for [`Backend::leave`].
    fn prepare<'a>(&'a self, routes: &'a [AppRoute]) -> Answer<'a, ()>;

    /// Has everything in force here but the ports, after [`Backend::prepare`], so that all is seen to work before anybody
    /// lets a port go. Gives the token of each app's check; none where the apps cannot be asked for yet, since the
    /// embedded proxy has no port and no socket.
    ///
    /// # Errors
    /// When the program does not run, or does not take it.
    fn rehearse<'a>(&'a self, routes: &'a [AppRoute]) -> Answer<'a, Option<Vec<Applied>>>;

    /// Puts `routes`, and no others, in force, with the public port and, with `slots`, the slot ports. A port that is
    /// still taken is waited for, for as long as a program may take to let it go. Gives the token of each app's check,
    /// in the order of the routes. A slot port that stays taken is left out.
    ///
    /// # Errors
    /// When it does not answer, refuses, or the public port stays taken.
    fn take<'a>(&'a self, routes: &'a [AppRoute], slots: bool) -> Answer<'a, Vec<Applied>>;

    /// Lets go of what `other`, which is to take them, cannot have meanwhile: slot ports, and with `public` the public
    /// port. What is in flight goes on.
    ///
    /// # Errors
    /// When it does not answer, or cannot.
    fn let_go(&self, other: Place, public: bool) -> Answer<'_, ()>;

    /// Lets go of everything that `other`, which is in use, does not need. An embedded proxy that is `wanted` stays,
    /// without a port, and waits to be switched to; else its process ends, once what it has in flight has ended.
    ///
    /// # Errors
    /// When it cannot be told to. One that does not run has nothing.
    fn leave(&self, other: Place, wanted: ProxyKind) -> Answer<'_, ()>;
}
