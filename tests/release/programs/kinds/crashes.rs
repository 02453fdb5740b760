//! A worker that is killed around the flip.

use super::{await_answers, users_own_site_is_untouched, world_with};
use crate::support::fail_points::{self, Point};
use crate::support::programs::Kind;
use crate::support::{Options, World};

/// Moments of a change of the route, as far as the kind has them.
const MOMENTS: [&str; 6] = [
    "route.asked",
    "route.configured",
    "external.json.renamed",
    "marks.set",
    "route.in-force",
    "route.answered",
];

/// Wherever the worker is killed, `recover` brings the release to one end, on which state, route and what answers agree;
/// every request is answered meanwhile.
pub(super) fn leave_one_end(kind: Kind) {
    let options = Options {
        fail_points: true,
        ..Options::default()
    };
    let mut world = world_with(kind, "crashes", options);
    let shop = world.app("shop", "");
    let repo = world.repo(&shop);
    repo.version("first");
    repo.push("blue").live();
    repo.version("second");
    let passed = world.fail_points().trace(|| {
        repo.push("green").live();
    });
    let traffic = world.traffic();
    let slots = ["blue", "green"].into_iter().cycle();
    let points = MOMENTS.into_iter().filter_map(|name| {
        let is_meant = |point: &&Point| point.kind == fail_points::Kind::Worker && point.name == name;
        passed.iter().find(is_meant)
    });

    for (slot, point) in slots.zip(points) {
        repo.version(&point.name);
        world.fail_points().kill_at(point);
        repo.push(slot);
        assert!(world.fail_points().was_reached(), "{point}");
        world.fail_points().go_on();
        assert_eq!(world.get("/healthz").expect("an answer").status, 200, "{point}");
        world.recovers(&point.to_string());
        println!("{point}: {} serves", world.version());
        agrees(&world, slot, &point.name);
        let serves = world.version();
        await_answers(|| traffic.so_far(), &serves, 10);
    }

    let outcome = traffic.stop();
    assert_eq!(outcome.failures(), 0, "{outcome}");
    users_own_site_is_untouched(&world, kind);
}

/// The flip was intended before each of these moments: the release went live.
#[track_caller]
fn agrees(world: &World, slot: &str, version: &str) {
    let status = world.json(&["status"]);
    assert_eq!(status["apps"][0]["live"], slot, "{version}");
    assert_eq!(world.version(), version);
}
