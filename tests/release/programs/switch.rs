//! From one kind of proxy to another.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::time::{Duration, Instant};

use rustix::process::Signal;

use crate::support::fail_points::{Kind as Process, Point};
use crate::support::http::{Failure, Request, request};
use crate::support::process::signal;
use crate::support::programs::{Kind, Program};
use crate::support::traffic::Outcome;
use crate::support::{App, Options, Repo, World, wait_for};

const DEADLINE: Duration = Duration::from_secs(20);

/// The exit code of a proxy that is not in use.
const NOT_IN_USE: Option<i32> = Some(7);

/// A world with the embedded proxy, `program` beside it, and the app `shop`: v1 on green, v2 live on blue.
fn live(name: &str, program: Program, fail_points: bool) -> (World, App, Repo) {
    let options = Options {
        fail_points,
        ..Options::default()
    };
    let mut world = World::with(name, options);
    world.add_program(program);
    let shop = world.app("shop", "");
    let repo = world.repo(&shop);
    repo.version("v1");
    repo.push("green").live();
    repo.version("v2");
    repo.push("blue").live();
    (world, shop, repo)
}

/// The beginning of `[proxy]` for a kind, at the world's public port or at its spare one.
fn section(world: &World, kind: &str, elsewhere: bool) -> String {
    let listen = match elsewhere {
        true => world.spare(),
        false => world.public(),
    };
    format!("[proxy]\nlisten = \"{listen}\"\nkind = \"{kind}\"\n")
}

/// Rewrites the beginning of `[proxy]`, which has so far no kind.
fn first_wants(world: &World, kind: &str, elsewhere: bool) {
    let before = format!("[proxy]\nlisten = \"{}\"\n", world.public());
    world.reconfigure(&before, &section(world, kind, elsewhere));
}

fn nothing_failed(outcome: &Outcome, what: &str) {
    assert_eq!(outcome.failures(), 0, "{what}: {:?}", outcome.failed);
    assert!(outcome.sent > 0, "{what}: nothing was sent");
}

/// Switches with clients at the old address, who come to the new one while both serve.
fn switched_under_traffic(world: &World, kind: &str, from_public: bool) -> String {
    let (old, new) = match from_public {
        true => (world.public(), world.spare()),
        false => (world.spare(), world.public()),
    };
    let at = |address| crate::support::traffic::Traffic::start(address, Default::default());
    std::thread::scope(|scope| {
        let before = at(old);
        wait_for("traffic", DEADLINE, || (before.so_far().sent > 50).then_some(()));
        let switching = scope.spawn(|| {
            world
                .deployer(&["proxy", "switch", kind, "--overlap", "2s"])
                .good()
        });
        wait_for("the new one to serve", DEADLINE, || {
            let answer = world.get_at(new, "localhost", "/version").ok()?;
            (answer.status == 200).then_some(())
        });
        let after = at(new);
        nothing_failed(&before.stop(), "at the old address");
        let said = switching.join().expect("it ends");
        nothing_failed(&after.stop(), "at the new address");
        said
    })
}

