//! What is nginx's own.

use std::fs;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use rustix::process::Signal;
use serde_json::json;

use crate::support::http::{Connection, Request};
use crate::support::process::signal;
use crate::support::programs::{Kind, Program};
use crate::support::{App, Options, Repo, World, wait_for};

const DEADLINE: Duration = Duration::from_secs(60);

/// A world with nginx and the app `shop`, live with v1 on green; `lines` are those of the app's section.
fn live(name: &str, lines: &str) -> (World, App, Repo) {
    let options = Options {
        kind: Kind::Flip(Program::Nginx),
        ..Options::default()
    };
    let mut world = World::with(name, options);
    let shop = world.app("shop", lines);
    let repo = world.repo(&shop);
    repo.version("v1");
    repo.push("green").live();
    (world, shop, repo)
}

/// The processes of the world's nginx: its workers, and those that still end.
fn workers(world: &mut World) -> Vec<u32> {
    let pid = world.program().pid();
    let children = fs::read_to_string(format!("/proc/{pid}/task/{pid}/children")).expect("nginx runs");
    let pids = children.split_whitespace();
    pids.map(|pid| pid.parse().expect("a process id")).collect()
}

fn configuration(world: &World) -> String {
    let file = world.part_of(Program::Nginx).join("deployer.conf");
    fs::read_to_string(file).expect("deployer's part of the configuration")
}

/// A file that says what is chosen for `shop`.
fn mark(world: &World, name: &str) -> PathBuf {
    world.part_of(Program::Nginx).join("marks/shop").join(name)
}

fn problems(world: &World) -> serde_json::Value {
    world.json(&["status"])["apps"][0]["problems"].clone()
}

/// A request whose answer has begun: an event each 100 ms, `events` of them, or without an end where that is 0.
fn begun(address: SocketAddr, events: u32) -> Connection {
    let mut connection = Connection::open(address, DEADLINE).expect("a connection");
    let head = format!("GET /sse?events={events} HTTP/1.1\r\nHost: localhost\r\n\r\n");
    connection
        .say(head.as_bytes())
        .and_then(|()| connection.hear(&mut [0; 15], DEADLINE))
        .expect("the answer begins");
    connection
}

#[test]
fn nginx_refuses_what_the_user_added_and_the_old_release_serves() {
    let (world, _, repo) = live("nginx-refused", "instances = 1");
    let snippets = world.path("snippets");
    fs::create_dir(&snippets).expect("a folder for snippets");
    let snippet = snippets.join("shop.nginx");
    let before = configuration(&world);

    // Another number of instances is another configuration.
    world.reconfigure("instances = 1", "instances = 2");
    fs::write(&snippet, "no_such_directive on;\n").expect("the snippet is written");
    repo.version("v2");
    let said = repo.push("green").failed();
    assert!(
        said.contains("unknown directive \"no_such_directive\"") && said.contains("shop.nginx:1"),
        "{said}"
    );
    assert_eq!(configuration(&world), before);
    assert_eq!(world.version(), "v1");
    assert_eq!(problems(&world), json!([]));

    fs::write(&snippet, "location = /mine { return 200 \"of the user\"; }\n")
        .expect("the snippet is written");
    world.deployer(&["redeploy", "green"]).good();
    assert_eq!(world.version(), "v2");
    assert_eq!(world.get("/mine").expect("an answer").text(), "of the user");
    let site = world
        .get_at(world.user_site(), "localhost", "/")
        .expect("an answer");
    assert_eq!(site.text(), "mine");
}

