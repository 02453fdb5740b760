//! What is sent again and what is not.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::fd::OwnedFd;
use std::thread;
use std::time::{Duration, Instant};

use deployer::model::Slot;
use deployer::proxy::HttpProbe;
use rustix::net;

use crate::client::Client;
use crate::support::{Proxy, until, wait};
use crate::upstream::Upstream;

#[test]
fn a_dead_instance_is_passed_over_and_comes_back() {
    let proxy = Proxy::start();
    let (one, two) = (
        Upstream::start("one", "127.0.0.2"),
        Upstream::start("two", "127.0.0.3"),
    );
    proxy.send_to(&[&one, &two]);
    one.stop();
    let mut client = proxy.client();
    for number in 0..20 {
        let answer = if number % 2 == 0 {
            client.get("/")
        } else {
            client.post("/", b"x")
        };
        assert_eq!(answer.unwrap().text(), "two");
    }
    let again = Upstream::start_at("one", &one.address.to_string());
    until("the instance is back", || {
        client.get("/").unwrap().text() == "one"
    });
    drop(again);
}

#[test]
fn when_no_instance_answers_the_client_is_told_at_once() {
    let proxy = Proxy::start();
    let one = Upstream::start("one", "127.0.0.2");
    proxy.send_to(&[&one]);
    one.stop();
    let mut client = proxy.client();
    let answer = client.get("/").unwrap();
    assert_eq!((answer.status, answer.header("retry-after")), (503, "1"));
    let out = wait(proxy.control.out()).unwrap();
    assert_eq!(out.len(), 1);
    assert_eq!(out[0].address, one.address);
    assert!(out[0].why.contains("refused"), "{}", out[0].why);
    let _again = Upstream::start_at("again", &one.address.to_string());
    until("the instance is back", || client.get("/").unwrap().status == 200);
    assert_eq!(wait(proxy.control.out()).unwrap(), []);
}

#[test]
fn an_instance_that_is_out_gets_no_request_before_its_probe_is_answered() {
    let proxy = Proxy::start();
    let (one, two) = (
        Upstream::start("one", "127.0.0.2"),
        Upstream::start("two", "127.0.0.3"),
    );
    let mut route = proxy.route(Slot::Blue, &[&one, &two], &[]);
    let target = route.slots.get_mut(&Slot::Blue).unwrap().target.as_mut();
    target.unwrap().probe = Some(HttpProbe {
        path: "/hold".to_owned(),
        host: "probed.test".to_owned(),
        status: (200, 299),
        timeout: 60_000,
    });
    wait(proxy.control.put_route(&route)).unwrap();
    let mut client = proxy.client();
    one.stop();
    for _ in 0..4 {
        assert_eq!(client.get("/").unwrap().text(), "two");
    }
    assert!(
        proxy
            .metrics()
            .contains("deployer_instances_out{app=\"shop\",slot=\"blue\"} 1\n")
    );

    let again = Upstream::start_at("one", &one.address.to_string());
    until("the instance is probed", || !again.seen().is_empty());
    for _ in 0..20 {
        assert_eq!(client.get("/").unwrap().text(), "two");
    }
    assert_eq!(again.seen(), ["GET /hold HTTP/1.1"]);
    again.release();
    until("the instance is back", || {
        client.get("/").unwrap().text() == "one"
    });
    assert!(
        proxy
            .metrics()
            .contains("deployer_instances_out{app=\"shop\",slot=\"blue\"} 0\n")
    );
}

#[test]
fn an_instance_that_ends_is_out_before_the_next_request_comes() {
    let proxy = Proxy::start();
    let (one, two) = (
        Upstream::start("one", "127.0.0.2"),
        Upstream::start("two", "127.0.0.3"),
    );
    proxy.send_to(&[&one, &two]);
    let mut client = proxy.client();
    let names: Vec<String> = (0..2).map(|_| client.get("/").unwrap().text()).collect();
    assert!(names.contains(&"one".to_owned()), "{names:?}");

    one.stop();

    until("the instance is out", || {
        !wait(proxy.control.out()).unwrap().is_empty()
    });
}

#[test]
fn a_route_that_is_set_again_is_tried_at_once() {
    let proxy = Proxy::start();
    let one = Upstream::start("one", "127.0.0.2");
    let mut route = proxy.route(Slot::Blue, &[&one], &[]);
    let target = route.slots.get_mut(&Slot::Blue).unwrap().target.as_mut();
    target.unwrap().probe = Some(HttpProbe {
        path: "/status/500".to_owned(),
        host: "probed.test".to_owned(),
        status: (200, 299),
        timeout: 2_000,
    });
    wait(proxy.control.put_route(&route)).unwrap();
    one.stop();
    let mut client = proxy.client();
    assert_eq!(client.get("/").unwrap().status, 503);
    let again = Upstream::start_at("again", &one.address.to_string());
    until("the instance is probed", || !again.seen().is_empty());
    assert_eq!(client.get("/").unwrap().status, 503);

    wait(proxy.control.put_route(&route)).unwrap();

    assert_eq!(client.get("/").unwrap().text(), "again");
}

