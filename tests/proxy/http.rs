//! HTTP/1.1 as it is on the wire, through the proxy.

use std::io::{Read, Write};
use std::thread;
use std::time::Duration;

use deployer::model::Slot;
use sha2::{Digest, Sha256};

use crate::client::Client;
use crate::support::{Proxy, until, wait};
use crate::upstream::{Upstream, field, hex};

fn proxied() -> (Proxy, Upstream) {
    let proxy = Proxy::start();
    let upstream = Upstream::start("blue", "127.0.0.2");
    proxy.send_to(&[&upstream]);
    (proxy, upstream)
}

#[test]
fn a_connection_is_kept_on_both_sides() {
    let (proxy, upstream) = proxied();
    let mut client = proxy.client();
    for _ in 0..20 {
        assert_eq!(client.get("/").unwrap().text(), "blue");
    }
    assert_eq!(upstream.connections(), 1);
}

#[test]
fn a_connection_is_kept_whatever_the_size_of_its_answers() {
    let (proxy, upstream) = proxied();
    let mut client = proxy.client();
    for around in [1 << 12, 1 << 14, 1 << 16] {
        for size in around - 70..around + 2 {
            let answer = client.get(&format!("/download/{size}")).unwrap();
            assert_eq!(answer.body.len(), size);
        }
    }
    assert_eq!(upstream.connections(), 1);
}

#[test]
fn an_upgraded_connection_carries_bytes_both_ways_and_counts_as_in_flight() {
    let (proxy, upstream) = proxied();
    let mut client = proxy.client();
    client
        .say("GET /chat HTTP/1.1\r\nHost: test\r\nConnection: keep-alive, Upgrade\r\nUpgrade: echo\r\n\r\nearly")
        .unwrap();
    let head = client.head().unwrap();
    assert_eq!((head.status, head.header("upgrade")), (101, "echo"));
    for word in ["", "one", "two"] {
        client.say(word).unwrap();
        let expected = if word.is_empty() { "early" } else { word };
        let mut came = vec![0; expected.len()];
        client.reader.read_exact(&mut came).unwrap();
        assert_eq!(came, expected.as_bytes());
    }
    assert_eq!(wait(proxy.control.in_flight(&[upstream.address])).unwrap(), 1);
    client.stream().shutdown(std::net::Shutdown::Write).unwrap();
    assert!(client.is_closed());
    until("none in flight", || {
        wait(proxy.control.in_flight(&[upstream.address])).unwrap() == 0
    });
}

#[test]
fn an_upgrade_to_http_2_is_not_passed_on() {
    let (proxy, upstream) = proxied();
    let mut client = proxy.client();
    client.say("GET /head HTTP/1.1\r\nHost: test\r\nConnection: upgrade, http2-settings\r\nUpgrade: h2c\r\nHTTP2-Settings: x\r\n\r\n").unwrap();
    let seen = client.response().unwrap().text();
    assert!(
        field(&seen, "upgrade").is_none() && field(&seen, "http2-settings").is_none(),
        "{seen}"
    );
    drop(upstream);
}

#[test]
fn events_arrive_one_by_one() {
    let (proxy, upstream) = proxied();
    let mut client = proxy.client();
    client.say("GET /events HTTP/1.1\r\nHost: test\r\n\r\n").unwrap();
    assert_eq!(client.head().unwrap().header("content-type"), "text/event-stream");
    for number in 0..=9 {
        assert_eq!(
            client.chunk().unwrap().unwrap(),
            format!("data: {number}\n\n").as_bytes()
        );
        upstream.release();
    }
    assert_eq!(client.chunk().unwrap(), None);
}

#[test]
fn a_large_body_passes_both_ways_whole_and_is_never_held() {
    const SIZE: usize = 64 << 20;
    let (proxy, _upstream) = proxied();
    proxy.client().get("/").unwrap();
    let before = proxy.memory();
    let block = vec![b'u'; 1 << 20];
    let mut hash = Sha256::new();
    let mut client = proxy.client();
    client
        .say(format!(
            "POST /echo HTTP/1.1\r\nHost: test\r\nContent-Length: {SIZE}\r\n\r\n"
        ))
        .unwrap();
    let mut most = 0;
    for _ in 0..SIZE / block.len() {
        client.say(&block).unwrap();
        hash.update(&block);
        most = most.max(proxy.memory());
    }
    assert_eq!(
        client.response().unwrap().text(),
        format!("{SIZE} {}", hex(&hash.finalize()))
    );

    client
        .say(format!("GET /download/{SIZE} HTTP/1.1\r\nHost: test\r\n\r\n"))
        .unwrap();
    assert_eq!(client.head().unwrap().header("content-length"), SIZE.to_string());
    let mut block = vec![0; 1 << 20];
    for _ in 0..SIZE / block.len() {
        client.reader.read_exact(&mut block).unwrap();
        assert!(block.iter().all(|&byte| byte == b'd'));
        most = most.max(proxy.memory());
    }
    assert!(most < before + (12 << 20), "from {before} to {most} bytes");
}

