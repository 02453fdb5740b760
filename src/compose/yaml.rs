//! YAML read with bounds, so that no file costs more than it is worth.

use serde_saphyr::options::{DuplicateKeyPolicy, MergeKeyPolicy, Options};

use super::fault::{At, Faults};
use super::node::{Node, TAGGED};
use crate::model::printable;

/// Values in a file, those of aliases and merges counted wherever they are used. The largest public compose files that
/// were looked at have a fifth of it.
pub(super) const NODES_MAX: usize = 20_000;
/// Values in values. Compose's own format has no more than ten.
const DEPTH_MAX: usize = 32;
/// Bytes of all values.
const BYTES_MAX: usize = 2 << 20;

/// Reads `text`, the content of `file`.
pub(super) fn parse(file: &str, text: &str) -> Result<Node, Faults> {
    serde_saphyr::from_str_with_options::<Node>(text, options()).map_err(|error| fault(file, &error))
}

fn options() -> Options {
    let budget = serde_saphyr::budget! {
        simple_key_max_lookahead: 1_024,
        flow_nesting_limit: DEPTH_MAX,
        max_events: 3 * NODES_MAX,
        max_aliases: 2_000,
        max_anchors: 1_000,
        max_recorded_anchor_events: NODES_MAX,
        max_recorded_anchor_bytes: BYTES_MAX / 2,
        max_depth: DEPTH_MAX,
        max_documents: 1,
        max_nodes: NODES_MAX,
        max_total_scalar_bytes: BYTES_MAX,
        max_merge_keys: 1_000,
        enforce_alias_anchor_ratio: false,
    };
    let limits = serde_saphyr::alias_limits! {
        max_total_replayed_events: NODES_MAX,
        max_replay_stack_depth: 16,
        max_alias_expansions_per_anchor: 2_000,
    };
    serde_saphyr::options! {
        budget: budget,
        alias_limits: limits,
        duplicate_keys: DuplicateKeyPolicy::Error,
        merge_keys: MergeKeyPolicy::Merge,
        legacy_octal_numbers: true,
        strict_booleans: true,
        with_snippet: false,
    }
}

fn fault(file: &str, error: &serde_saphyr::Error) -> Faults {
    let text = error.to_string();
    if let Some((at, what)) = text.split_once(TAGGED).and_then(|(_, rest)| tagged(rest)) {
        return Faults::one(file, at, what, Some("write the whole of it into this file"));
    }
    let number = |number: u64| u32::try_from(number).unwrap_or(u32::MAX).max(1);
    let at = error.location().map_or(At { line: 1, column: 1 }, |at| At {
        line: number(at.line()),
        column: number(at.column()),
    });
    let (what, instead) = sentence(&text);
    Faults::one(file, at, what, instead)
}

/// The parser's message without the place, which stands before it; of bounds and of keys that are there twice our own words.
fn sentence(text: &str) -> (String, Option<&'static str>) {
    const BOUNDS: [(&str, &str); 5] = [
        ("Nodes", "more than 20000 values, with those of aliases and of <<"),
        ("Depth", "more than 32 values in each other"),
        ("recursion limit", "more than 32 values in each other"),
        ("Documents", "more than one document"),
        ("MergeKeys", "more than 1000 merges by <<"),
    ];
    let is_bound = ["budget breached", "recursion limit", "alias"]
        .iter()
        .any(|begin| text.starts_with(begin));
    if let Some((_, bound)) = BOUNDS.iter().find(|(name, _)| is_bound && text.contains(name)) {
        return (format!("the file has {bound}"), None);
    }
    if text.starts_with("budget breached") {
        return (
            "the file is larger than any compose file, with what its aliases stand for".to_owned(),
            None,
        );
    }
    let ends = [" at line ", " (defined at ", ", set DuplicateKeyPolicy"];
    let end = ends
        .iter()
        .filter_map(|end| text.find(end))
        .min()
        .unwrap_or(text.len());
    let text = printable(&text[..end].replace('\n', " "))
        .chars()
        .take(300)
        .collect();
    (text, None)
}

/// Line, column and message of a refused tag.
fn tagged(text: &str) -> Option<(At, String)> {
    let mut parts = text.splitn(3, ':');
    let line = parts.next()?.parse().ok()?;
    let column = parts.next()?.parse().ok()?;
    let what = parts.next()?.split(" at line").next()?;
    Some((At { line, column }, what.to_owned()))
}

#[cfg(test)]
mod tests {
    use super::super::node::Value;
    use super::*;

    fn told(text: &str) -> String {
        parse("c.yml", text).unwrap_err().to_string()
    }

    #[test]
    fn values_have_their_places_and_go_as_compose_has_them() {
        let node = parse(
            "c.yml",
            "a: &x\n  b: 1.10\n  d: 012\nc:\n  <<: *x\n  yes: yes\n  e: 1e30\n  f: true\n",
        )
        .unwrap();
        let map = node.map().unwrap();
        let (key, merged) = map.entry("c").unwrap();
        assert_eq!(key.at, At { line: 4, column: 1 });
        let merged = merged.map().unwrap();
        let b = merged.get("b").unwrap();
        assert_eq!(b.at, At { line: 2, column: 6 });
        let scalar = |key: &str| merged.get(key).unwrap().scalar().unwrap();
        assert_eq!(
            ["b", "d", "yes", "e", "f"].map(scalar),
            ["1.1", "10", "yes", "1e+30", "true"]
        );
        assert_eq!(merged.get("yes").unwrap().value, Value::Text("yes".into()));
    }

    #[test]
    fn what_is_no_yaml_is_told_with_its_place() {
        for (text, place) in [
            ("a: 1\na: 2\n", "c.yml:2:1: duplicate mapping key: a"),
            ("a: [1\nb: 2\n", "c.yml:2:"),
            ("a: *nowhere\n", "c.yml:1:4: "),
            (
                "a:\n  b: !reset null\n",
                "c.yml:2:13: the tag !reset is only of use",
            ),
            (
                "a: 1\n---\nb: 2\n",
                "c.yml:2:1: the file has more than one document",
            ),
        ] {
            assert!(told(text).starts_with(place), "{text:?}: {}", told(text));
        }
    }
}