#[test]
fn an_edit_changes_nothing_until_it_is_switched_and_then_no_request_is_lost() {
    if Program::Nginx.is_skipped() {
        return;
    }
    let (mut world, shop, repo) = live("switch", Program::Nginx, false);
    first_wants(&world, "nginx", true);

    let differs = format!(
        "deployer.toml says nginx, traffic goes through the embedded proxy at {}",
        world.public()
    );
    let tells = |said: &str| said.contains(&differs) && said.contains("`deployer proxy switch nginx`");
    let status = world.deployer(&["status"]).good();
    assert!(tells(&status), "{status}");
    repo.version("v3");
    let push = repo.push("green");
    assert!(tells(&push.said()), "{}", push.said());
    push.live();
    assert_eq!(world.version(), "v3");

    let said = switched_under_traffic(&world, "nginx", true);
    assert!(said.contains("switched: 1 app from the embedded proxy"), "{said}");
    assert_eq!(world.await_proxys_end(), NOT_IN_USE);
    assert_eq!(world.version_at(world.spare()), "v3");
    assert_eq!(
        (world.version_at(shop.green), world.version_at(shop.blue)),
        ("v3".into(), "v2".into())
    );
    assert_eq!(
        world.json(&["status"])["apps"][0]["problems"],
        serde_json::json!([])
    );
    world.launch_proxy();
    assert_eq!(world.await_proxys_end(), NOT_IN_USE, "it has nothing to do");
    world.deployer(&["promote", "blue"]).good();
    assert_eq!(world.version_at(world.spare()), "v2");

    world.reconfigure(
        &section(&world, "nginx", true),
        &section(&world, "embedded", false),
    );
    let refused = world.deployer(&["proxy", "switch", "embedded"]);
    assert!(
        refused.stderr.contains("the embedded proxy has to run first"),
        "{}",
        refused.stderr
    );
    world.launch_proxy();
    wait_for("the proxy to wait", DEADLINE, || {
        world.proxy().log().contains("proxy waits for").then_some(())
    });
    assert!(world.get("/version").is_err(), "it waits without a port");
    switched_under_traffic(&world, "embedded", false);
    assert_eq!(world.version(), "v2");
    assert_eq!(
        (world.version_at(shop.green), world.version_at(shop.blue)),
        ("v3".into(), "v2".into())
    );
    assert!(
        world.get_at(world.spare(), "localhost", "/").is_err(),
        "nginx has left"
    );
    assert_eq!(
        world
            .get_at(world.user_site(), "localhost", "/")
            .expect("the user's own site")
            .text(),
        "mine"
    );
    repo.version("v4");
    repo.push("green").live();
    world.recovers("after both switches");
    let audit = world.deployer(&["audit"]).good();
    assert_eq!(audit.matches("proxy switch").count(), 3, "{audit}");
}

#[test]
fn one_address_is_taken_over_with_a_pause_that_is_told_or_not_at_all() {
    if Program::Nginx.is_skipped() {
        return;
    }
    let (mut world, shop, _) = live("switch-pause", Program::Nginx, false);
    let other = world.deployer(&["proxy", "switch", "nginx"]);
    assert!(
        other.stderr.contains("write kind = \"nginx\""),
        "{}",
        other.stderr
    );
    first_wants(&world, "nginx", false);

    let refused = world.deployer(&["proxy", "switch", "nginx"]);
    assert!(refused.stderr.contains("add --with-pause"), "{}", refused.stderr);
    assert_eq!(world.version(), "v2");

    // A fault in the user's own part, so that nginx takes no new configuration.
    let main = world.path("nginx.main");
    let good = std::fs::read_to_string(&main).expect("nginx has a configuration");
    std::fs::write(&main, format!("{good}\nnonsense;\n")).expect("it is written");
    let failed = world.deployer(&["proxy", "switch", "nginx", "--with-pause"]);
    assert!(
        failed.stderr.contains("as before") && failed.stderr.contains("nonsense"),
        "{}",
        failed.stderr
    );
    assert_eq!(
        (world.version(), world.version_at(shop.green)),
        ("v2".into(), "v1".into())
    );
    assert!(
        world.json(&["status"])["apps"][0]["problems"]
            .to_string()
            .contains("proxy switch nginx")
    );
    std::fs::write(&main, good).expect("it is written");

    there_and_back(&mut world, &shop, "nginx");
}

#[test]
fn port_that_a_site_of_the_users_keeps_is_not_taken_and_the_program_serves_on() {
    if Program::Nginx.is_skipped() {
        return;
    }
    let mut world = World::with(
        "switch-kept-port",
        Options {
            kind: Kind::Flip(Program::Nginx),
            ..Options::default()
        },
    );
    let shop = world.app("shop", "hosts = [\"shop.test\"]");
    let repo = world.repo(&shop);
    repo.version("v1");
    repo.push("green").live();
    let main = world.path("nginx.main");
    let text = std::fs::read_to_string(&main).expect("nginx has a configuration");
    let (site, public) = (world.user_site(), world.public());
    let both = text.replace(
        &format!("listen {site};"),
        &format!("listen {site}; listen {public};"),
    );
    assert_ne!(both, text);
    std::fs::write(&main, both).expect("it is written");
    signal(world.program().pid(), Signal::HUP);
    wait_for("the user's own site at the public port", DEADLINE, || {
        let reply = world.get_at(public, "mine.test", "/").ok()?;
        (reply.text() == "mine").then_some(())
    });
    world.reconfigure("kind = \"nginx\"", "kind = \"embedded\"");
    waiting_proxy(&mut world);

    let failed = world.deployer(&["proxy", "switch", "embedded", "--with-pause"]);

    assert!(
        failed.stderr.contains("as before") && failed.stderr.contains("a site of your own may be there too"),
        "{}",
        failed.stderr
    );
    for address in [public, shop.green] {
        let reply = world.get_at(address, "shop.test", "/version").expect("an answer");
        assert_eq!((reply.status, reply.text().as_str()), (200, "v1"), "{address}");
    }
    assert_eq!(
        world.get_at(public, "mine.test", "/").expect("an answer").text(),
        "mine"
    );
}

