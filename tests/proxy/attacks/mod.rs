//! Hostile bytes, and what becomes of them: a table of what clients send, and one of what apps say.
//!
//! A row goes into a file for its subject, by the functions of `row`. Each is tried on the embedded proxy, and on nginx and
//! HAProxy as their packages set them up, where those are installed: a row says whether they agree.

mod answers;
mod app;
mod crowd;
mod identity;
mod programs;
mod requests;
mod row;
mod trailers;
mod unreadable;

use std::collections::HashMap;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use app::App;
use programs::Program;
use row::{End, Others, Said, Sent, Setup};

use crate::support::{Proxy, until, wait};

/// What the runner sends behind a row's bytes.
const LAST: &str = "GET /last HTTP/1.1\r\nHost: test\r\nConnection: close\r\n\r\n";

/// The rows of what clients send.
fn all_sent() -> Vec<Sent> {
    let all = [
        trailers::rows(),
        identity::rows(),
        requests::trailers(),
        requests::targets(),
        requests::codings(),
    ];
    all.into_iter().flatten().collect()
}

/// The rows of what apps say.
fn all_said() -> Vec<Said> {
    let all = [
        answers::unasked(),
        answers::trailers(),
        unreadable::heads(),
        unreadable::framing(),
        unreadable::interim(),
    ];
    all.into_iter().flatten().collect()
}

