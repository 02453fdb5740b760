//! What a template is given.

use std::collections::BTreeSet;
use std::fs::File;
use std::io::{self, Read};
use std::net::SocketAddrV4;
use std::path::{Path, PathBuf};

use serde::Serialize;
use sha2::{Digest, Sha256};

use super::kept::{Kept, KeptRoute};
use crate::model::{AppName, Lane, Program, ProxyKind, ProxySettings, Slot, text_of_file};
use crate::proxy::claims;
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
    /// The peers whose claims go on, with IPv4 and IPv6 addresses as nginx, HAProxy and Caddy read them.
    pub(super) trusted: Vec<String>,
    /// What goes on of nobody else's requests: see `claims`.
    pub(super) claims: Vec<&'static str>,
    pub(super) claims_pattern: String,
    pub(super) folded_patterns: Vec<String>,
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
    /// Whether it answers on every host that is no other app's.
    pub(super) takes_rest: bool,
    /// Its hosts that are no wildcards, in lower case.
    pub(super) hosts: Vec<String>,
    /// What stands behind the `*.` of its wildcards.
    pub(super) wildcards: Vec<String>,
    /// The hosts of other apps that one of the wildcards matches, and that are not this app's.
    pub(super) exceptions: Vec<String>,
    /// Milliseconds, as the configuration's own, which hold where the app has none.
    pub(super) body_timeout: u64,
    pub(super) response_timeout: u64,
    /// Where what the user adds to this app's part is; it need not be there.
    pub(super) snippet: PathBuf,
    /// What is in it, for a program that cannot include it; none where there is nothing.
    pub(super) snippet_text: Option<String>,
    /// How its instances tell that they are well.
    pub(super) probe: Option<HttpProbe>,
    /// Blue first.
    pub(super) slots: Vec<SlotView>,
    /// The slots whose own ports the program listens on: all that nobody else has.
    pub(super) open_slots: Vec<SlotView>,
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
            trusted: settings.trusted.iter().map(ToString::to_string).collect(),
            claims: claims::names().collect(),
            claims_pattern: claims::pattern(),
            folded_patterns: claims::folded_patterns(),
            header_timeout: milliseconds(settings.header_timeout),
            idle_timeout: milliseconds(settings.idle_timeout),
            body_timeout: milliseconds(settings.body_timeout),
            response_timeout: milliseconds(settings.response_timeout),
            apps: apps
                .map(|app| AppView::of(app, &kept.closed, program, settings))
                .collect(),
            template,
            unreadable: None,
        };
        view.except_named_hosts();
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

    /// A host that an app names is that app's, whatever wildcard matches it.
    fn except_named_hosts(&mut self) {
        let named: Vec<String> = self.apps.iter().flat_map(|app| app.hosts.clone()).collect();
        for app in &mut self.apps {
            let matches = |host: &&String| {
                let domain = host.split_once('.').map(|(_, domain)| domain);
                domain.is_some_and(|domain| app.wildcards.iter().any(|wildcard| wildcard == domain))
            };
            let others = named.iter().filter(|host| !app.hosts.contains(host));
            app.exceptions = others.filter(matches).cloned().collect();
        }
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
    fn of(kept: &KeptRoute, closed: &BTreeSet<u16>, program: Program, settings: &ProxySettings) -> Self {
        let route = &kept.route;
        let slots = Slot::BOTH.into_iter().filter_map(|slot| {
            Some(SlotView {
                slot,
                port: route.slots.get(&slot)?.port,
                lanes: lanes(kept, slot),
            })
        });
        let slots: Vec<SlotView> = slots.collect();
        let is_open = |slot: &&SlotView| !closed.contains(&slot.port);
        let probe = route.live_target().into_iter();
        let targets = route.slots.values().filter_map(|slot| slot.target.as_ref());
        let (wildcards, named): (Vec<_>, Vec<_>) =
            route.hosts.iter().partition(|host| host.starts_with("*."));
        Self {
            name: route.app.clone(),
            takes_rest: route.hosts.is_empty(),
            hosts: named.into_iter().cloned().collect(),
            wildcards: wildcards
                .iter()
                .filter_map(|host| host.strip_prefix("*."))
                .map(ToOwned::to_owned)
                .collect(),
            exceptions: Vec::new(),
            body_timeout: route.body_timeout.unwrap_or(milliseconds(settings.body_timeout)),
            response_timeout: route
                .response_timeout
                .unwrap_or(milliseconds(settings.response_timeout)),
            snippet: settings
                .snippets
                .join(format!("{}.{}", route.app, program.as_str())),
            snippet_text: None,
            probe: probe.chain(targets).find_map(|target| target.probe.clone()),
            open_slots: slots.iter().filter(is_open).cloned().collect(),
            slots,
        }
    }
}

fn milliseconds(duration: std::time::Duration) -> u64 {
    duration.as_millis().try_into().unwrap_or(u64::MAX)
}

