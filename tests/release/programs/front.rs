//! A program in front of the embedded proxy: configured once, and every promise is the embedded proxy's.

use std::collections::BTreeSet;
use std::fs;
use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, SocketAddrV4, TcpListener, TcpStream};
use std::os::fd::OwnedFd;
use std::os::unix::fs::MetadataExt;
use std::os::unix::net::UnixListener;
use std::process::{Command, Stdio};
use std::sync::mpsc::{self, Receiver, Sender};
use std::time::Duration;

use deployer::model::{ReleaseId, Slot};
use deployer::proxy::{AppRoute, Control, SlotRoute, Target};

use crate::support::http::{Failure, Request, request};
use crate::support::programs::{Kind, Program};
use crate::support::traffic::{Client, Load, Traffic};
use crate::support::{App, DEPLOYER, Options, Repo, World, wait_for};

const PATIENCE: Duration = Duration::from_secs(20);

/// A test for each program.
macro_rules! for_each_program {
    ($($story:ident),* $(,)?) => {
        for_each_program!(@ nginx, Nginx, $($story),*);
        for_each_program!(@ haproxy, Haproxy, $($story),*);
        for_each_program!(@ caddy, Caddy, $($story),*);
    };
    (@ $name:ident, $program:ident, $($story:ident),*) => {
        mod $name {
            $(
                #[test]
                fn $story() {
                    super::$story(super::Program::$program);
                }
            )*
        }
    };
}

for_each_program!(
    releases_and_upgrades_drop_no_request,
    heads_pass_and_restarts_are_survived,
);

/// A world with `program` in front, and one release live.
fn live(name: &str, program: Program) -> (World, App, Repo) {
    let kind = Kind::Front(program);
    let options = Options {
        kind,
        ..Options::default()
    };
    let mut world = World::with(&format!("front-{name}-{}", program.name()), options);
    let shop = world.app("shop", "drain_deadline = \"1s\"");
    assert_eq!(problems(&world), Vec::<String>::new(), "before the first release");
    let repo = world.repo(&shop);
    repo.version("v1");
    repo.push("green").live();
    assert_eq!(world.version(), "v1");
    (world, shop, repo)
}

fn problems(world: &World) -> Vec<String> {
    let status = world.json(&["status"]);
    let told = |problem: &serde_json::Value| {
        let message = problem["message"].as_str().expect("a sentence");
        format!("{message} {}", problem["hints"])
    };
    let of_the_app = status["apps"][0]["problems"].as_array().into_iter().flatten();
    let of_all = status["problems"].as_array().into_iter().flatten();
    of_the_app.chain(of_all).map(told).collect()
}

/// What a reload changes.
#[derive(Debug)]
struct Loaded {
    file: u64,
    /// Those of a former configuration may take their time to end.
    processes: BTreeSet<u32>,
    /// What Caddy, which has one process, says of it.
    said: usize,
}

impl Loaded {
    fn of(world: &mut World, program: Program) -> Self {
        let mut files = fs::read_dir(world.part_of(program)).expect("deployer's part is there");
        let file = files.next().expect("one file").expect("a file").path();
        let pid = world.program().pid();
        let children = fs::read_to_string(format!("/proc/{pid}/task/{pid}/children"));
        let children = children.expect("the program runs");
        Self {
            file: fs::metadata(file).expect("the file is there").ino(),
            processes: children.split_whitespace().flat_map(str::parse).collect(),
            said: world.program().log().matches("/load").count(),
        }
    }

    #[track_caller]
    fn is_still(&self, before: &Self) {
        assert_eq!((self.file, self.said), (before.file, before.said));
        let (now, then) = (&self.processes, &before.processes);
        assert!(now.is_subset(then), "{now:?} are not among {then:?}");
    }
}

fn comes(traffic: &Traffic, version: &str) {
    let before = traffic.so_far().of(version);
    wait_for(&format!("traffic at {version}"), PATIENCE, || {
        (traffic.so_far().of(version) > before + 50).then_some(())
    });
}

