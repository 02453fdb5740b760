//! Instances that die while they are live: killed, out of memory, or gone without a word.

use std::time::{Duration, Instant};

use rustix::process::Signal;

use crate::support::docker::{Container, docker};
use crate::support::http::{self, Failure, Request};
use crate::support::process::signal;
use crate::support::traffic::{Load, Outcome, Traffic};
use crate::support::{App, World, wait_for};

const DEADLINE: Duration = Duration::from_secs(60);

/// A world with the app `shop` live with v1 on green.
fn live(name: &str, lines: &str) -> (World, App) {
    let mut world = World::new(name);
    let shop = world.app("shop", lines);
    let repo = world.repo(&shop);
    repo.version("v1");
    repo.push("green").live();
    (world, shop)
}

/// SIGKILL for what runs in the container, as the kernel sends it; the Engine's own kill would count as a stop.
fn kill(container: &Container) {
    let pid = container.inspect("{{.State.Pid}}");
    signal(pid.parse().expect("a process id"), Signal::KILL);
}

/// Waits until the proxy has put an instance out and taken it back; gives the line of its log that says so.
fn comes_back(world: &mut World) -> String {
    wait_for("the instance to be back", DEADLINE, || {
        let log = world.proxy().log();
        let back = log.lines().find(|line| line.contains(" is back after "));
        back.map(str::to_owned)
    })
}

fn until_answered(traffic: &Traffic, more: u64) {
    let before = traffic.so_far().of("v1");
    wait_for("answers", DEADLINE, || {
        (traffic.so_far().of("v1") > before + more).then_some(())
    });
}

/// Each client may lose the one request that was in flight on the instance, and none after it.
#[track_caller]
fn lost_only_what_was_in_flight(outcome: &Outcome) {
    let clients = Load::default().clients.len() as u64;
    let broken = outcome.failed.get(&Failure::Status(502)).copied().unwrap_or(0);
    assert_eq!(outcome.failures(), broken, "{outcome}");
    assert!(broken <= clients, "{outcome}");
}

#[test]
fn instance_killed_while_live_costs_what_was_in_flight_on_it_and_comes_back() {
    let (mut world, _) = live("instance-killed", "instances = 3");
    let traffic = world.traffic();
    until_answered(&traffic, 50);

    let container = world.containers().remove(0);
    kill(&container);

    let back = comes_back(&mut world);
    until_answered(&traffic, 100);
    let outcome = traffic.stop();
    println!("killed: {}; {back}", outcome.to_string().lines().next().unwrap());
    lost_only_what_was_in_flight(&outcome);
    let (_, index) = container.name.rsplit_once('-').expect("a name with an index");
    assert!(
        back.contains(&format!("instance {index} of green release 1")),
        "{back}"
    );
    assert_eq!(container.inspect("{{.RestartCount}}"), "1");
    let status = world.json(&["status"]);
    let problems = &status["apps"][0]["problems"];
    let told = problems[0]["message"].as_str().expect("a problem");
    assert!(
        told.contains(&format!("green: instance {index} ended ")) && told.contains("; it runs again"),
        "{told}"
    );
    assert_eq!(problems.as_array().map(Vec::len), Some(1), "{problems}");
    assert_eq!(
        (&problems[0]["kind"], &problems[0]["mended_by"]),
        (&"ended-instance".into(), &"itself".into()),
        "{problems}"
    );
}

#[test]
fn instance_out_of_memory_is_told_and_costs_what_was_in_flight_on_it() {
    let (mut world, _) = live("out-of-memory", "instances = 2\nmemory = \"64m\"");
    let traffic = world.traffic();
    until_answered(&traffic, 50);

    // A POST: a GET on a kept connection is sent a second time, and would kill the other instance too.
    let request = Request {
        method: "POST".into(),
        path: "/oom".into(),
        host: "localhost".into(),
        ..Request::default()
    };
    let reply = http::request(world.public(), &request, DEADLINE).expect("an answer");

    assert_eq!(reply.status, 502, "{}", reply.text());
    let back = comes_back(&mut world);
    until_answered(&traffic, 100);
    let outcome = traffic.stop();
    println!(
        "out of memory: {}; {back}",
        outcome.to_string().lines().next().unwrap()
    );
    lost_only_what_was_in_flight(&outcome);
    let status = world.deployer(&["status"]).good();
    assert!(
        status.contains("; it runs again. Hint: `memory` in [app.shop] is its limit"),
        "{status}"
    );
}

