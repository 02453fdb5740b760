//! What differs from program to program.

use std::fmt::Debug;
use std::net::SocketAddrV4;

use futures_util::future::BoxFuture;

use super::kept::{Choice, Down};
use super::view::View;
use crate::proxy::error::ProxyError;

/// One program's own way.
pub(super) trait Way: Debug + Send + Sync {
    /// The name of deployer's own file of its configuration.
    fn file(&self) -> &'static str;

    /// The template of that file: for flipping, or for standing in front of the embedded proxy.
    fn template(&self, flips: bool) -> &'static str;

    /// The name of a file beside it that the configuration needs to be taken at all; an empty one is made where there is
    /// none.
    fn beside(&self) -> Option<&'static str> {
        None
    }

    /// The command that checks the whole configuration.
    fn check(&self) -> Vec<String>;

    /// The command that has the program read its configuration again.
    fn reload(&self) -> Vec<String>;

    /// Prepares the program for a reload, which follows: the configuration before that of `view` is in force. A program
    /// that closes kept connections when it reloads has its clients leave them before, where it `serves` any.
    fn before_reload<'a>(&'a self, view: &'a View, serves: bool) -> BoxFuture<'a, ()> {
        let _ = (view, serves);
        Box::pin(async {})
    }

    /// Ends what [`Way::before_reload`] began: the new configuration has settled, or the former one is back.
    fn after_reload(&self, view: &View) {
        let _ = view;
    }

    /// Comes back when nothing of the program serves by a former configuration in a way that could be wrong after a
    /// flip, or when it has been waited for long enough. The new configuration is in force already.
    fn settled<'a>(&'a self, view: &'a View) -> BoxFuture<'a, Result<(), ProxyError>>;

    /// Puts these choices in force, without a reload. When this returns they survive a crash of program and machine,
    /// and no request that begins from then on goes where another choice would send it. Apps that are not among them
    /// are forgotten.
    fn choose<'a>(&'a self, view: &'a View, choices: &'a [Choice]) -> BoxFuture<'a, Result<(), ProxyError>>;

    /// What is really chosen for the apps of `view`; an app of which nothing is known is not among them.
    fn chosen<'a>(&'a self, view: &'a View) -> BoxFuture<'a, Result<Vec<Choice>, ProxyError>>;

    /// How many requests and upgraded connections are in flight on `upstreams`, as well as it can be told.
    fn in_flight<'a>(
        &'a self,
        view: &'a View,
        upstreams: &'a [SocketAddrV4],
    ) -> BoxFuture<'a, Result<u64, ProxyError>>;

    /// The instances that the program itself has found to be down, whether requests go to them or not.
    fn out<'a>(&'a self, view: &'a View) -> BoxFuture<'a, Result<Vec<Down>, ProxyError>> {
        let _ = view;
        Box::pin(async { Ok(Vec::new()) })
    }
}
