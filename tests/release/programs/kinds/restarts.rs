//! The proxy is killed, and started again.

use std::net::TcpListener;

use super::{DEADLINE, is_well, users_own_site_is_untouched, world};
use crate::support::programs::Kind;
use crate::support::{App, World, wait_for};

/// While it is away, `status` and `recover` say so, and a release ends before its flip.
pub(super) fn serve_what_was_live(kind: Kind) {
    let mut world = world(kind, "restarts");
    let shop = world.app("shop", "");
    let repo = world.repo(&shop);
    for (version, slot) in [("v1", "blue"), ("v2", "green"), ("v3", "green")] {
        repo.version(version);
        repo.push(slot).live();
    }

    world.kill_who_serves(kind);

    assert!(world.get("/version").is_err());
    let told = kind
        .program()
        .map_or("deployer proxy run", |program| program.name());
    let status = world.json(&["status"]);
    let problems = status["apps"][0]["problems"].to_string();
    println!("status: {problems}");
    assert!(
        problems.contains("does not answer") || problems.contains(told),
        "{problems}"
    );
    let recovered = world.deployer(&["recover"]);
    println!(
        "recover: {:?} {}{}",
        recovered.code, recovered.stdout, recovered.stderr
    );
    assert_ne!(recovered.code, Some(0), "{}", recovered.stdout);
    assert!(recovered.stderr.contains("Hint: "), "{}", recovered.stderr);
    repo.version("v4");
    let said = repo.push("green").failed();
    println!("push: {said}");
    assert!(said.contains("Hint: "), "{said}");
    assert!(said.contains("at flip: "), "{said}");

    world.start_who_serves(kind);

    assert_eq!(world.version(), "v3");
    assert_eq!(world.version_at(shop.green), "v3");
    assert_eq!(world.version_at(shop.blue), "v1");
    users_own_site_is_untouched(&world, kind);
    is_well(&world);
    repo.push("blue").live();
    assert_eq!(world.version(), "v4");
    is_well(&world);
    starts_without_a_port_that_is_taken(&mut world, kind, &shop);
}

/// Somebody else has a slot port when the program is started: its unit has that left out first. While it runs, nothing is.
fn starts_without_a_port_that_is_taken(world: &mut World, kind: Kind, shop: &App) {
    let program = kind.program().expect("a program serves");
    let before_start = |world: &World| world.deployer(&["proxy", "before-start", program.name()]).good();
    assert_eq!(before_start(world), "");
    is_well(world);

    world.kill_who_serves(kind);
    let stranger = wait_for("the port to be free", DEADLINE, || {
        TcpListener::bind(shop.green).ok()
    });
    let told = before_start(world);
    world.start_who_serves(kind);

    let taken = format!("port {} is taken by ", shop.green.port());
    assert!(told.contains(&taken), "{told}");
    assert_eq!(world.version(), "v4");
    assert_eq!(world.version_at(shop.blue), "v4");
    users_own_site_is_untouched(world, kind);
    let status = world.json(&["status"]);
    let problems = status["apps"][0]["problems"].to_string();
    assert!(problems.contains(&taken), "{problems}");

    // The next start has it again where it is free by then.
    drop(stranger);
    world.kill_who_serves(kind);
    assert_eq!(before_start(world), "");
    world.start_who_serves(kind);
    assert_eq!(world.version_at(shop.green), "v3");
    is_well(world);
}
