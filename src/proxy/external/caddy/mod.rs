//! Caddy: marker files choose, which its `file` matcher looks up for every request.
//!
//! A flip is none of Caddy's business, so it needs no reload; a reload ends its WebSockets. Its admin address tells how
//! many requests are in flight on each upstream, those of a former configuration and upgraded connections among them,
//! and how often an upstream could not be reached of late.

mod admin;

use std::fs::{self, File};
use std::net::SocketAddrV4;
use std::time::Duration;

use futures_util::future::BoxFuture;

use self::admin::{Admin, Upstream};
use super::kept::{Choice, Down};
use super::marks::Marks;
use super::view::View;
use super::way::Way;
use crate::model::{Program, ProgramSettings, ProxySettings};
use crate::proxy::error::ProxyError;

/// Debian's main configuration.
const CONFIGURATION: &str = "/etc/caddy/Caddyfile";

/// The marker by which every answer ends its connection.
const CLOSING: &str = "closing";

/// How long it stands before a reload: a connection that had no request for longer is closed without a word.
const LINGER: Duration = Duration::from_millis(1200);

/// Before it is asked again how much is in flight: each question is a line of its log.
const PAUSE: Duration = Duration::from_millis(200);

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

    fn admin(&self) -> Admin<'_> {
        Admin::at(self.settings.admin.as_deref())
    }
}

impl Way for Caddy {
    fn file(&self) -> &'static str {
        "deployer.caddyfile"
    }

    fn template(&self, flips: bool) -> &'static str {
        match flips {
            true => include_str!("../../../../templates/caddy/flip.caddyfile"),
            false => include_str!("../../../../templates/caddy/front.caddyfile"),
        }
    }

    /// Reads it, and needs no right but that: `caddy validate` would open the user's log files and keys as whoever runs
    /// it. What only shows when it is put to use, Caddy itself refuses at the reload, and goes on with the former one.
    fn check(&self) -> Vec<String> {
        let default = || words(&["adapt", "--config", CONFIGURATION, "--adapter", "caddyfile"]);
        self.settings.check.clone().unwrap_or_else(default)
    }

    fn reload(&self) -> Vec<String> {
        let default = || {
            let mut reload = words(&["reload", "--config", CONFIGURATION, "--adapter", "caddyfile"]);
            if let Some(admin) = &self.settings.admin {
                reload.extend(["--address".to_owned(), admin.clone()]);
            }
            reload
        };
        self.settings.reload.clone().unwrap_or_else(default)
    }

    /// A reload closes kept connections, also under a request that is on its way. So every answer first ends its own
    /// connection and says so, until those that are in use are gone.
    fn before_reload<'a>(&'a self, view: &'a View, serves: bool) -> BoxFuture<'a, ()> {
        Box::pin(async move {
            let is_any = view.folder.join("marks").exists();
            if serves && is_any && File::create(view.folder.join(CLOSING)).is_ok() {
                tokio::time::sleep(LINGER).await;
            }
        })
    }

    fn after_reload(&self, view: &View) {
        let _ = fs::remove_file(view.folder.join(CLOSING));
    }

    /// `caddy reload` comes back when the former configuration takes no connection any more, and what it still serves
    /// goes by the same markers.
    fn settled<'a>(&'a self, _view: &'a View) -> BoxFuture<'a, Result<(), ProxyError>> {
        Box::pin(async { Ok(()) })
    }

    fn choose<'a>(&'a self, view: &'a View, choices: &'a [Choice]) -> BoxFuture<'a, Result<(), ProxyError>> {
        Box::pin(async {
            let marks = Marks::new(&view.folder);
            marks.choose(choices).map_err(|error| {
                ProxyError::failed(format!(
                    "the markers in {} cannot be changed: {error}",
                    view.folder.join("marks").display()
                ))
            })
        })
    }

    fn chosen<'a>(&'a self, view: &'a View) -> BoxFuture<'a, Result<Vec<Choice>, ProxyError>> {
        Box::pin(async {
            let marks = Marks::new(&view.folder);
            Ok(marks.chosen(view.apps.iter().map(|app| &app.name)))
        })
    }

    fn in_flight<'a>(
        &'a self,
        _view: &'a View,
        upstreams: &'a [SocketAddrV4],
    ) -> BoxFuture<'a, Result<u64, ProxyError>> {
        Box::pin(async {
            let told = self.admin().upstreams().await?;
            let of = |address: &SocketAddrV4| told.iter().find(|upstream| upstream.is_at(*address));
            let in_flight = upstreams.iter().filter_map(of).map(Upstream::in_flight).sum();
            if in_flight > 0 {
                tokio::time::sleep(PAUSE).await;
            }
            Ok(in_flight)
        })
    }

    /// Those that could not be reached in the last second: Caddy sends nothing there. A lane's only instance is never
    /// among them, since Caddy tries it all the same.
    fn out<'a>(&'a self, view: &'a View) -> BoxFuture<'a, Result<Vec<Down>, ProxyError>> {
        Box::pin(async {
            let mut out = Vec::new();
            for upstream in self.admin().upstreams().await? {
                let app = view.apps.iter().find(|app| {
                    let mut lanes = app.slots.iter().flat_map(|slot| &slot.lanes);
                    lanes.any(|lane| lane.upstreams.iter().any(|address| upstream.is_at(*address)))
                });
                if let (Some(app), Some(address), true) = (app, upstream.address(), upstream.fails > 0) {
                    out.push(Down {
                        app: app.name.clone(),
                        address,
                        since: jiff::Timestamp::now(),
                        why: "Caddy could not reach it".to_owned(),
                    });
                }
            }
            Ok(out)
        })
    }
}

/// Caddy with these arguments. It needs no root: whoever may ask at its admin address may reload it.
fn words(arguments: &[&str]) -> Vec<String> {
    let words = ["caddy"].iter().chain(arguments);
    words.map(|word| (*word).to_owned()).collect()
}
