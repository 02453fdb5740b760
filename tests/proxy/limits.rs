//! Time limits against clients and upstreams that are too slow.

use std::io::Read;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use deployer::model::Slot;

use crate::client::{At, Client, PATIENCE};
use crate::support::{Proxy, end, free_ports, until, wait};
use crate::upstream::Upstream;

fn hasty() -> (Proxy, Upstream) {
    let settings = "header_timeout = \"500ms\"\nidle_timeout = \"1s\"\nbody_timeout = \"700ms\"\nresponse_timeout = \"600ms\"";
    let proxy = Proxy::start_with(settings);
    let upstream = Upstream::start("blue", "127.0.0.2");
    proxy.send_to(&[&upstream]);
    (proxy, upstream)
}

#[test]
fn a_head_that_drips_is_answered_408() {
    let (proxy, _upstream) = hasty();
    let mut client = proxy.client();
    let begun = Instant::now();
    let mut dripping = client.stream().try_clone().unwrap();
    let dripper = std::thread::spawn(move || {
        // It would take a quarter of a minute.
        let head = format!("GET / HTTP/1.1\r\nX-Slow: {}", "x".repeat(280));
        for byte in head.as_bytes().chunks(1) {
            if std::io::Write::write_all(&mut dripping, byte).is_err() {
                return;
            }
            std::thread::sleep(Duration::from_millis(50));
        }
    });
    assert_eq!(client.response().unwrap().status, 408);
    assert!(client.is_closed());
    assert!(begun.elapsed() < Duration::from_secs(10));
    dripper.join().unwrap();
}

#[test]
fn a_connection_without_a_request_is_closed() {
    let (proxy, _upstream) = hasty();
    assert!(proxy.client().is_closed());
    let mut client = proxy.client();
    client.get("/").unwrap();
    let begun = Instant::now();
    assert!(client.is_closed());
    assert!(
        begun.elapsed() > Duration::from_millis(800),
        "idle for {:?} only",
        begun.elapsed()
    );
}

#[test]
fn an_upload_that_stalls_is_answered_408_and_frees_the_upstream() {
    let (proxy, upstream) = hasty();
    let mut client = proxy.client();
    client
        .say("POST /echo HTTP/1.1\r\nHost: test\r\nContent-Length: 9\r\n\r\nabc")
        .unwrap();
    assert_eq!(client.response().unwrap().status, 408);
    until("none in flight", || {
        wait(proxy.control.in_flight(&[upstream.address])).unwrap() == 0
    });
}

#[test]
fn an_upload_that_the_upstream_does_not_take_is_504() {
    let (proxy, upstream) = hasty();
    let mut client = proxy.client();
    let mut uploading = client.stream().try_clone().unwrap();
    client
        .say("POST /unread HTTP/1.1\r\nHost: test\r\nContent-Length: 100000000\r\n\r\n")
        .unwrap();
    let uploader = std::thread::spawn(move || {
        let chunk = [7; 1 << 16];
        while std::io::Write::write_all(&mut uploading, &chunk).is_ok() {}
    });
    let answer = client.response().unwrap();
    assert_eq!(answer.status, 504);
    upstream.release();
    until("none in flight", || {
        wait(proxy.control.in_flight(&[upstream.address])).unwrap() == 0
    });
    drop(client);
    drop(proxy);
    uploader.join().unwrap();
}

#[test]
fn an_upload_may_take_long_as_long_as_it_comes() {
    let (proxy, _upstream) = hasty();
    let mut client = proxy.client();
    client
        .say("POST /echo HTTP/1.1\r\nHost: test\r\nContent-Length: 6\r\n\r\n")
        .unwrap();
    for _ in 0..6 {
        std::thread::sleep(Duration::from_millis(250));
        client.say("x").unwrap();
    }
    assert!(client.response().unwrap().text().starts_with("6 "));
}

#[test]
fn an_upstream_that_does_not_answer_is_504() {
    let (proxy, upstream) = hasty();
    let mut client = proxy.client();
    assert_eq!(client.get("/slow/30000").unwrap().status, 504);
    assert_eq!(client.get("/").unwrap().text(), "blue");
    until("none in flight", || {
        wait(proxy.control.in_flight(&[upstream.address])).unwrap() == 0
    });
}

#[test]
fn an_answer_that_stalls_is_broken_off() {
    let (proxy, upstream) = hasty();
    let mut client = proxy.client();
    client.say("GET /silent HTTP/1.1\r\nHost: test\r\n\r\n").unwrap();
    assert!(client.response().is_err());
    until("none in flight", || {
        wait(proxy.control.in_flight(&[upstream.address])).unwrap() == 0
    });
}

