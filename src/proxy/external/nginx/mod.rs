//! nginx: a flip is a marker file, which it looks up for every request; what is in flight stands in its shared memory.

mod connections;
mod in_flight;
mod workers;

use std::net::{SocketAddr, SocketAddrV4};

use futures_util::future::BoxFuture;

use self::in_flight::Unconnected;
use super::command::as_root;
use super::kept::Choice;
use super::marks::Marks;
use super::view::View;
use super::way::Way;
use crate::model::{Program, ProgramSettings, ProxySettings};
use crate::proxy::error::ProxyError;

/// nginx, as the settings say that it runs.
#[derive(Debug)]
pub(super) struct Nginx {
    settings: ProgramSettings,
    listen: SocketAddr,
    marks: Marks,
    unconnected: Unconnected,
}

impl Nginx {
    pub(super) fn new(settings: &ProxySettings) -> Self {
        let own = settings.programs.get(&Program::Nginx).cloned();
        Self {
            settings: own.unwrap_or_default(),
            listen: settings.listen,
            marks: Marks::new(&settings.folder.join(Program::Nginx.as_str())),
            unconnected: Unconnected::default(),
        }
    }
}

impl Way for Nginx {
    fn file(&self) -> &'static str {
        "deployer.conf"
    }

    fn template(&self, flips: bool) -> &'static str {
        match flips {
            true => include_str!("../../../../templates/nginx/flip.conf"),
            false => include_str!("../../../../templates/nginx/front.conf"),
        }
    }

    fn check(&self) -> Vec<String> {
        let own = self.settings.check.clone();
        own.unwrap_or_else(|| as_root(&["nginx", "-t", "-q"]))
    }

    fn reload(&self) -> Vec<String> {
        let own = self.settings.reload.clone();
        own.unwrap_or_else(|| as_root(&["nginx", "-s", "reload"]))
    }

    fn settled<'a>(&'a self, view: &'a View) -> BoxFuture<'a, Result<(), ProxyError>> {
        Box::pin(async {
            workers::former_ones_accept_nothing(self.listen, view).await;
            Ok(())
        })
    }

    fn choose<'a>(&'a self, _view: &'a View, choices: &'a [Choice]) -> BoxFuture<'a, Result<(), ProxyError>> {
        Box::pin(async {
            let chosen = self.marks.choose(choices);
            chosen.map_err(|error| ProxyError::failed(format!("the markers cannot be set: {error}")))
        })
    }

    fn chosen<'a>(&'a self, view: &'a View) -> BoxFuture<'a, Result<Vec<Choice>, ProxyError>> {
        let apps = view.apps.iter().map(|app| &app.name);
        Box::pin(async { Ok(self.marks.chosen(apps)) })
    }

    fn in_flight<'a>(
        &'a self,
        view: &'a View,
        upstreams: &'a [SocketAddrV4],
    ) -> BoxFuture<'a, Result<u64, ProxyError>> {
        Box::pin(self.count(view, upstreams))
    }
}
