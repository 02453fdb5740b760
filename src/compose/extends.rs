//! `extends`: what a service says beside what another one of the same file says.

use std::collections::BTreeMap;

use super::fault::shown;
use super::node::{Key, Map, Node, Value};
use super::reading::Reading;
use super::yaml::NODES_MAX;

/// Services that extend each other in a row.
const WAY_MAX: usize = 16;
/// Keys that are mappings, or lists of `NAME=value`.
const PAIRS: [&str; 6] = [
    "environment",
    "labels",
    "args",
    "sysctls",
    "annotations",
    "extra_hosts",
];
/// Keys that are mappings, or lists of names.
const NAMED: [&str; 2] = ["depends_on", "networks"];
/// Lists that are taken whole.
const WHOLE: [&str; 3] = ["command", "entrypoint", "test"];

impl Reading<'_> {
    /// The services with what each extends beneath it.
    pub(super) fn extended(&mut self, services: Map) -> Map {
        let by_name: BTreeMap<&str, (&Key, &Node)> = services
            .0
            .iter()
            .map(|(key, node)| (key.name.as_str(), (key, node)))
            .collect();
        let mut done = BTreeMap::new();
        let mut extended = Vec::new();
        for (key, _) in &services.0 {
            self.service = Some(key.name.clone());
            let node = self.whole(&key.name, &by_name, &mut done, &mut Vec::new());
            extended.extend(node.map(|node| (key.clone(), node)));
        }
        self.service = None;
        Map(extended)
    }

    fn whole<'n>(
        &mut self,
        name: &'n str,
        services: &BTreeMap<&'n str, (&'n Key, &'n Node)>,
        done: &mut BTreeMap<String, Node>,
        way: &mut Vec<&'n str>,
    ) -> Option<Node> {
        if let Some(node) = done.get(name) {
            return Some(node.clone());
        }
        let (_, node) = services.get(name)?;
        let mut node = (*node).clone();
        way.push(name);
        if let Value::Map(map) = &mut node.value
            && let Some(extends) = map.remove("extends").filter(|extends| !extends.is_null())
            && let Some(base) = self.base(&extends, services, way)
        {
            let base = self.whole(base, services, done, way)?;
            node = merged("", base, node);
            self.extended += count(&node);
            if self.extended > NODES_MAX {
                let what = format!("extends makes more than {NODES_MAX} values");
                self.fault(extends.at, what, None);
                return None;
            }
        }
        way.pop();
        done.insert(name.to_owned(), node.clone());
        Some(node)
    }

    /// The service that is extended, and is not on the way to it.
    fn base<'n>(
        &mut self,
        extends: &Node,
        services: &BTreeMap<&'n str, (&'n Key, &'n Node)>,
        way: &[&str],
    ) -> Option<&'n str> {
        let name = self.base_name(extends)?;
        let Some((base, _)) = services.get_key_value(name.as_str()) else {
            self.fault(
                extends.at,
                format!("extends: there is no service {}", shown(&name)),
                None,
            );
            return None;
        };
        if way.contains(base) || way.len() > WAY_MAX {
            let what = format!("extends goes round: {} → {base}", way.join(" → "));
            self.fault(extends.at, what, Some("take one of them out"));
            return None;
        }
        Some(base)
    }

    fn base_name(&mut self, extends: &Node) -> Option<String> {
        let Value::Map(map) = &extends.value else {
            return self.text(extends, "extends");
        };
        if let Some(file) = self.text_of(map, "file")
            && self.inside(&file).as_deref() != Some(&self.file)
        {
            let what = format!("extends: {} is another file, and one is read", shown(&file));
            self.fault(extends.at, what, Some("write the other service into this file"));
            return None;
        }
        let base = self.text_of(map, "service");
        if base.is_none() {
            self.fault(
                extends.at,
                "extends names no service",
                Some("write service: and its name"),
            );
        }
        base
    }
}

/// `over` over `base`, both being the value of `key`, by Compose's rules.
fn merged(key: &str, base: Node, over: Node) -> Node {
    if over.is_null() {
        return base;
    }
    let (base, over) = match key {
        "build" => (as_build(base), as_build(over)),
        _ if PAIRS.contains(&key) => (as_map(base, true), as_map(over, true)),
        _ if NAMED.contains(&key) => (as_map(base, false), as_map(over, false)),
        _ => (base, over),
    };
    let at = over.at;
    let value = match (base.value, over.value) {
        (Value::Map(base), Value::Map(over)) => Value::Map(merged_maps(base, over)),
        (_, Value::List(over)) if WHOLE.contains(&key) => Value::List(over),
        (Value::List(mut base), Value::List(over)) => {
            let new: Vec<Node> = over.into_iter().filter(|node| !base.contains(node)).collect();
            base.extend(new);
            Value::List(base)
        }
        (Value::List(mut base), over @ Value::Text(_)) if is_list(key) => {
            base.push(Node { at, value: over });
            Value::List(base)
        }
        (base @ Value::Text(_), Value::List(mut over)) if is_list(key) => {
            over.insert(0, Node { at, value: base });
            Value::List(over)
        }
        (base @ Value::Text(_), over @ Value::Text(_)) if is_list(key) => {
            Value::List(vec![Node { at, value: base }, Node { at, value: over }])
        }
        (_, over) => over,
    };
    Node { at, value }
}

/// Whether one text stands for a list of one.
fn is_list(key: &str) -> bool {
    matches!(key, "env_file" | "tmpfs" | "dns" | "dns_search")
}

fn merged_maps(base: Map, over: Map) -> Map {
    let mut both = base.0;
    for (key, node) in over.0 {
        match both.iter().position(|(other, _)| other.name == key.name) {
            Some(place) => {
                let (_, base) = both.remove(place);
                let node = merged(&key.name, base, node);
                both.insert(place, (key, node));
            }
            None => both.push((key, node)),
        }
    }
    Map(both)
}

/// The values of `node`.
fn count(node: &Node) -> usize {
    match &node.value {
        Value::List(list) => 1 + list.iter().map(count).sum::<usize>(),
        Value::Map(map) => 1 + map.0.iter().map(|(_, node)| count(node)).sum::<usize>(),
        _ => 1,
    }
}

fn as_build(node: Node) -> Node {
    match node.value {
        Value::Text(_) => {
            let key = Key {
                at: node.at,
                name: "context".to_owned(),
            };
            let at = node.at;
            Node {
                at,
                value: Value::Map(Map(vec![(key, node)])),
            }
        }
        _ => node,
    }
}

/// A list of `NAME=value`, or of names, as a mapping.
fn as_map(node: Node, has_values: bool) -> Node {
    let Value::List(list) = node.value else {
        return node;
    };
    let mut map = Map::default();
    for item in list {
        let Some(text) = item.scalar() else { continue };
        let (name, value) = match text.split_once('=') {
            Some((name, value)) if has_values => (name.to_owned(), Value::Text(value.to_owned())),
            _ => (text, Value::Null),
        };
        map.remove(&name);
        let key = Key { at: item.at, name };
        map.0.push((key, Node { at: item.at, value }));
    }
    Node {
        at: node.at,
        value: Value::Map(map),
    }
}