fn releases_and_upgrades_drop_no_request(program: Program) {
    if program.is_skipped() {
        return;
    }
    let (mut world, _, repo) = live("flips", program);
    let before = Loaded::of(&mut world, program);
    let mut load = Load::default();
    load.clients.extend([
        Client::Expecting,
        Client::Head,
        Client::Download,
        Client::BigUpload,
        Client::WebSocket,
        Client::Events,
    ]);
    let traffic = world.traffic_with(load);
    comes(&traffic, "v1");

    traffic.expect(&["v1", "v2"]);
    repo.version("v2");
    repo.push("green").live();
    traffic.expect(&["v2"]);
    comes(&traffic, "v2");
    let older = world.upgrade_proxy();
    traffic.expect(&["v2", "v3"]);
    repo.version("v3");
    repo.push("blue").live();
    traffic.expect(&["v3"]);
    // Until it has let go of the connections that the program keeps.
    older.await_end(PATIENCE);
    comes(&traffic, "v3");

    let outcome = traffic.stop();
    assert_eq!(outcome.failures(), 0, "{outcome}");
    assert!(
        outcome.closed >= 4,
        "a stream and a WebSocket at each flip: {}",
        outcome.closed
    );
    // No flip has reloaded it.
    Loaded::of(&mut world, program).is_still(&before);
    assert_eq!(problems(&world), Vec::<String>::new());
}

fn heads_pass_and_restarts_are_survived(program: Program) {
    if program.is_skipped() {
        return;
    }
    let (mut world, _, _) = live("restarts", program);
    heads_pass(&world);
    restarts_drop_no_request(&mut world);
    away_is_503(&mut world);
    what_is_lost_is_told_and_mended(&mut world, program);
}

/// The proxy ends by SIGTERM and is started again, and its socket is kept meanwhile as systemd keeps it.
fn restarts_drop_no_request(world: &mut World) {
    let kept = kept_socket(world);
    let config = world.config();
    let start = || {
        // The shell puts the socket where systemd would, and keeps its process id for the program.
        let script = "exec 3<&0 </dev/null; LISTEN_FDS=1 LISTEN_PID=$$ exec \"$@\"";
        let mut command = Command::new("sh");
        command.args(["-c", script, "sh", DEPLOYER, "--config"]);
        command.arg(&config).args(["proxy", "run"]);
        command
    };
    world.restart_proxy_with(&mut start(), copy(&kept));
    let traffic = world.traffic();
    comes(&traffic, "v1");
    for _ in 0..2 {
        world.restart_proxy_with(&mut start(), copy(&kept));
        comes(&traffic, "v1");
    }
    let outcome = traffic.stop();
    assert_eq!(outcome.failures(), 0, "{outcome}");
}

fn copy(socket: &OwnedFd) -> Stdio {
    socket.try_clone().expect("a copy").into()
}

fn kept_socket(world: &World) -> OwnedFd {
    fs::remove_file(world.socket()).expect("the former socket goes");
    UnixListener::bind(world.socket()).expect("a socket").into()
}

/// Where nobody keeps the socket, what comes while nobody listens is refused, with a status that says so.
fn away_is_503(world: &mut World) {
    let traffic = world.traffic();
    comes(&traffic, "v1");
    world.stop_proxy();
    assert_eq!(world.get("/").expect("an answer of the program's").status, 503);
    world.start_proxy();
    comes(&traffic, "v1");
    let outcome = traffic.stop();
    println!("restart without systemd: {outcome}");
    let lost: Vec<Failure> = outcome.failed.keys().copied().collect();
    assert_eq!(lost, [Failure::Status(503)], "{outcome}");
}

