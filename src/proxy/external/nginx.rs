//! nginx

use std::net::SocketAddrV4;

use futures_util::future::BoxFuture;

use super::command::as_root;
use super::kept::Choice;
use super::view::View;
use super::way::Way;
use crate::model::{Program, ProgramSettings, ProxySettings};
use crate::proxy::error::ProxyError;

/// nginx, as the settings say that it runs.
#[derive(Debug)]
pub(super) struct Nginx {
    settings: ProgramSettings,
}

impl Nginx {
    pub(super) fn new(settings: &ProxySettings) -> Self {
        let own = settings.programs.get(&Program::Nginx).cloned();
        Self {
            settings: own.unwrap_or_default(),
        }
    }
}

impl Way for Nginx {
    fn file(&self) -> &'static str {
        "deployer.conf"
    }

    fn template(&self, flips: bool) -> &'static str {
        match flips {
            true => include_str!("../../../templates/nginx/flip.conf"),
            false => include_str!("../../../templates/nginx/front.conf"),
        }
    }

    fn check(&self) -> Vec<String> {
        self.settings.check.clone().unwrap_or_else(|| as_root(&["nginx"]))
    }

    fn reload(&self) -> Vec<String> {
        self.settings
            .reload
            .clone()
            .unwrap_or_else(|| as_root(&["nginx"]))
    }

    fn settled<'a>(&'a self, _view: &'a View) -> BoxFuture<'a, Result<(), ProxyError>> {
        Box::pin(async { Ok(()) })
    }

    fn choose<'a>(
        &'a self,
        _view: &'a View,
        _choices: &'a [Choice],
    ) -> BoxFuture<'a, Result<(), ProxyError>> {
        Box::pin(async { Err(ProxyError::refused("it cannot yet")) })
    }

    fn chosen<'a>(&'a self, _view: &'a View) -> BoxFuture<'a, Result<Vec<Choice>, ProxyError>> {
        Box::pin(async { Ok(Vec::new()) })
    }

    fn in_flight<'a>(
        &'a self,
        _view: &'a View,
        _upstreams: &'a [SocketAddrV4],
    ) -> BoxFuture<'a, Result<u64, ProxyError>> {
        Box::pin(async { Ok(0) })
    }
}
