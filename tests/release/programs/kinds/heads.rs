//! What passes through: heads, bodies, streams.

use std::io::{Read, Write};
use std::net::{Ipv4Addr, SocketAddr, SocketAddrV4, TcpStream};
use std::thread;
use std::time::Duration;

use rustix::net;

use super::{DEADLINE, users_own_site_is_untouched, world_with};
use crate::support::http::{self, Request};
use crate::support::programs::{Kind, Program};
use crate::support::traffic::{Client, Load};
use crate::support::{Options, World, wait_for};

/// How long the app may take to begin its answer, and a body of its to make progress: less than the proxy's own minute.
const TIMEOUTS: &str = "response_timeout = \"2s\"\nbody_timeout = \"2s\"";

/// What the proxy is told to trust.
const PROXY: &str = "trusted = [\"127.0.0.8/31\", \"::1\"]";

/// A proxy that is trusted.
const TRUSTED: Ipv4Addr = Ipv4Addr::new(127, 0, 0, 9);

/// Longer than that.
const QUIET: Duration = Duration::from_millis(3_000);

/// Bytes of a head that is large: a session in a cookie, say.
const LARGE: usize = 12 << 10;

pub(super) fn pass_as_they_should(kind: Kind) {
    let options = Options {
        proxy: PROXY.into(),
        ..Options::default()
    };
    let mut world = world_with(kind, "heads", options);
    let shop = world.app("shop", TIMEOUTS);
    let repo = world.repo(&shop);
    repo.version("v1");
    repo.push("green").live();
    let doors = [world.public(), shop.green];

    thread::scope(|scope| {
        scope.spawn(|| quiet_websocket_stays(world.public()));
        scope.spawn(|| slow_answer_is_given_up(&world));
        for door in doors {
            heads_are_as_the_embedded_proxy_writes_them(door);
            nobody_claims_to_be_somebody_else(door, kind);
            a_trusted_proxy_says_who_its_client_is(door);
            chunked_upload_arrives(door);
        }
        everything_passes(&world);
    });
    users_own_site_is_untouched(&world, kind);
}

/// The head that the instance gets for a request with these headers.
#[track_caller]
fn head(door: SocketAddr, host: &str, headers: &[(&str, &str)]) -> Vec<(String, String)> {
    let headers = headers
        .iter()
        .map(|(name, value)| ((*name).into(), (*value).into()));
    let request = Request {
        path: "/head?q=%20&r=a%2Fb".into(),
        host: host.into(),
        headers: headers.collect(),
        ..Request::default()
    };
    let reply = http::request(door, &request, DEADLINE).expect("an answer");
    let text = reply.text();
    assert_eq!(reply.status, 200, "{text}");
    assert!(text.starts_with("GET /head?q=%20&r=a%2Fb HTTP/1.1\n"), "{text}");
    let lines = text.lines().skip(1).filter_map(|line| line.split_once(':'));
    lines
        .map(|(name, value)| (name.to_ascii_lowercase(), value.trim().to_owned()))
        .collect()
}

/// The values of one header, joined as HTTP joins them.
fn value(head: &[(String, String)], name: &str) -> Option<String> {
    let values: Vec<&str> = head
        .iter()
        .filter(|(has, _)| has == name)
        .map(|(_, value)| value.as_str())
        .collect();
    (!values.is_empty()).then(|| values.join(", "))
}

#[track_caller]
fn heads_are_as_the_embedded_proxy_writes_them(door: SocketAddr) {
    let plain = head(door, "Shop.test:80", &[]);
    for (name, wanted) in [
        ("host", Some("Shop.test:80")),
        ("x-forwarded-for", Some("127.0.0.1")),
        ("x-forwarded-proto", Some("http")),
        ("x-forwarded-host", Some("Shop.test:80")),
        ("connection", None),
        ("deployer-check", None),
        ("accept-encoding", None),
    ] {
        // To say that the connection stays is to say nothing in HTTP/1.1.
        let has = value(&plain, name).filter(|value| !value.eq_ignore_ascii_case("keep-alive"));
        assert_eq!(has.as_deref(), wanted, "{name} in {plain:?}");
    }
    let id = value(&plain, "x-request-id").expect("a request id");
    assert!(
        (16..=128).contains(&id.len()) && id.bytes().all(|byte| byte.is_ascii_graphic()),
        "{id}"
    );
    assert_ne!(value(&head(door, "shop.test", &[]), "x-request-id"), Some(id));

    let given = head(
        door,
        "shop.test",
        &[
            ("X-Request-Id", "given-1"),
            ("X-Hop", "1"),
            ("Keep-Alive", "5"),
            ("X-Mine", "kept"),
            ("User-Agent", "mine"),
        ],
    );
    for (name, wanted) in [
        ("host", Some("shop.test")),
        ("x-request-id", Some("given-1")),
        ("x-mine", Some("kept")),
        ("user-agent", Some("mine")),
    ] {
        assert_eq!(value(&given, name).as_deref(), wanted, "{name} in {given:?}");
    }

    let long = "x".repeat(129);
    for bad in ["", long.as_str()] {
        let head = head(door, "shop.test", &[("X-Request-Id", bad)]);
        let made = value(&head, "x-request-id").expect("a request id");
        assert!(made != bad && made.len() >= 16, "{made:?} for {bad:?}");
    }

    let large = "c".repeat(LARGE);
    let head = head(door, "shop.test", &[("Cookie", &large)]);
    assert_eq!(value(&head, "cookie").map(|cookie| cookie.len()), Some(LARGE));
}

