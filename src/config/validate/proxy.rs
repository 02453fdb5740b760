//! `[proxy]`

use std::path::{Path, PathBuf};

use crate::model::{Program, ProgramSettings, ProxyKind, ProxySettings, Settings};

use super::super::file::{Field, Proxy};
use super::super::refusal::Refusal;
use super::super::units::duration_above_zero;
use super::check::Check;
use super::{addresses, words};

/// `[proxy]`: which program serves the public port, its addresses and its timeouts.
pub(super) fn settings(check: &mut Check<'_>, settings: &mut Settings, from: &Proxy) {
    let state = settings.state.clone();
    let to = &mut settings.proxy;
    kind(check, to, from);
    to.folder = beside(&state);
    check.path(&mut to.folder, &from.folder);
    to.snippets = check.folder.join("snippets");
    check.path(&mut to.snippets, &from.snippets);
    check.path(&mut to.socket, &from.socket);
    if let Some(nginx) = &from.nginx {
        let read = program(check, &nginx.check, &nginx.reload, &None);
        to.programs.insert(Program::Nginx, read);
    }
    let programs = [(Program::Haproxy, &from.haproxy), (Program::Caddy, &from.caddy)];
    for (name, section) in programs {
        if let Some(section) = section {
            let read = program(check, &section.check, &section.reload, &section.admin);
            to.programs.insert(name, read);
        }
    }
    check.set(&mut to.listen, &from.listen, addresses::listen);
    check.set(&mut to.slot_listen, &from.slot_listen, addresses::ip);
    let trusted = from.trusted.iter();
    to.trusted = trusted
        .filter_map(|peers| check.read(peers, addresses::peers))
        .collect();
    check.set_some(
        &mut to.metrics_listen,
        &from.metrics_listen,
        addresses::loopback_listen,
    );
    check.set(&mut to.header_timeout, &from.header_timeout, duration_above_zero);
    check.set(&mut to.idle_timeout, &from.idle_timeout, duration_above_zero);
    check.set(&mut to.body_timeout, &from.body_timeout, duration_above_zero);
    check.set(
        &mut to.response_timeout,
        &from.response_timeout,
        duration_above_zero,
    );
}

fn kind(check: &mut Check<'_>, to: &mut ProxySettings, from: &Proxy) {
    let mut program = None;
    check.set(&mut program, &from.kind, words::proxy_kind);
    let mut is_front = false;
    check.set(&mut is_front, &from.mode, words::proxy_mode);
    to.kind = match (program, is_front) {
        (None, _) => ProxyKind::Embedded,
        (Some(program), false) => ProxyKind::Flip(program),
        (Some(program), true) => ProxyKind::Front(program),
    };
    if let (Some(mode), ProxyKind::Embedded, true) = (&from.mode, to.kind, is_front) {
        check.refuse(
            mode,
            Refusal::new("nothing stands in front of the embedded proxy by itself")
                .hint("say which program does, as in kind = \"nginx\""),
        );
    }
}

fn program(
    check: &mut Check<'_>,
    checks: &Field<Vec<String>>,
    reload: &Field<Vec<String>>,
    admin: &Field<String>,
) -> ProgramSettings {
    let mut to = ProgramSettings::default();
    check.set_some(&mut to.check, checks, |words: &Vec<String>| command(words));
    check.set_some(&mut to.reload, reload, |words: &Vec<String>| command(words));
    check.set_some(&mut to.admin, admin, words::host_path);
    to
}

/// A command: a program and its arguments.
pub(super) fn command(words: &[String]) -> Result<Vec<String>, Refusal> {
    match words {
        [] => {
            Err(Refusal::new("the command is empty").hint("write the program and its arguments, a text each"))
        }
        words => words.iter().map(|word| words::one_line(word)).collect(),
    }
}

/// The folder beside the state folder that others may read.
fn beside(state: &Path) -> PathBuf {
    let mut path = state.as_os_str().to_owned();
    path.push("-proxy");
    path.into()
}
