//! What is HAProxy's own.

use std::fs;
use std::io::{Read, Write};
use std::net::{Shutdown, TcpStream};
use std::os::unix::net::UnixStream;
use std::thread;
use std::time::Duration;

use crate::support::http::{Connection, Request};
use crate::support::programs::{Kind, Program};
use crate::support::{App, Options, Repo, World, wait_for};

const DEADLINE: Duration = Duration::from_secs(60);

/// A world with the app `shop` live with v1 on green; none where a developer does without HAProxy.
fn live(name: &str, lines: &str) -> Option<(World, App, Repo)> {
    if Program::Haproxy.is_skipped() {
        return None;
    }
    let kind = Kind::Flip(Program::Haproxy);
    let mut world = World::with(
        name,
        Options {
            kind,
            ..Options::default()
        },
    );
    let shop = world.app("shop", lines);
    let repo = world.repo(&shop);
    repo.version("v1");
    repo.push("green").live();
    Some((world, shop, repo))
}

/// What HAProxy's master answers.
fn ask(world: &World, order: &str) -> String {
    // It begins anew whenever it has started workers.
    let mut socket = wait_for("the master to listen", DEADLINE, || {
        UnixStream::connect(world.path("haproxy.sock")).ok()
    });
    socket
        .write_all(format!("{order}\n").as_bytes())
        .expect("it is asked");
    socket.shutdown(Shutdown::Write).expect("that is all");
    let mut answer = String::new();
    socket.read_to_string(&mut answer).expect("it answers");
    answer
}

/// The workers, those of before a reload too.
fn workers(world: &World) -> Vec<String> {
    let answer = ask(world, "show proc");
    let lines = answer.lines().map(|line| line.split_whitespace());
    let mut words = lines.filter_map(|mut words| Some((words.next()?, words.next()?)));
    let mut workers = Vec::new();
    for (pid, _) in words.by_ref().filter(|(_, kind)| *kind == "worker") {
        workers.push(pid.to_owned());
    }
    workers
}

fn map(world: &World) -> String {
    let path = world.part_of(Program::Haproxy).join("choices.map");
    path.to_str().expect("a path in UTF-8").to_owned()
}

/// The map that the file has and the one that runs, a door and its backend in each line.
fn maps(world: &World) -> [Vec<String>; 2] {
    let written = fs::read_to_string(map(world)).expect("the map is read");
    let runs = ask(world, &format!("@1 show map {}", map(world)));
    let entries = runs
        .lines()
        .filter_map(|line| line.strip_prefix("0x")?.split_once(' '));
    let mut runs: Vec<String> = entries.map(|(_, entry)| entry.to_owned()).collect();
    runs.sort();
    [written.lines().map(str::to_owned).collect(), runs]
}

fn problems(world: &World) -> String {
    world.json(&["status"])["apps"][0]["problems"].to_string()
}

fn get(path: &str) -> Request {
    Request {
        path: path.into(),
        host: "localhost".into(),
        ..Request::default()
    }
}

fn version(connection: &mut Connection) -> String {
    let reply = connection.send(&get("/version"), DEADLINE);
    reply.expect("a kept connection is answered").text()
}

#[test]
fn flips_reload_nothing_and_every_start_agrees_with_them() {
    let Some((mut world, _, repo)) = live("haproxy-flips", "probe = { path = \"/healthz?it's=$HOME\" }")
    else {
        return;
    };
    let worker = workers(&world);
    for (version, slot) in [("v2", "blue"), ("v3", "blue")] {
        repo.version(version);
        repo.push(slot).live();
        let [written, runs] = maps(&world);
        assert_eq!(written, runs);
        assert_eq!(world.version(), version);
    }
    world.deployer(&["promote", "green"]).good();
    let [written, runs] = maps(&world);
    assert_eq!(written, runs);
    assert!(
        written.contains(&"shop deployer.shop.green.a".to_owned()),
        "{written:?}"
    );
    assert_eq!(world.version(), "v1");
    assert_eq!(workers(&world), worker, "a flip has had HAProxy reloaded");

    world.kill_program();
    world.start_program();
    assert_eq!(world.version(), "v1");
    let worker = workers(&world);

    // Behind deployer's back: what runs, then what the next start would read.
    ask(
        &world,
        &format!("@1 set map {} shop deployer.shop.blue.b", map(&world)),
    );
    assert_eq!(world.version(), "v3");
    assert_ne!(problems(&world), "[]");
    world.recovers("the map was changed as it ran");
    assert_eq!(world.version(), "v1");
    fs::write(map(&world), "shop deployer.shop.blue.b\n").expect("the map is changed");
    assert_ne!(problems(&world), "[]");
    world.recovers("the map's file was changed");
    let [written, runs] = maps(&world);
    assert_eq!(written, runs);
    assert_eq!((world.version(), workers(&world)), ("v1".to_owned(), worker));
}