#[test]
fn a_chunked_upload_and_its_trailers_arrive() {
    let (proxy, upstream) = proxied();
    let mut route = proxy.route(Slot::Blue, &[&upstream], &[]);
    route.trailers = true;
    wait(proxy.control.put_route(&route)).unwrap();
    let mut client = proxy.client();
    for method in ["POST", "GET"] {
        client
            .say(format!(
                "{method} /trailed HTTP/1.1\r\nHost: test\r\nTransfer-Encoding: chunked\r\nTrailer: digest\r\n\r\n\
                 3\r\nabc\r\n0\r\ndigest: 42\r\n\r\n"
            ))
            .unwrap();
        assert_eq!(
            client.response().unwrap().text(),
            "digest: 42\r\n\r\n",
            "{method}"
        );
    }
    client
        .say("POST /echo HTTP/1.1\r\nHost: test\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n")
        .unwrap();
    assert!(client.response().unwrap().text().starts_with("3 "));
}

#[test]
fn trailers_reach_a_client_that_takes_them() {
    let (proxy, upstream) = proxied();
    let mut client = proxy.client();
    client
        .say("GET /trailers HTTP/1.1\r\nHost: test\r\nTE: trailers\r\n\r\n")
        .unwrap();
    let response = client.response().unwrap();
    assert_eq!(
        (response.text().as_str(), response.trailers["x-sum"].as_str()),
        ("abc", "42")
    );
    // The connection to the upstream has survived them.
    assert_eq!(client.get("/trailers").unwrap().text(), "abc");
    assert_eq!(upstream.connections(), 1);
}

#[test]
fn an_upload_that_asks_first_is_asked_for() {
    let (proxy, _upstream) = proxied();
    let mut client = proxy.client();
    client
        .say("POST /echo HTTP/1.1\r\nHost: test\r\nContent-Length: 3\r\nExpect: 100-continue\r\n\r\n")
        .unwrap();
    assert_eq!(client.head().unwrap().status, 100);
    client.say("abc").unwrap();
    assert!(client.response().unwrap().text().starts_with("3 "));
}

#[test]
fn nobody_is_asked_for_an_upload_that_has_nowhere_to_go() {
    let (proxy, upstream) = proxied();
    upstream.stop();
    let mut client = proxy.client();
    client
        .say("POST /echo HTTP/1.1\r\nHost: test\r\nContent-Length: 3\r\nExpect: 100-continue\r\n\r\n")
        .unwrap();
    assert_eq!(client.head().unwrap().status, 503);
}

#[test]
fn answers_without_a_body_have_none() {
    let (proxy, upstream) = proxied();
    let mut client = proxy.client();
    client.say("HEAD / HTTP/1.1\r\nHost: test\r\n\r\n").unwrap();
    let head = client.head().unwrap();
    assert_eq!((head.status, head.header("content-length")), (200, "1234"));
    assert_eq!(client.get("/status/204").unwrap().status, 204);
    let head = client.get("/not-modified").unwrap();
    assert_eq!((head.status, head.header("etag")), (304, "\"x\""));
    // What comes next on the connection is the next answer.
    assert_eq!(client.get("/").unwrap().text(), "blue");
    assert_eq!(upstream.connections(), 1);
}

#[test]
fn http_1_0_is_served_on_either_side() {
    let (proxy, _upstream) = proxied();
    let mut client = proxy.client();
    let old = client.get("/old").unwrap();
    assert_eq!((old.status, old.text().as_str()), (200, "blue"));
    assert_eq!(client.get("/").unwrap().text(), "blue");

    let mut old = proxy.client();
    old.say("GET /trailers HTTP/1.0\r\n\r\n").unwrap();
    let answer = old.response().unwrap();
    assert_eq!(
        (answer.header("transfer-encoding"), answer.text().as_str()),
        ("", "abc")
    );
}

