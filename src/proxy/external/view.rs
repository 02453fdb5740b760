//! What a template is given.

use std::fs::File;
use std::io::{self, Read};
use std::net::SocketAddrV4;
use std::path::{Path, PathBuf};

use serde::Serialize;
use sha2::{Digest, Sha256};

use super::kept::{Kept, KeptRoute};
use crate::model::{AppName, Lane, Program, ProxyKind, ProxySettings, Slot};
use crate::proxy::error::ProxyError;
use crate::proxy::route::HttpProbe;

/// The host that deployer asks which configuration the program has. No name ends in `invalid` (RFC 2606).
pub(super) const VERSION_HOST: &str = "deployer.invalid";

/// The most bytes of a snippet that is read.
const SNIPPET_MAX: u64 = 256 << 10;

/// Hexadecimal digits of a version.
const VERSION_DIGITS: usize = 16;

/// Everything that stands in deployer's part of a program's configuration.
#[derive(Debug, Clone, Serialize)]
pub(super) struct View {
    /// Names this configuration: another one has another version.
    pub(super) version: String,
    /// The token for a check.
    pub(super) check: String,
    /// `ADDRESS:PORT` of the public port, and its parts.
    pub(super) listen: String,
    pub(super) listen_ip: String,
    pub(super) listen_port: u16,
    /// Whether the public port and the slot ports are listened at. They are not while a switch tries whether the program
    /// takes all the rest.
    pub(super) is_public: bool,
    /// Where deployer asks the program, and its parts: see `door.rs`.
    pub(super) door: Option<SocketAddrV4>,
    pub(super) door_ip: String,
    pub(super) door_port: u16,
    /// The address that slot ports listen on.
    pub(super) slot_listen: String,
    /// The folder of deployer's part: the program can read it.
    pub(super) folder: PathBuf,
    /// The embedded proxy's socket, where the program stands in front of it.
    pub(super) socket: Option<PathBuf>,
    /// See [`VERSION_HOST`].
    pub(super) version_host: &'static str,
    /// Milliseconds: how long a request's head may take to arrive.
    pub(super) header_timeout: u64,
    /// Milliseconds: how long a kept connection may stay without a request.
    pub(super) idle_timeout: u64,
    /// Milliseconds: how long a body, either way, may make no progress.
    pub(super) body_timeout: u64,
    /// Milliseconds: how long an upstream may take to begin its answer.
    pub(super) response_timeout: u64,
    /// By name.
    pub(super) apps: Vec<AppView>,
    #[serde(skip)]
    template: &'static str,
    /// Why there is no text of it.
    #[serde(skip)]
    unreadable: Option<String>,
}

/// One app.
#[derive(Debug, Clone, Serialize)]
pub(super) struct AppView {
    pub(super) name: AppName,
    /// Lower case; empty: every host that is no other app's.
    pub(super) hosts: Vec<String>,
    /// Where what the user adds to this app's part is; it need not be there.
    pub(super) snippet: PathBuf,
    /// What is in it, for a program that cannot include it; none where there is nothing.
    pub(super) snippet_text: Option<String>,
    /// How its instances tell that they are well.
    pub(super) probe: Option<HttpProbe>,
    /// Blue first.
    pub(super) slots: Vec<SlotView>,
}

/// One slot of an app.
#[derive(Debug, Clone, Serialize)]
pub(super) struct SlotView {
    pub(super) slot: Slot,
    /// The slot's own port.
    pub(super) port: u16,
    /// Lane a first; none where nothing ever ran.
    pub(super) lanes: Vec<LaneView>,
}

/// One lane of a slot.
#[derive(Debug, Clone, Serialize)]
pub(super) struct LaneView {
    pub(super) lane: Lane,
    /// What the program calls it: `deployer.shop.green.a`. No app's name has a dot.
    pub(super) name: String,
    /// `ADDRESS:PORT` of each instance.
    pub(super) upstreams: Vec<SocketAddrV4>,
}