#[test]
fn snippet_that_haproxy_refuses_stops_the_release_before_its_flip() {
    let Some((world, _, repo)) = live("haproxy-snippet", "") else {
        return;
    };
    let part = world.part_of(Program::Haproxy).join("deployer.cfg");
    let before = fs::read_to_string(&part).expect("deployer's part is read");
    let snippet = world.path("snippets/shop.haproxy");
    fs::create_dir_all(snippet.parent().expect("a folder")).expect("the snippets' folder");
    let worker = workers(&world);

    fs::write(&snippet, "  nonsense\n").expect("the snippet is written");
    repo.version("v2");
    let said = repo.push("blue").failed();
    assert!(said.contains("unknown keyword 'nonsense'"), "{said}");
    assert!(said.contains("the former one is back"), "{said}");
    assert_eq!(
        fs::read_to_string(&part).expect("deployer's part is read"),
        before
    );
    assert_eq!((world.version(), workers(&world)), ("v1".to_owned(), worker));

    fs::write(&snippet, "  http-response set-header x-mine yes\n").expect("the snippet is written");
    repo.version("v3");
    repo.push("blue").live();
    let reply = world.get("/version").expect("an answer");
    assert_eq!(
        (reply.text().as_str(), reply.header("x-mine")),
        ("v3", Some("yes"))
    );
}

#[test]
fn workers_of_before_a_reload_go_by_every_later_flip() {
    let Some((world, _, repo)) = live("haproxy-workers", "instances = 1") else {
        return;
    };
    let open = || Connection::open(world.public(), DEADLINE).expect("a connection");
    let mut kept = [open(), open(), open()];
    for connection in &mut kept {
        assert_eq!(version(connection), "v1");
    }
    let [first, second, third] = &mut kept;
    let before = workers(&world);

    world.reconfigure("instances = 1", "instances = 2");
    repo.version("v2");
    repo.push("blue").live();
    let after = workers(&world);
    assert!(
        after.len() == 2 && after.contains(&before[0]),
        "{before:?}, {after:?}"
    );
    assert_eq!(version(first), "v2");

    // The addresses of this one are nowhere in the configuration of the worker that has the connections.
    repo.version("v3");
    repo.push("green").live();
    let order = Request {
        method: "POST".into(),
        path: "/upload".into(),
        body: vec![7; 100_000],
        headers: vec![("X-Forwarded-For".into(), "192.0.2.1".into())],
        ..get("")
    };
    let reply = second.send(&order, DEADLINE).expect("a POST is answered");
    assert_eq!(reply.header("app-version"), Some("v3"));
    world.deployer(&["promote", "blue"]).good();
    assert_eq!(version(third), "v2");
    assert_eq!(problems(&world), "[]");
    wait_for("the former worker to end", DEADLINE, || {
        (workers(&world).len() == 1).then_some(())
    });
}

#[test]
fn drain_waits_for_what_is_in_flight_and_not_for_kept_connections() {
    let Some((world, _, repo)) = live("haproxy-drain", "drain_deadline = \"30s\"") else {
        return;
    };
    let mut kept = Connection::open(world.public(), DEADLINE).expect("a connection");
    assert_eq!(version(&mut kept), "v1");
    repo.version("v2");
    let mut upload = TcpStream::connect(world.public()).expect("a connection");
    let head =
        "POST /slow?ms=2000 HTTP/1.1\r\nHost: localhost\r\nContent-Length: 8\r\nConnection: close\r\n\r\n";
    upload
        .write_all(format!("{head}half").as_bytes())
        .expect("half is sent");

    let push = thread::scope(|scope| {
        // Its other half comes when requests go to the new release, and its answer while that one's drain waits.
        let answer = scope.spawn(|| {
            wait_for("the flip", DEADLINE, || (world.version() == "v2").then_some(()));
            upload.write_all(b"half").expect("the rest is sent");
            let mut answer = String::new();
            upload.read_to_string(&mut answer).expect("it is answered");
            answer.to_ascii_lowercase()
        });
        let push = repo.push("green");
        let answer = answer.join().expect("the client ends");
        assert!(answer.contains("app-version: v1"), "{answer}");
        push
    });

    let said = push.said();
    push.live();
    assert!(said.contains("1 request drained, 0 cut"), "{said}");
    assert_eq!(version(&mut kept), "v2");
}
