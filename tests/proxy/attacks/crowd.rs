//! Many clients of an app that says more than it is asked for in every way there is, each of whom gets its own answers.

use std::io::{self, BufReader, Write};
use std::net::{Ipv4Addr, SocketAddr, SocketAddrV4, TcpListener, TcpStream};
use std::sync::{Arc, Barrier};
use std::thread;
use std::time::Duration;

use super::app::{read_body, read_head};
use crate::client::Client;
use crate::support::{Proxy, wait};

const CLIENTS: usize = 16;
const ROUNDS: usize = 4;

/// Ways to say more with the answer itself, and later.
const AT_ONCE: [&str; 7] = ["two", "split", "head", "none", "short", "chunked", "continue"];
const LATER: [&str; 5] = ["late", "late-head", "late-none", "late-continue", "smuggled"];

#[test]
fn every_client_of_an_app_that_says_too_much_gets_its_own_answers() {
    let app = serve();
    let proxy = Proxy::start();
    wait(proxy.control.put_route(&proxy.route_to(app))).unwrap();
    let begins = Arc::new(Barrier::new(CLIENTS));
    let clients: Vec<_> = (0..CLIENTS)
        .map(|number| {
            let (begins, at) = (Arc::clone(&begins), proxy.public);
            thread::spawn(move || {
                let mut client = Client::open(at);
                for way in AT_ONCE {
                    ask(&mut client, way, number);
                }
                // What comes late on a connection that is in use cannot be told from its answer, by nobody: but the
                // instance is known by now, and none of its connections is used twice.
                begins.wait();
                for round in 1..=ROUNDS {
                    for way in LATER.iter().chain(&AT_ONCE) {
                        ask(&mut client, way, round * CLIENTS + number);
                    }
                }
            })
        })
        .collect();
    clients.into_iter().for_each(|client| client.join().unwrap());
}

/// Asks for an answer of this kind, and one that is plain.
fn ask(client: &mut Client, way: &str, number: usize) {
    let id = format!("/{way}/{number}");
    let method = if way.ends_with("head") { "HEAD" } else { "GET" };
    let asked = match way {
        "smuggled" => {
            let body = "GET /smuggled/0 HTTP/1.1\r\nHost: test\r\n\r\n";
            format!(
                "POST {id} HTTP/1.1\r\nHost: test\r\nContent-Length: {}\r\n\r\n{body}",
                body.len()
            )
        }
        _ => format!("{method} {id} HTTP/1.1\r\nHost: test\r\n\r\n"),
    };
    client.say(asked).unwrap();
    let answer = client.response_to(method).unwrap();
    assert_eq!(answer.header("x-id"), id);
    if method == "GET" && answer.status == 200 {
        assert!(answer.text().starts_with("mine"), "{id}: {}", answer.text());
    }
    let plain = client.get(&format!("/plain/{number}")).unwrap();
    assert_eq!(
        (plain.header("x-id"), plain.text().as_str()),
        (format!("/plain/{number}").as_str(), "mine")
    );
}

fn serve() -> SocketAddrV4 {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let SocketAddr::V4(address) = listener.local_addr().unwrap() else {
        unreachable!("asked for IPv4")
    };
    thread::spawn(move || {
        for stream in listener.incoming().map_while(Result::ok) {
            thread::spawn(move || while matches!(answer(&stream), Ok(true)) {});
        }
    });
    address
}

/// Answers one request; gives whether there was one.
fn answer(mut stream: &TcpStream) -> io::Result<bool> {
    // Nothing is read ahead: what is left of a request is the next one.
    let mut reader = BufReader::with_capacity(1, stream);
    let mut request = Vec::new();
    if !read_head(&mut reader, &mut request)? {
        return Ok(false);
    }
    let head = String::from_utf8_lossy(&request).to_ascii_lowercase();
    let id = head.split(' ').nth(1).unwrap_or_default().to_owned();
    let way = id.split('/').nth(1).unwrap_or_default();
    if way != "smuggled" {
        read_body(&mut reader, &head, &mut request)?;
    }
    let says = |status: &str, framing: &str, body: &str| {
        format!("HTTP/1.1 {status}\r\nX-Id: {id}\r\n{framing}\r\n{body}")
    };
    let mine = says("200 OK", "Content-Length: 4\r\n", "mine");
    let stray = "HTTP/1.1 200 OK\r\nX-Id: stray\r\nContent-Length: 5\r\n\r\nstray";
    let (first, then) = match way {
        "two" => (mine + stray, ""),
        "split" => (
            mine.replace("mine", "min"),
            "eHTTP/1.1 200 OK\r\nX-Id: stray\r\nContent-Length: 0\r\n\r\n",
        ),
        "head" => (mine, ""),
        "none" => (says("204 No Content", "", "stray"), ""),
        "short" => (mine + "stray", ""),
        "chunked" => (
            says(
                "200 OK",
                "Transfer-Encoding: chunked\r\n",
                "4\r\nmine\r\n0\r\n\r\nstray",
            ),
            "",
        ),
        "continue" => (mine + "HTTP/1.1 100 Continue\r\n\r\n", ""),
        "late" => (mine, stray),
        "late-head" => (says("200 OK", "Content-Length: 5\r\n", ""), "stray"),
        "late-none" => (says("304 Not Modified", "", ""), "stray"),
        "late-continue" => (mine, "HTTP/1.1 100 Continue\r\n\r\n"),
        _ => (mine, ""),
    };
    stream.write_all(first.as_bytes())?;
    if !then.is_empty() {
        thread::sleep(Duration::from_millis(2));
        stream.write_all(then.as_bytes())?;
    }
    Ok(true)
}
