//! What is Caddy's own.

use std::fs;
use std::process::Command;
use std::time::Duration;

use crate::support::http::{Connection, Pace, Request};
use crate::support::process::run;
use crate::support::programs::{Kind, Program};
use crate::support::{App, Options, World, wait_for};

/// How long anything here may take.
const DEADLINE: Duration = Duration::from_secs(30);

/// A head alone.
const NO_BODY: Pace = Pace {
    piece: 1,
    pause: Duration::ZERO,
};

fn world(name: &str) -> World {
    let kind = Kind::Flip(Program::Caddy);
    World::with(
        name,
        Options {
            kind,
            ..Options::default()
        },
    )
}

/// How often Caddy was asked for something at its admin address.
fn asked(world: &World, path: &str) -> usize {
    let log = fs::read_to_string(world.path("caddy.log")).unwrap();
    log.matches(&format!("\"uri\":\"{path}\"")).count()
}

fn request(path: &str, headers: &[(&str, &str)]) -> Request {
    let headers = headers.iter();
    Request {
        path: path.into(),
        host: "localhost".into(),
        headers: headers
            .map(|(name, value)| ((*name).into(), (*value).into()))
            .collect(),
        ..Request::default()
    }
}

/// What is not as it should be, as `status` says it.
fn problems(world: &World) -> String {
    world.json(&["status"])["apps"][0]["problems"].to_string()
}

fn mark(world: &World, app: &App, name: &str) -> std::path::PathBuf {
    world
        .part_of(Program::Caddy)
        .join("marks")
        .join(&app.name)
        .join(name)
}

#[test]
fn caddy_counts_requests_uploads_and_streams_and_is_not_reloaded_for_a_flip() {
    if Program::Caddy.is_skipped() {
        return;
    }
    let mut world = world("caddy-drain");
    let shop = world.app("shop", "drain_deadline = \"2s\"");
    let repo = world.repo(&shop);
    repo.version("v1");
    repo.push("green").live();
    assert_eq!(asked(&world, "/load"), 1);

    let open = || Connection::open(world.public(), DEADLINE).unwrap();
    let upgrade = [
        ("Connection", "Upgrade"),
        ("Upgrade", "websocket"),
        ("Sec-WebSocket-Version", "13"),
        ("Sec-WebSocket-Key", "dGhlIHNhbXBsZSBub25jZQ=="),
    ];
    let (mut socket, mut events, mut upload) = (open(), open(), open());
    let begun = socket
        .begin(&request("/ws", &upgrade), NO_BODY, DEADLINE)
        .unwrap();
    assert_eq!(begun.status, 101);
    let begun = events.begin(&request("/sse", &[]), NO_BODY, DEADLINE).unwrap();
    assert_eq!(begun.status, 200);
    upload
        .say(b"POST /upload HTTP/1.1\r\nHost: localhost\r\nContent-Length: 4\r\n\r\nab")
        .unwrap();

    let looks = asked(&world, "/reverse_proxy/upstreams");
    repo.version("v2");
    let push = repo.begin_push("green");
    wait_for("the drain to look", DEADLINE, || {
        (asked(&world, "/reverse_proxy/upstreams") > looks).then_some(())
    });
    assert_eq!(world.version(), "v2");
    upload.say(b"cd").unwrap();
    let mut answer = [0; 15];
    upload.hear(&mut answer, DEADLINE).unwrap();
    assert_eq!(&answer, b"HTTP/1.1 200 OK");
    push.wait_with_output().unwrap();
    let said = world.deployer(&["log", "2"]).stdout;
    assert!(said.contains("1 request drained, 2 cut"), "{said}");
    assert_eq!(asked(&world, "/load"), 1, "nothing but the markers has changed");
}

#[test]
fn a_configuration_that_caddy_refuses_stops_the_release_and_the_old_one_serves() {
    if Program::Caddy.is_skipped() {
        return;
    }
    let mut world = world("caddy-refuses");
    let shop = world.app("shop", "instances = 1");
    let repo = world.repo(&shop);
    repo.version("v1");
    repo.push("green").live();
    let file = world.part_of(Program::Caddy).join("deployer.caddyfile");
    let former = fs::read_to_string(&file).unwrap();

    let snippet = world.path("snippets/shop.caddy");
    fs::create_dir(world.path("snippets")).unwrap();
    world.reconfigure("instances = 1", "instances = 2");
    // What its parser sees, and what only shows when it is put to use.
    let broken = [
        ("nonsense", "unrecognized directive: nonsense"),
        ("@odd path_regexp (\nrespond @odd 418", "missing closing )"),
    ];
    for (text, why) in broken {
        fs::write(&snippet, format!("{text}\n")).unwrap();
        repo.version("v2");
        let said = repo.push("green").failed();
        assert!(said.contains("Caddy did not take its configuration"), "{said}");
        assert!(said.contains(why), "{said}");
        assert_eq!(world.version(), "v1");
        assert_eq!(fs::read_to_string(&file).unwrap(), former);
    }

    fs::write(
        &snippet,
        "handle /mine {\n respond {header.x-forwarded-for}mine\n}\n",
    )
    .unwrap();
    world.deployer(&["redeploy", "green"]).good();
    assert_eq!(world.version(), "v2");
    assert_eq!(world.get("/mine").unwrap().text(), "mine");
}

#[test]
fn what_caddy_lost_is_told_by_status_and_mended_by_recover() {
    if Program::Caddy.is_skipped() {
        return;
    }
    let mut world = world("caddy-lost");
    let shop = world.app("shop", "");
    let repo = world.repo(&shop);
    repo.version("v1");
    repo.push("green").live();
    repo.version("v2");
    repo.push("blue").live();
    assert_eq!(problems(&world), "[]");

    world.kill_program();
    world.start_program();
    assert_eq!(world.version(), "v2", "what was live before it was killed");

    let main = fs::read_to_string(world.path("caddy.main")).unwrap();
    let without: Vec<&str> = main.lines().filter(|line| !line.starts_with("import")).collect();
    fs::write(world.path("another.main"), without.join("\n") + "\n").unwrap();
    let admin = main
        .lines()
        .find_map(|line| line.trim().strip_prefix("admin "))
        .unwrap();
    let mut reload = Command::new("caddy");
    reload.args(["reload", "--adapter", "caddyfile", "--address", admin, "--config"]);
    run(reload.arg(world.path("another.main")), &[]).good();
    let said = problems(&world);
    assert!(said.contains("Caddy does not answer at"), "{said}");
    world.recovers("after another configuration was loaded");
    assert_eq!(world.version(), "v2");

    fs::write(mark(&world, &shop, "live.green"), "").unwrap();
    assert_eq!(world.version(), "v1");
    assert!(problems(&world).contains("the proxy's route"));
    world.recovers("after a marker came");
    assert_eq!(world.version(), "v2");
    for name in ["live.on", "blue.on"] {
        fs::remove_file(mark(&world, &shop, name)).unwrap();
        assert_eq!(world.get("/").unwrap().status, 503);
        assert_ne!(problems(&world), "[]");
        world.recovers("after a marker was removed");
        assert_eq!(world.version(), "v2");
    }
}