#[test]
fn what_a_client_sends_reaches_the_app_as_the_table_says() {
    let app = App::start();
    let mut proxies: HashMap<Setup, Proxy> = HashMap::new();
    let mut wrong = Vec::new();
    for row in all_sent() {
        let proxy = proxies.entry(row.setup).or_insert_with(|| start(row.setup, &app));
        wrong.extend(try_sent(&row, proxy.public, &app, true));
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn what_an_app_says_reaches_the_client_as_the_table_says_and_nobody_else() {
    let proxy = Proxy::start();
    let mut wrong = Vec::new();
    for row in all_said() {
        // One whose word is not taken any more is no other row's.
        let app = App::start();
        wait(proxy.control.put_route(&proxy.route_to(app.address))).unwrap();
        // What comes late has come when the proxy closes the connection.
        let ended = || app.is_at_rest() && (row.keeps || app.is_left());
        wrong.extend(try_said(&row, proxy.public, &app, true, ended));
        if row.keeps {
            // The next request of the same client is sent at once, by the same thread of the proxy.
            let asked = String::from_utf8_lossy(&row.asked).replace("close", "keep-alive");
            exchange(proxy.public, [&asked, LAST].concat().as_bytes());
        }
        if app.is_reused() != row.keeps {
            wrong.push(format!(
                "{}: another request on its connection: {}",
                row.name,
                app.is_reused()
            ));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn why_an_answer_cannot_be_passed_on_is_counted_and_logged_once_a_minute() {
    let app = App::start();
    let proxy = start(Setup::Plain, &app);
    let ask = |text: &str| {
        app.will_say(&[text.as_bytes().to_vec()], false, false);
        exchange(
            proxy.public,
            b"GET /row HTTP/1.1\r\nHost: test\r\nConnection: close\r\n\r\n",
        )
    };
    for _ in 0..3 {
        ask("HTTP/1.1 200 OK\r\nX-Long: secret\r\n secret\r\n\r\n");
    }
    ask("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nsecret\r\n");
    let metrics = proxy.metrics();
    for (reason, count) in [("folded_field", 3), ("chunk", 1)] {
        let line = format!(
            "deployer_unreadable_answers_total{{app=\"shop\",slot=\"blue\",reason=\"{reason}\"}} {count}\n"
        );
        assert!(metrics.contains(&line), "{metrics}");
    }
    assert!(metrics.contains("slot=\"blue\",class=\"5xx\"} 4\n"), "{metrics}");
    let said = proxy.said();
    for fault in [
        "the field X-Long goes on in a second line (obsolete line folding)\n",
        "its body is not chunked as its head says\n",
    ] {
        let line = format!(
            "proxy: shop: instance 0 of blue release 1 ({}) gave an answer that cannot be passed on: {fault}",
            app.address
        );
        assert_eq!(said.matches(&line).count(), 1, "{said}");
    }
    assert!(!said.contains("secret"), "{said}");
}

#[test]
fn nginx_and_haproxy_do_as_the_table_says_where_it_says_that_they_agree() {
    let mut wrong = Vec::new();
    for program in Program::ALL {
        let app = App::start();
        let Some(running) = program.start(app.address) else {
            continue;
        };
        for row in all_sent() {
            let tells = match row.others {
                Others::Agree => true,
                Others::AgreeOnTheEnd => false,
                Others::Differ(_) => continue,
            };
            let found = try_sent(&row, running.address, &app, tells);
            wrong.extend(found.map(|fault| format!("{program:?}: {fault}")));
        }
        for row in all_said() {
            if !matches!(row.others, Others::Differ(_)) {
                let tells = row.others == Others::Agree;
                let found = try_said(&row, running.address, &app, tells, || app.is_at_rest());
                wrong.extend(found.into_iter().map(|fault| format!("{program:?}: {fault}")));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// A proxy with this set-up that sends everything to `app`.
fn start(setup: Setup, app: &App) -> Proxy {
    let proxy = match setup {
        Setup::Plain | Setup::Trailers => Proxy::start(),
        Setup::Trusted => Proxy::start_with("trusted = [\"192.0.2.0/24\", \"127.0.0.1\"]"),
    };
    let mut route = proxy.route_to(app.address);
    route.trailers = setup == Setup::Trailers;
    wait(proxy.control.put_route(&route)).unwrap();
    proxy
}

/// Sends a row's bytes to `to`, and tells what is otherwise than it says; `tells`: also of what goes on.
fn try_sent(row: &Sent, to: SocketAddr, app: &App, tells: bool) -> Option<String> {
    app.will_say(&[], false, false);
    app.taken();
    let got = exchange(to, &[&row.bytes, LAST.as_bytes()].concat());
    app.accept_all();
    until("the app to be at rest", || app.is_at_rest());
    let (requests, parts) = app.taken();
    let status = status(&got);
    let whole = requests
        .iter()
        .filter(|request| !request.contains("/last"))
        .count();
    let refused = |wanted: u16| match tells {
        true => status == wanted,
        false => (400..600).contains(&status),
    };
    let end = match row.end {
        End::Refused(wanted) => refused(wanted) && whole == 0 && parts.is_empty(),
        End::BrokenOff(wanted) => refused(wanted) && whole == 0,
        End::Passed(wanted) => status == wanted && whole == row.requests && parts.is_empty(),
    };
    let is_once = |name: &&str| {
        let first = requests.first().map_or("", String::as_str);
        first
            .lines()
            .filter(|line| line.split(':').next() == Some(*name))
            .count()
            <= 1
    };
    let end = end && (!tells || row.once.iter().all(is_once));
    let all = [requests.concat(), parts.concat()].concat();
    fault(row.name, end, (&row.with, &row.without), &all, &got, tells)
}

/// Has the app say a row's bytes through `to`, and tells what is otherwise than it says; `tells`: also of what goes on.
/// `ended` tells when nothing of it is under way.
fn try_said(row: &Said, to: SocketAddr, app: &App, tells: bool, ended: impl FnMut() -> bool) -> Vec<String> {
    // A connection that is there already, as it usually is.
    exchange(to, LAST.as_bytes());
    app.will_say(&row.writes, row.is_early, row.closes);
    let got = exchange(to, &row.asked);
    until(&format!("{}: the end of it", row.name), ended);
    let status = status(&got);
    let is_whole = is_whole(&got, row.asked.starts_with(b"HEAD "));
    let end = match row.end {
        End::Refused(wanted) => status == wanted && is_whole,
        End::BrokenOff(wanted) => status == wanted && !is_whole,
        End::Passed(wanted) => status == wanted && is_whole,
    };
    let text = String::from_utf8_lossy(&got).to_ascii_lowercase();
    let mut wrong = Vec::from_iter(fault(
        row.name,
        end,
        (&row.with, &row.without),
        &text,
        &got,
        tells,
    ));
    for asked in ["GET /own HTTP/1.1", "POST /own HTTP/1.1\r\nContent-Length: 0"] {
        let request = format!("{asked}\r\nHost: test\r\nConnection: close\r\n\r\n");
        let got = exchange(to, request.as_bytes());
        let method = asked.split(' ').next().unwrap_or_default().to_ascii_lowercase();
        if !got.ends_with(format!("mine: {method} /own").as_bytes()) {
            let got = String::from_utf8_lossy(&got);
            wrong.push(format!("{}: the next client gets {got:?}", row.name));
        }
    }
    wrong
}

/// What is wrong with a row, where something is.
fn fault(
    name: &str,
    end: bool,
    (with, without): (&[&str], &[&str]),
    all: &str,
    got: &[u8],
    tells: bool,
) -> Option<String> {
    let has = |line: &&&str| all.lines().any(|found| found.trim_end() == **line);
    let missing: Vec<_> = with.iter().filter(|line| tells && !has(line)).collect();
    let there: Vec<_> = without
        .iter()
        .filter(|text| tells && all.contains(**text))
        .collect();
    let got = String::from_utf8_lossy(&got[..got.len().min(2_000)]);
    (!end || !missing.is_empty() || !there.is_empty()).then(|| {
        format!(
            "{name}: missing {missing:?}, unwanted {there:?}, the end is {}\n  the other side got {all:?}\n  the client got {got:?}",
            if end { "right" } else { "WRONG" }
        )
    })
}

/// Sends `bytes`, and gives all that comes until the connection ends, or nothing comes for seconds.
fn exchange(to: SocketAddr, bytes: &[u8]) -> Vec<u8> {
    let mut stream = TcpStream::connect(to).expect("a connection");
    stream.set_read_timeout(Some(Duration::from_secs(5))).unwrap();
    // One that refuses early may have closed already.
    let _ = stream.write_all(bytes);
    let mut got = Vec::new();
    if let Err(error) = stream.read_to_end(&mut got)
        && error.kind() == std::io::ErrorKind::WouldBlock
    {
        got.extend_from_slice(b"... and no end");
    }
    got
}

/// The status of the first answer that is not informational; 0 where there is none.
fn status(got: &[u8]) -> u16 {
    let text = String::from_utf8_lossy(got);
    let lines = text
        .lines()
        .filter_map(|line| line.strip_prefix("HTTP/1."))
        .filter_map(|line| line.get(2..5)?.parse().ok());
    lines.into_iter().find(|status| *status >= 200).unwrap_or(0)
}

/// Whether an answer, to a HEAD or to something else, is all there.
fn is_whole(got: &[u8], to_head: bool) -> bool {
    let text = String::from_utf8_lossy(got).to_ascii_lowercase();
    let Some((head, body)) = text.split_once("\r\n\r\n") else {
        return false;
    };
    if head.starts_with("http/1.1 1") {
        return is_whole(body.as_bytes(), to_head);
    }
    let field = |name: &str| {
        let mut lines = head.lines().filter_map(|line| line.split_once(": "));
        lines.find(|(found, _)| *found == name).map(|(_, value)| value)
    };
    let has_none = to_head || matches!(status(got), 204 | 304);
    match (field("transfer-encoding"), field("content-length")) {
        _ if has_none => body.is_empty(),
        (Some(_), _) => body.starts_with("0\r\n") || body.contains("\r\n0\r\n"),
        (None, Some(length)) => length.parse() == Ok(body.len()),
        (None, None) => true,
    }
}