#[test]
fn nginx_keeps_its_workers_through_flips_and_what_its_markers_say_through_a_crash() {
    let (mut world, shop, repo) = live("nginx-marks", "");
    let before = workers(&mut world);
    repo.version("v2");
    repo.push("blue").live();
    repo.version("v3");
    repo.push("blue").live();
    world.deployer(&["promote", "green"]).good();
    assert_eq!(world.version(), "v1");
    world.deployer(&["rollback"]).good();
    assert_eq!(world.version(), "v3");
    assert_eq!(workers(&mut world), before);

    // What somebody has changed by hand is seen, and mended; a request follows the markers meanwhile.
    fs::File::create(mark(&world, "live.green")).expect("a marker is made");
    assert_eq!(world.version(), "v1");
    assert!(problems(&world).to_string().contains("deployer recover"));
    world.deployer(&["recover"]).good();
    assert_eq!(world.version(), "v3");
    fs::remove_file(mark(&world, "blue.on")).expect("a marker is removed");
    let unserved = world.get("/version").expect("an answer");
    assert_eq!(
        (unserved.status, unserved.header("retry-after")),
        (503, Some("1"))
    );
    assert_eq!(world.version_at(shop.green), "v1");
    assert!(problems(&world).to_string().contains("deployer recover"));
    world.recovers("a marker was removed");
    assert_eq!(world.version(), "v3");
    assert_eq!(workers(&mut world), before);

    world.kill_program();
    world.start_program();
    assert_eq!(world.version(), "v3");
    assert_eq!(world.version_at(shop.green), "v1");
    assert_eq!(problems(&world), json!([]));
}

#[test]
fn nginx_drains_what_is_in_flight_and_counts_no_idle_connection() {
    let (mut world, shop, repo) = live("nginx-drain", "drain_deadline = \"40s\"");
    repo.version("v2");
    repo.push("blue").live();

    // Of the live slot's requests one is answered, and its connection kept; one is under way. Another is the slot's
    // own, which no flip concerns.
    let mut kept = Connection::open(world.public(), DEADLINE).expect("a connection");
    let version = Request {
        path: "/version".into(),
        host: "localhost".into(),
        ..Request::default()
    };
    assert_eq!(kept.send(&version, DEADLINE).expect("an answer").text(), "v2");
    let _of_the_slot = begun(shop.blue, 0);
    let _under_way = begun(world.public(), 20);
    let said = world.deployer(&["promote", "green"]).good();
    assert!(said.contains("1 request drained, 0 cut"), "{said}");
    assert_eq!(kept.send(&version, DEADLINE).expect("an answer").text(), "v1");

    // What a worker had in flight when it was killed is counted for ever, and holds no drain up.
    let _lost = begun(world.public(), 0);
    for worker in workers(&mut world) {
        signal(worker, Signal::KILL);
    }
    wait_for("nginx to have new workers", DEADLINE, || world.get("/").ok());
    let said = world.deployer(&["promote", "blue"]).good();
    assert!(said.contains("0 cut"), "{said}");
    assert_eq!(world.version(), "v2");
}

#[test]
fn nginx_serves_the_hosts_of_its_apps_beside_those_of_the_user() {
    // Longer than nginx's table of names takes, which only the user can make larger.
    let long = format!("{}.shop.example", "l".repeat(60));
    let hosts = format!("hosts = [\"shop.example\", \"{long}\"]");
    let (mut world, _, repo) = live("nginx-hosts", &hosts);
    let status = |world: &World, host: &str| {
        let answer = world.get_at(world.public(), host, "/version");
        answer.expect("an answer").status
    };
    assert_eq!(status(&world, "Shop.Example:80"), 200);
    assert_eq!(status(&world, &long), 200);
    assert_eq!(status(&world, &long.replacen(".shop", "-shop", 1)), 404);
    assert_eq!(status(&world, "other.example"), 404);
    assert_eq!(status(&world, "deployer.invalid"), 404);

    // The port has a default of the user's own: what is nobody's is the user's.
    let main = world.path("nginx.main");
    let text = fs::read_to_string(&main).expect("the main configuration");
    let own = format!(
        "access_log off; server {{ listen {} default_server; return 200 theirs; }}",
        world.public()
    );
    fs::write(&main, text.replacen("access_log off;", &own, 1)).expect("the main configuration is written");
    signal(world.program().pid(), Signal::HUP);
    wait_for("the user's default", DEADLINE, || {
        (status(&world, "other.example") == 200).then_some(())
    });
    assert_eq!(status(&world, "shop.example"), 200);

    // An app for every host would be a second default.
    world.reconfigure(&hosts, "");
    repo.version("v2");
    let said = repo.push("green").failed();
    assert!(said.contains("a duplicate default server"), "{said}");
    let version = world.get_at(world.public(), "shop.example", "/version");
    assert_eq!(version.expect("an answer").text(), "v1");
}