#[test]
fn a_client_that_does_not_read_is_given_up() {
    let (proxy, upstream) = hasty();
    let mut client = proxy.client();
    client
        .say("GET /download/100000000 HTTP/1.1\r\nHost: test\r\n\r\n")
        .unwrap();
    until("in flight", || {
        wait(proxy.control.in_flight(&[upstream.address])).unwrap() == 1
    });
    until("given up", || {
        wait(proxy.control.in_flight(&[upstream.address])).unwrap() == 0
    });
    let mut all = Vec::new();
    let read = client.reader.read_to_end(&mut all);
    assert!(read.is_err() || all.len() < 100_000_000);
}

#[test]
fn an_event_stream_may_be_silent() {
    let (proxy, upstream) = hasty();
    let mut client = proxy.client();
    client.say("GET /events HTTP/1.1\r\nHost: test\r\n\r\n").unwrap();
    client.head().unwrap();
    client.chunk().unwrap();
    std::thread::sleep(Duration::from_millis(1500));
    upstream.release();
    assert_eq!(client.chunk().unwrap().unwrap(), b"data: 1\n\n");
}

#[test]
fn an_app_has_timeouts_of_its_own_from_the_flip_on_and_after_a_restart() {
    let mut proxy = Proxy::start();
    let upstream = Upstream::start("blue", "127.0.0.2");
    let mut route = proxy.route(Slot::Blue, &[&upstream], &[]);
    (route.response_timeout, route.body_timeout) = (Some(600), Some(700));
    for restart in [false, true] {
        if restart {
            end(&mut proxy.child);
            proxy.child = proxy.another(&[]).unwrap();
        } else {
            wait(proxy.control.put_route(&route)).unwrap();
        }
        let mut slow = proxy.client();
        slow.say("GET /hold HTTP/1.1\r\nHost: test\r\n\r\n").unwrap();
        let mut stalled = proxy.client();
        stalled
            .say("POST /echo HTTP/1.1\r\nHost: test\r\nContent-Length: 9\r\n\r\nabc")
            .unwrap();
        let mut quiet = proxy.client();
        quiet.say("GET /silent HTTP/1.1\r\nHost: test\r\n\r\n").unwrap();
        assert_eq!(slow.response().unwrap().status, 504);
        assert_eq!(stalled.response().unwrap().status, 408);
        assert!(quiet.response().is_err(), "the answer is broken off");
    }
    assert_eq!(wait(proxy.control.routes()).unwrap(), [route.clone()]);
    // A longer one than the proxy's.
    let proxy = Proxy::start_with("response_timeout = \"300ms\"");
    let mut longer = proxy.route(Slot::Blue, &[&upstream], &[]);
    longer.response_timeout = Some(20_000);
    wait(proxy.control.put_route(&longer)).unwrap();
    assert_eq!(proxy.client().get("/slow/900").unwrap().text(), "blue");
}

/// Half a head a connection, at the metrics' port and at the control socket: each ends by itself, and who asks properly
/// meanwhile is answered.
#[test]
fn half_heads_at_the_metrics_and_the_control_socket_go_away() {
    let [port] = free_ports();
    let proxy = Proxy::start_with(&format!("metrics_listen = \"127.0.0.1:{port}\""));
    let metrics = SocketAddr::from(([127, 0, 0, 1], port));
    let control = proxy.state().join("control.sock");
    let places = [At::Port(metrics), At::Socket(control)];
    let texts = [
        "",
        "GET /metrics HTTP/1.1\r\nHost: x\r\n",
        "PUT /v1/routes HTTP/1.1\r\nHost: x\r\nContent-Length: 9\r\n\r\n{",
    ];
    let mut halves = Vec::new();
    for place in &places {
        for number in 0..300 {
            let mut half = Client::open(place.clone());
            half.say(texts[number % texts.len()]).unwrap();
            halves.push(half);
        }
    }
    for place in &places {
        let mut client = Client::open(place.clone());
        assert_eq!(client.get("/metrics").unwrap().status, 200);
        assert!(client.is_closed());
    }
    let deadline = Instant::now() + PATIENCE;
    for half in &mut halves {
        let mut answer = Vec::new();
        half.reader.read_to_end(&mut answer).expect("it ends by itself");
        assert!(Instant::now() < deadline);
    }
}