/// The lines of the file at `path`; none where there is no such file, or nothing in it.
fn read_snippet(path: &Path) -> io::Result<Option<String>> {
    let file = match File::open(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        opened => opened?,
    };
    let mut bytes = Vec::new();
    file.take(SNIPPET_MAX + 1).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > SNIPPET_MAX {
        return Err(io::Error::other(format!("it has more than {SNIPPET_MAX} bytes")));
    }
    // It is written into the middle of a file, where a mark would be a part of its first word.
    let text = text_of_file(&bytes)
        .map_err(|error| io::Error::other(format!("{error} (line {})", error.line())))?
        .trim_end();
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

#[cfg(test)]
mod tests {
    use std::net::{Ipv4Addr, SocketAddrV4};
    use std::time::Duration;

    use super::*;
    use crate::model::{AddressPlan, ReleaseId};
    use crate::proxy::{AppRoute, SlotRoute, Target};

    /// A name that is longer than nginx's table of names takes.
    const LONG: &str = "an-app-whose-name-is-long-as-names-go.shop.example";

    fn route(app: &str, index: u16, hosts: &[&str]) -> AppRoute {
        let plan = AddressPlan::new("10.213.0.0/16".parse().unwrap(), index.into()).unwrap();
        let address = SocketAddrV4::new(plan.address(Slot::Blue, Lane::A, 0), 80);
        let target = Target {
            release: ReleaseId(1),
            upstreams: vec![address],
            probe: None,
        };
        let slot = SlotRoute {
            port: 50_100 + index,
            target: Some(target),
        };
        AppRoute {
            app: app.parse().unwrap(),
            hosts: hosts.iter().map(|&host| host.to_owned()).collect(),
            response_timeout: None,
            body_timeout: None,
            trailers: false,
            live: Some(Slot::Blue),
            slots: [(Slot::Blue, slot)].into(),
        }
    }

    /// The configuration of `program` for an app with a wildcard and timeouts of its own, for two that have one of the
    /// hosts that it matches each, and for one that has the rest.
    fn text(program: Program, template: &'static str) -> String {
        let mut shop = route("shop", 1, &["*.shop.example", "shop.example"]);
        (shop.response_timeout, shop.body_timeout) = (Some(5_000), Some(300_000));
        let others = [
            route("blog", 2, &["blog.shop.example"]),
            route("rest", 3, &[]),
            route("zoo", 4, &[LONG]),
        ];
        let mut kept = Kept::new("token".to_owned());
        for route in others.iter().chain([&shop]) {
            kept.put(route, "10.213.0.0/16".parse().unwrap()).unwrap();
        }
        let settings = ProxySettings {
            kind: ProxyKind::Flip(program),
            folder: PathBuf::from("/nowhere"),
            snippets: PathBuf::from("/nowhere"),
            socket: PathBuf::from("/nowhere"),
            programs: Default::default(),
            listen: (Ipv4Addr::LOCALHOST, 8080).into(),
            slot_listen: Ipv4Addr::LOCALHOST.into(),
            metrics_listen: None,
            trusted: Vec::new(),
            header_timeout: Duration::from_secs(10),
            idle_timeout: Duration::from_secs(75),
            body_timeout: Duration::from_secs(60),
            response_timeout: Duration::from_secs(60),
        };
        View::of(&kept, program, &settings, template).text().unwrap()
    }

    fn nginx() -> String {
        text(Program::Nginx, include_str!("../../../templates/nginx/flip.conf"))
    }

    fn haproxy() -> String {
        text(
            Program::Haproxy,
            include_str!("../../../templates/haproxy/flip.cfg"),
        )
    }

    fn caddy() -> String {
        text(
            Program::Caddy,
            include_str!("../../../templates/caddy/flip.caddyfile"),
        )
    }

    #[track_caller]
    fn has(text: &str, lines: &[&str]) {
        for line in lines {
            assert!(
                text.lines().any(|found| found.trim() == *line),
                "{line:?} is not in\n{text}"
            );
        }
    }

    #[test]
    fn a_wildcard_is_one_label_that_no_app_names() {
        let long = LONG.replace('.', "[.]");
        let server = format!("server_name shop.example \"~^(?!({long})$)[^.]+[.]shop[.]example$\";");
        has(
            &nginx(),
            &[&server, "server_name blog.shop.example;", "server_name \"\";"],
        );

        let haproxy = haproxy();
        let any = "acl deployer.shop.any var(txn.deployer_host) -m reg '^[^.]+[.]shop[.]example$'";
        has(
            &haproxy,
            &[
                any,
                "acl deployer.shop var(txn.deployer_host) -m str shop.example",
            ],
        );
        let at = |text: &str| haproxy.find(text).unwrap();
        assert!(at("if deployer.zoo") < at(any), "{haproxy}");

        let sites = "http://shop.example:8080, http://shop.example.:8080, http://*.shop.example:8080, \
                     http://*.shop.example.:8080 {";
        has(&caddy(), &[sites]);
    }

    #[test]
    fn an_app_has_timeouts_of_its_own() {
        has(
            &nginx(),
            &[
                "proxy_read_timeout 5000ms;",
                "proxy_read_timeout 60000ms;",
                "client_body_timeout 300000ms;",
                "client_body_timeout 60000ms;",
            ],
        );
        has(
            &haproxy(),
            &[
                "timeout server 300000ms",
                "timeout server 60000ms",
                "timeout client 300000ms",
                "timeout client 60000ms",
            ],
        );
        has(
            &caddy(),
            &[
                "response_header_timeout 5000ms",
                "response_header_timeout 60000ms",
                "import deployer.shop.alone",
                "import deployer.alone",
            ],
        );
    }

    #[test]
    fn a_snippet_is_read_without_its_mark_and_refused_in_another_encoding() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("shop.nginx");
        std::fs::write(&path, "\u{feff}allow all;\n").unwrap();
        assert_eq!(read_snippet(&path).unwrap().as_deref(), Some("allow all;"));
        std::fs::write(&path, b"\xff\xfea\0").unwrap();
        let refused = read_snippet(&path).unwrap_err().to_string();
        assert!(
            refused.starts_with("it is UTF-16") && refused.ends_with("(line 1)"),
            "{refused}"
        );
    }
}
