//! One service of a compose file.

use std::collections::{BTreeMap, BTreeSet};

use super::amounts::{NotWords, words};
use super::fault::{At, shown};
use super::keys::{OWN, SERVICE, SERVICE_NETWORK};
use super::model::Service;
use super::node::{Map, Node, Value};
use super::reading::Reading;

/// The network of a service that names none.
pub(super) const DEFAULT_NETWORK: &str = "default";
/// The beginning of labels that are deployer's own.
const OWN_LABELS: &str = "deployer.";

impl Reading<'_> {
    /// Reads the service `name`.
    pub(super) fn service(&mut self, at: At, node: &Node) -> Option<Service> {
        let map = self.fields(node, &SERVICE)?;
        let build = self.build(map);
        let image = self.image(map);
        let has = |key: &str| map.get(key).is_some_and(|node| !node.is_null());
        if !["image", "build", "provider"].into_iter().any(has) {
            self.fault(
                at,
                "it has neither image nor build",
                Some("write image: and a reference, or build: and a folder"),
            );
        }
        let (replicas, resources) = self.deploy(map);
        let is_built = has("build");
        let mut service = Service {
            at,
            image,
            build,
            command: self.command(map, "command"),
            entrypoint: self.command(map, "entrypoint"),
            environment: self.environment(map),
            ports: self.ports(map),
            expose: self.expose(map),
            mounts: self.mounts(map, is_built),
            depends_on: self.depends_on(map),
            links: self.links(map),
            healthcheck: self.healthcheck(map),
            restart: self.restart(map),
            networks: self.joined(map),
            container_name: self.text_of(map, "container_name"),
            hostname: self.text_of(map, "hostname"),
            profiles: self.plain_texts(map, "profiles").into_iter().collect(),
            secrets: self.file_uses(map, "secrets"),
            configs: self.file_uses(map, "configs"),
            replicas,
            resources,
            process: self.process(map),
            scope: None,
            public: None,
        };
        self.own(map, &mut service);
        self.refuse_own_labels(map);
        Some(service)
    }

    fn image(&mut self, map: &Map) -> Option<String> {
        let image = self.text_of(map, "image")?;
        let at = map.get("image").map(|node| node.at).unwrap_or_default();
        if image.is_empty() {
            self.fault(
                at,
                "image is empty",
                Some("write a reference, as postgres:16; a variable needs a default: ${TAG:-16}"),
            );
        } else if image
            .chars()
            .any(|character| character.is_whitespace() || character.is_control())
        {
            self.fault(at, format!("image: {} is no reference", shown(&image)), None);
        } else if image.starts_with("sha256:") || image.ends_with(':') {
            let instead = "write a name and a tag, as postgres:16";
            self.fault(
                at,
                format!("image: {} is no reference", shown(&image)),
                Some(instead),
            );
        } else {
            return Some(image);
        }
        None
    }

    fn command(&mut self, map: &Map, key: &str) -> Option<Vec<String>> {
        let node = map.get(key).filter(|node| !node.is_null())?;
        if let Value::List(_) = node.value {
            return Some(self.plain_texts(map, key));
        }
        let text = self.text(node, key)?;
        match words(&text) {
            Ok(words) => Some(words),
            Err(wrong) => {
                let instead = match wrong {
                    NotWords::Shell(_) => "write a list: [\"sh\", \"-c\", \"…\"]",
                    NotWords::Open => "write a list of words",
                };
                self.fault(node.at, format!("{key}: {wrong}"), Some(instead));
                None
            }
        }
    }

    /// The networks that it joins, and its names there.
    fn joined(&mut self, map: &Map) -> BTreeMap<String, BTreeSet<String>> {
        let default = || [(DEFAULT_NETWORK.to_owned(), BTreeSet::new())].into();
        let Some(node) = map.get("networks").filter(|node| !node.is_null()) else {
            return default();
        };
        let Value::Map(networks) = &node.value else {
            let names = self.plain_texts(map, "networks").into_iter();
            let joined: BTreeMap<_, _> = names.map(|name| (name, BTreeSet::new())).collect();
            return if joined.is_empty() { default() } else { joined };
        };
        let mut joined = BTreeMap::new();
        for (name, node) in &networks.0 {
            let mut aliases = BTreeSet::new();
            if !node.is_null()
                && let Some(map) = self.fields(node, &SERVICE_NETWORK)
            {
                aliases = self.plain_texts(map, "aliases").into_iter().collect();
            }
            joined.insert(name.name.clone(), aliases);
        }
        if joined.is_empty() { default() } else { joined }
    }

    /// `x-deployer`
    fn own(&mut self, map: &Map, service: &mut Service) {
        let Some(node) = map.get("x-deployer").filter(|node| !node.is_null()) else {
            return;
        };
        if let Some(map) = self.fields(node, &OWN) {
            service.scope = self.parsed(map, "scope", "slot, shared, background or job", |text| {
                text.parse().ok()
            });
            service.public = self.flag(map, "public");
        }
    }

    fn refuse_own_labels(&mut self, map: &Map) {
        if !map
            .get("labels")
            .is_some_and(|labels| matches!(labels.value, Value::List(_) | Value::Map(_)))
        {
            return;
        }
        for (at, name, _) in self.pairs(map, "labels") {
            if name.starts_with(OWN_LABELS) {
                let what = format!(
                    "labels: {} is refused: such labels say whose a container is",
                    shown(&name)
                );
                self.fault(at, what, Some("take it out"));
            }
        }
    }
}
