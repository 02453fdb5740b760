//! A clock that is set back and forth by days, between releases and during them.

use std::sync::atomic::{AtomicBool, Ordering::SeqCst};
use std::thread;
use std::time::Duration;

use serde_json::{Value, json};

use crate::failures::live;
use crate::support::clock::WrongClock;
use crate::support::process::run;
use crate::support::traffic::{Client, Load};

const DAY: i64 = 24 * 60 * 60;

/// Runs `act` while the clock jumps: a day ahead, a day back, a year ahead, and right again.
fn while_it_jumps<T>(clock: &WrongClock, act: impl FnOnce() -> T) -> T {
    let ended = AtomicBool::new(false);
    thread::scope(|scope| {
        scope.spawn(|| {
            for seconds in [DAY, -DAY, 365 * DAY, 0].into_iter().cycle() {
                clock.set(seconds);
                thread::sleep(Duration::from_millis(15));
                if ended.load(SeqCst) {
                    return;
                }
            }
        });
        let done = act();
        ended.store(true, SeqCst);
        done
    })
}

/// The releases, the newest first.
fn releases(world: &crate::support::World) -> Vec<Value> {
    let all = world.json(&["releases"]);
    all["releases"].as_array().expect("a list").clone()
}

#[test]
fn clock_that_is_set_back_and_forth_changes_no_order_and_no_duration() {
    let (mut world, app, repo) = live("wrong-clock", "keep = 2");
    let clock = WrongClock::new(&world);
    clock.rule_hooks(&world, &app.name);
    world.restart_proxy_as(clock.command(&world).args(["proxy", "run"]));
    let load = Load {
        clients: vec![Client::KeptGet, Client::Upload, Client::Slow(150)],
        ..Load::default()
    };
    let traffic = world.traffic_with(load);

    // Each release begins at an hour that is long before that of the one before it, and the clock jumps meanwhile.
    for number in 2..=6 {
        repo.version(&format!("v{number}"));
        clock.set(-DAY * number);
        let push = while_it_jumps(&clock, || repo.push("green"));
        let took = push.output.took.as_millis() as u64;
        let said = push.said();
        assert_eq!(push.live(), number as u64, "{said}");
        let steps = releases(&world)[0]["steps"].as_array().expect("a list").clone();
        assert_eq!(steps.len(), 10, "{steps:?}");
        let told: u64 = steps
            .iter()
            .map(|step| step["milliseconds"].as_u64().expect("a number"))
            .sum();
        assert!(told <= took, "{told} ms are told of {took} ms: {steps:?}\n{said}");
        assert!(!said.contains(" min "), "{said}");
    }
    // What is kept is the newest by number, whatever the hour of each was.
    let kept: Vec<_> = releases(&world)
        .into_iter()
        .filter(|past| past["kept"] == true)
        .map(|past| past["release"].clone())
        .collect();
    assert_eq!(kept, [json!(6), json!(5), json!(4)]);
    let deployer = |arguments: &[&str]| run(clock.command(&world).args(arguments), &[]).good();
    let log = while_it_jumps(&clock, || deployer(&["log", "6", "-f"]));
    assert!(log.contains("live: shop/green release 6"), "{log}");

    let said = while_it_jumps(&clock, || deployer(&["rollback", "green"]));

    assert!(said.contains("live: shop/green release 7"), "{said}");
    assert_eq!(world.version(), "v5");
    assert!(while_it_jumps(&clock, || deployer(&["recover"])).contains("nothing to mend"));
    assert_eq!(world.json(&["status"])["apps"][0]["problems"], json!([]));
    assert_eq!(world.containers().len(), 1);
    assert!(releases(&world).iter().all(|past| past["cut"] == 0));
    let outcome = traffic.stop();
    assert_eq!(outcome.failures(), 0, "{outcome}");
}
