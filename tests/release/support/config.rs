//! What a world's deployer and registry are told.

use std::fs;
use std::net::SocketAddr;
use std::os::unix::fs::PermissionsExt;
use std::process::Command;

use super::World;
use super::engine::OwnEngine;
use super::process::run;
use super::programs::Kind;

/// The user of a registry that wants a password.
const REGISTRY_USER: &str = "deployer";

/// How a world differs from the usual one.
#[derive(Debug, Clone, Default)]
pub(crate) struct Options {
    /// The registry wants this password.
    pub(crate) registry_password: Option<String>,
    /// The registry listens where it is not looked for, behind a forwarder of the test's.
    pub(crate) registry_behind: bool,
    /// An Engine of the world's own, that a test may stop and kill; none: the machine's.
    pub(crate) own_engine: Option<OwnEngine>,
    /// Lines for the section `[engine]`.
    pub(crate) engine: String,
    /// Lines for the section `[registry]`.
    pub(crate) registry: String,
    /// Which proxy it has.
    pub(crate) kind: Kind,
    /// Lines for the section `[proxy]`.
    pub(crate) proxy: String,
    /// Every process of the world's deployer has fail points.
    pub(crate) fail_points: bool,
}

/// The configuration of a world's deployer, without its apps. Writes the password's file where there is a password.
pub(super) fn deployer(world: &World) -> String {
    let Options {
        registry_password,
        engine,
        registry,
        proxy,
        ..
    } = &world.options;
    let login = registry_password.as_ref().map(|password| {
        let file = world.path("registry-password");
        fs::write(&file, password).expect("the password is written");
        fs::set_permissions(&file, PermissionsExt::from_mode(0o600)).expect("the password is hidden");
        format!("username = {REGISTRY_USER:?}\npassword_file = {file:?}\n")
    });
    format!(
        "state = {:?}\n\n[engine]\nhost = {:?}\nnetwork = {:?}\nsubnet = {:?}\n{engine}\n\n\
         [registry]\naddress = \"{}\"\n{}{registry}\n\n[proxy]\nlisten = \"{}\"\n{}{proxy}\n\n{}\n\
         [ssh]\nauthorized_keys = {:?}\n",
        world.path("state"),
        world.docker().host(),
        world.network(),
        world.lease.subnet(),
        world.registry_address(),
        login.unwrap_or_default(),
        world.public(),
        kind_lines(world),
        world
            .options
            .kind
            .program()
            .map_or(String::new(), |program| program.lines(world)),
        world.authorized_keys(),
    )
}

fn kind_lines(world: &World) -> String {
    let (mode, program) = match world.options.kind {
        Kind::Embedded => return String::new(),
        Kind::Flip(program) => ("flip", program),
        Kind::Front(program) => ("front", program),
    };
    format!(
        "kind = {:?}\nmode = {mode:?}\nsocket = {:?}\n",
        program.name(),
        world.socket()
    )
}

/// The configuration of a registry that keeps its data in the world's folder `data` and listens at `address`. Writes the
/// file of its users where there is a password.
pub(super) fn registry(world: &World, data: &str, address: SocketAddr, password: Option<&str>) -> String {
    let auth = password.map(|password| {
        let file = world.path(&format!("{data}.htpasswd"));
        // The cheapest cost that bcrypt has: each push asks many times.
        let line = run(
            Command::new("htpasswd").args(["-nbB", "-C", "4", REGISTRY_USER, password]),
            &[],
        );
        fs::write(&file, line.good()).expect("the registry's users are written");
        format!("auth:\n  htpasswd: {{ realm: test, path: {file:?} }}\n")
    });
    format!(
        "version: 0.1\nlog: {{ level: error, accesslog: {{ disabled: true }} }}\nstorage:\n  filesystem: {{ rootdirectory: {:?} }}\n  \
         delete: {{ enabled: true }}\nhttp: {{ addr: \"{address}\" }}\n{}",
        world.path(data),
        auth.unwrap_or_default(),
    )
}