#[test]
fn haproxy_takes_over_the_embedded_proxys_address_and_gives_it_back() {
    if Program::Haproxy.is_skipped() {
        return;
    }
    let (mut world, shop, _) = live("switch-haproxy", Program::Haproxy, false);
    first_wants(&world, "haproxy", false);
    there_and_back(&mut world, &shop, "haproxy");
}

#[test]
fn caddy_takes_over_the_embedded_proxys_address_and_gives_it_back() {
    if Program::Caddy.is_skipped() {
        return;
    }
    let (mut world, shop, _) = live("switch-caddy", Program::Caddy, false);
    first_wants(&world, "caddy", false);
    there_and_back(&mut world, &shop, "caddy");
}

/// With a pause, from the embedded proxy to another one and back, at one address.
fn there_and_back(world: &mut World, shop: &App, kind: &str) {
    is_not_tried_while_it_does_not_run(world, kind);
    paused(world, kind);
    assert_eq!(world.await_proxys_end(), NOT_IN_USE);
    assert_eq!(
        (world.version(), world.version_at(shop.green)),
        ("v2".into(), "v1".into())
    );
    world.reconfigure(&section(world, kind, false), &section(world, "embedded", false));
    waiting_proxy(world);
    paused(world, "embedded");
    assert_eq!(
        (world.version(), world.version_at(shop.green)),
        ("v2".into(), "v1".into())
    );
    world.recovers("after both switches");
}

/// What a client sees that comes every 2 ms, each time on a connection of its own.
#[derive(Debug, Default)]
struct Client {
    /// The longest time from one good answer to the next, where one in between was none.
    longest: Duration,
    failed: BTreeMap<Failure, u64>,
}

/// Ends a client, also where what it was to see has failed.
struct Over<'a>(&'a AtomicBool);

impl Drop for Over<'_> {
    fn drop(&mut self) {
        self.0.store(true, Relaxed);
    }
}

impl Client {
    /// Comes while `meanwhile` lasts.
    fn during<T>(world: &World, meanwhile: impl FnOnce() -> T) -> (Self, T) {
        let is_over = AtomicBool::new(false);
        let (public, is_over) = (world.public(), &is_over);
        std::thread::scope(|scope| {
            let client = scope.spawn(move || Self::until(public, is_over));
            let over = Over(is_over);
            let ended = meanwhile();
            drop(over);
            (client.join().expect("the client ends"), ended)
        })
    }

    fn until(public: SocketAddr, is_over: &AtomicBool) -> Self {
        let version = Request {
            path: "/version".into(),
            host: "localhost".into(),
            ..Request::default()
        };
        let (mut seen, mut answered, mut is_paused) = (Self::default(), Instant::now(), false);
        while !is_over.load(Relaxed) || is_paused {
            let failure = match request(public, &version, DEADLINE) {
                Ok(reply) if reply.status == 200 => None,
                Ok(reply) => Some(Failure::Status(reply.status)),
                Err(failure) => Some(failure),
            };
            match failure {
                None if is_paused => seen.longest = seen.longest.max(answered.elapsed()),
                None => {}
                Some(failure) => *seen.failed.entry(failure).or_default() += 1,
            }
            is_paused = failure.is_some();
            if !is_paused {
                answered = Instant::now();
            }
            assert!(answered.elapsed() < DEADLINE, "nobody answers: {seen:?}");
            std::thread::sleep(Duration::from_millis(2));
        }
        seen
    }
}

