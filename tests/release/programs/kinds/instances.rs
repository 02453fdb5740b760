//! Instances that die while they are live.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use rustix::process::Signal;

use super::{DEADLINE, await_answers, is_well, users_own_site_is_untouched, world};
use crate::support::docker::Container;
use crate::support::http::Failure;
use crate::support::process::signal;
use crate::support::programs::Kind;
use crate::support::traffic::Load;
use crate::support::{World, wait_for};

/// One of three is killed, and then all of another app's.
pub(super) fn are_passed_over_until_they_are_back(kind: Kind) {
    let mut world = world(kind, "instances");
    for (name, lines) in [
        ("shop", "instances = 3"),
        ("mortal", "instances = 2\nrestart = \"no\""),
    ] {
        let app = world.app(name, &format!("hosts = [\"{name}.test\"]\n{lines}"));
        let repo = world.repo(&app);
        repo.version(name);
        repo.push("green").live();
    }
    one_of_three(&world, kind);
    all_of_two(&world);
    users_own_site_is_untouched(&world, kind);
}

/// Requests go on to the others. Those that were in flight on it are lost; each client has one at a time.
#[track_caller]
fn one_of_three(world: &World, kind: Kind) {
    let load = Load {
        host: "shop.test".into(),
        ..Load::default()
    };
    let clients = load.clients.len() as u64;
    let traffic = world.traffic_with(load);
    await_answers(|| traffic.so_far(), "shop", 50);

    kill(&of_app(world, "shop")[0]);

    await_answers(|| traffic.so_far(), "shop", 300);
    let instance = || world.get_at(world.public(), "shop.test", "/instance");
    let mut seen = BTreeSet::new();
    wait_for("all three to answer", DEADLINE, || {
        seen.insert(instance().ok().filter(|reply| reply.status == 200)?.text());
        (seen.len() == 3).then_some(())
    });
    let outcome = traffic.stop();
    let slowest = outcome.by_client.values().map(|count| count.slowest).max();
    println!("{kind:?}: one of three killed: {outcome}; the slowest good answer took {slowest:?}");
    let is_broken = |failure: &Failure| {
        matches!(
            failure,
            Failure::Status(502 | 504) | Failure::Reset | Failure::Truncated
        )
    };
    assert!(outcome.failed.keys().all(is_broken), "{outcome}");
    assert!(outcome.failures() <= clients, "{outcome}");
    is_well(world);
}

/// Nobody is left: it is said, and nobody waits for it.
#[track_caller]
fn all_of_two(world: &World) {
    of_app(world, "mortal").iter().for_each(kill);
    wait_for("the containers to end", DEADLINE, || {
        let mut all = of_app(world, "mortal").into_iter();
        all.all(|container| container.state == "exited").then_some(())
    });
    let mut slowest = Duration::ZERO;
    for _ in 0..10 {
        let begun = Instant::now();
        let reply = world
            .get_at(world.public(), "mortal.test", "/version")
            .expect("an answer");
        slowest = slowest.max(begun.elapsed());
        assert!(
            [502, 503].contains(&reply.status),
            "{}: {}",
            reply.status,
            reply.text()
        );
    }
    println!("all killed: answered after at most {slowest:?}");
    let shop = world
        .get_at(world.public(), "shop.test", "/version")
        .expect("an answer");
    assert_eq!(shop.text(), "shop");
}

fn of_app(world: &World, app: &str) -> Vec<Container> {
    let mut all = world.containers();
    all.retain(|container| container.name.contains(app));
    all
}

/// SIGKILL for what runs in the container, as the kernel sends it; the Engine's own kill would count as a stop.
fn kill(container: &Container) {
    let pid = container.inspect("{{.State.Pid}}");
    signal(pid.parse().expect("a process id"), Signal::KILL);
}
