//! What the parts of the reader have in common: the file, its variables, and the faults found so far.

use super::fault::{At, FAULTS_MAX, Fault, Faults, shown};
use super::interpolate::{Variables, Wrong};
use super::keys::{Fate, Table};
use super::model::KeyRead;
use super::node::{Map, Node, Value};
use super::tree::Tree;
use crate::model::printable;

/// A file that is being read.
pub(super) struct Reading<'t> {
    pub(super) tree: &'t Tree,
    pub(super) file: String,
    pub(super) variables: Variables,
    pub(super) keys: Vec<KeyRead>,
    pub(super) notes: Vec<String>,
    /// The service that is being read.
    pub(super) service: Option<String>,
    /// Values that `extends` has made.
    pub(super) extended: usize,
    /// Files that `env_file` has named.
    pub(super) env_files: usize,
    faults: Vec<Fault>,
}

impl<'t> Reading<'t> {
    pub(super) fn new(tree: &'t Tree, file: &str, variables: Variables) -> Self {
        Self {
            tree,
            file: file.to_owned(),
            variables,
            keys: Vec::new(),
            notes: Vec::new(),
            service: None,
            extended: 0,
            env_files: 0,
            faults: Vec::new(),
        }
    }

    /// Notes a fault.
    pub(super) fn fault(&mut self, at: At, what: impl Into<String>, instead: Option<&str>) {
        let file = self.file.clone();
        self.fault_in(file, at, what, instead);
    }

    /// Notes a fault of another file of the tree.
    pub(super) fn fault_in(&mut self, file: String, at: At, what: impl Into<String>, instead: Option<&str>) {
        if self.is_full() {
            return;
        }
        let what = match &self.service {
            Some(service) => format!("service {service}: {}", what.into()),
            None => what.into(),
        };
        let what = printable(&what).into_owned();
        let instead = instead.map(str::to_owned);
        let fault = Fault {
            file,
            at,
            what,
            instead,
        };
        // An alias is read wherever it is used.
        if !self.faults.contains(&fault) {
            self.faults.push(fault);
        }
    }

    /// Whether there are as many faults as are told.
    pub(super) fn is_full(&self) -> bool {
        self.faults.len() >= FAULTS_MAX
    }

    /// The faults, if there are any.
    pub(super) fn end(&mut self) -> Result<(), Faults> {
        let mut faults = std::mem::take(&mut self.faults);
        faults.sort_by_key(|fault| (fault.file != self.file, fault.at));
        match faults.is_empty() {
            true => Ok(()),
            false => Err(Faults(faults)),
        }
    }

    /// The mapping that `node` is, each key of which `table` knows; what is refused or unknown is a fault.
    pub(super) fn fields<'n>(&mut self, node: &'n Node, table: &'static Table) -> Option<&'n Map> {
        let Some(map) = node.map() else {
            self.wants(node, table.name, "a mapping");
            return None;
        };
        for (key, value) in &map.0 {
            self.field(key.at, &key.name, value, table);
        }
        Some(map)
    }

    fn field(&mut self, at: At, name: &str, value: &Node, table: &'static Table) {
        let path = join(table.name, name);
        let fate = table
            .rows
            .iter()
            .find(|(key, _)| *key == name)
            .map(|(_, fate)| *fate);
        match fate {
            Some(Fate::Taken(becomes)) => self.read(at, path, true, becomes),
            Some(Fate::Ignored(why)) => self.read(at, path, false, why),
            Some(Fate::Refused(..)) if value.says_nothing() => self.read(at, path, false, "it says nothing"),
            Some(Fate::Refused(why, instead)) => {
                let what = format!("{name} is refused: {why}");
                self.fault(at, what, Some(&format!("write {instead}")));
            }
            None if name.starts_with("x-") => self.read(at, path, false, "it is an extension"),
            None => {
                let near = nearest(name, table).map(|near| format!("write {near}"));
                let what = format!("there is no key {} in {}", shown(name), place(table.name));
                self.fault(at, what, near.as_deref());
            }
        }
    }

    fn read(&mut self, at: At, key: String, taken: bool, becomes: &str) {
        self.keys.push(KeyRead {
            service: self.service.clone(),
            key,
            at,
            taken,
            becomes: becomes.to_owned(),
        });
    }

    /// A fault: `node` is no `wanted`.
    pub(super) fn wants(&mut self, node: &Node, key: &str, wanted: &str) {
        // A value may be a secret's.
        let given = node.kind();
        self.fault(
            node.at,
            format!("{} is {given}, and should be {wanted}", place(key)),
            None,
        );
    }

    /// The text of a scalar, its variables replaced; of anything else a fault.
    pub(super) fn text(&mut self, node: &Node, key: &str) -> Option<String> {
        match &node.value {
            Value::Text(text) => self.interpolated(node.at, text, key),
            Value::Bool(_) | Value::Number(_) => node.scalar(),
            _ => {
                self.wants(node, key, "a text");
                None
            }
        }
    }

