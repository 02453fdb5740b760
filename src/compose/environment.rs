//! `environment` and `env_file` of a service.

use std::collections::BTreeMap;

use super::dotenv;
use super::fault::{At, shown};
use super::keys::ENV_FILE;
use super::node::{Map, Value};
use super::reading::Reading;
use super::tree::Unread;

/// Bytes of one file; those of the tree's `.env` too.
pub(super) const ENV_FILE_MAX: u64 = 128 << 10;
/// Variables of one service.
const VARIABLES_MAX: usize = 2_000;
/// Files that all services together name.
const FILES_MAX: usize = 200;

impl Reading<'_> {
    pub(super) fn environment(&mut self, service: &Map) -> BTreeMap<String, Option<String>> {
        let mut environment = BTreeMap::new();
        let files = self.env_files(service);
        for (at, path, required) in files {
            self.env_files += 1;
            if self.env_files > FILES_MAX {
                self.fault(
                    at,
                    format!("env_file: the file names more than {FILES_MAX} of them"),
                    None,
                );
                return environment;
            }
            self.env_file(at, &path, required, &mut environment);
        }
        for (at, name, value) in self.pairs(service, "environment") {
            if name.is_empty() || name.contains(['=', '\0']) {
                self.fault(at, format!("environment: {} is no name", shown(&name)), None);
                continue;
            }
            let value = value.or_else(|| self.variables.get(&name).map(str::to_owned));
            environment.insert(name, value);
        }
        if environment.len() > VARIABLES_MAX {
            let at = service
                .entry("environment")
                .map(|(key, _)| key.at)
                .unwrap_or_default();
            self.fault(at, format!("more than {VARIABLES_MAX} variables"), None);
        }
        environment
    }

    /// The files of `env_file`, and whether each has to be there.
    fn env_files(&mut self, service: &Map) -> Vec<(At, String, bool)> {
        let Some(node) = service.get("env_file").filter(|node| !node.is_null()) else {
            return Vec::new();
        };
        let Value::List(list) = &node.value else {
            let path = self.text(node, "env_file");
            return path.map(|path| (node.at, path, true)).into_iter().collect();
        };
        let mut files = Vec::new();
        for node in list {
            let file = match &node.value {
                Value::Map(_) => self.fields(node, &ENV_FILE).and_then(|map| {
                    let required = self.flag(map, "required").unwrap_or(true);
                    Some((self.text_of(map, "path")?, required))
                }),
                _ => self.text(node, "env_file").map(|path| (path, true)),
            };
            files.extend(file.map(|(path, required)| (node.at, path, required)));
        }
        files
    }

    fn env_file(
        &mut self,
        at: At,
        path: &str,
        required: bool,
        environment: &mut BTreeMap<String, Option<String>>,
    ) {
        let Some(inside) = self.path(at, path, "env_file") else {
            return;
        };
        let bytes = match self.tree.read(&inside, ENV_FILE_MAX) {
            Ok(bytes) => bytes,
            Err(Unread::Missing) if !required => return,
            Err(why) => {
                let instead = match why {
                    Unread::Missing => Some("add it to the tree, or write { path: …, required: false }"),
                    _ => None,
                };
                return self.fault(at, format!("env_file: {} {why}", shown(path)), instead);
            }
        };
        match dotenv::read(&bytes, &mut self.variables, environment) {
            Ok(lines) => {
                for (name, value) in lines {
                    // A name alone hands on a variable that is set, and is nothing else.
                    let value = value.or_else(|| self.variables.get(&name).map(str::to_owned));
                    let Some(value) = value else { continue };
                    if let Err(wrong) = self.variables.spend(value.len()) {
                        return self.fault(at, format!("env_file: {wrong}"), None);
                    }
                    environment.insert(name, Some(value));
                }
            }
            Err((line, what)) => self.fault_in(inside, At { line, column: 1 }, what, None),
        }
    }
}
