//! The proxy is killed, and started again.

use super::{is_well, users_own_site_is_untouched, world};
use crate::support::programs::Kind;

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
}