/// What a client says of itself, in every way that servers take.
const CLAIMS: &str = "X-Forwarded-For: 9.9.9.9\r\nX-Forwarded-For: 8.8.8.8\r\nX-Forwarded-Proto: https\r\n\
    X-Forwarded-Host: evil.test\r\nX-Forwarded-Host: evil.test\r\nX-Forwarded-Port: 4443\r\nX-Forwarded-Prefix: /evil\r\n\
    X-Forwarded-Server: evil\r\nX-Forwarded-Ssl: on\r\nForwarded: for=9.9.9.9\r\nX-Real-IP: 9.9.9.9\r\nX-Client-IP: 9.9.9.9\r\n\
    True-Client-IP: 9.9.9.9\r\nX-Cluster-Client-IP: 9.9.9.9\r\nCF-Connecting-IP: 9.9.9.9\r\nX-Original-URL: /evil\r\n\
    X-Rewrite-URL: /evil\r\nX-URL-Scheme: https\r\nFront-End-Https: on\r\nSSL-Client-Cert: evil\r\nRemote-User: evil\r\n\
    Proxy: http://evil.test\r\n";

/// The same by names that CGI takes for these.
const FOLDED: &str = "X_Forwarded_For: 9.9.9.9\r\nX-Forwarded_For: 9.9.9.9\r\nX_FORWARDED-PROTO: https\r\nX_Real_IP: 9.9.9.9\r\n\
    X_Forwarded_Any: evil\r\nRemote_User: evil\r\nX_Original_URL: /evil\r\nDeployer_Check: evil\r\n\
    Content_Length: 666\r\nTransfer_Encoding: evil\r\n";

/// The head, in lower case, that the instance gets for a request with these lines from `source`.
#[track_caller]
fn head_from(source: Ipv4Addr, door: SocketAddr, lines: &str) -> String {
    let SocketAddr::V4(door) = door else {
        panic!("{door} is not IPv4")
    };
    let socket = net::socket(net::AddressFamily::INET, net::SocketType::STREAM, None).expect("a socket");
    net::bind(&socket, &SocketAddrV4::new(source, 0)).expect("an address of the loopback network");
    net::connect(&socket, &door).expect("a connection");
    let mut stream = TcpStream::from(socket);
    stream.set_read_timeout(Some(DEADLINE)).expect("a deadline");
    let asked = format!("GET /head HTTP/1.1\r\nHost: shop.test\r\nConnection: close\r\n{lines}\r\n");
    stream.write_all(asked.as_bytes()).expect("the request is sent");
    let mut answer = String::new();
    stream.read_to_string(&mut answer).expect("an answer");
    assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
    answer
        .split_once("\r\n\r\n")
        .expect("a head")
        .1
        .to_ascii_lowercase()
}

/// Each of these fields comes once, with this value; none of these texts comes.
#[track_caller]
fn has(head: &str, fields: &[(&str, &str)], without: &[&str]) {
    for (name, wanted) in fields {
        let lines = head.lines().filter_map(|line| line.split_once(": "));
        let found: Vec<&str> = lines
            .filter(|(has, _)| has == name)
            .map(|(_, value)| value.trim())
            .collect();
        assert_eq!(found, [*wanted], "{name} in {head}");
    }
    for text in without {
        assert!(!head.contains(text), "{text} in {head}");
    }
}

#[track_caller]
fn nobody_claims_to_be_somebody_else(door: SocketAddr, kind: Kind) {
    const EVIL: [&str; 7] = ["9.9.9.9", "8.8.8.8", "evil", "https", "4443", ": 666", ": on"];
    let stranger = Ipv4Addr::new(127, 0, 0, 10);
    let ours = [
        ("x-forwarded-for", "127.0.0.10"),
        ("x-forwarded-proto", "http"),
        ("x-forwarded-host", "shop.test"),
    ];
    has(&head_from(stranger, door, CLAIMS), &ours, &EVIL);
    has(&head_from(stranger, door, FOLDED), &ours, &EVIL);
    let ours = [("x-forwarded-for", "127.0.0.9"), ("x-forwarded-proto", "http")];
    has(&head_from(TRUSTED, door, FOLDED), &ours, &EVIL);

    // Other names with an underscore go on, but by programs that take none.
    let head = head_from(stranger, door, "my_field: 1\r\n");
    let takes_them = !matches!(kind.program(), Some(Program::Nginx | Program::Caddy));
    assert_eq!(head.contains("my_field: 1"), takes_them, "{head}");
}