/// Switches with a pause: a client sees no more of it than a moment in which nobody listens, and is told how long that was.
fn paused(world: &World, kind: &str) {
    let switch = || world.deployer(&["proxy", "switch", kind, "--with-pause"]).good();
    let (client, said) = Client::during(world, switch);
    println!("{said}{client:?}");
    assert!(said.contains("a client that came every 2 ms was"), "{said}");
    let is_503 = |failure: &Failure| *failure == Failure::Status(503);
    assert!(!client.failed.keys().any(is_503), "{client:?}");
    assert!(client.longest < Duration::from_millis(800), "{client:?}");
}

/// A program that does not run is seen to before anybody lets a port go.
fn is_not_tried_while_it_does_not_run(world: &mut World, kind: &str) {
    world.kill_program();
    let switch = || world.deployer(&["proxy", "switch", kind, "--with-pause"]);
    let (client, failed) = Client::during(world, switch);
    println!("{}", failed.stderr);
    assert!(
        failed.code != Some(0) && failed.stderr.contains("as before"),
        "{}",
        failed.stderr
    );
    assert_eq!(client.failed, BTreeMap::new(), "{}", failed.stderr);
    let named = |program: &Program| program.name() == kind;
    let program = [Program::Nginx, Program::Haproxy, Program::Caddy]
        .into_iter()
        .find(named);
    world.start(program.expect("a program"));
}

#[test]
fn a_program_whose_own_files_name_deployers_part_is_not_left() {
    if Program::Haproxy.is_skipped() {
        return;
    }
    let options = Options {
        kind: Kind::Flip(Program::Haproxy),
        ..Options::default()
    };
    let mut world = World::with("switch-named", options);
    let shop = world.app("shop", "");
    let repo = world.repo(&shop);
    repo.version("v1");
    repo.push("green").live();
    let main = world.path("haproxy.main");
    let text = std::fs::read_to_string(&main).expect("HAProxy has a configuration");
    let site = world.second_spare();
    let own = format!("frontend own\n  bind {site}\n  use_backend deployer.shop.green.a\n");
    std::fs::write(&main, format!("{text}{own}")).expect("it is written");
    signal(world.program().pid(), Signal::USR2);
    wait_for("the user's own frontend", DEADLINE, || {
        (world.get_at(site, "localhost", "/version").ok()?.status == 200).then_some(())
    });
    world.reconfigure("kind = \"haproxy\"", "kind = \"embedded\"");
    waiting_proxy(&mut world);
    let part = world.part_of(Program::Haproxy).join("deployer.cfg");
    let before = std::fs::read_to_string(&part).expect("deployer's part");

    let failed = world.deployer(&["proxy", "switch", "embedded", "--with-pause"]);

    println!("{}", failed.stderr);
    let line = text.lines().count() + 3;
    let named = format!("deployer.shop.green.a is named in {}:{line}", main.display());
    assert!(
        failed.stderr.contains(&named) && failed.stderr.contains("cannot do without deployer's part yet"),
        "{}",
        failed.stderr
    );
    assert_eq!(std::fs::read_to_string(&part).expect("deployer's part"), before);
    assert_eq!(
        (world.version(), world.version_at(site)),
        ("v1".into(), "v1".into())
    );

    std::fs::write(&main, text).expect("it is written");
    world
        .deployer(&["proxy", "switch", "embedded", "--with-pause"])
        .good();
    assert_eq!(world.version(), "v1");
}

/// Starts the embedded proxy where another kind is in use.
fn waiting_proxy(world: &mut World) {
    let before = world.path("proxy.log");
    let count = |text: &str| text.matches("proxy waits for").count();
    let told = count(&std::fs::read_to_string(&before).unwrap_or_default());
    world.launch_proxy();
    wait_for("the proxy to wait", DEADLINE, || {
        (count(&world.proxy().log()) > told).then_some(())
    });
}