/// The program loses deployer's part of its configuration, and then its life.
fn what_is_lost_is_told_and_mended(world: &mut World, program: Program) {
    for file in fs::read_dir(world.part_of(program))
        .expect("deployer's part")
        .flatten()
    {
        fs::remove_file(file.path()).expect("deployer's part is removed");
    }
    let said = problems(world).join("\n");
    assert!(said.contains("is not what it should be"), "{said}");
    world.kill_program();
    world.start_program();
    let said = problems(world).join("\n");
    assert!(said.contains("does not answer at"), "{said}");

    world.deployer(&["recover"]).good();

    assert_eq!(world.version(), "v1");
    assert_eq!(problems(world), Vec::<String>::new());
    world.kill_program();
    world.start_program();
    assert_eq!(world.version(), "v1");
    let own = world.user_site();
    let mine = world.get_at(own, &own.to_string(), "/");
    assert_eq!(mine.expect("the user's own site").text(), "mine");
}

/// What the app sees is what the client has sent, and the way that it took.
fn heads_pass(world: &World) {
    let mirror = Mirror::start();
    let route = AppRoute {
        app: "mirror".parse().expect("a name"),
        hosts: vec!["mirror.example".into()],
        response_timeout: None,
        body_timeout: None,
        live: Some(Slot::Blue),
        slots: [(
            Slot::Blue,
            SlotRoute {
                port: world.spare().port(),
                target: Some(Target {
                    release: ReleaseId(1),
                    upstreams: vec![mirror.address],
                    probe: None,
                }),
            },
        )]
        .into(),
        trailers: false,
    };
    let control = Control::new(&world.state("proxy/control.sock"));
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let put = runtime.expect("a runtime").block_on(control.put_route(&route));
    put.expect("the route is taken");
    let head = |headers: &[(&str, &str)]| {
        let owned = |(name, value): &(&str, &str)| ((*name).to_owned(), (*value).to_owned());
        let asks = Request {
            path: "/a%2Fb//c?d=%20e".into(),
            host: "Mirror.Example:81".into(),
            headers: headers.iter().map(owned).collect(),
            ..Request::default()
        };
        let reply = request(world.public(), &asks, PATIENCE).expect("an answer");
        assert_eq!(reply.status, 200, "{}", reply.text());
        assert_eq!(reply.header("x-accel-redirect"), Some("/elsewhere"));
        reply.text()
    };
    let line = |head: &str, wanted: &str| {
        let mut lines = head.lines().filter_map(|line| line.split_once(": "));
        let found = lines.find(|(name, _)| name.eq_ignore_ascii_case(wanted));
        found.map(|(_, value)| value.to_owned())
    };

    let came = head(&[]);
    assert!(came.starts_with("GET /a%2Fb//c?d=%20e HTTP/1.1"), "{came}");
    for (name, value) in [
        ("host", "Mirror.Example:81"),
        ("x-forwarded-for", "127.0.0.1"),
        ("x-forwarded-proto", "http"),
        ("x-forwarded-host", "Mirror.Example:81"),
    ] {
        assert_eq!(line(&came, name).as_deref(), Some(value), "{name} in\n{came}");
    }
    assert_eq!(line(&came, "x-request-id").map(|id| id.len()), Some(16), "{came}");
    assert_eq!(line(&came, "accept-encoding"), None, "{came}");

    let long = "x".repeat(10_000);
    let given = [
        ("X-Forwarded-For", "9.9.9.9"),
        ("X-Forwarded-Proto", "https"),
        ("X-Forwarded-Host", "elsewhere.example"),
        ("Forwarded", "for=9.9.9.9"),
        ("X-Real-IP", "9.9.9.9"),
        ("X_Forwarded_For", "9.9.9.9"),
        ("Remote-User", "somebody"),
        ("X-Request-Id", "mine"),
        ("x_under.score", "kept"),
        ("x-long", &long),
    ];
    let came = head(&given);
    // Nobody trusts who says so.
    for (name, value) in [
        ("x-forwarded-for", Some("127.0.0.1")),
        ("x-forwarded-proto", Some("http")),
        ("x-forwarded-host", Some("Mirror.Example:81")),
        ("forwarded", None),
        ("x-real-ip", None),
        ("x_forwarded_for", None),
        ("remote-user", None),
    ] {
        assert_eq!(line(&came, name).as_deref(), value, "{name} in\n{came}");
    }
    assert_eq!(came.matches("orwarded-").count(), 3, "each once:\n{came}");
    for (name, value) in &given[7..] {
        assert_eq!(line(&came, name).as_deref(), Some(*value), "{name} in\n{came}");
    }
    bytes_pass_as_they_come(world, &mirror);
}

