//! What a change of the program's configuration costs, which a release brings only where instances, hosts or ports have
//! changed.

use super::{answer, await_answers, await_version, is_well, users_own_site_is_untouched, world};
use crate::support::http::Failure;
use crate::support::programs::Kind;
use crate::support::traffic::Load;

/// One instance becomes three on either lane, and hosts and a slot port change, all under traffic. Requests that were
/// under way may be lost where a reload of the program loses them, which is counted; no answer is wrong or late.
pub(super) fn serve_nothing_wrong(kind: Kind) {
    let mut world = world(kind, "reloads");
    let shop = world.app("shop", "hosts = [\"shop.test\"]\ninstances = 1");
    let repo = world.repo(&shop);
    repo.version("v1");
    repo.push("green").live();
    let traffic = world.traffic_with(Load {
        host: "shop.test".into(),
        ..Load::default()
    });
    let moves = |from: &str, to: &str, slot: &str| {
        traffic.expect(&[from, to]);
        repo.version(to);
        repo.push(slot).live();
        traffic.expect(&[to]);
        await_answers(|| traffic.so_far(), to, 50);
        println!("{to} on {slot}: {}", traffic.so_far());
    };

    world.reconfigure("instances = 1", "instances = 3");
    moves("v1", "v2", "green");
    moves("v2", "v3", "green");
    let spare = world.spare();
    world.reconfigure(
        "hosts = [\"shop.test\"]",
        "hosts = [\"shop.test\", \"www.shop.test\"]",
    );
    world.reconfigure(
        &format!("green = {}", shop.green.port()),
        &format!("green = {}", spare.port()),
    );
    moves("v3", "v4", "blue");

    let outcome = traffic.stop();
    println!("{kind:?}: two changes of the instances and one of hosts and ports: {outcome}");
    let is_reload =
        |failure: &Failure| matches!(failure, Failure::Refused | Failure::Reset | Failure::Truncated);
    let is_lost = |failure: &Failure| kind.program().is_some() && is_reload(failure);
    assert!(outcome.failed.keys().all(is_lost), "{outcome}");
    await_version(&world, world.public(), "www.shop.test", "v4");
    await_version(&world, spare, "localhost", "v3");
    assert_eq!(answer(&world, shop.green, "localhost"), None);
    assert_eq!(
        world.containers().iter().filter(|it| it.slot == "green").count(),
        3
    );
    users_own_site_is_untouched(&world, kind);
    is_well(&world);
}
