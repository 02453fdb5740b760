//! The whole of a compose file.

use std::collections::{BTreeMap, BTreeSet};

use super::dotenv;
use super::environment::ENV_FILE_MAX;
use super::fault::{At, Faults, shown};
use super::interpolate::Variables;
use super::keys::{NETWORK_TABLE, TOP, VOLUME};
use super::model::Model;
use super::node::{Key, Map, Node, Value};
use super::reading::Reading;
use super::tree::{Tree, Unread};
use super::yaml;
use crate::model::text_of_file;

/// The names of a compose file, the first of which is read.
const NAMES: [&str; 4] = [
    "compose.yaml",
    "compose.yml",
    "docker-compose.yaml",
    "docker-compose.yml",
];
/// Bytes of a compose file.
const FILE_MAX: u64 = 512 << 10;
/// Services of a file: a lane has addresses for 60 instances.
const SERVICES_MAX: usize = 100;
const SERVICE_NAME: &str = "letters, digits, _, . and -, at most 63";

/// The compose file of a tree, if it has one.
pub fn find(tree: &Tree) -> Option<&'static str> {
    NAMES
        .into_iter()
        .find(|name| tree.find(name) != super::tree::Found::Nothing)
}

/// Reads the compose file `file` of `tree`. Variables come from `given` and, behind them, from the tree's `.env`.
///
/// # Errors
/// Whatever is wrong with the file, each with its line and column.
pub fn read(tree: &Tree, file: &str, given: &BTreeMap<String, String>) -> Result<Model, Faults> {
    let begin = At { line: 1, column: 1 };
    let bytes = tree.read(file, FILE_MAX);
    let bytes = bytes.map_err(|why| Faults::one(file, begin, format!("the file {why}"), None))?;
    let text = text_of_file(&bytes).map_err(|error| {
        let line = u32::try_from(error.line()).unwrap_or(1);
        Faults::one(file, At { line, column: 1 }, error.to_string(), None)
    })?;
    let node = yaml::parse(file, text)?;
    let mut reading = Reading::new(tree, file, variables(tree, given)?);
    let model = reading.whole_file(node);
    reading.end()?;
    Ok(model)
}

/// The caller's variables, and those of `.env`.
fn variables(tree: &Tree, given: &BTreeMap<String, String>) -> Result<Variables, Faults> {
    let mut variables = Variables {
        given: given.clone(),
        ..Variables::default()
    };
    let fault = |line, what: String| Faults::one(".env", At { line, column: 1 }, what, None);
    let bytes = match tree.read(".env", ENV_FILE_MAX) {
        Ok(bytes) => bytes,
        Err(Unread::Missing) => return Ok(variables),
        Err(why) => return Err(fault(1, format!("the file {why}"))),
    };
    let lines =
        dotenv::read(&bytes, &mut variables, &BTreeMap::new()).map_err(|(line, what)| fault(line, what))?;
    variables.dotenv = lines
        .into_iter()
        .filter_map(|(name, value)| Some((name, value?)))
        .collect();
    Ok(variables)
}