#[track_caller]
fn a_trusted_proxy_says_who_its_client_is(door: SocketAddr) {
    let said = "X-Forwarded-For: 9.9.9.9, 8.8.8.8\r\nX-Forwarded-Proto: https\r\nX-Forwarded-Host: outside.test\r\n\
                X-Forwarded-Port: 4443\r\nX-Real-IP: 9.9.9.9\r\nForwarded: for=9.9.9.9\r\nRemote-User: ann\r\n\
                X-Forwarded-Prefix: /p\r\n";
    let goes_on = [
        ("x-forwarded-for", "9.9.9.9, 8.8.8.8, 127.0.0.9"),
        ("x-forwarded-proto", "https"),
        ("x-forwarded-host", "outside.test"),
        ("x-forwarded-port", "4443"),
        ("x-real-ip", "9.9.9.9"),
        ("forwarded", "for=9.9.9.9"),
        ("remote-user", "ann"),
        ("x-forwarded-prefix", "/p"),
    ];
    has(&head_from(TRUSTED, door, said), &goes_on, &[]);
    let ours = [
        ("x-forwarded-for", "127.0.0.9"),
        ("x-forwarded-proto", "http"),
        ("x-forwarded-host", "shop.test"),
    ];
    has(&head_from(TRUSTED, door, ""), &ours, &[]);
}

/// An upload whose length nobody knows beforehand.
#[track_caller]
fn chunked_upload_arrives(door: SocketAddr) {
    let mut stream = TcpStream::connect(door).expect("a connection");
    stream.set_read_timeout(Some(DEADLINE)).expect("a deadline");
    let head =
        "POST /upload HTTP/1.1\r\nHost: shop.test\r\nTransfer-Encoding: chunked\r\nConnection: close\r\n\r\n";
    stream.write_all(head.as_bytes()).expect("the head is sent");
    for _ in 0..100 {
        let chunk = format!("{:x}\r\n{}\r\n", 1000, "u".repeat(1000));
        stream.write_all(chunk.as_bytes()).expect("a chunk is sent");
    }
    stream.write_all(b"0\r\n\r\n").expect("the end is sent");
    let mut answer = String::new();
    stream.read_to_string(&mut answer).expect("an answer");
    assert!(
        answer.starts_with("HTTP/1.1 200 ") && answer.contains("100000 "),
        "{answer}"
    );
}

/// Every kind of client comes round at least once, and none fails: 10 MiB each way by hash, bodies that wait to be told
/// to come, HEAD, HTTP/1.0, pipelined requests, a WebSocket with a counter each way, and an event stream that has no end,
/// of which nothing would come if it were kept back.
#[track_caller]
fn everything_passes(world: &World) {
    let clients: Vec<Client> = Client::ALL
        .into_iter()
        .map(|client| match client {
            Client::Slow(_) => Client::Slow(300),
            other => other,
        })
        .collect();
    let streams = 2;
    let short = clients.len() - streams;
    let traffic = world.traffic_with(Load {
        clients,
        host: "shop.test".into(),
        ..Load::default()
    });
    wait_for("every client to come round", DEADLINE, || {
        let outcome = traffic.so_far();
        assert_eq!(outcome.failures(), 0, "{outcome}");
        (outcome.by_client.len() >= short).then_some(())
    });
    let outcome = traffic.stop();
    assert_eq!(outcome.failures(), 0, "{outcome}");
    assert_eq!(
        outcome.by_client.len(),
        short + streams,
        "{:?}",
        outcome.by_client
    );
}

/// The app does not begin its answer in time.
#[track_caller]
fn slow_answer_is_given_up(world: &World) {
    let reply = world.get("/slow?ms=20000").expect("an answer");
    assert_eq!(reply.status, 504, "{}", reply.text());
}

/// A WebSocket on which nothing is said for longer than an answer may take is as good as before.
#[track_caller]
fn quiet_websocket_stays(door: SocketAddr) {
    let mut stream = TcpStream::connect(door).expect("a connection");
    stream.set_read_timeout(Some(DEADLINE)).expect("a deadline");
    let head = "GET /ws HTTP/1.1\r\nHost: shop.test\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
                Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n";
    stream.write_all(head.as_bytes()).expect("the head is sent");
    let mut answer = Vec::new();
    while !answer.ends_with(b"\r\n\r\n") {
        let mut byte = [0];
        stream.read_exact(&mut byte).expect("a head");
        answer.push(byte[0]);
    }
    let answer = String::from_utf8_lossy(&answer).to_ascii_lowercase();
    assert!(answer.starts_with("http/1.1 101 "), "{answer}");
    assert!(
        answer.contains("sec-websocket-accept: s3pplmbitxaq9kygzzhzrbk+xoo="),
        "{answer}"
    );

    for number in 1..=2 {
        if number == 2 {
            // There is no event to wait for: that nothing happens is what is meant.
            thread::sleep(QUIET);
        }
        stream
            .write_all(&[0x81, 0x82, 0, 0, 0, 0, b'h', b'i'])
            .expect("a frame is sent");
        let mut frame = [0; 6];
        stream.read_exact(&mut frame).expect("a frame comes back");
        assert_eq!(frame, [0x81, 4, b'0' + number, b' ', b'h', b'i']);
    }
}
