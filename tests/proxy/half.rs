//! Clients that send nothing more: those that still read are answered, and those that are gone are noticed.

use std::net::Shutdown;
use std::time::Duration;

use crate::client::Client;
use crate::support::{Proxy, until, wait};
use crate::upstream::Upstream;

/// Longer than an answer may take before the proxy looks whether its client is there. There is no event to wait for.
const LOOKED_AT: Duration = Duration::from_millis(1_300);

/// A proxy at a port and one at a socket behind another program, with an app each.
fn proxied() -> [(Proxy, Upstream); 2] {
    [Proxy::start(), Proxy::start_behind()].map(|proxy| {
        let upstream = Upstream::start("blue", "127.0.0.2");
        proxy.send_to(&[&upstream]);
        (proxy, upstream)
    })
}

fn in_flight(proxy: &Proxy, upstream: &Upstream) -> u64 {
    wait(proxy.control.in_flight(&[upstream.address])).unwrap()
}

/// A client of `proxy` that has sent `requests` and closed its sending side.
fn said(proxy: &Proxy, requests: &str) -> Client {
    let mut client = proxy.client();
    client.say(requests).unwrap();
    client.stream().shutdown(Shutdown::Write).unwrap();
    client
}

/// The same, once it is being answered.
fn half(proxy: &Proxy, upstream: &Upstream, requests: &str) -> Client {
    let client = said(proxy, requests);
    until("in flight", || in_flight(proxy, upstream) == 1);
    client
}

/// Ends a connection by a reset, or, where its socket knows none, by closing it.
fn reset(client: Client) {
    let _ = rustix::net::sockopt::set_socket_linger(client.stream(), Some(Duration::ZERO));
    drop(client);
}

#[test]
fn a_client_that_closes_its_sending_side_gets_all_its_answers() {
    let hold = "GET /hold HTTP/1.1\r\nHost: test\r\n\r\n";
    let upload = "POST /hold HTTP/1.1\r\nHost: test\r\nContent-Length: 3\r\n\r\nabc";
    let old = "GET /hold HTTP/1.0\r\n\r\n";
    for (proxy, upstream) in &proxied() {
        let [one, two, three] = [hold, upload, old].map(|request| said(proxy, request));
        until("in flight", || in_flight(proxy, upstream) == 3);
        std::thread::sleep(LOOKED_AT);
        (0..3).for_each(|_| upstream.release());
        for mut client in [one, two, three] {
            assert_eq!(client.response().unwrap().text(), "blue");
            assert!(client.is_closed());
        }

        let mut client = half(proxy, upstream, &format!("{hold}{upload}"));
        for _ in 0..2 {
            upstream.release();
            assert_eq!(client.response().unwrap().text(), "blue");
        }
        assert!(client.is_closed());

        let mut client = half(proxy, upstream, "GET /events HTTP/1.1\r\nHost: test\r\n\r\n");
        client.head().unwrap();
        for number in 0..=9 {
            let event = format!("data: {number}\n\n");
            assert_eq!(client.chunk().unwrap().unwrap(), event.as_bytes());
            upstream.release();
        }
        assert_eq!(client.chunk().unwrap(), None);
    }
}

#[test]
fn a_client_that_is_gone_ends_its_request() {
    for (proxy, upstream) in &proxied() {
        for request in [
            "GET /hold HTTP/1.1",
            "GET /silent HTTP/1.1",
            "GET /events HTTP/1.1",
        ] {
            let request = format!("{request}\r\nHost: test\r\n\r\n");
            let mut client = proxy.client();
            client.say(&request).unwrap();
            until("in flight", || in_flight(proxy, upstream) == 1);
            reset(client);
            until("not in flight", || in_flight(proxy, upstream) == 0);

            // It has closed its sending side before, and the proxy has seen that.
            let client = half(proxy, upstream, &request);
            std::thread::sleep(LOOKED_AT);
            assert_eq!(in_flight(proxy, upstream), 1);
            reset(client);
            until("not in flight", || in_flight(proxy, upstream) == 0);
        }
    }
}

#[test]
fn a_client_that_has_closed_without_a_reset_is_noticed_at_the_next_write() {
    let [(proxy, upstream), _] = proxied();
    let mut client = proxy.client();
    client.say("GET /events HTTP/1.1\r\nHost: test\r\n\r\n").unwrap();
    client.head().unwrap();
    client.chunk().unwrap();
    drop(client);
    upstream.release();
    until("not in flight", || in_flight(&proxy, &upstream) == 0);
}

#[test]
fn an_upload_that_ends_too_early_is_not_waited_for() {
    let [(proxy, upstream), _] = proxied();
    let mut client = proxy.client();
    client
        .say("POST /echo HTTP/1.1\r\nHost: test\r\nContent-Length: 5\r\n\r\nabc")
        .unwrap();
    client.stream().shutdown(Shutdown::Write).unwrap();
    assert!(client.is_closed());
    until("not in flight", || in_flight(&proxy, &upstream) == 0);
}
