//! Caddy

use std::net::SocketAddrV4;

use futures_util::future::BoxFuture;

use super::command::as_root;
use super::kept::Choice;
use super::view::View;
use super::way::Way;
use crate::model::{Program, ProgramSettings, ProxySettings};
use crate::proxy::error::ProxyError;

/// Caddy, as the settings say that it runs.
#[derive(Debug)]
pub(super) struct Caddy {
    settings: ProgramSettings,
}

impl Caddy {
    pub(super) fn new(settings: &ProxySettings) -> Self {
        let own = settings.programs.get(&Program::Caddy).cloned();
        Self {
            settings: own.unwrap_or_default(),
        }
    }
}

impl Way for Caddy {
    fn file(&self) -> &'static str {
        "deployer.caddyfile"
    }

    fn template(&self, flips: bool) -> &'static str {
        match flips {
            true => include_str!("../../../templates/caddy/flip.caddyfile"),
            false => include_str!("../../../templates/caddy/front.caddyfile"),
        }
    }

    fn check(&self) -> Vec<String> {
        self.settings.check.clone().unwrap_or_else(|| as_root(&["caddy"]))
    }

    fn reload(&self) -> Vec<String> {
        self.settings
            .reload
            .clone()
            .unwrap_or_else(|| as_root(&["caddy"]))
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
