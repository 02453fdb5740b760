//! Everything that must survive a crash of the machine is synced, and in the order that makes it so: the system calls of
//! real commands, releases and proxies.

use crate::durable_calls::{Written, strace};
use crate::support::process::run;
use crate::support::programs::Program;
use crate::support::{World, wait_for};

const DEADLINE: std::time::Duration = std::time::Duration::from_secs(20);

/// A key that ssh-keygen made and nobody has.
const KEY: &str = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIMgnPYyH7oGc2tUeyrOyR8PEM8J4ujbsJOzWT5ftzeCR laptop\n";

/// `deployer ARGUMENTS` under strace, whose calls go to the world's folder `calls`.
fn traced(world: &World, calls: &str, arguments: &[&str]) -> std::process::Command {
    let deployer = world.command();
    let strace = strace(&world.path(calls));
    let mut command = std::process::Command::new(&strace[0]);
    command.args(&strace[1..]).arg(deployer.get_program());
    command.args(deployer.get_args()).args(arguments);
    command.current_dir(world.path("")).env_clear();
    command.envs(
        deployer
            .get_envs()
            .filter_map(|(name, value)| Some((name, value?))),
    );
    command
}

#[test]
fn every_durable_write_is_synced_in_order() {
    if Program::Nginx.is_skipped() || Program::Haproxy.is_skipped() {
        return;
    }
    let mut world = World::new("durable");
    let mut of = Vec::new();
    let mut calls = |name: &str| {
        let name = format!("calls-{name}");
        of.push(name.clone());
        name
    };
    let mut proxy = traced(&world, &calls("proxy"), &["proxy", "run"]);
    // The proxy is the child, and strace its child: so it gets the signals.
    let words: Vec<_> = proxy.get_args().map(ToOwned::to_owned).collect();
    let mut as_child = std::process::Command::new("strace");
    as_child.arg("-D").args(words).env_clear();
    as_child.envs(proxy.get_envs().filter_map(|(name, value)| Some((name, value?))));
    proxy = as_child;
    proxy.current_dir(world.path(""));
    world.restart_proxy_as(&mut proxy);

    let shop = world.configure("shop", "gate = \"release\"");
    run(
        &mut traced(&world, &calls("create"), &["app", "create", "shop"]),
        &[],
    )
    .good();
    let repo = world.repo(&shop);
    repo.version("v1");
    let strace = strace(&world.path(&calls("push")));
    let mut push = repo.shell(&strace[0]);
    run(
        push.args(&strace[1..]).args(["git", "push", "green", "main"]),
        &[],
    )
    .good();
    assert_eq!(world.version(), "v1");
    run(
        &mut traced(&world, &calls("key"), &["key", "add", "laptop"]),
        KEY.as_bytes(),
    )
    .good();

    let mut before = format!("[proxy]\nlisten = \"{}\"\n", world.public());
    for (program, listen) in [
        (Program::Nginx, world.spare()),
        (Program::Haproxy, world.public()),
    ] {
        world.add_program(program);
        let now = format!("[proxy]\nlisten = \"{listen}\"\nkind = \"{}\"\n", program.name());
        world.reconfigure(&before, &now);
        let words = ["proxy", "switch", program.name(), "--overlap", "0s"];
        run(&mut traced(&world, &calls(program.name()), &words), &[]).good();
        assert_eq!(world.version_at(listen), "v1");
        before = now;
    }
    world.await_proxys_end();

    let folders: Vec<_> = of.iter().map(|name| world.path(name)).collect();
    // strace may not have written all of a process that has ended.
    wait_for("all calls", DEADLINE, || {
        let left = crate::support::process::processes_of("/usr/bin/strace".as_ref(), &world.path(""));
        left.is_empty().then_some(())
    });
    let written = Written::read(&folders);
    written.has_replaced(&[
        "/state/identity.json",
        "/apps/shop/app.json",
        "/apps/shop/releases/1/record.json",
        "/apps/shop/state.json",
        "/git/shop/green.git/hooks/post-receive",
        "/ssh/authorized_keys",
        "/state/proxy/routes.json",
        "/state/proxy/kind.json",
        "/state/proxy/nginx/external.json",
        "/state-proxy/nginx/deployer.conf",
        "/state/proxy/haproxy/external.json",
        "/state-proxy/haproxy/deployer.cfg",
        "/state-proxy/haproxy/choices.map",
    ]);
    written.has_appended(&["/state/audit.log", "/apps/shop/releases/1/journal"]);
    written.has_made(&[
        "/state/apps",
        "/state/apps/shop",
        "/apps/shop/releases",
        "/apps/shop/releases/1",
        "/state/git/shop",
        "/state/proxy/nginx",
    ]);
    written.has_marked(&["/nginx/marks/shop/live.on", "/nginx/marks/shop/live.green"]);
}