#[test]
fn a_program_comes_in_front_of_the_embedded_proxy_flips_by_itself_and_leaves() {
    if Program::Nginx.is_skipped() {
        return;
    }
    let (mut world, shop, _) = live("switch-front", Program::Nginx, false);
    let serve_as_before = |world: &World, at| {
        let versions = [at, shop.green, shop.blue].map(|at| world.version_at(at));
        assert_eq!(versions, ["v2", "v1", "v2"]);
        let problems = world.json(&["status"])["apps"][0]["problems"].clone();
        assert_eq!(problems, serde_json::json!([]));
    };
    let (public, spare) = (world.public(), world.spare());
    let mode = |mode: &str| format!("mode = \"{mode}\"\nsocket = {:?}\n", world.path("http.sock"));
    let (front, flip) = (mode("front"), mode("flip"));
    let (embedded, nginx) = (
        format!("[proxy]\nlisten = \"{public}\"\n"),
        section(&world, "nginx", true),
    );
    let switch = ["proxy", "switch", "nginx", "--overlap", "0s"];

    world.reconfigure(&embedded, &format!("{nginx}{front}"));
    // The socket's path is one that the running proxy has not read.
    let _former = world.upgrade_proxy();
    world.deployer(&switch).good();
    serve_as_before(&world, spare);
    assert!(
        world.get("/version").is_err(),
        "the embedded proxy has left its port"
    );

    world.reconfigure(&front, &flip);
    world.deployer(&switch).good();
    assert_eq!(world.await_proxys_end(), NOT_IN_USE);
    serve_as_before(&world, spare);

    world.reconfigure(&flip, &front);
    waiting_proxy(&mut world);
    world.deployer(&switch).good();
    serve_as_before(&world, spare);

    world.reconfigure(&format!("{nginx}{front}"), &embedded);
    world
        .deployer(&["proxy", "switch", "embedded", "--overlap", "0s"])
        .good();
    serve_as_before(&world, public);
    assert!(world.get_at(spare, "localhost", "/").is_err(), "nginx has left");
}

#[test]
fn traffic_moves_from_one_program_to_another_and_the_slot_ports_with_it() {
    if Program::Nginx.is_skipped() || Program::Haproxy.is_skipped() {
        return;
    }
    let options = Options {
        kind: Kind::Flip(Program::Nginx),
        ..Options::default()
    };
    let mut world = World::with("switch-programs", options);
    world.add_program(Program::Haproxy);
    let shop = world.app("shop", "");
    let repo = world.repo(&shop);
    repo.version("v1");
    repo.push("green").live();
    let (listen, kind) = (format!("\"{}\"", world.public()), "kind = \"nginx\"");
    world.reconfigure(
        &format!("listen = {listen}\n{kind}"),
        &format!("listen = \"{}\"\nkind = \"haproxy\"", world.spare()),
    );

    switched_under_traffic(&world, "haproxy", true);

    assert!(world.get("/version").is_err(), "nginx has left");
    assert_eq!(world.version_at(world.spare()), "v1");
    assert_eq!(world.version_at(shop.green), "v1");
    repo.version("v2");
    repo.push("blue").live();
    assert_eq!(world.version_at(world.spare()), "v2");
    world.recovers("after the switch");
}

#[test]
fn a_switch_that_was_killed_is_brought_to_one_of_its_ends() {
    if Program::Nginx.is_skipped() {
        return;
    }
    let (mut world, shop, _) = live("switch-killed", Program::Nginx, true);
    first_wants(&world, "nginx", true);
    for (point, is_new) in [
        ("switch.prepared", false),
        ("switch.rehearsed", false),
        ("switch.let-go", false),
        ("switch.taken", false),
        ("switch.in-use", true),
    ] {
        let point = Point {
            kind: Process::Proxy,
            name: point.to_owned(),
        };
        world.fail_points().kill_at(&point);
        let killed = world.deployer(&["proxy", "switch", "nginx", "--overlap", "0s"]);
        assert!(
            world.fail_points().was_reached() && killed.code.is_none(),
            "{point}"
        );
        world.fail_points().go_on();
        let serves = if is_new { world.spare() } else { world.public() };
        assert_eq!(world.version_at(serves), "v2", "{point}");
        let problems = world.json(&["status"])["apps"][0]["problems"].to_string();
        assert!(problems.contains("was broken off"), "{point}: {problems}");

        world.deployer(&["recover"]).good();

        assert_eq!(world.version_at(serves), "v2", "{point}");
        assert_eq!(world.version_at(shop.green), "v1", "{point}");
        let other = if is_new { world.public() } else { world.spare() };
        assert!(
            world.get_at(other, "localhost", "/").is_err(),
            "{point}: one serves"
        );
    }
    assert_eq!(world.await_proxys_end(), NOT_IN_USE);
    assert_eq!(
        world.json(&["status"])["apps"][0]["problems"],
        serde_json::json!([])
    );
}
