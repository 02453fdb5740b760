//! Routes: what a flip says, and what makes one acceptable.

use std::collections::BTreeMap;
use std::net::SocketAddrV4;

use serde::{Deserialize, Serialize};

use crate::model::{AppName, ReleaseId, Slot};

/// The whole route of one app. A flip replaces it by another in one step.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AppRoute {
    /// The app.
    pub app: AppName,
    /// The hosts that are this app's, lower case, without a port; empty: every host that is no other app's. `*.NAME` is
    /// every host with one label before `.NAME` that no route names.
    pub hosts: Vec<String>,
    /// Milliseconds that an upstream may take to begin its answer; none: as the proxy has it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub response_timeout: Option<u64>,
    /// Milliseconds that a body, either way, may make no progress; none: as the proxy has it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub body_timeout: Option<u64>,
    /// The slot that the public port goes to; none: the public port answers 503.
    pub live: Option<Slot>,
    /// The slots that have a port of their own.
    pub slots: BTreeMap<Slot, SlotRoute>,
    /// Whether trailers of requests go on, those that may. A route that an older deployer has written lets none go on.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub trailers: bool,
}

/// A route with the token that lets a request ask which release has answered it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct StoredRoute {
    pub(super) route: AppRoute,
    pub(super) check: String,
}

/// Where one slot's traffic goes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SlotRoute {
    /// The slot's own port, which answers from this slot whether it is live or not.
    pub port: u16,
    /// What runs on the slot; none: its port answers 503.
    pub target: Option<Target>,
}

/// The instances of one release.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Target {
    /// The release that they run.
    pub release: ReleaseId,
    /// Their addresses, in the order of the instances.
    pub upstreams: Vec<SocketAddrV4>,
    /// How one that could not be reached is asked whether it is ready again; none: by a connection. A route that an
    /// older deployer has written has none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub probe: Option<HttpProbe>,
}

/// `GET path` must be answered with `status`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct HttpProbe {
    /// Path and query.
    pub path: String,
    /// The Host header.
    pub host: String,
    /// The statuses that mean ready, from and to, both included.
    pub status: (u16, u16),
    /// How long one try may take, in milliseconds.
    pub timeout: u64,
}

impl Target {
    /// Whether it has the same instances as `other`, however they are probed.
    pub fn has_the_instances_of(&self, other: &Self) -> bool {
        (self.release, &self.upstreams) == (other.release, &other.upstreams)
    }
}

impl AppRoute {
    /// What the public port goes to.
    pub fn live_target(&self) -> Option<&Target> {
        self.slots.get(&self.live?)?.target.as_ref()
    }

    /// The ports of its slots.
    pub(super) fn ports(&self) -> impl Iterator<Item = u16> {
        self.slots.values().map(|slot| slot.port)
    }

    /// Whether its public port goes where the other's does.
    pub(super) fn is_as_live_as(&self, other: &Self) -> bool {
        let same = match (self.live_target(), other.live_target()) {
            (Some(one), Some(other)) => one.has_the_instances_of(other),
            (one, other) => one.is_none() && other.is_none(),
        };
        self.live == other.live && same
    }

    /// The live slot and release as people read them: `green release 42`, or `nothing`.
    pub(super) fn live_text(&self) -> String {
        match (self.live, self.live_target()) {
            (Some(slot), Some(target)) => format!("{slot} release {}", target.release),
            (Some(slot), None) => format!("{slot}, which runs nothing"),
            (None, _) => "nothing".to_owned(),
        }
    }

    /// Whether this route can stand beside the `others` (a former route of the same app among them is passed
    /// over) and beside the proxy's own `public` port.
    ///
    /// # Errors
    /// The reason why not, as a sentence.
    pub(super) fn check<'a>(
        &self,
        others: impl Iterator<Item = &'a AppRoute> + Clone,
        public: u16,
    ) -> Result<(), String> {
        self.check_alone(public)?;
        for other in others.filter(|other| other.app != self.app) {
            self.check_beside(other)?;
        }
        Ok(())
    }

    fn check_alone(&self, public: u16) -> Result<(), String> {
        if let Some(host) = self.hosts.iter().find(|host| !is_host(host)) {
            return Err(format!(
                "{host:?} is not a host name in lower case without a port"
            ));
        }
        if let Some(slot) = self.live
            && !self.slots.contains_key(&slot)
        {
            return Err(format!("the live slot {slot} has no route"));
        }
        let mut ports = vec![public];
        for (slot, route) in &self.slots {
            if route.port == 0 {
                return Err(format!("the slot {slot} has no port"));
            }
            if ports.contains(&route.port) {
                return Err(format!("port {} is wanted twice", route.port));
            }
            ports.push(route.port);
            if route
                .target
                .as_ref()
                .is_some_and(|target| target.upstreams.is_empty())
            {
                return Err(format!("the slot {slot} has a release without an instance"));
            }
        }
        Ok(())
    }

    fn check_beside(&self, other: &AppRoute) -> Result<(), String> {
        if self.hosts.is_empty() && other.hosts.is_empty() {
            return Err(format!(
                "{} already answers for every host that is no other app's: give {} hosts of its own",
                other.app, self.app
            ));
        }
        if let Some(host) = self.hosts.iter().find(|host| other.hosts.contains(host)) {
            return Err(format!("the host {host} is already {}'s", other.app));
        }
        let taken = |port| other.slots.values().any(|slot| slot.port == port);
        match self.slots.values().find(|slot| taken(slot.port)) {
            Some(slot) => Err(format!("port {} is already {}'s", slot.port, other.app)),
            None => Ok(()),
        }
    }
}

