//! File → settings: every value checked, every fault collected, every default filled in.

mod addresses;
mod app;
mod check;
mod proxy;
mod shared;
mod words;

use std::path::{Path, PathBuf};

use toml::Spanned;

use crate::model::{
    EngineSettings, LoginSettings, RegistrySettings, Settings, SshSettings, is_loopback_registry,
};

use super::defaults;
use super::fault::Finding;
use super::file::{Engine, File, Login, Registry, Ssh};
use super::refusal::Refusal;
use super::units::duration_above_zero;
use check::Check;

/// The settings that `file` gives; relative paths start at `folder`.
///
/// # Errors
/// Every fault that was found, in no certain order.
pub(super) fn settings(folder: &Path, file: &File) -> Result<Settings, Vec<Finding>> {
    let mut check = Check::new(folder);
    let mut settings = defaults::settings();
    check.path(&mut settings.state, &file.state);
    engine(&mut check, &mut settings.engine, &file.engine);
    registry(&mut check, &mut settings.registry, &file.registry);
    for (address, section) in &file.registries {
        let login = login(&mut check, address, section);
        if let Some(address) = check.read(address, addresses::login_address) {
            settings.registries.insert(address, login);
        }
    }
    shared::registries(&mut check, &settings.registry, file);
    proxy::settings(&mut check, &mut settings, &file.proxy);
    ssh(&mut check, &mut settings.ssh, &file.ssh);
    for (name, section) in &file.app {
        let read = app::settings(&mut check, section);
        if let Some(name) = check.read(name, |text: &str| Ok(text.parse()?)) {
            settings.apps.insert(name, read);
        }
    }
    shared::ports(&mut check, &settings.proxy, file);
    shared::hosts(&mut check, file);
    check.finish(settings)
}

fn engine(check: &mut Check<'_>, to: &mut EngineSettings, from: &Engine) {
    check.set(&mut to.host, &from.host, addresses::engine_host);
    check.set(&mut to.network, &from.network, addresses::network);
    check.set(&mut to.subnet, &from.subnet, addresses::subnet);
    check.set(&mut to.builder, &from.builder, words::builder);
}

fn registry(check: &mut Check<'_>, to: &mut RegistrySettings, from: &Registry) {
    check.set(&mut to.address, &from.address, addresses::registry_address);
    check.set(&mut to.prefix, &from.prefix, addresses::registry_prefix);
    check.set_some(&mut to.username, &from.username, words::one_line);
    let mut password_file = PathBuf::new();
    check.path(&mut password_file, &from.password_file);
    to.password_file = from.password_file.as_ref().map(|_| password_file);
    match (&from.username, &from.password_file) {
        (Some(username), None) => check.refuse(
            username,
            Refusal::new("username stands here without password_file")
                .hint("put the password into a file, mode 0600, and name it"),
        ),
        (None, Some(file)) => check.refuse(file, Refusal::new("password_file stands here without username")),
        _ => {}
    }
    let allowed = from.plain_http.as_ref().is_some_and(|allowed| *allowed.get_ref());
    to.plain_http = allowed || is_loopback_registry(&to.address);
    check.set(
        &mut to.transfer_timeout,
        &from.transfer_timeout,
        duration_above_zero,
    );
    // An empty one: nothing is to be run.
    check.set_some(&mut to.collect, &from.collect, |words: &Vec<String>| {
        words.iter().map(|word| words::one_line(word)).collect()
    });
}

/// How to log in at another registry, whose section begins at `at`.
fn login(check: &mut Check<'_>, at: &Spanned<String>, from: &Login) -> LoginSettings {
    if from.username.is_none() || from.password_file.is_none() {
        check.refuse(
            at,
            Refusal::new("a registry to log in at needs username and password_file")
                .hint("put the password into a file, mode 0600, and name it; one that wants no login needs no section"),
        );
    }
    let (mut username, mut password_file) = (String::new(), PathBuf::new());
    check.set(&mut username, &from.username, words::one_line);
    check.path(&mut password_file, &from.password_file);
    LoginSettings {
        username,
        password_file,
    }
}

fn ssh(check: &mut Check<'_>, to: &mut SshSettings, from: &Ssh) {
    let mut authorized_keys = PathBuf::new();
    check.path(&mut authorized_keys, &from.authorized_keys);
    to.authorized_keys = from.authorized_keys.as_ref().map(|_| authorized_keys);
}

#[cfg(test)]
mod tests;
