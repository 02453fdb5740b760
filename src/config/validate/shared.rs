//! What the sections of one file must share out among them: ports and hosts.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;

use toml::Spanned;

use crate::model::{DOCKER_HUB, ProxySettings, RegistrySettings, is_docker_hub};

use super::super::file::{App, File};
use super::super::refusal::{Refusal, quoted};
use super::check::Check;

/// Refuses a port that two listeners claim. The addresses do not count, so that a change from one address to
/// every address cannot make a good file bad.
pub(super) fn ports(check: &mut Check<'_>, proxy: &ProxySettings, file: &File) {
    let mut taken = BTreeMap::from([(i64::from(proxy.listen.port()), "proxy.listen".to_owned())]);
    let mut claim = |port: i64, owner: String, at: std::ops::Range<usize>| match taken.entry(port) {
        Entry::Vacant(free) => {
            free.insert(owner);
        }
        Entry::Occupied(first) => check.refuse_span(
            at,
            Refusal::new(format!("port {port} is already the port of {}", first.get())),
        ),
    };
    if let (Some(metrics), Some(written)) = (proxy.metrics_listen, &file.proxy.metrics_listen) {
        claim(
            metrics.port().into(),
            "proxy.metrics_listen".into(),
            written.span(),
        );
    }
    for (name, app) in in_file_order(file) {
        let Some(ports) = &app.ports else { continue };
        for (slot, port) in [("green", &ports.get_ref().green), ("blue", &ports.get_ref().blue)] {
            if let Some(port) = port {
                claim(
                    *port.get_ref(),
                    format!("{slot} of app {}", quoted(name.get_ref())),
                    port.span(),
                );
            }
        }
    }
}

/// Refuses a host that two apps claim, or one app twice, and a second app that takes every host left over.
pub(super) fn hosts(check: &mut Check<'_>, file: &File) {
    let mut owners: BTreeMap<&str, &str> = BTreeMap::new();
    let mut rest: Option<&str> = None;
    for (name, app) in in_file_order(file) {
        for host in &app.hosts {
            if let Some(owner) = owners.insert(host.get_ref(), name.get_ref()) {
                let twice = format!(
                    "{} is already a host of app {}",
                    quoted(host.get_ref()),
                    quoted(owner)
                );
                check.refuse(host, Refusal::new(twice));
            }
        }
        if !app.hosts.is_empty() {
            continue;
        }
        match rest {
            None => rest = Some(name.get_ref()),
            Some(first) => check.refuse(
                name,
                Refusal::new(format!(
                    "neither this app nor app {} has hosts, so each would take every request that is no other app's",
                    quoted(first)
                ))
                .hint("give one of the two its hosts, as in hosts = [\"shop.example.org\"]"),
            ),
        }
    }
}

/// Refuses a second section for the same registry, and a section for the one that releases go through.
pub(super) fn registries(check: &mut Check<'_>, main: &RegistrySettings, file: &File) {
    let name = |address: &str| match is_docker_hub(address) {
        true => DOCKER_HUB.to_owned(),
        false => address.to_ascii_lowercase(),
    };
    let main = name(&main.address);
    let mut seen: BTreeMap<String, &str> = BTreeMap::new();
    let mut written: Vec<_> = file.registries.keys().collect();
    written.sort_by_key(|address| address.span().start);
    for address in written {
        let text: &String = address.get_ref();
        let shown = quoted(text);
        if name(text) == main {
            check.refuse(
                address,
                Refusal::new(format!("{shown} is the registry of the section [registry]"))
                    .hint("its username and password_file belong there"),
            );
        } else if let Some(first) = seen.insert(name(text), text) {
            let first = quoted(first);
            check.refuse(
                address,
                Refusal::new(format!(
                    "{shown} is the registry {first}, which has a section already"
                )),
            );
        }
    }
}

fn in_file_order(file: &File) -> Vec<(&Spanned<String>, &App)> {
    let mut apps: Vec<_> = file.app.iter().collect();
    apps.sort_by_key(|(name, _)| name.span().start);
    apps
}
