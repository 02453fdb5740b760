//! Each folder of `tests/compose/corpus/` is a tree of its own, in a shape that people have. What deployer reads of it is what Compose
//! reads, but for what docs/reference/compose.md lists.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use deployer::compose::{self, Tree};
use serde_json::Value;

use super::{oracle, ours};

/// What Compose does not read any more: src/compose/read_tests.rs says what becomes of it.
const OURS_ALONE: &str = "old-form";
/// Fewer would mean that the folder was not found.
const TREES_MIN: usize = 60;

#[test]
fn what_is_read_of_every_tree_is_what_compose_reads() {
    let trees = trees();
    assert!(trees.len() >= TREES_MIN, "there are {} trees", trees.len());
    let mut differing = Vec::new();
    for path in trees.iter().filter(|path| !path.ends_with(OURS_ALONE)) {
        let name = path.file_name().unwrap().to_string_lossy();
        let tree = Tree::open(path).unwrap();
        let file = compose::find(&tree).unwrap_or_else(|| panic!("{name} has no compose file"));
        let model =
            compose::read(&tree, file, &BTreeMap::new()).unwrap_or_else(|faults| panic!("{name}: {faults}"));
        let (ours, theirs) = (ours::model(&model), oracle::model(path, file));
        let mut differences = Vec::new();
        compare("", &ours, &theirs, &mut differences);
        differing.extend(
            differences
                .into_iter()
                .map(|difference| format!("{name}: {difference}")),
        );
    }
    assert!(differing.is_empty(), "{}", differing.join("\n"));
}

#[test]
fn every_tree_has_its_services_placed() {
    for path in trees() {
        let name = path.file_name().unwrap().to_string_lossy();
        let tree = Tree::open(&path).unwrap();
        let file = compose::find(&tree).unwrap();
        let model = compose::read(&tree, file, &BTreeMap::new()).unwrap();
        let placed = compose::place(&tree, &model).unwrap_or_else(|faults| panic!("{name}: {faults}"));
        assert!(
            placed.values().any(|placed| placed.public),
            "{name}: nothing is public"
        );
    }
}

fn trees() -> Vec<PathBuf> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/compose/corpus");
    // Compose prints paths without links.
    let folder = folder.canonicalize().expect("the corpus");
    let entries = std::fs::read_dir(folder).expect("the corpus");
    let mut trees: Vec<PathBuf> = entries.map(|entry| entry.unwrap().path()).collect();
    trees.sort();
    trees
}

/// Notes the places where two values differ.
fn compare(at: &str, ours: &Value, theirs: &Value, into: &mut Vec<String>) {
    match (ours, theirs) {
        (Value::Object(a), Value::Object(b)) => {
            let keys: std::collections::BTreeSet<&String> = a.keys().chain(b.keys()).collect();
            for key in keys {
                let of = |map: &serde_json::Map<String, Value>| map.get(key).cloned().unwrap_or(Value::Null);
                compare(&format!("{at}.{key}"), &of(a), &of(b), into);
            }
        }
        _ if ours != theirs => into.push(format!("{at}: ours is {ours}, Compose has {theirs}")),
        _ => {}
    }
}