impl View {
    /// What stands in the configuration for these routes, written by `template`.
    pub(super) fn of(
        kept: &Kept,
        program: Program,
        settings: &ProxySettings,
        template: &'static str,
    ) -> Self {
        let is_front = matches!(settings.kind, ProxyKind::Front(_));
        let milliseconds =
            |duration: std::time::Duration| duration.as_millis().try_into().unwrap_or(u64::MAX);
        let apps = kept.apps.values().filter(|_| !is_front);
        let mut view = Self {
            version: String::new(),
            check: kept.check.clone(),
            listen: settings.listen.to_string(),
            listen_ip: settings.listen.ip().to_string(),
            listen_port: settings.listen.port(),
            is_public: true,
            door: kept.door,
            door_ip: kept.door.map_or(String::new(), |door| door.ip().to_string()),
            door_port: kept.door.map_or(0, |door| door.port()),
            slot_listen: settings.slot_listen.to_string(),
            folder: settings.folder.join(program.as_str()),
            socket: is_front.then(|| settings.socket.clone()),
            version_host: VERSION_HOST,
            header_timeout: milliseconds(settings.header_timeout),
            idle_timeout: milliseconds(settings.idle_timeout),
            body_timeout: milliseconds(settings.body_timeout),
            response_timeout: milliseconds(settings.response_timeout),
            apps: apps.map(|kept| AppView::of(kept, program, settings)).collect(),
            template,
            unreadable: None,
        };
        if program == Program::Haproxy {
            view.read_snippets();
        }
        view.version = view.digest();
        view
    }

    /// The same without the public port and the slot ports.
    pub(super) fn without_ports(&self) -> Self {
        let mut view = Self {
            is_public: false,
            version: String::new(),
            ..self.clone()
        };
        view.version = view.digest();
        view
    }

    /// The text that the template gives.
    ///
    /// # Errors
    /// When a snippet cannot be read, or the template is wrong, which a test of it shows.
    pub(super) fn text(&self) -> Result<String, ProxyError> {
        if let Some(why) = &self.unreadable {
            return Err(ProxyError::refused(why));
        }
        let mut environment = minijinja::Environment::new();
        environment.set_undefined_behavior(minijinja::UndefinedBehavior::Strict);
        let lines = minijinja::syntax::SyntaxConfig::builder()
            .trim_blocks(true)
            .lstrip_blocks(true)
            .keep_trailing_newline(true)
            .build();
        let failed = |error| ProxyError::failed(format!("the configuration cannot be written: {error:#}"));
        environment.set_syntax(lines.map_err(failed)?);
        environment
            .render_str(self.template, minijinja::value::Serde(self))
            .map_err(failed)
    }

    /// HAProxy includes no file.
    fn read_snippets(&mut self) {
        for app in &mut self.apps {
            match read_snippet(&app.snippet) {
                Ok(text) => app.snippet_text = text,
                Err(error) => {
                    self.unreadable = Some(format!("{} cannot be read: {error}", app.snippet.display()));
                }
            }
        }
    }

    /// Of the template and of all that it is given, but the version.
    fn digest(&self) -> String {
        let given = serde_json::to_vec(self).expect("a view is JSON");
        let digest = Sha256::new()
            .chain_update(self.template)
            .chain_update(given)
            .finalize();
        let mut digits: String = digest.iter().map(|byte| format!("{byte:02x}")).collect();
        digits.truncate(VERSION_DIGITS);
        digits
    }
}

impl AppView {
    fn of(kept: &KeptRoute, program: Program, settings: &ProxySettings) -> Self {
        let route = &kept.route;
        let probe = route.live_target().into_iter();
        let targets = route.slots.values().filter_map(|slot| slot.target.as_ref());
        Self {
            name: route.app.clone(),
            hosts: route.hosts.clone(),
            snippet: settings
                .snippets
                .join(format!("{}.{}", route.app, program.as_str())),
            snippet_text: None,
            probe: probe.chain(targets).find_map(|target| target.probe.clone()),
            slots: Slot::BOTH
                .into_iter()
                .filter_map(|slot| {
                    Some(SlotView {
                        slot,
                        port: route.slots.get(&slot)?.port,
                        lanes: lanes(kept, slot),
                    })
                })
                .collect(),
        }
    }
}

/// The lines of the file at `path`; none where there is no such file, or nothing in it.
fn read_snippet(path: &Path) -> io::Result<Option<String>> {
    let file = match File::open(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        opened => opened?,
    };
    let mut text = String::new();
    file.take(SNIPPET_MAX + 1).read_to_string(&mut text)?;
    if text.len() as u64 > SNIPPET_MAX {
        return Err(io::Error::other(format!("it has more than {SNIPPET_MAX} bytes")));
    }
    let text = text.trim_end();
    Ok((!text.is_empty()).then(|| text.to_owned()))
}

fn lanes(kept: &KeptRoute, slot: Slot) -> Vec<LaneView> {
    let lanes = kept.lanes.get(&slot).into_iter().flatten();
    lanes
        .map(|(lane, upstreams)| LaneView {
            lane: *lane,
            name: format!("deployer.{}.{slot}.{lane}", kept.route.app),
            upstreams: upstreams.clone(),
        })
        .collect()
}
