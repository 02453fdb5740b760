//! Which services visitors reach.

use std::collections::BTreeSet;

use super::model::Service;
use super::plan::Plan;

impl<'m> Plan<'m> {
    /// The services that the file names; else the only one that is built and has ports; else the only one that has ports.
    /// Where that is none, or several, a fault.
    pub(super) fn public(&mut self) -> BTreeSet<&'m str> {
        let said: BTreeSet<&str> = self.those(|_, service| service.public == Some(true));
        if !said.is_empty() {
            return said;
        }
        let may = |name: &str, service: &Service| service.public.is_none() && !self.is_no_site(name, service);
        let with_ports = self.those(|name, service| may(name, service) && !service.ports.is_empty());
        let with_ports = match with_ports.is_empty() {
            true => self.those(|name, service| may(name, service) && self.has_port(name, service)),
            false => with_ports,
        };
        let built = self.those(|name, service| with_ports.contains(name) && service.build.is_some());
        for candidates in [&built, &with_ports] {
            if candidates.len() == 1 {
                return candidates.clone();
            }
        }
        let candidates = match with_ports.is_empty() {
            true => self.those(|name, service| may(name, service)),
            false => with_ports,
        };
        self.refuse(&candidates);
        BTreeSet::new()
    }

    fn those(&self, is_one: impl Fn(&str, &Service) -> bool) -> BTreeSet<&'m str> {
        let those = self.services().filter(|(name, service)| is_one(name, service));
        those.map(|(name, _)| name).collect()
    }

    fn refuse(&mut self, candidates: &BTreeSet<&'m str>) {
        let names: Vec<&str> = candidates.iter().copied().collect();
        let (what, first) = match names[..] {
            [] => (
                "no service could be what visitors reach: each is a database, a job or said not to be"
                    .to_owned(),
                None,
            ),
            [only] => (format!("visitors reach nothing: {only} has no ports"), Some(only)),
            [first, ..] => (
                format!(
                    "several services could be what visitors reach: {}",
                    names.join(", ")
                ),
                Some(first),
            ),
        };
        let first = first
            .or_else(|| self.services().next().map(|(name, _)| name))
            .unwrap_or("web");
        let at = self
            .model
            .services
            .get(first)
            .map(|service| service.at)
            .unwrap_or_default();
        let instead =
            format!("write, below the one that is it:\n  {first}:\n    x-deployer: {{ public: true }}");
        self.fault(at, what, instead);
    }
}