#[test]
fn pipelined_requests_are_answered_in_their_order() {
    let (proxy, _upstream) = proxied();
    let mut client = proxy.client();
    let requests = "GET /slow/50 HTTP/1.1\r\nHost: test\r\n\r\n\
                    POST /echo HTTP/1.1\r\nHost: test\r\nContent-Length: 2\r\n\r\nab\
                    GET /download/3 HTTP/1.1\r\nHost: test\r\n\r\n";
    client.say(requests).unwrap();
    assert_eq!(client.response().unwrap().text(), "blue");
    assert!(client.response().unwrap().text().starts_with("2 "));
    assert_eq!(client.response().unwrap().text(), "ddd");
}

#[test]
fn a_request_that_contradicts_itself_is_refused_and_goes_no_further() {
    let (proxy, upstream) = proxied();
    let both = "Host: test\r\nContent-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n";
    let reversed = "Host: test\r\nTransfer-Encoding: chunked\r\nContent-Length: 3\r\n\r\n0\r\n\r\n";
    for (rest, status) in [
        (both, 400),
        (reversed, 400),
        (
            "Host: test\r\nContent-Length: 3\r\nContent-Length: 4\r\n\r\nabcd",
            400,
        ),
        ("Host: test\r\nContent-Length: +3\r\n\r\nabc", 400),
        (
            "Host: test\r\nTransfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n",
            501,
        ),
        ("Host: test\r\nTransfer-Encoding: xchunked\r\n\r\n0\r\n\r\n", 400),
        ("Host : test\r\n\r\n", 400),
        ("Host: test\r\n folded: x\r\n\r\n", 400),
        ("Host: one\r\nHost: two\r\n\r\n", 400),
        ("Host: a/b\r\n\r\n", 400),
        ("\r\n", 400),
        ("Host: test\r\nExpect: rain\r\n\r\n", 417),
    ] {
        let mut client = proxy.client();
        client.say(format!("POST /smuggled HTTP/1.1\r\n{rest}")).unwrap();
        assert_eq!(client.response().unwrap().status, status, "{rest:?}");
        assert!(client.is_closed(), "{rest:?}");
    }
    let mut client = proxy.client();
    client
        .say(format!(
            "GET / HTTP/1.1\r\nHost: test\r\n\r\nPOST /smuggled HTTP/1.1\r\n{both}"
        ))
        .unwrap();
    assert_eq!(client.response().unwrap().status, 200);
    assert_eq!(client.response().unwrap().status, 400);
    assert!(
        upstream.seen().iter().all(|line| !line.contains("smuggled")),
        "{:?}",
        upstream.seen()
    );
}

#[test]
fn heads_have_a_limit() {
    let (proxy, _upstream) = proxied();
    let mut client = proxy.client();
    let large = "x".repeat(50 << 10);
    client
        .say(format!(
            "GET / HTTP/1.1\r\nHost: test\r\nX-Large: {large}\r\n\r\n"
        ))
        .unwrap();
    assert_eq!(client.response().unwrap().status, 200);
    client
        .say(format!(
            "GET / HTTP/1.1\r\nHost: test\r\nX-Large: {large}{large}\r\n\r\n"
        ))
        .unwrap();
    assert_eq!(client.response().unwrap().status, 431);
    let many = "X-Many: 1\r\n".repeat(999);
    let mut client = proxy.client();
    client
        .say(format!("GET / HTTP/1.1\r\nHost: test\r\n{many}\r\n"))
        .unwrap();
    assert_eq!(client.response().unwrap().status, 200);
    let many = "X-Many: 1\r\n".repeat(1_000);
    let mut client = proxy.client();
    client
        .say(format!("GET / HTTP/1.1\r\nHost: test\r\n{many}\r\n"))
        .unwrap();
    assert_eq!(client.response().unwrap().status, 431);
}