#[test]
fn single_instance_killed_while_live_is_answered_503_until_it_is_back() {
    let (world, _) = live("single-killed", "");
    let process = || world.containers()[0].inspect("{{.State.Pid}}");
    let killed = process();
    let begun = Instant::now();

    kill(&world.containers()[0]);

    wait_for("another process to answer", DEADLINE, || {
        let status = world.get("/version").expect("an answer").status;
        // 502: broken off while it was asked; a connect that hangs until its deadline would be a 504.
        assert!([200, 502, 503].contains(&status), "{status}");
        (status == 200 && process() != killed).then_some(())
    });
    println!(
        "single instance: answers again {:?} after the kill",
        begun.elapsed()
    );
    let second = process();
    // The app itself, beneath the Engine's init.
    let top = docker(&["top", &world.containers()[0].id, "-o", "pid"]).good();
    let app = top.split_whitespace().next_back().expect("the app");
    signal(app.parse().expect("a process id"), Signal::ABORT);
    wait_for("a third process to answer", DEADLINE, || {
        let is_third = || !["0", &killed, &second].contains(&process().as_str());
        (world.get("/version").is_ok_and(|reply| reply.status == 200) && is_third()).then_some(())
    });
    ended_twice(&world);
}

/// `status` tells of both endings, though the app runs. Which exit codes the Engine still remembers depends on how much
/// else it does.
#[track_caller]
fn ended_twice(world: &World) {
    let said = world.deployer(&["status"]).good();
    println!("{said}");
    let times = "2 times within the last hour, the last time ";
    for told in ["1/1 running", times, "134 (SIGABRT)", "; it runs again"] {
        assert!(said.contains(told), "{told:?} is not told in\n{said}");
    }
    let green = &world.json(&["status"])["apps"][0]["slots"][1];
    let endings = &green["services"]["web"]["endings"][0];
    assert_eq!(
        (&endings["times"], &endings["restarts"], &endings["state"]),
        (&2.into(), &2.into(), &"running".into()),
        "{green}"
    );
    assert_eq!(endings["ways"][0]["signal"], "SIGABRT", "{green}");
}

/// Every request is answered 503 with Retry-After, from the first one on; gives the slowest.
#[track_caller]
fn is_answered_503_at_once(world: &World) -> Duration {
    let mut slowest = Duration::ZERO;
    for _ in 0..20 {
        let begun = Instant::now();
        let reply = world.get("/version").expect("an answer");
        slowest = slowest.max(begun.elapsed());
        // A connect that hangs until its deadline is answered 504.
        assert_eq!(reply.status, 503, "{}", reply.text());
        assert_eq!(reply.header("retry-after"), Some("1"));
    }
    slowest
}

#[test]
fn all_instances_dead_is_answered_503_at_once() {
    let (world, _) = live("all-dead", "instances = 2\nrestart = \"no\"");
    let traffic = world.traffic();
    until_answered(&traffic, 50);
    for container in &world.containers() {
        kill(container);
    }
    wait_for("the containers to end", DEADLINE, || {
        let all = world.containers();
        all.iter()
            .all(|container| container.state == "exited")
            .then_some(())
    });
    drop(traffic);

    let slowest = is_answered_503_at_once(&world);

    println!("all dead: 503 after at most {slowest:?}");
    let status = world.deployer(&["status"]).good();
    assert!(status.contains("instance 1 ended "), "{status}");
    assert!(status.contains("with exit code 137"), "{status}");
    assert!(status.contains("gets no request since "), "{status}");
}

#[test]
fn instance_that_vanishes_without_a_word_is_given_up() {
    let (mut world, _) = live("vanishes", "instances = 2");
    let traffic = world.traffic();
    until_answered(&traffic, 50);
    let container = world.containers().remove(0);
    let address = "{{range .NetworkSettings.Networks}}{{.IPAddress}}{{end}}";
    let address = container.inspect(address);

    docker(&["network", "disconnect", "-f", &world.network(), &container.id]).good();

    wait_for("the instance to be out", DEADLINE, || {
        world
            .proxy()
            .log()
            .contains("nothing is at its address any more")
            .then_some(())
    });
    until_answered(&traffic, 100);
    let begun = Instant::now();
    world.get("/version").expect("an answer");
    let alone = begun.elapsed();
    docker(&[
        "network",
        "connect",
        "--ip",
        &address,
        &world.network(),
        &container.id,
    ])
    .good();
    let back = comes_back(&mut world);
    until_answered(&traffic, 100);
    let outcome = traffic.stop();
    println!(
        "vanished: {}, {alone:?} for an answer once it is out; {back}",
        outcome.to_string().lines().next().unwrap()
    );
    lost_only_what_was_in_flight(&outcome);
}
