//! Where each service of a model runs, and which of them visitors reach.

use std::collections::{BTreeMap, BTreeSet};

use super::dockerfile::Dockerfile;
use super::fault::{At, FAULTS_MAX, Fault, Faults};
use super::known::{self, Known};
use super::model::{Model, Service, Source};
use super::scope::Scope;
use super::tree::Tree;
use crate::model::printable;

/// Names of a service that tests the others.
const TESTS: [&str; 2] = ["tests", "sut"];

/// What a release makes of a service.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Placed {
    /// Where it runs.
    pub scope: Scope,
    /// Why there: a sentence without its end.
    pub why: String,
    /// Whether visitors reach it.
    pub public: bool,
    /// The port that it is asked at, where one is known.
    pub port: Option<u16>,
}

/// Places the services of `model`, which was read from `tree`.
///
/// # Errors
/// Where a scope or the public service has to be said, with the lines that say it.
pub fn place(tree: &Tree, model: &Model) -> Result<BTreeMap<String, Placed>, Faults> {
    let mut plan = Plan::new(tree, model);
    let public = plan.public();
    plan.scopes(&public);
    plan.check();
    plan.end(&public)
}

/// What is known while services are placed.
pub(super) struct Plan<'m> {
    pub(super) model: &'m Model,
    pub(super) dockerfiles: BTreeMap<&'m str, Dockerfile>,
    known: BTreeMap<&'m str, (&'static Known, String)>,
    placed: BTreeMap<&'m str, (Scope, String)>,
    faults: Vec<Fault>,
}

impl<'m> Plan<'m> {
    fn new(tree: &Tree, model: &'m Model) -> Self {
        let built = model
            .services
            .iter()
            .filter_map(|(name, service)| Some((name, service.build.as_ref()?)));
        let dockerfiles: BTreeMap<&str, Dockerfile> = built
            .map(|(name, build)| (name.as_str(), Dockerfile::read(tree, build)))
            .collect();
        let known = model.services.iter().filter_map(|(name, service)| {
            let known = known::which(service, dockerfiles.get(name.as_str()))?;
            Some((name.as_str(), known))
        });
        Self {
            model,
            known: known.collect(),
            dockerfiles,
            placed: BTreeMap::new(),
            faults: Vec::new(),
        }
    }