#[test]
fn the_upstream_learns_who_asks_and_nothing_that_is_for_the_hop() {
    let (proxy, _upstream) = proxied();
    let mut client = proxy.client();
    client
        .say(
            "GET /head?q=%20 HTTP/1.1\r\nHost: Test:80\r\nConnection: x-hop\r\nX-Hop: 1\r\nKeep-Alive: 5\r\n\
             X-Forwarded-For: 1.2.3.4\r\nDeployer-Check: guess\r\nTE: trailers\r\n\r\n",
        )
        .unwrap();
    let response = client.response().unwrap();
    assert_eq!(response.header("deployer-release"), "");
    let seen = response.text();
    assert!(seen.starts_with("GET /head?q=%20 HTTP/1.1\r\n"), "{seen}");
    for (name, value) in [
        ("host", Some("Test:80")),
        ("x-forwarded-for", Some("127.0.0.1")),
        ("x-forwarded-proto", Some("http")),
        ("x-forwarded-host", Some("Test:80")),
        ("te", Some("trailers")),
        ("x-hop", None),
        ("keep-alive", None),
        ("connection", None),
        ("deployer-check", None),
    ] {
        assert_eq!(field(&seen, name), value, "{name} in {seen}");
    }
    assert_eq!(field(&seen, "x-request-id").unwrap().len(), 16);
}

#[test]
fn an_answer_that_breaks_off_is_not_made_to_look_whole() {
    let (proxy, upstream) = proxied();
    let mut client = proxy.client();
    client.say("GET /events HTTP/1.1\r\nHost: test\r\n\r\n").unwrap();
    client.head().unwrap();
    client.chunk().unwrap();
    upstream.stop();
    assert!(client.chunk().is_err());
}

#[test]
fn a_request_that_comes_while_the_first_one_is_answered_is_answered_too() {
    let (proxy, upstream) = proxied();
    // At once behind the first one, and when nothing has come for a while.
    for pause in [Duration::ZERO, Duration::from_millis(1_300)] {
        let mut client = proxy.client();
        client.say("GET /hold HTTP/1.1\r\nHost: test\r\n\r\n").unwrap();
        until("in flight", || {
            wait(proxy.control.in_flight(&[upstream.address])).unwrap() == 1
        });
        thread::sleep(pause);
        client
            .say("GET /download/7 HTTP/1.1\r\nHost: test\r\n\r\n")
            .unwrap();
        upstream.release();
        assert_eq!(client.response().unwrap().status, 200);
        assert_eq!(client.response().unwrap().body.len(), 7);
    }
}

#[test]
fn an_answer_before_the_end_of_the_upload_reaches_the_client() {
    let proxy = Proxy::start();
    let mut client = proxy.client();
    // No route: 503 without reading ten megabytes.
    client
        .say("POST / HTTP/1.1\r\nHost: test\r\nContent-Length: 10000000\r\n\r\n")
        .unwrap();
    let mut stream = client.stream().try_clone().unwrap();
    let sender = thread::spawn(move || {
        let block = vec![0; 100_000];
        (0..100).map_while(|_| stream.write_all(&block).ok()).count()
    });
    assert_eq!(client.head().unwrap().status, 503);
    drop(client);
    sender.join().unwrap();
}

#[test]
fn an_upstream_that_answers_before_the_end_of_the_upload_is_heard() {
    let (proxy, upstream) = proxied();
    for kept in [false, true] {
        let mut client = proxy.client();
        if kept {
            client.get("/").unwrap();
        }
        client
            .say("POST /early HTTP/1.1\r\nHost: test\r\nContent-Length: 50000000\r\n\r\n")
            .unwrap();
        let mut stream = client.stream().try_clone().unwrap();
        let sender = thread::spawn(move || {
            let block = vec![0; 100_000];
            (0..500).map_while(|_| stream.write_all(&block).ok()).count()
        });
        let answer = client.response().unwrap();
        assert_eq!((answer.status, answer.text().as_str()), (413, "early"));
        assert!(client.said_close());
        drop(client);
        sender.join().unwrap();
    }
    assert_eq!(wait(proxy.control.in_flight(&[upstream.address])).unwrap(), 0);
}

#[test]
fn what_an_upstream_says_unasked_answers_nothing() {
    let (proxy, upstream) = proxied();
    let mut client = proxy.client();
    client.get("/").unwrap();
    for _ in 0..50 {
        assert_eq!(client.get("/unasked").unwrap().text(), "blue");
        assert_eq!(client.post("/", b"x").unwrap().text(), "blue");
    }
    // From the first time on each of its connections serves one request.
    assert_eq!(upstream.connections(), 100);
}

