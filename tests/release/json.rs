//! docs/reference/json.md beside what the commands print.

use std::collections::BTreeSet;

use serde_json::Value;

use crate::support::World;
use crate::support::process::run;

const PAGE: &str = include_str!("../../docs/reference/json.md");

/// Names in objects that are data, and no fields.
const DATA: [&str; 4] = ["blue", "green", "shop", "web"];

const KEY: &str = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIAABAgMEBQYHCAkKCwwNDg8QERITFBUWFxgZGhscHR4f ada";

#[test]
fn every_field_of_the_json_is_in_its_reference_and_every_field_there_is_printed() {
    let mut world = World::new("json");
    let shop = world.app("shop", "keep = 0");
    let repo = world.repo(&shop);
    for version in ["v1", "v2"] {
        repo.version(version);
        repo.push("green").live();
    }
    repo.write("Dockerfile", "FROM nowhere.invalid/none\n")
        .commit("v3");
    repo.push("blue").failed();
    run(world.command().args(["key", "add", "laptop"]), KEY.as_bytes()).good();

    for (arguments, heading) in [
        (&["status"][..], "## `deployer status --json`"),
        (&["releases"], "## `deployer releases --json`"),
        (&["audit"], "## `deployer audit --json`"),
        (&["app", "list"], "## The others"),
        (&["app", "show"], "## The others"),
        (&["prune"], "## The others"),
        (&["proxy", "routes"], "## The others"),
        (&["key", "list"], "## The others"),
        (&["key", "show", "laptop"], "## The others"),
    ] {
        let mut printed = BTreeSet::new();
        fields(&world.json(arguments), &mut printed);
        let section = section(heading);
        let named: BTreeSet<&str> = PAGE.split('`').skip(1).step_by(2).collect();
        for field in &printed {
            assert!(
                named.contains(field.as_str()),
                "{arguments:?} prints {field}, which {heading} lacks"
            );
        }
        for field in rows(section) {
            assert!(
                printed.contains(field),
                "{heading} has {field}, which {arguments:?} does not print"
            );
        }
    }
}

/// The names of all fields at any depth.
fn fields(value: &Value, into: &mut BTreeSet<String>) {
    match value {
        Value::Object(object) => {
            let names = object.keys().filter(|name| !DATA.contains(&name.as_str()));
            into.extend(names.cloned());
            object.values().for_each(|value| fields(value, into));
        }
        Value::Array(values) => values.iter().for_each(|value| fields(value, into)),
        _ => {}
    }
}

fn section(heading: &str) -> &'static str {
    let (_, rest) = PAGE
        .split_once(heading)
        .unwrap_or_else(|| panic!("json.md has no {heading}"));
    rest.split("\n## ").next().unwrap_or(rest)
}

/// The fields that a section's table has rows for, but for those that are printed only where there is something to tell.
fn rows(section: &str) -> impl Iterator<Item = &str> {
    let rows = section.lines().filter(|line| line.starts_with("| `"));
    let cells = rows.filter_map(|row| row.split('|').nth(1));
    let names = cells.flat_map(|cell| cell.split('`').skip(1).step_by(2));
    names
        .map(|name| name.rsplit('.').next().unwrap_or(name))
        .filter(|name| !["more", "since"].contains(name))
}