    pub(super) fn services(&self) -> impl Iterator<Item = (&'m str, &'m Service)> + use<'m> {
        let model = self.model;
        model
            .services
            .iter()
            .map(|(name, service)| (name.as_str(), service))
    }

    pub(super) fn fault(&mut self, at: At, what: String, instead: String) {
        if self.faults.len() < FAULTS_MAX {
            let file = self.model.file.clone();
            let what = printable(&what).into_owned();
            self.faults.push(Fault {
                file,
                at,
                what,
                instead: Some(instead),
            });
        }
    }

    /// Whether it cannot be what visitors reach, unless the file says so.
    pub(super) fn is_no_site(&self, name: &str, service: &Service) -> bool {
        let runs_aside = matches!(service.scope, Some(Scope::Background | Scope::Job));
        runs_aside || self.known.contains_key(name) || self.job(name).is_some()
    }

    fn job(&self, name: &str) -> Option<String> {
        if TESTS.contains(&name) {
            return Some("it is named for tests".to_owned());
        }
        let awaited = self.model.is_completed_for_others(name);
        awaited.then(|| "another one waits for its end".to_owned())
    }

    /// Places every service, by the first rule that fits: docs/reference/compose.md has them.
    fn scopes(&mut self, public: &BTreeSet<&'m str>) {
        let reached = self.reached(public);
        let needed: BTreeSet<&str> = self
            .services()
            .flat_map(|(name, _)| self.model.needs(name))
            .collect();
        for (name, service) in self.services() {
            let is_built = service.build.is_some();
            let placed = if let Some(scope) = service.scope {
                Some((scope, "the file says so".to_owned()))
            } else if let Some(why) = self.job(name) {
                Some((Scope::Job, why))
            } else if let Some((known, by)) = self.known.get(name) {
                Some((Scope::Shared, format!("{} by {by}", known.name)))
            } else if public.contains(name) {
                Some((Scope::Slot, "visitors reach it".to_owned()))
            } else if is_built && reached.contains(name) {
                Some((Scope::Slot, "what visitors reach needs it".to_owned()))
            } else if is_built && !needed.contains(name) && !self.has_port(name, service) {
                Some((
                    Scope::Background,
                    "it is built, without a port, and nothing needs it".to_owned(),
                ))
            } else {
                is_built.then(|| (Scope::Slot, "it is built".to_owned()))
            };
            self.placed.extend(placed.map(|placed| (name, placed)));
        }
        while let Some((name, placed)) = self.next_of_others() {
            self.placed.insert(name, placed);
        }
    }

    /// An image-only service that is not placed, and its place; first those that need one of a slot.
    fn next_of_others(&self) -> Option<(&'m str, (Scope, String))> {
        let others = || {
            self.services()
                .filter(|(name, _)| !self.placed.contains_key(name))
        };
        let slots = others().find_map(|(name, _)| {
            let mut needs = self.model.needs(name).into_iter();
            let slot = needs.find(|other| {
                self.placed
                    .get(other)
                    .is_some_and(|(scope, _)| *scope == Scope::Slot)
            })?;
            Some((
                name,
                (Scope::Slot, format!("it needs {slot}, which each slot has")),
            ))
        });
        slots.or_else(|| {
            let (name, service) = others().next()?;
            let placed = match written_volume(service) {
                Some(volume) => (Scope::Shared, format!("it keeps data in the volume {volume}")),
                None => (Scope::Slot, "it keeps nothing".to_owned()),
            };
            Some((name, placed))
        })
    }

    /// All that the public services need, and what that needs.
    fn reached(&self, public: &BTreeSet<&'m str>) -> BTreeSet<&'m str> {
        let mut reached = BTreeSet::new();
        let mut open: Vec<&str> = public.iter().copied().collect();
        while let Some(name) = open.pop() {
            let new = self
                .model
                .needs(name)
                .into_iter()
                .filter(|other| reached.insert(*other));
            open.extend(new.collect::<Vec<_>>());
        }
        reached
    }

    /// Whether a port stands in the file or in the Dockerfile.
    pub(super) fn has_port(&self, name: &str, service: &Service) -> bool {
        let exposed = self
            .dockerfiles
            .get(name)
            .is_some_and(|dockerfile| !dockerfile.ports.is_empty());
        exposed || !service.ports.is_empty() || !service.expose.is_empty()
    }

    /// Refuses what would have two writers, or wait for what is not there.
    fn check(&mut self) {
        for (name, service) in self.services() {
            let Some((scope, why)) = self.placed.get(name).cloned() else {
                continue;
            };
            if let Some(volume) = written_volume(service) {
                let lines = |scope: Scope| format!("  {name}:\n    x-deployer: {{ scope: {scope} }}");
                let is_known = self.known.contains_key(name);
                if scope == Scope::Slot && (service.scope.is_none() || is_known) {
                    let what = format!(
                        "service {name} would run in both slots at once ({why}), both writing to the volume {volume}"
                    );
                    let shared = format!("write, for one that serves both slots:\n{}", lines(Scope::Shared));
                    let instead = match is_known {
                        true => shared,
                        false => format!(
                            "{shared}\nor, where two may write at once:\n{}",
                            lines(Scope::Slot)
                        ),
                    };
                    self.fault(service.at, what, instead);
                } else if scope == Scope::Shared && service.replicas > 1 {
                    let what = format!(
                        "service {name} would run {} times, all writing to the volume {volume}",
                        service.replicas
                    );
                    self.fault(service.at, what, "write replicas: 1".to_owned());
                }
            }
            self.check_waits(name, service, scope);
        }
    }

    fn check_waits(&mut self, name: &str, service: &Service, scope: Scope) {
        if scope != Scope::Shared {
            return;
        }
        for (other, dependency) in &service.depends_on {
            let others = self.placed.get(other.as_str()).map(|(scope, _)| *scope);
            if let Some(others @ (Scope::Slot | Scope::Background)) = others {
                let what = format!("service {name} is shared, and would wait for {other}, which is {others}");
                let instead = format!(
                    "take {other} out of depends_on, or say the scope of one:\n  {other}:\n    x-deployer: {{ scope: shared }}"
                );
                self.fault(dependency.at, what, instead);
            }
        }
    }

    fn end(self, public: &BTreeSet<&str>) -> Result<BTreeMap<String, Placed>, Faults> {
        if !self.faults.is_empty() {
            return Err(Faults(self.faults));
        }
        let placed = self.placed.iter().map(|(name, (scope, why))| {
            let placed = Placed {
                scope: *scope,
                why: why.clone(),
                public: public.contains(name),
                port: self.port(name),
            };
            ((*name).to_owned(), placed)
        });
        Ok(placed.collect())
    }

    /// The first port of the file; else the only one of the Dockerfile.
    fn port(&self, name: &str) -> Option<u16> {
        let service = self.model.services.get(name)?;
        let mut said = service
            .ports
            .iter()
            .chain(&service.expose)
            .filter(|port| port.protocol == "tcp");
        let exposed = self.dockerfiles.get(name).map(|dockerfile| &dockerfile.ports);
        let only = exposed
            .filter(|ports| ports.len() == 1)
            .and_then(|ports| ports.first());
        said.next().map(|port| port.target).or(only.copied())
    }
}

/// A named volume that it writes to.
fn written_volume(service: &Service) -> Option<&str> {
    let mut written = service.mounts.iter().filter(|mount| !mount.read_only);
    written.find_map(|mount| match &mount.source {
        Source::Volume { name, .. } => Some(name.as_str()),
        _ => None,
    })
}
