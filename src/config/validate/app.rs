//! One app's section.

use std::collections::{BTreeMap, HashSet};
use std::path::PathBuf;

use toml::Spanned;

use crate::model::{
    AppSettings, BuildSettings, Probe, ProbeKind, RunSettings, ServiceName, ServiceSettings, SlotPorts,
};

use super::super::file::{self, App, Named, Secret};
use super::super::refusal::Refusal;
use super::super::units::{duration, duration_above_zero, size};
use super::check::Check;
use super::{addresses, words};

/// The app's settings; where a value was refused, its default stands in for it.
pub(super) fn settings(check: &mut Check<'_>, from: &App) -> AppSettings {
    let mut to = AppSettings::default();
    check.set(&mut to.branch, &from.branch, words::branch);
    to.hosts = hosts(check, &from.hosts);
    check.set(&mut to.trailers, &from.trailers, |on: &bool| Ok(*on));
    to.ports = from.ports.as_ref().and_then(|from| ports(check, from));
    to.services = [(ServiceName::web(), service(check, from))].into();
    check.set_some(
        &mut to.response_timeout,
        &from.response_timeout,
        duration_above_zero,
    );
    check.set_some(&mut to.body_timeout, &from.body_timeout, duration_above_zero);
    check.set(&mut to.drain_deadline, &from.drain_deadline, duration);
    check.set(&mut to.promote, &from.promote, words::promote);
    check.set(&mut to.standby, &from.standby, words::standby);
    check.set(&mut to.keep, &from.keep, words::count);
    check.set(&mut to.gate, &from.gate, words::gate);
    check.set(&mut to.max_push, &from.max_push, size);
    to
}

/// The one service of an app that has one Dockerfile: its settings stand among the app's own.
fn service(check: &mut Check<'_>, from: &App) -> ServiceSettings {
    let mut to = ServiceSettings::default();
    check.set_some(&mut to.container_port, &from.container_port, words::port);
    build(check, &mut to.build, from);
    check.set(&mut to.instances, &from.instances, words::instances);
    run(check, &mut to.run, from);
    probe(check, &mut to.probe, &from.probe);
    to
}

fn hosts(check: &mut Check<'_>, from: &[Spanned<String>]) -> Vec<String> {
    from.iter()
        .filter_map(|host| check.read(host, addresses::host))
        .collect()
}

fn ports(check: &mut Check<'_>, from: &Spanned<file::Ports>) -> Option<SlotPorts> {
    let (Some(green), Some(blue)) = (&from.get_ref().green, &from.get_ref().blue) else {
        check.refuse(
            from,
            Refusal::new("ports needs both slots").hint("write ports = { green = 50100, blue = 50101 }"),
        );
        return None;
    };
    Some(SlotPorts {
        green: check.read(green, words::port)?,
        blue: check.read(blue, words::port)?,
    })
}

fn build(check: &mut Check<'_>, to: &mut BuildSettings, from: &App) {
    check.set(&mut to.dockerfile, &from.dockerfile, words::path_in_tree);
    check.set(&mut to.context, &from.context, words::path_in_tree);
    to.args = variables(check, &from.build_args);
    check.set_some(&mut to.target, &from.target, words::one_line);
    to.pull = from.build_pull.as_ref().is_some_and(|pull| *pull.get_ref());
    check.set(&mut to.deadline, &from.build_deadline, duration_above_zero);
}

fn run(check: &mut Check<'_>, to: &mut RunSettings, from: &App) {
    to.env = variables(check, &from.env);
    let mut env_file = PathBuf::new();
    check.path(&mut env_file, &from.env_file);
    to.env_file = from.env_file.as_ref().map(|_| env_file);
    let mut targets = HashSet::new();
    for written in &from.volumes {
        let Some(volume) = check.read(written, words::volume) else {
            continue;
        };
        if !targets.insert(volume.target.clone()) {
            let twice = format!("two volumes are mounted at {}", volume.target);
            check.refuse(written, Refusal::new(twice));
        }
        to.volumes.push(volume);
    }
    check.set_some(&mut to.memory, &from.memory, words::memory);
    check.set_some(&mut to.cpus, &from.cpus, words::cpus);
    check.set_some(&mut to.pids, &from.pids, words::pids);
    check.set(&mut to.restart, &from.restart, words::restart);
    check.set(&mut to.stop_grace, &from.stop_grace, duration);
    check.set(&mut to.log_size, &from.log_size, size);
}

/// Environment or build arguments. Their values are never part of a message.
fn variables(check: &mut Check<'_>, from: &Named<Spanned<Secret>>) -> BTreeMap<String, String> {
    let mut variables = BTreeMap::new();
    for (name, value) in from {
        let name_read = check.read(name, words::variable);
        match value.get_ref().text() {
            Some(text) if !text.contains('\0') => {
                variables.extend(name_read.map(|name| (name, text.to_owned())));
            }
            _ => check.refuse(
                value,
                Refusal::new("the value of a variable must be a text without zero bytes")
                    .hint("put it in quotes"),
            ),
        }
    }
    variables
}

fn probe(check: &mut Check<'_>, to: &mut Probe, from: &file::Probe) {
    let kind = from.kind.as_ref().map_or("http", |kind| kind.get_ref());
    match kind {
        "http" => http_probe(check, to, from),
        "tcp" | "healthcheck" => {
            to.kind = if kind == "tcp" {
                ProbeKind::Tcp
            } else {
                ProbeKind::Healthcheck
            };
            only_for_http(check, kind, from);
        }
        _ => check.set(&mut to.kind, &from.kind, words::no_probe_kind),
    }
    check.set(&mut to.interval, &from.interval, duration_above_zero);
    check.set(&mut to.timeout, &from.timeout, duration_above_zero);
    check.set(&mut to.deadline, &from.deadline, duration_above_zero);
}

fn http_probe(check: &mut Check<'_>, to: &mut Probe, from: &file::Probe) {
    if let ProbeKind::Http { path, status, host } = &mut to.kind {
        check.set(path, &from.path, words::probe_path);
        check.set(status, &from.status, words::status);
        check.set_some(host, &from.host, addresses::host_header);
    }
}

fn only_for_http(check: &mut Check<'_>, kind: &str, from: &file::Probe) {
    let spans = [
        from.path.as_ref().map(Spanned::span),
        from.status.as_ref().map(Spanned::span),
        from.host.as_ref().map(Spanned::span),
    ];
    for span in spans.into_iter().flatten() {
        check.refuse_span(
            span,
            Refusal::new(format!(
                "path, status and host are for a probe of kind http; this one is {kind}"
            )),
        );
    }
}