    /// The same of a key that may be there without a value.
    pub(super) fn text_of(&mut self, map: &Map, key: &str) -> Option<String> {
        let node = map.get(key).filter(|node| !node.is_null())?;
        self.text(node, key)
    }

    pub(super) fn interpolated(&mut self, at: At, text: &str, key: &str) -> Option<String> {
        match self.variables.interpolate(text) {
            Ok(text) => Some(text),
            Err(wrong) => {
                let instead = match &wrong {
                    Wrong::Dollar | Wrong::Braces => Some("write $$ for a $ of its own"),
                    Wrong::Needed { .. } => Some("set it in .env, or give it a default: ${NAME:-default}"),
                    Wrong::Deep | Wrong::Large => None,
                };
                self.fault(at, format!("{key}: {wrong}"), instead);
                None
            }
        }
    }

    /// A value that `parse` understands, else a fault that says what was wanted.
    pub(super) fn parsed<T>(
        &mut self,
        map: &Map,
        key: &str,
        wanted: &str,
        parse: impl FnOnce(&str) -> Option<T>,
    ) -> Option<T> {
        let node = map.get(key).filter(|node| !node.is_null())?;
        let text = self.text(node, key)?;
        let parsed = parse(&text);
        if parsed.is_none() {
            self.fault(node.at, format!("{key}: {} is not {wanted}", shown(&text)), None);
        }
        parsed
    }

    /// A truth value of `map`; absent is false.
    pub(super) fn flag(&mut self, map: &Map, key: &str) -> Option<bool> {
        self.parsed(map, key, "true or false", truth)
    }

    /// A list of texts, or a single one.
    pub(super) fn texts(&mut self, map: &Map, key: &str) -> Vec<(At, String)> {
        let Some(node) = map.get(key).filter(|node| !node.is_null()) else {
            return Vec::new();
        };
        match &node.value {
            Value::List(list) => {
                let texts = list
                    .iter()
                    .filter_map(|node| Some((node.at, self.text(node, key)?)));
                texts.collect()
            }
            Value::Map(_) => {
                self.wants(node, key, "a list");
                Vec::new()
            }
            _ => self
                .text(node, key)
                .map(|text| (node.at, text))
                .into_iter()
                .collect(),
        }
    }

    /// `NAME: value` or a list of `NAME=value`; a name alone has no value.
    pub(super) fn pairs(&mut self, map: &Map, key: &str) -> Vec<(At, String, Option<String>)> {
        let Some(node) = map.get(key).filter(|node| !node.is_null()) else {
            return Vec::new();
        };
        let mut pairs = Vec::new();
        match &node.value {
            Value::Map(map) => {
                for (name, node) in &map.0 {
                    let value = if node.is_null() {
                        None
                    } else {
                        self.text(node, key)
                    };
                    pairs.push((name.at, name.name.clone(), value));
                }
            }
            Value::List(list) => {
                for node in list {
                    let Some(text) = self.text(node, key) else {
                        continue;
                    };
                    pairs.push(match text.split_once('=') {
                        Some((name, value)) => (node.at, name.to_owned(), Some(value.to_owned())),
                        None => (node.at, text, None),
                    });
                }
            }
            _ => self.wants(node, key, "a mapping, or a list of NAME=value"),
        }
        pairs
    }
}

/// `true` and `false` as Compose takes them, in quotes too.
pub(super) fn truth(text: &str) -> Option<bool> {
    match text.to_ascii_lowercase().as_str() {
        "true" | "y" | "yes" | "on" => Some(true),
        "false" | "n" | "no" | "off" => Some(false),
        _ => None,
    }
}

fn join(table: &str, name: &str) -> String {
    match table {
        "" => name.to_owned(),
        table => format!("{table}.{name}"),
    }
}

/// A table or key as a message names it.
fn place(name: &str) -> &str {
    match name {
        "" => "a compose file",
        "services.*" => "a service",
        "networks.*" => "a network",
        "volumes.*" => "a volume",
        name => name
            .strip_prefix("services.*.")
            .unwrap_or(name)
            .trim_end_matches(".*"),
    }
}

/// The key of `table` that was probably meant.
fn nearest(name: &str, table: &'static Table) -> Option<&'static str> {
    let distances = table.rows.iter().map(|(key, _)| (distance(name, key), *key));
    let (distance, key) = distances.min()?;
    (distance <= 2 && distance < key.len() / 2).then_some(key)
}

/// Letters to change, add or take away; 9 for names that are no keys by their length alone.
fn distance(a: &str, b: &str) -> usize {
    let (a, b): (Vec<char>, Vec<char>) = (a.chars().take(40).collect(), b.chars().collect());
    if a.len().abs_diff(b.len()) > 2 {
        return 9;
    }
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, x) in a.iter().enumerate() {
        let mut before = row[0];
        row[0] = i + 1;
        for (j, y) in b.iter().enumerate() {
            let changed = before + usize::from(x != y);
            before = row[j + 1];
            row[j + 1] = changed.min(before + 1).min(row[j] + 1);
        }
    }
    row[b.len()]
}
