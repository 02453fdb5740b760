//! The harness itself: what it reports of an app must be so, or no other test of this crate means anything.

use std::io::{BufRead, BufReader};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::thread;
use std::time::Duration;

use crate::support::docker::{docker, test_app_image};
use crate::support::http::{self, Failure, Reply, Request};
use crate::support::traffic::{Client, Load, Traffic};
use crate::support::wait_for;

const DEADLINE: Duration = Duration::from_secs(30);

/// The test app in a container of its own, with a published port; goes when it is dropped.
struct Alone {
    id: String,
    address: SocketAddr,
}

impl Alone {
    fn start(version: &str) -> Self {
        let id = docker(&[
            "run",
            "-d",
            "--init",
            "-p",
            "127.0.0.1::8080",
            "-e",
            version,
            &test_app_image(),
        ])
        .good();
        let id = id.trim().to_owned();
        let address = docker(&["port", &id, "8080/tcp"])
            .good()
            .trim()
            .parse()
            .expect("an address");
        Self { id, address }
    }
}

impl Drop for Alone {
    fn drop(&mut self) {
        docker(&["rm", "-f", &self.id]);
    }
}

fn get(app: &Alone, path: &str) -> Result<Reply, Failure> {
    let request = Request {
        path: path.into(),
        host: "localhost".into(),
        ..Request::default()
    };
    http::request(app.address, &request, DEADLINE)
}

fn brisk() -> Load {
    Load {
        pause: Duration::from_millis(2),
        ..Load::default()
    }
}

#[test]
fn traffic_counts_each_answer_of_a_healthy_app_once() {
    let app = Alone::start("VERSION=v1");
    wait_for("the app to answer", DEADLINE, || get(&app, "/healthz").ok());

    let traffic = Traffic::start(app.address, brisk());
    wait_for("500 requests", DEADLINE, || {
        (traffic.so_far().sent > 500).then_some(())
    });
    let mut outcome = traffic.stop();

    assert_eq!(outcome.failures(), 0, "{outcome}");
    assert_eq!(outcome.of("v1"), outcome.sent);
    let mut recorded: Vec<_> = get(&app, "/orders")
        .unwrap()
        .text()
        .lines()
        .map(String::from)
        .collect();
    recorded.sort();
    outcome.orders.sort();
    assert_eq!(outcome.orders, recorded);
    assert!(!outcome.orders.is_empty());
}

#[test]
fn traffic_counts_what_a_killed_app_drops() {
    let app = Alone::start("VERSION=v1");
    let load = Load {
        clients: vec![Client::KeptGet, Client::Slow(60_000)],
        ..brisk()
    };
    let traffic = Traffic::start(app.address, load);
    wait_for("answers", DEADLINE, || {
        (traffic.so_far().of("v1") > 50).then_some(())
    });

    docker(&["kill", &app.id]).good();
    let wanted = [Failure::Reset, Failure::Refused];
    let outcome = wait_for("failures of both kinds", DEADLINE, || {
        Some(traffic.so_far()).filter(|outcome| wanted.iter().all(|kind| outcome.failed.contains_key(kind)))
    });

    assert!(outcome.to_string().contains("reset"), "{outcome}");
}

#[test]
fn traffic_never_sends_a_request_twice() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let server = thread::spawn(move || {
        let hang_up = |stream: std::io::Result<TcpStream>| {
            let mut request = BufReader::new(stream.unwrap());
            let mut line = String::new();
            request.read_line(&mut line).unwrap();
            line
        };
        let lines = listener.incoming().map(hang_up);
        lines.take_while(|line| !line.starts_with("GET /enough")).count() as u64
    });

    let traffic = Traffic::start(address, brisk());
    wait_for("failures", DEADLINE, || {
        (traffic.so_far().sent > 100).then_some(())
    });
    let outcome = traffic.stop();
    let enough = Request {
        path: "/enough".into(),
        ..Request::default()
    };
    http::request(address, &enough, DEADLINE).unwrap_err();

    assert_eq!(server.join().unwrap(), outcome.sent);
    assert_eq!(outcome.failures(), outcome.sent, "{outcome}");
}

#[test]
fn each_kind_of_client_is_answered_by_a_healthy_app() {
    let app = Alone::start("VERSION=v1");
    wait_for("the app to answer", DEADLINE, || get(&app, "/healthz").ok());

    // Of an event stream it wants the chunks that the proxy makes, to tell its end from a cut.
    let clients: Vec<_> = Client::ALL
        .into_iter()
        .filter(|client| *client != Client::Events)
        .collect();
    let kinds = clients.len();
    let traffic = Traffic::start(app.address, Load { clients, ..brisk() });
    traffic.expect(&["v1"]);
    wait_for("both large bodies", 3 * DEADLINE, || {
        let clients = traffic.so_far().by_client;
        let bulky = clients.keys().filter(|client| client.contains("10 MiB"));
        (bulky.count() == 2).then_some(())
    });
    let outcome = traffic.stop();

    assert_eq!(outcome.failures(), 0, "{outcome}");
    assert_eq!(outcome.by_client.len(), kinds, "{:?}", outcome.by_client);
}

#[test]
fn traffic_tells_an_answer_of_the_wrong_release() {
    let app = Alone::start("VERSION=v1");
    wait_for("the app to answer", DEADLINE, || get(&app, "/healthz").ok());
    let traffic = Traffic::start(app.address, brisk());
    let answers = |more: u64| {
        let before = traffic.so_far().sent;
        wait_for("answers", DEADLINE, || {
            (traffic.so_far().sent > before + more).then_some(())
        });
    };

    traffic.expect(&["v1", "v2"]);
    answers(50);
    assert_eq!(traffic.so_far().failures(), 0);
    traffic.expect(&["v2"]);
    answers(50);

    let outcome = traffic.stop();
    assert_eq!(
        outcome.failed.into_keys().collect::<Vec<_>>(),
        [Failure::WrongRelease]
    );
}