#[test]
fn an_upload_goes_on_while_its_answer_comes() {
    let (proxy, _upstream) = proxied();
    let mut client = proxy.client();
    client
        .say("POST /duplex HTTP/1.1\r\nHost: test\r\nTransfer-Encoding: chunked\r\n\r\n")
        .unwrap();
    assert_eq!(client.head().unwrap().status, 200);
    for word in ["one", "two", "three"] {
        client.say(format!("{:x}\r\n{word}\r\n", word.len())).unwrap();
        assert_eq!(client.chunk().unwrap().unwrap(), word.as_bytes());
    }
    client.say("0\r\n\r\n").unwrap();
    assert_eq!(client.chunk().unwrap(), None);
}

#[test]
fn fields_go_on_in_their_order_and_as_they_are_written() {
    let (proxy, _upstream) = proxied();
    let mut client = proxy.client();
    client
        .say("GET /head HTTP/1.1\r\nHost: test\r\nX-One: 1\r\nCookie: a\r\nx-TWO: \tb \u{e9}\r\nCookie: c\r\n\r\n")
        .unwrap();
    let seen = client.response().unwrap().text();
    let fields = "X-One: 1\r\nCookie: a\r\nx-TWO: b \u{e9}\r\nCookie: c\r\n";
    assert!(seen.contains(fields), "{seen}");
}

#[test]
fn an_old_client_is_kept_where_it_asks_for_that() {
    let (proxy, upstream) = proxied();
    let mut client = proxy.client();
    for _ in 0..3 {
        client
            .say("GET / HTTP/1.0\r\nHost: test\r\nConnection: Keep-Alive\r\n\r\n")
            .unwrap();
        let answer = client.response().unwrap();
        assert_eq!(
            (answer.text().as_str(), answer.header("connection")),
            ("blue", "keep-alive")
        );
    }
    client.say("GET / HTTP/1.0\r\nHost: test\r\n\r\n").unwrap();
    assert_eq!(client.response().unwrap().text(), "blue");
    assert!(client.said_close() && client.is_closed());
    assert_eq!(upstream.connections(), 1);
}

#[test]
fn a_body_that_contradicts_itself_is_refused_and_what_stands_in_it_is_no_request() {
    let (proxy, upstream) = proxied();
    for body in [
        "3\nabc\r\n0\r\n\r\n",
        "3\r\nabcd\r\n0\r\n\r\n",
        "x\r\nabc\r\n0\r\n\r\n",
        "3;\nx\r\nabc\r\n0\r\n\r\n",
        "fffffffffffffffff\r\nabc",
    ] {
        let mut client = proxy.client();
        client
            .say(format!(
                "POST /echo HTTP/1.1\r\nHost: test\r\nTransfer-Encoding: chunked\r\n\r\n{body}\
                 GET /smuggled HTTP/1.1\r\nHost: test\r\n\r\n"
            ))
            .unwrap();
        assert_eq!(client.response().unwrap().status, 400, "{body:?}");
        assert!(client.is_closed(), "{body:?}");
    }
    assert!(upstream.seen().iter().all(|line| !line.contains("smuggled")));
    assert_eq!(wait(proxy.control.in_flight(&[upstream.address])).unwrap(), 0);
}

#[test]
fn a_request_that_is_refused_unread_is_answered_before_its_connection_ends() {
    let proxy = Proxy::start();
    for (fields, status) in [("", 400), ("Host: test\r\nContent-Length: 10000000\r\n", 503)] {
        let mut client = proxy.client();
        let unread = "x".repeat(1_000_000);
        client
            .say(format!("POST / HTTP/1.1\r\n{fields}\r\n{unread}"))
            .unwrap();
        assert_eq!(client.response().unwrap().status, status);
        // By an end, and not by a reset, which could have overtaken the answer.
        assert_eq!(client.reader.read(&mut [0; 1]).unwrap(), 0, "{status}");
    }
}

#[test]
fn many_clients_are_told_apart() {
    let (proxy, _upstream) = proxied();
    let address = proxy.public;
    let clients: Vec<_> = (0..50_usize)
        .map(|number| {
            thread::spawn(move || {
                let mut client = Client::open(address);
                for round in 0..20 {
                    let size = number * 100 + round;
                    assert_eq!(client.get(&format!("/download/{size}")).unwrap().body.len(), size);
                }
            })
        })
        .collect();
    clients.into_iter().for_each(|client| client.join().unwrap());
}
