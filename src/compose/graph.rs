//! What services name of each other, and of the top of the file.

use std::collections::{BTreeMap, BTreeSet};

use super::fault::{At, shown};
use super::model::{Condition, Model, Service, Source};
use super::reading::Reading;
use super::service::DEFAULT_NETWORK;

impl Reading<'_> {
    /// Finds what is named and not there, and what waits for itself; drops what may be missing.
    pub(super) fn check_references(&mut self, model: &mut Model) {
        let names: BTreeSet<String> = model.services.keys().cloned().collect();
        let left_out = &model.left_out;
        for (name, service) in &mut model.services {
            self.service = Some(name.clone());
            service.depends_on.retain(|other, dependency| {
                let is_there = names.contains(other);
                if !is_there && dependency.required {
                    self.no_service("depends_on", dependency.at, other, left_out.get(other));
                }
                is_there
            });
            let at = service.at;
            for other in service.links.values().filter(|other| !names.contains(*other)) {
                self.no_service("links", at, other, left_out.get(other));
            }
        }
        for (name, service) in &model.services {
            self.service = Some(name.clone());
            self.check_names(service, model);
        }
        self.service = None;
        self.check_cycles(&model.services);
        self.check_names_of_services(&model.services);
    }

    fn no_service(&mut self, key: &str, at: At, other: &str, profiles: Option<&BTreeSet<String>>) {
        match profiles {
            None => self.fault(at, format!("{key}: there is no service {}", shown(other)), None),
            Some(profiles) => {
                let profiles: Vec<&str> = profiles.iter().map(String::as_str).collect();
                let what = format!(
                    "{key}: {} is left out, since it is of the profiles {}",
                    shown(other),
                    profiles.join(", ")
                );
                let instead = format!(
                    "write COMPOSE_PROFILES={} in .env, or required: false",
                    profiles.join(",")
                );
                self.fault(at, what, Some(&instead));
            }
        }
    }

    fn check_names(&mut self, service: &Service, model: &Model) {
        for mount in &service.mounts {
            if let Source::Volume { name, .. } = &mount.source
                && !model.volumes.contains(name)
            {
                let instead = format!(
                    "write {name}: in volumes at the top of the file, or ./{name} for a path of the tree"
                );
                self.fault(
                    mount.at,
                    format!("volumes: there is no volume {}", shown(name)),
                    Some(&instead),
                );
            }
        }
        for name in service.networks.keys() {
            if name != DEFAULT_NETWORK && !model.networks.contains(name) {
                let instead = format!("write {name}: in networks at the top of the file");
                self.fault(
                    service.at,
                    format!("networks: there is no network {}", shown(name)),
                    Some(&instead),
                );
            }
        }
        for (key, uses, known) in [
            ("secrets", &service.secrets, &model.secrets),
            ("configs", &service.configs, &model.configs),
        ] {
            for missing in uses.iter().filter(|one| !known.contains_key(&one.source)) {
                let what = format!(
                    "{key}: {} is not in {key} at the top of the file",
                    shown(&missing.source)
                );
                self.fault(service.at, what, None);
            }
        }
    }

    /// Circular `links` are fine, since nothing waits for them in a circle.
    fn check_cycles(&mut self, services: &BTreeMap<String, Service>) {
        let mut done = BTreeSet::new();
        for name in services.keys() {
            if let Some(way) = cycle(services, name, &mut Vec::new(), &mut done) {
                let at = services[way[0]].depends_on[way[1]].at;
                let what = format!("depends_on goes round: {}", shortened(&way));
                self.fault(at, what, Some("take one of them out"));
                return;
            }
        }
    }

    /// Two services of the same name on the network would be asked in turn.
    fn check_names_of_services(&mut self, services: &BTreeMap<String, Service>) {
        let mut names: BTreeMap<&str, &str> = services
            .keys()
            .map(|name| (name.as_str(), name.as_str()))
            .collect();
        for (name, service) in services {
            let Some(other) = service.container_name.as_deref() else {
                continue;
            };
            if let Some(taken) = names.insert(other, name).filter(|taken| *taken != name) {
                let what = format!(
                    "container_name: {} is the name of the service {taken}, too",
                    shown(other)
                );
                self.fault(service.at, what, Some("take it out"));
            }
        }
    }
}

/// A way as a message has it.
fn shortened(way: &[&str]) -> String {
    match way {
        [first @ .., _, _] if way.len() > 10 => format!("{} → … → {}", first[..8].join(" → "), way[0]),
        way => way.join(" → "),
    }
}

/// A way that ends where it begins.
fn cycle<'s>(
    services: &'s BTreeMap<String, Service>,
    name: &'s str,
    way: &mut Vec<&'s str>,
    done: &mut BTreeSet<&'s str>,
) -> Option<Vec<&'s str>> {
    if let Some(place) = way.iter().position(|other| *other == name) {
        way.push(name);
        return Some(way.split_off(place));
    }
    if !done.contains(name) {
        way.push(name);
        for other in services
            .get(name)
            .into_iter()
            .flat_map(|service| service.depends_on.keys())
        {
            if let Some(found) = cycle(services, other, way, done) {
                return Some(found);
            }
        }
        way.pop();
        done.insert(name);
    }
    None
}

impl Model {
    /// The services that `name` depends on or links to.
    pub fn needs<'m>(&'m self, name: &str) -> BTreeSet<&'m str> {
        let service = self.services.get(name);
        let depends = service.into_iter().flat_map(|service| service.depends_on.keys());
        let links = service.into_iter().flat_map(|service| service.links.values());
        depends.chain(links).map(String::as_str).collect()
    }

    /// Whether some service waits for the end of `name`.
    pub(super) fn is_completed_for_others(&self, name: &str) -> bool {
        let mut services = self.services.values();
        services.any(|service| {
            let dependency = service.depends_on.get(name);
            dependency.is_some_and(|dependency| dependency.condition == Condition::Completed)
        })
    }
}
