//! `secrets` and `configs`: at the top of the file, and in a service.

use std::collections::BTreeMap;

use super::fault::shown;
use super::keys::{CONFIG, CONFIG_OF_SERVICE, SECRET, SECRET_OF_SERVICE};
use super::model::{FileSource, FileUse};
use super::node::{Map, Node, Value};
use super::reading::Reading;
use super::tree::Found;

const SECRETS: &str = "secrets";
const SOURCE: &str = "write file: and a file of the tree, or environment: and a variable";

impl Reading<'_> {
    /// The secrets or configs of the file, by name.
    pub(super) fn file_sources(&mut self, top: &Map, key: &str) -> BTreeMap<String, FileSource> {
        let mut sources = BTreeMap::new();
        for (name, node) in self.named(top, key) {
            let Some(map) = self.fields(&node, if key == SECRETS { &SECRET } else { &CONFIG }) else {
                continue;
            };
            if map
                .get("external")
                .is_some_and(|external| !external.says_nothing())
            {
                // A fault already.
                continue;
            }
            let file = self.text_of(map, "file");
            let variable = self.text_of(map, "environment");
            let content = self.text_of(map, "content");
            let source = match (file, variable, content) {
                (Some(path), None, None) => self.source_file(&node, &path, key).map(FileSource::File),
                (None, Some(name), None) => {
                    if self.variables.get(&name).is_none() {
                        self.fault(
                            node.at,
                            format!("{key}: the variable {} is not set", shown(&name)),
                            None,
                        );
                    }
                    Some(FileSource::Variable(name))
                }
                (None, None, Some(content)) if key == "configs" => Some(FileSource::Content(content)),
                _ => {
                    self.fault(
                        node.at,
                        format!("{key}: {} needs one source", shown(&name)),
                        Some(SOURCE),
                    );
                    None
                }
            };
            sources.extend(source.map(|source| (name, source)));
        }
        sources
    }

    /// The entries of a mapping at the top of the file.
    pub(super) fn named(&mut self, top: &Map, key: &str) -> Vec<(String, Node)> {
        match top.get(key) {
            None => Vec::new(),
            Some(node) if node.is_null() => Vec::new(),
            Some(node) => match node.map() {
                Some(map) => {
                    let entries = map.0.iter().map(|(name, node)| {
                        let at = if node.is_null() { name.at } else { node.at };
                        let value = if node.is_null() {
                            Value::Map(Map::default())
                        } else {
                            node.value.clone()
                        };
                        (name.name.clone(), Node { at, value })
                    });
                    entries.collect()
                }
                None => {
                    self.wants(node, key, "a mapping");
                    Vec::new()
                }
            },
        }
    }

    fn source_file(&mut self, node: &Node, path: &str, key: &str) -> Option<String> {
        let inside = self.path(node.at, path, key)?;
        match self.tree.find(&inside) {
            Found::File => return Some(inside),
            Found::Outside => {
                let what = format!(
                    "{key}: {} leads out of the tree, of which alone files are read",
                    shown(path)
                );
                self.fault(node.at, what, Some(SOURCE));
            }
            _ => {
                let what = format!("{key}: there is no file {} in the tree", shown(path));
                let instead = "write environment: and a variable, for what is not in the repository";
                self.fault(node.at, what, Some(instead));
            }
        }
        None
    }

    /// The secrets or configs of a service.
    pub(super) fn file_uses(&mut self, service: &Map, key: &str) -> Vec<FileUse> {
        let mut uses: Vec<FileUse> = Vec::new();
        for node in self.items(service, key) {
            let file = match &node.value {
                Value::Map(_) => self.long_use(node, key),
                _ => self.text(node, key).map(|source| FileUse {
                    target: default_target(key, &source),
                    source,
                    uid: None,
                    gid: None,
                    mode: None,
                }),
            };
            if let Some(file) = file {
                uses.retain(|other| other.target != file.target);
                uses.push(file);
            }
        }
        uses
    }

    fn long_use(&mut self, node: &Node, key: &str) -> Option<FileUse> {
        let table = if key == SECRETS {
            &SECRET_OF_SERVICE
        } else {
            &CONFIG_OF_SERVICE
        };
        let map = self.fields(node, table)?;
        let Some(source) = self.text_of(map, "source") else {
            self.fault(
                node.at,
                format!("{key}: it has no source"),
                Some("write source: and a name of the top of the file"),
            );
            return None;
        };
        let target = self
            .text_of(map, "target")
            .unwrap_or_else(|| default_target(key, &source));
        let target = match target.starts_with('/') {
            true => target,
            false => default_target(key, &target),
        };
        Some(FileUse {
            source,
            target,
            uid: self.text_of(map, "uid"),
            gid: self.text_of(map, "gid"),
            mode: self.mode(map),
        })
    }

    /// A number is a number, as YAML has read it; a text is octal.
    fn mode(&mut self, map: &Map) -> Option<u32> {
        let node = map.get("mode").filter(|node| !node.is_null())?;
        let radix = if matches!(node.value, Value::Text(_)) {
            8
        } else {
            10
        };
        self.parsed(map, "mode", "a mode, as 0440", |text| {
            let text = text.trim_start_matches("0o");
            u32::from_str_radix(text, radix)
                .ok()
                .filter(|mode| *mode <= 0o7777)
        })
    }
}

fn default_target(key: &str, name: &str) -> String {
    match key {
        SECRETS => format!("/run/secrets/{name}"),
        _ => format!("/{name}"),
    }
}
