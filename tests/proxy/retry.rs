//! What is sent again and what is not.

use std::thread;

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
    // It is asked again by the next request: a single instance that restarts is not passed over.
    let _again = Upstream::start_at("again", &one.address.to_string());
    assert_eq!(client.get("/").unwrap().text(), "again");
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
