//! What every kind of proxy must do: each behaviour is one function with the kind as its argument, and one test for each
//! program that flips by itself.
//!
//! What a kind cannot do as the embedded proxy does it, its behaviour counts and prints.

mod addresses;
mod crashes;
mod heads;
mod instances;
mod ports;
mod releases;
mod reloads;
mod restarts;

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use crate::support::programs::{Kind, Program};
use crate::support::traffic::Outcome;
use crate::support::{Options, World, wait_for};

/// How long anything that is waited for may take.
const DEADLINE: Duration = Duration::from_secs(60);

const EMBEDDED: Kind = Kind::Embedded;
const NGINX: Kind = Kind::Flip(Program::Nginx);
const HAPROXY: Kind = Kind::Flip(Program::Haproxy);
const CADDY: Kind = Kind::Flip(Program::Caddy);

macro_rules! kinds {
    ($($name:ident: $kind:expr),* $(,)?) => { $(
        mod $name {
            #[test]
            fn releases_drop_no_request() {
                super::of($kind, super::releases::drop_no_request);
            }

            #[test]
            fn change_of_instances_hosts_and_ports_serves_nothing_wrong() {
                super::of($kind, super::reloads::serve_nothing_wrong);
            }

            #[test]
            fn hosts_and_slot_ports_reach_their_own_app_alone() {
                super::of($kind, super::addresses::reach_their_own_app_alone);
            }

            #[test]
            fn heads_bodies_and_streams_pass_as_they_should() {
                super::of($kind, super::heads::pass_as_they_should);
            }

            #[test]
            fn dead_instances_are_passed_over_until_they_are_back() {
                super::of($kind, super::instances::are_passed_over_until_they_are_back);
            }

            #[test]
            fn slot_ports_of_other_programs_stop_no_release() {
                super::of($kind, super::ports::stop_no_release);
            }

            #[test]
            fn killed_proxy_serves_what_was_live_when_it_is_back() {
                super::of($kind, super::restarts::serve_what_was_live);
            }

            #[test]
            fn worker_killed_around_the_flip_leaves_one_end() {
                super::of($kind, super::crashes::leave_one_end);
            }
        }
    )* };
}

kinds! {
    nginx: super::NGINX,
    haproxy: super::HAPROXY,
    caddy: super::CADDY,
}

/// What the others are compared with. All that is here holds for it; the rest has tests of its own elsewhere.
mod embedded {
    #[test]
    fn heads_bodies_and_streams_pass_as_they_should() {
        super::heads::pass_as_they_should(super::EMBEDDED);
    }

    #[test]
    fn slot_ports_of_other_programs_stop_no_release() {
        super::ports::stop_no_release(super::EMBEDDED);
    }
}

/// Runs `behaviour` for `kind`, unless a developer does without its program.
fn of(kind: Kind, behaviour: fn(Kind)) {
    if !kind.program().is_some_and(|program| program.is_skipped()) {
        behaviour(kind);
    }
}

/// A world of this kind.
#[track_caller]
fn world(kind: Kind, name: &str) -> World {
    world_with(kind, name, Options::default())
}

/// A world of this kind that differs as `options` say.
#[track_caller]
fn world_with(kind: Kind, name: &str, options: Options) -> World {
    let told = kind.program().map_or("embedded", |program| program.name());
    World::with(&format!("{told}-{name}"), Options { kind, ..options })
}

/// The status, and what the app says, for a request to `host`; none where nothing listens.
fn answer(world: &World, address: SocketAddr, host: &str) -> Option<(u16, String)> {
    let reply = world.get_at(address, host, "/version").ok()?;
    Some((reply.status, reply.text()))
}

/// Waits until `address` answers with `version` for `host`.
#[track_caller]
fn await_version(world: &World, address: SocketAddr, host: &str, version: &str) {
    wait_for(&format!("{version} at {address} for {host}"), DEADLINE, || {
        (answer(world, address, host)? == (200, version.to_owned())).then_some(())
    });
}

/// Waits until there are so many more good answers of `version`.
#[track_caller]
fn await_answers(so_far: impl Fn() -> Outcome, version: &str, more: u64) {
    let before = so_far().of(version);
    wait_for(&format!("{more} answers of {version}"), DEADLINE, || {
        (so_far().of(version) >= before + more).then_some(())
    });
}

/// The user's own site answers as if deployer were not there.
#[track_caller]
fn users_own_site_is_untouched(world: &World, kind: Kind) {
    if kind.program().is_some() {
        let site = world.user_site();
        let reply = world.get_at(site, &site.to_string(), "/").expect("an answer");
        assert_eq!((reply.status, reply.text().as_str()), (200, "mine"));
    }
}

/// `status` knows of no problem with the first app, at once or soon.
#[track_caller]
fn is_well(world: &World) {
    let end = Instant::now() + DEADLINE;
    loop {
        let status = world.json(&["status"]);
        if status["apps"][0]["problems"] == serde_json::json!([]) {
            return;
        }
        assert!(Instant::now() < end, "{:#}", status["apps"][0]["problems"]);
        std::thread::sleep(Duration::from_millis(100));
    }
}

impl World {
    /// SIGKILL for whoever serves the public port.
    fn kill_who_serves(&mut self, kind: Kind) {
        match kind.program() {
            Some(_) => self.kill_program(),
            None => self.kill_proxy(),
        }
    }

    /// Starts whoever serves the public port.
    #[track_caller]
    fn start_who_serves(&mut self, kind: Kind) {
        match kind.program() {
            Some(_) => self.start_program(),
            None => self.start_proxy(),
        }
    }
}
