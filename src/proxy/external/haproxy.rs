//! HAProxy

use std::net::SocketAddrV4;

use futures_util::future::BoxFuture;

use super::command::as_root;
use super::kept::Choice;
use super::view::View;
use super::way::Way;
use crate::model::{Program, ProgramSettings, ProxySettings};
use crate::proxy::error::ProxyError;

/// HAProxy, as the settings say that it runs.
#[derive(Debug)]
pub(super) struct Haproxy {
    settings: ProgramSettings,
}

impl Haproxy {
    pub(super) fn new(settings: &ProxySettings) -> Self {
        let own = settings.programs.get(&Program::Haproxy).cloned();
        Self {
            settings: own.unwrap_or_default(),
        }
    }
}

impl Way for Haproxy {
    fn file(&self) -> &'static str {
        "deployer.cfg"
    }

    fn template(&self, flips: bool) -> &'static str {
        match flips {
            true => include_str!("../../../templates/haproxy/flip.cfg"),
            false => include_str!("../../../templates/haproxy/front.cfg"),
        }
    }

    fn check(&self) -> Vec<String> {
        self.settings
            .check
            .clone()
            .unwrap_or_else(|| as_root(&["haproxy"]))
    }

    fn reload(&self) -> Vec<String> {
        self.settings
            .reload
            .clone()
            .unwrap_or_else(|| as_root(&["haproxy"]))
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
