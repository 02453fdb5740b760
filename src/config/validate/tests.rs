//! The example says everything that the code knows, with the defaults that the code has.

use std::path::Path;

use crate::model::{AppSettings, ProbeKind, Settings};

use super::super::fault::{SECRET, SHOWN};
use super::super::file::File;
use super::super::{defaults, parse};

const EXAMPLE: &str = include_str!("../../../deployer.toml.example");

/// The example with every key in force: `#key` becomes `key`, `# text` stays.
fn uncommented() -> String {
    let line = |line: &str| match line.strip_prefix('#') {
        Some(rest) if rest.starts_with(|c: char| c.is_ascii_lowercase() || c == '[') => rest.to_owned(),
        _ => line.to_owned(),
    };
    EXAMPLE.lines().map(line).collect::<Vec<_>>().join("\n")
}

fn parsed(text: &str) -> File {
    parse::file(text).unwrap_or_else(|findings| panic!("{}", findings[0].refusal))
}

fn settings(text: &str) -> Settings {
    super::settings(Path::new("/etc/deployer"), &parsed(text))
        .unwrap_or_else(|findings| panic!("{}", findings[0].refusal))
}

#[test]
fn the_example_as_it_stands_changes_nothing() {
    assert_eq!(settings(EXAMPLE), defaults::settings());
    assert_eq!(settings(""), defaults::settings());
}

#[test]
fn the_example_shows_the_defaults() {
    let all = settings(&uncommented());
    let default = defaults::settings();
    assert_eq!(all.state, default.state);
    assert_eq!(all.engine, default.engine);

    let mut registry = all.registry.clone();
    assert!(registry.username.take().is_some() && registry.password_file.take().is_some());
    assert!(registry.collect.take().is_some());
    assert_eq!(registry, default.registry);

    assert_eq!(all.registries.len(), 1);
    assert!(default.registries.is_empty());

    let mut proxy = all.proxy.clone();
    assert!(proxy.metrics_listen.take().is_some());
    assert_eq!(std::mem::take(&mut proxy.trusted).len(), 2);
    assert_eq!(std::mem::take(&mut proxy.programs).len(), 3);
    assert_eq!(proxy, default.proxy);

    assert!(all.ssh.authorized_keys.is_some());
    assert_eq!(default.ssh.authorized_keys, None);

    let shop = all.app(&"shop".parse().unwrap());
    let default = AppSettings::default();
    let mut without_examples = AppSettings {
        hosts: default.hosts.clone(),
        ports: default.ports,
        response_timeout: default.response_timeout,
        body_timeout: default.body_timeout,
        ..shop.clone()
    };
    let web = without_examples.services.values_mut().next().unwrap();
    web.container_port = None;
    web.build.args.clear();
    web.build.target = None;
    web.run.env.clear();
    web.run.env_file = None;
    web.run.volumes.clear();
    web.run.memory = None;
    web.run.cpus = None;
    web.run.pids = None;
    if let ProbeKind::Http { host, .. } = &mut web.probe.kind {
        *host = None;
    }
    assert_eq!(without_examples, default);
}

/// Every key of the file's types, as serde sees them: one that the example lacks is null or empty here.
#[test]
fn the_example_has_every_key() {
    let mut missing = Vec::new();
    let mut keys = Vec::new();
    visit(
        "",
        &serde_json::to_value(parsed(&uncommented())).unwrap(),
        &mut missing,
        &mut keys,
    );
    assert!(missing.is_empty(), "not in deployer.toml.example: {missing:?}");

    let user_chosen = [
        "app",
        "shop",
        "NODE_ENV",
        "LOG_LEVEL",
        "registry.example.org:5000",
    ];
    keys.retain(|key| !user_chosen.contains(&key.as_str()));
    let unlisted: Vec<_> = keys
        .iter()
        .filter(|key| !SHOWN.contains(&key.as_str()) && !SECRET.contains(&key.as_str()))
        .collect();
    assert!(
        unlisted.is_empty(),
        "neither shown nor secret beside a fault: {unlisted:?}"
    );
    let stale: Vec<_> = SHOWN
        .iter()
        .filter(|key| !keys.iter().any(|known| known == *key))
        .collect();
    assert!(stale.is_empty(), "no such keys any more: {stale:?}");
}

fn visit(at: &str, value: &serde_json::Value, missing: &mut Vec<String>, keys: &mut Vec<String>) {
    use serde_json::Value;
    match value {
        Value::Null => missing.push(at.to_owned()),
        Value::Array(list) if list.is_empty() => missing.push(at.to_owned()),
        Value::Object(table) if table.is_empty() => missing.push(at.to_owned()),
        Value::Object(table) => {
            for (key, value) in table {
                keys.push(key.clone());
                visit(&format!("{at}.{key}"), value, missing, keys);
            }
        }
        _ => {}
    }
}