/// Bytes go on as they come, both ways: nothing is kept until it is whole.
fn bytes_pass_as_they_come(world: &World, mirror: &Mirror) {
    let ask = |head: &str| {
        let mut stream = TcpStream::connect(world.public()).expect("the program accepts");
        stream.set_read_timeout(Some(PATIENCE)).expect("a timeout");
        write!(stream, "{head}\r\nHost: mirror.example\r\nConnection: close\r\n").expect("a head is sent");
        stream
    };
    let until = |stream: &mut TcpStream, wanted: &str| {
        let mut came = Vec::new();
        while !String::from_utf8_lossy(&came).contains(wanted) {
            let mut byte = [0];
            stream.read_exact(&mut byte).unwrap_or_else(|error| {
                panic!("{error}, behind {:?}", String::from_utf8_lossy(&came));
            });
            came.push(byte[0]);
        }
    };

    let mut upload = ask("POST /upload HTTP/1.1");
    write!(upload, "Content-Length: 6\r\n\r\none").expect("half a body is sent");
    mirror
        .came
        .recv_timeout(PATIENCE)
        .expect("half a body at the app");
    write!(upload, "two").expect("the other half is sent");
    until(&mut upload, "onetwo");

    let mut download = ask("GET /download HTTP/1.1");
    write!(download, "\r\n").expect("the head ends");
    until(&mut download, "one");
    mirror.go.send(()).expect("the app waits");
    until(&mut download, "two");
}

/// An instance that answers with the head of the request as it came; `/upload` and `/download` in two pieces.
struct Mirror {
    address: SocketAddrV4,
    /// Told of the first half of an upload.
    came: Receiver<()>,
    /// Has the second half of a download sent.
    go: Sender<()>,
}

impl Mirror {
    fn start() -> Self {
        let socket = TcpListener::bind("127.0.0.1:0").expect("a port");
        let Ok(SocketAddr::V4(address)) = socket.local_addr() else {
            unreachable!("asked for IPv4")
        };
        let ((told, came), (go, goes)) = (mpsc::channel(), mpsc::channel());
        std::thread::spawn(move || {
            for stream in socket.incoming().flatten() {
                let _ = reflect(&stream, &told, &goes);
            }
        });
        Self { address, came, go }
    }
}

fn reflect(mut to: &TcpStream, told: &Sender<()>, goes: &Receiver<()>) -> io::Result<()> {
    let mut from = BufReader::new(to);
    let mut head = String::new();
    while !head.ends_with("\r\n\r\n") && from.read_line(&mut head)? > 0 {}
    let mut body = head.replace('\r', "");
    if head.starts_with("POST /upload ") {
        let mut halves = [0; 6];
        from.read_exact(&mut halves[..3])?;
        let _ = told.send(());
        from.read_exact(&mut halves[3..])?;
        body = String::from_utf8_lossy(&halves).into_owned();
    }
    if head.starts_with("GET /download ") {
        write!(
            to,
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\none\r\n"
        )?;
        let _ = goes.recv_timeout(PATIENCE);
        return write!(to, "3\r\ntwo\r\n0\r\n\r\n");
    }
    write!(
        to,
        "HTTP/1.1 200 OK\r\nX-Accel-Redirect: /elsewhere\r\nConnection: close\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    )
}