impl Reading<'_> {
    fn whole_file(&mut self, node: Node) -> Model {
        let mut model = Model {
            file: self.file.clone(),
            ..Model::default()
        };
        let Some(mut top) = self.top(node) else {
            return model;
        };
        let services = match top.remove("services").map(|node| (node.at, node.value)) {
            Some((_, Value::Map(services))) if !services.0.is_empty() => services,
            Some((at, _)) => {
                self.fault(
                    at,
                    "there is no service in services",
                    Some("write at least one, with image or build"),
                );
                return model;
            }
            None => {
                let at = At { line: 1, column: 1 };
                self.fault(
                    at,
                    "there are no services",
                    Some("write services: with at least one, with image or build"),
                );
                return model;
            }
        };
        if services.0.len() > SERVICES_MAX {
            let at = services
                .0
                .get(SERVICES_MAX)
                .map(|(key, _)| key.at)
                .unwrap_or_default();
            self.fault(at, format!("more than {SERVICES_MAX} services"), None);
            return model;
        }
        let services = self.named_well(services);
        let services = self.extended(services);
        self.services(&services, &mut model);
        model.networks = self.networks(&top);
        model.volumes = self.volumes(&top);
        model.secrets = self.file_sources(&top, "secrets");
        model.configs = self.file_sources(&top, "configs");
        self.check_references(&mut model);
        self.tell_unset();
        model.keys = std::mem::take(&mut self.keys);
        model.keys.sort_by_key(|read| read.at);
        model.notes = std::mem::take(&mut self.notes);
        model
    }

    /// The mapping at the top; of the old form without `services:` as if it had one.
    fn top(&mut self, node: Node) -> Option<Map> {
        let node = match &node.value {
            Value::Map(map) if is_old_form(map) => {
                self.notes
                    .push("the file has the old form, without services: all of it is services".to_owned());
                let at = node.at;
                let key = Key {
                    at,
                    name: "services".to_owned(),
                };
                Node {
                    at,
                    value: Value::Map(Map(vec![(key, node)])),
                }
            }
            _ => node,
        };
        self.fields(&node, &TOP)?;
        match node.value {
            Value::Map(map) => Some(map),
            _ => None,
        }
    }

    /// The services without those whose name is none.
    fn named_well(&mut self, mut services: Map) -> Map {
        services.0.retain(|(key, _)| {
            let is_name = is_service_name(&key.name);
            if !is_name {
                let what = format!("{} is no name of a service", shown(&key.name));
                self.fault(key.at, what, Some(&format!("write {SERVICE_NAME}")));
            }
            is_name
        });
        services
    }

    fn services(&mut self, services: &Map, model: &mut Model) {
        let active = self.active_profiles();
        for (key, node) in &services.0 {
            if self.is_full() {
                return;
            }
            let name = &key.name;
            self.service = Some(name.clone());
            let profiles = node
                .map()
                .map(|map| self.plain_texts(map, "profiles"))
                .unwrap_or_default();
            if !profiles.is_empty()
                && !active.contains("*")
                && !profiles.iter().any(|name| active.contains(name))
            {
                model
                    .left_out
                    .insert(name.clone(), profiles.into_iter().collect());
                continue;
            }
            let service = self.service(key.at, node);
            model
                .services
                .extend(service.map(|service| (name.clone(), service)));
        }
        self.service = None;
        if model.services.is_empty() && !model.left_out.is_empty() {
            let at = services.0.first().map(|(key, _)| key.at).unwrap_or_default();
            let instead = "write COMPOSE_PROFILES in .env, or take profiles out of a service";
            self.fault(at, "every service is left out by its profiles", Some(instead));
        }
    }

    /// The profiles of `COMPOSE_PROFILES`; other variables of Compose's own are told to do nothing.
    fn active_profiles(&mut self) -> BTreeSet<String> {
        for name in ["COMPOSE_FILE", "COMPOSE_ENV_FILES"] {
            if self.variables.get(name).is_some() {
                self.notes.push(format!(
                    "{name} is not read: a release has one compose file and one .env"
                ));
            }
        }
        let profiles = self.variables.get("COMPOSE_PROFILES").unwrap_or_default();
        let profiles = profiles.split(',').map(str::trim).filter(|name| !name.is_empty());
        profiles.map(str::to_owned).collect()
    }

    fn networks(&mut self, top: &Map) -> BTreeSet<String> {
        let mut names = BTreeSet::new();
        for (name, node) in self.named(top, "networks") {
            if let Some(map) = self.fields(&node, &NETWORK_TABLE) {
                self.driver(&node, map, "networks", "bridge");
            }
            names.insert(name);
        }
        names
    }

    fn volumes(&mut self, top: &Map) -> BTreeSet<String> {
        let mut names = BTreeSet::new();
        for (name, node) in self.named(top, "volumes") {
            if !super::mounts::is_volume_name(&name) {
                self.fault(
                    node.at,
                    format!("volumes: {} is no name of a volume", shown(&name)),
                    None,
                );
            }
            if let Some(map) = self.fields(&node, &VOLUME) {
                self.driver(&node, map, "volumes", "local");
            }
            names.insert(name);
        }
        names
    }

    /// The one driver that there may be.
    fn driver(&mut self, node: &Node, map: &Map, key: &str, only: &str) {
        if let Some(driver) = self
            .text_of(map, "driver")
            .filter(|driver| driver != only && !driver.is_empty())
        {
            let what = format!(
                "{key}: the driver {} is refused: it reaches for the host",
                shown(&driver)
            );
            self.fault(
                node.at,
                what,
                Some(&format!("take driver out; {only} is what there is")),
            );
        }
    }

    fn tell_unset(&mut self) {
        let unset = std::mem::take(&mut self.variables.unset);
        let notes = unset.iter().map(|name| {
            format!("the variable {name} is not set, and empty where it is used: set it in .env, or write ${{{name}:-default}}")
        });
        self.notes.extend(notes);
    }
}

/// Whether every value at the top is a service: what Compose had before there was `services:`.
fn is_old_form(map: &Map) -> bool {
    let is_service = |node: &Node| {
        let map = node.map();
        map.is_some_and(|map| map.get("image").is_some() || map.get("build").is_some())
    };
    !map.0.is_empty() && map.get("services").is_none() && map.0.iter().all(|(_, node)| is_service(node))
}

fn is_service_name(name: &str) -> bool {
    let is_known = |byte: u8| byte.is_ascii_alphanumeric() || b"_.-".contains(&byte);
    (1..=63).contains(&name.len()) && name.bytes().all(is_known)
}