/// Host names, IPv4 addresses and bracketed IPv6 addresses, as a Host header has them once its port is cut; and wildcards.
fn is_host(text: &str) -> bool {
    let text = text.strip_prefix("*.").unwrap_or(text);
    (1..=253).contains(&text.len())
        && !text.ends_with('.')
        && text
            .bytes()
            .all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b"-._[]:".contains(&b))
        && (!text.contains(':') || (text.starts_with('[') && text.ends_with(']')))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn route(app: &str, hosts: &[&str], ports: [u16; 2]) -> AppRoute {
        let slot = |port| SlotRoute { port, target: None };
        AppRoute {
            app: app.parse().unwrap(),
            hosts: hosts.iter().map(|&host| host.to_owned()).collect(),
            response_timeout: None,
            body_timeout: None,
            live: Some(Slot::Blue),
            slots: [(Slot::Blue, slot(ports[0])), (Slot::Green, slot(ports[1]))].into(),
            trailers: false,
        }
    }

    #[test]
    fn a_route_that_clashes_with_another_is_refused_and_the_reason_names_both() {
        let shop = route("shop", &["shop.example", "*.wild.example"], [50100, 50101]);
        let all = route("all", &[], [50102, 50103]);
        let old = [shop.clone(), all.clone()];
        assert_eq!(shop.check(old.iter(), 80), Ok(()));
        for (new, reason) in [
            (
                route("new", &["shop.example"], [1, 2]),
                "the host shop.example is already shop's",
            ),
            (
                route("new", &["*.wild.example"], [1, 2]),
                "the host *.wild.example is already shop's",
            ),
            (route("new", &["a.*.example"], [1, 2]), "not a host name"),
            (route("new", &["*"], [1, 2]), "not a host name"),
            (route("new", &[], [1, 2]), "all already answers for every host"),
            (route("new", &["n"], [1, 50101]), "port 50101 is already shop's"),
            (route("new", &["n"], [1, 1]), "port 1 is wanted twice"),
            (route("new", &["n"], [80, 1]), "port 80 is wanted twice"),
            (route("new", &["N"], [1, 2]), "not a host name"),
            (route("new", &["n:80"], [1, 2]), "not a host name"),
        ] {
            let said = new.check(old.iter(), 80).unwrap_err();
            assert!(said.contains(reason), "{said:?} should say {reason:?}");
        }
    }

    #[test]
    fn a_route_survives_its_file() {
        let mut shop = route("shop", &["shop.example"], [50100, 50101]);
        (shop.response_timeout, shop.body_timeout) = (Some(5_000), Some(300_000));
        shop.slots.get_mut(&Slot::Green).unwrap().target = Some(Target {
            release: ReleaseId(42),
            upstreams: vec!["10.213.1.128:80".parse().unwrap()],
            probe: Some(HttpProbe {
                path: "/healthz".to_owned(),
                host: "shop.example".to_owned(),
                status: (200, 299),
                timeout: 2000,
            }),
        });
        let text = serde_json::to_string(&shop).unwrap();
        assert_eq!(serde_json::from_str::<AppRoute>(&text).unwrap(), shop);
    }
    #[test]
    fn a_route_that_an_older_deployer_has_written_is_read() {
        let text = r#"{"app":"shop","hosts":[],"live":null,"slots":{}}"#;
        let route: AppRoute = serde_json::from_str(text).unwrap();
        assert_eq!((route.response_timeout, route.body_timeout), (None, None));
        let text = r#"{"release":42,"upstreams":["10.213.1.128:80"]}"#;
        let target: Target = serde_json::from_str(text).unwrap();
        assert_eq!((target.release, target.probe), (ReleaseId(42), None));
    }
}