#[test]
fn an_instance_whose_queue_is_full_is_waited_for() {
    let proxy = Proxy::start();
    // Takes one connection into its queue, and no other until this test accepts it.
    let (socket, address) = narrow("127.0.0.2");
    let listener = TcpListener::from(socket);
    let mut waiting = vec![TcpStream::connect(address).unwrap()];
    while let Ok(stream) = TcpStream::connect_timeout(&address, Duration::from_millis(200)) {
        waiting.push(stream);
    }
    let mut route = proxy.route(Slot::Blue, &[&Upstream::start("one", "127.0.0.3")], &[]);
    let SocketAddr::V4(address) = address else {
        unreachable!("asked for IPv4")
    };
    let target = route.slots.get_mut(&Slot::Blue).unwrap().target.as_mut();
    target.unwrap().upstreams = vec![address];
    wait(proxy.control.put_route(&route)).unwrap();
    let mut client = proxy.client();
    client.say("GET / HTTP/1.1\r\nHost: test\r\n\r\n").unwrap();
    let asked = Instant::now();
    // Longer than it takes to find out that an address has vanished: what this test is about.
    thread::sleep(Duration::from_millis(700));

    for stream in waiting {
        drop((listener.accept().unwrap(), stream));
    }
    let (mut stream, _) = listener.accept().unwrap();
    // An answer that comes before its request is none.
    assert_ne!(stream.read(&mut [0; 1024]).unwrap(), 0);
    stream
        .write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nlate")
        .unwrap();

    assert_eq!(client.response().unwrap().text(), "late", "{:?}", asked.elapsed());
}

/// A listening socket at a free port of `ip` whose queue has room for one connection.
fn narrow(ip: &str) -> (OwnedFd, SocketAddr) {
    let socket = net::socket(net::AddressFamily::INET, net::SocketType::STREAM, None).unwrap();
    let address: SocketAddr = format!("{ip}:0").parse().unwrap();
    net::bind(&socket, &address).unwrap();
    net::listen(&socket, 0).unwrap();
    let address = net::getsockname(&socket).unwrap().try_into().unwrap();
    (socket, address)
}

#[test]
fn a_request_that_may_have_been_seen_is_not_sent_again() {
    let proxy = Proxy::start();
    let (one, two) = (
        Upstream::start("one", "127.0.0.2"),
        Upstream::start("two", "127.0.0.3"),
    );
    proxy.send_to(&[&one, &two]);
    let mut client = proxy.client();
    let died = || {
        let seen = [one.seen(), two.seen()].concat();
        seen.iter().filter(|line| line.contains("/die")).count()
    };
    // On a connection of its own first, then on kept ones.
    for (before, request) in ["POST", "POST", "POST", "DELETE", "GET"].into_iter().enumerate() {
        let body = ["x", "x", "", "", "x"][before];
        let head = format!(
            "{request} /die HTTP/1.1\r\nHost: test\r\nContent-Length: {}\r\n\r\n",
            body.len()
        );
        client.say(head + body).unwrap();
        assert_eq!(client.response().unwrap().status, 502);
        assert_eq!(died(), before + 1, "{request} {body:?}");
        client.get("/").unwrap();
        client.get("/").unwrap();
    }
    one.stop();
    two.stop();
    let fresh = Upstream::start("fresh", "127.0.0.4");
    proxy.send_to(&[&fresh]);
    assert_eq!(client.get("/die").unwrap().status, 502);
    assert_eq!(fresh.seen().len(), 1);
}

#[test]
fn a_kept_connection_that_the_upstream_closes_costs_no_request() {
    let proxy = Proxy::start();
    let one = Upstream::start("one", "127.0.0.2");
    proxy.send_to(&[&one]);
    let address = proxy.public;
    // Each answer is followed by a close that the answer does not announce: every other request meets it.
    let clients: Vec<_> = (0..8)
        .map(|_| {
            thread::spawn(move || {
                let mut client = Client::open(address);
                for _ in 0..100 {
                    assert_eq!(client.get("/once").unwrap().text(), "one");
                }
            })
        })
        .collect();
    clients.into_iter().for_each(|client| client.join().unwrap());
    assert_eq!(wait(proxy.control.in_flight(&[one.address])).unwrap(), 0);
}
