//! How a stream ends that has no end of its own, and how a cut one must not: an event stream and a WebSocket are ended
//! in form, anything else so that its client can see that it is not whole.

use std::io::{self, Read};
use std::net::Shutdown;
use std::thread;
use std::time::Duration;

use deployer::model::Slot;
use deployer::proxy::Drained;

use crate::client::Client;
use crate::support::{Proxy, terminate, until, wait};
use crate::upstream::Upstream;

/// `ping`, masked with zeros; the app of these tests sends it back as it came.
const FRAME: &[u8] = b"\x81\x84\0\0\0\0ping";

/// A close frame that says "going away", as a server sends it.
const GOING_AWAY: [u8; 4] = [0x88, 2, 3, 0xe9];

/// Enough for the proxy to want a stream to end, and less than the stream has for it. There is no event to wait for.
const PARTED: Duration = Duration::from_millis(150);

const ONE_CLOSED: Drained = Drained {
    finished: 0,
    cut: 1,
    closed: 1,
};

const ONE_CUT: Drained = Drained {
    finished: 0,
    cut: 1,
    closed: 0,
};

/// A proxy whose public port goes to `blue`; `green` is warm.
struct Sides {
    proxy: Proxy,
    blue: Upstream,
    green: Upstream,
}

impl Sides {
    fn start() -> Self {
        let sides = Self {
            proxy: Proxy::start(),
            blue: Upstream::start("blue", "127.0.0.2"),
            green: Upstream::start("green", "127.0.0.3"),
        };
        sides.flip(Slot::Blue);
        sides
    }

    fn flip(&self, slot: Slot) {
        let route = self.proxy.route(slot, &[&self.blue], &[&self.green]);
        wait(self.proxy.control.put_route(&route)).unwrap();
    }

    /// Flips to green, and drains blue with a short deadline.
    fn leave_blue(&self) -> Drained {
        self.flip(Slot::Green);
        wait(
            self.proxy
                .control
                .drain(&[self.blue.address], Duration::from_millis(100)),
        )
        .unwrap()
    }

    /// The same without a deadline, under way.
    fn leaving_blue(&self) -> thread::JoinHandle<Drained> {
        self.flip(Slot::Green);
        let (control, address) = (self.proxy.control.clone(), self.blue.address);
        thread::spawn(move || wait(control.drain(&[address], Duration::ZERO)).unwrap())
    }

    fn ask(&self, request: &str) -> Client {
        let mut client = self.proxy.client();
        client.say(request).unwrap();
        client
    }

    fn websocket(&self) -> Client {
        let mut client =
            self.ask("GET / HTTP/1.1\r\nHost: test\r\nConnection: Upgrade\r\nUpgrade: WebSocket\r\n\r\n");
        assert_eq!(client.head().unwrap().status, 101);
        client
    }

    /// Waits until the app has got `bytes` on upgraded connections.
    fn arrived(&self, bytes: &[u8]) {
        until("the bytes at the app", || self.blue.echoed() == bytes);
    }
}

/// Reads as many bytes as `wanted` has, which must be these.
fn reads(client: &mut Client, wanted: &[u8]) {
    let mut bytes = vec![0; wanted.len()];
    client.reader.read_exact(&mut bytes).unwrap();
    assert_eq!(bytes, wanted);
}

/// What is left until the end of the connection, which must be no reset.
fn rest(client: &mut Client) -> Vec<u8> {
    let mut bytes = Vec::new();
    client
        .reader
        .read_to_end(&mut bytes)
        .expect("an end, and no reset");
    bytes
}

/// The code of the close frame that `bytes` are, masked as a client's.
fn masked_code(bytes: &[u8]) -> u16 {
    let [0x88, 0x82, mask @ .., high, low] = bytes else {
        panic!("no masked close frame: {bytes:?}")
    };
    u16::from_be_bytes([high ^ mask[0], low ^ mask[1]])
}

#[test]
fn a_websocket_is_closed_as_going_away_on_both_sides() {
    let sides = Sides::start();
    let mut client = sides.websocket();
    client.say(FRAME).unwrap();
    reads(&mut client, FRAME);

    let drain = sides.leaving_blue();

    reads(&mut client, &GOING_AWAY);
    // The answer to it, which nobody waits for any more, is taken all the same.
    client.say(b"\x88\x82\0\0\0\0\x03\xe9").unwrap();
    client.stream().shutdown(Shutdown::Write).unwrap();
    assert_eq!(rest(&mut client), b"");
    assert_eq!(drain.join().unwrap(), ONE_CLOSED);
    until("the app to be told", || {
        sides.blue.echoed().len() == FRAME.len() + 8
    });
    assert_eq!(masked_code(&sides.blue.echoed()[FRAME.len()..]), 1001);
}

#[test]
fn a_close_frame_stands_behind_the_frame_that_is_under_way() {
    let sides = Sides::start();
    let mut client = sides.websocket();
    let (first, second) = FRAME.split_at(8);
    client.say(first).unwrap();
    reads(&mut client, first);

    // Two ways, and both are within a frame.
    let drain = sides.leaving_blue();
    thread::sleep(PARTED);
    client.say([second, FRAME].concat()).unwrap();

    reads(&mut client, second);
    assert_eq!(rest(&mut client), GOING_AWAY);
    assert_eq!(drain.join().unwrap(), ONE_CLOSED);
    let echoed = sides.blue.echoed();
    assert_eq!(masked_code(&echoed[FRAME.len()..]), 1001);
}

#[test]
fn a_websocket_that_stays_within_a_frame_is_cut() {
    let sides = Sides::start();
    let mut client = sides.websocket();
    client.say(&FRAME[..8]).unwrap();
    reads(&mut client, &FRAME[..8]);

    assert_eq!(sides.leave_blue(), ONE_CUT);

    assert!(client.is_closed(), "no close frame within a frame");
    sides.arrived(&FRAME[..8]);
}

#[test]
fn a_side_that_has_closed_a_websocket_is_sent_no_second_close() {
    let sides = Sides::start();
    let mut client = sides.websocket();
    let close = b"\x88\x82\0\0\0\0\x03\xe8";
    client.say(close).unwrap();
    reads(&mut client, close);

    sides.leave_blue();

    assert_eq!(rest(&mut client), b"");
    sides.arrived(close);
}

#[test]
fn an_event_stream_ends_in_form_behind_a_whole_event() {
    let sides = Sides::start();
    let mut client = sides.ask("GET /half-events HTTP/1.1\r\nHost: test\r\n\r\n");
    assert_eq!(client.head().unwrap().status, 200);
    assert_eq!(client.chunk().unwrap().unwrap(), b"data: 0\n\ndata: ");

    let drain = sides.leaving_blue();
    thread::sleep(PARTED);
    sides.blue.release();

    assert_eq!(client.chunk().unwrap().unwrap(), b"1\n\n");
    assert!(client.chunk().unwrap().is_none(), "the last chunk");
    reads(&mut client, b"\r\n");
    assert_eq!(drain.join().unwrap(), ONE_CLOSED);
    // Its client was told that the connection stays, and may be sending the next request already.
    assert_eq!(client.get("/").unwrap().text(), "green");
    // Which may be such a stream, too.
    client.say("GET /events HTTP/1.1\r\nHost: test\r\n\r\n").unwrap();
    assert_eq!(client.head().unwrap().status, 200);
    assert_eq!(client.chunk().unwrap().unwrap(), b"data: 0\n\n");
    thread::sleep(PARTED);
    sides.flip(Slot::Blue);
    let green = [sides.green.address];
    let drained = wait(sides.proxy.control.drain(&green, Duration::from_millis(100))).unwrap();
    assert_eq!(drained, ONE_CLOSED);
    assert!(client.chunk().unwrap().is_none(), "the last chunk");
}

#[test]
fn an_event_stream_whose_event_does_not_end_is_ended_all_the_same() {
    let sides = Sides::start();
    let mut client = sides.ask("GET /half-events HTTP/1.0\r\nHost: test\r\n\r\n");
    assert_eq!(client.head().unwrap().status, 200);

    assert_eq!(sides.leave_blue(), ONE_CLOSED);

    assert_eq!(rest(&mut client), b"data: 0\n\ndata: ");
}

#[test]
fn a_client_that_does_not_read_its_event_stream_is_cut() {
    let sides = Sides::start();
    let client = sides.ask("GET /flood HTTP/1.1\r\nHost: test\r\n\r\n");
    // More than every buffer on the way: the app cannot go on.
    until("the buffers to be full", || sides.blue.is_stuck());

    assert_eq!(sides.leave_blue(), ONE_CUT);
    drop(client);
}

#[test]
fn an_answer_that_is_cut_never_looks_whole() {
    for (request, http) in [
        ("/silent", "HTTP/1.1"),
        ("/chunks", "HTTP/1.1"),
        ("/chunks", "HTTP/1.0"),
    ] {
        let sides = Sides::start();
        let mut client = sides.ask(&format!("GET {request} {http}\r\nHost: test\r\n\r\n"));
        until("the answer to begin", || {
            let mut begun = [0; 1];
            client.stream().peek(&mut begun).is_ok_and(|read| read == 1)
        });
        thread::sleep(Duration::from_millis(50));

        assert_eq!(sides.leave_blue(), ONE_CUT);

        seems_broken(&mut client, &format!("{request} {http}"));
    }
}

#[test]
fn an_answer_that_the_app_breaks_off_never_looks_whole() {
    for http in ["HTTP/1.1", "HTTP/1.0"] {
        let sides = Sides::start();
        let mut client = sides.ask(&format!("GET /chunks {http}\r\nHost: test\r\n\r\n"));
        sides.blue.release();
        seems_broken(&mut client, http);
    }
}

#[test]
fn an_answer_without_a_length_ends_without_a_reset() {
    let sides = Sides::start();
    let mut client = sides.ask("GET /trailers HTTP/1.0\r\nHost: test\r\n\r\n");
    assert_eq!(client.response().unwrap().text(), "abc");
}

#[test]
fn sigterm_ends_streams_in_form_and_soon() {
    let mut sides = Sides::start();
    let mut socket = sides.websocket();
    let mut events = sides.ask("GET /events HTTP/1.1\r\nHost: test\r\n\r\n");
    assert_eq!(events.head().unwrap().status, 200);
    assert_eq!(events.chunk().unwrap().unwrap(), b"data: 0\n\n");

    terminate(&sides.proxy.child);

    assert!(events.chunk().unwrap().is_none());
    reads(&mut events, b"\r\n");
    assert_eq!(rest(&mut socket), GOING_AWAY);
    // Longer than the proxy takes to look for connections to close, and shorter than it leaves one alone.
    thread::sleep(Duration::from_millis(300));
    let last = events.get("/").unwrap();
    assert_eq!(
        (last.text().as_str(), last.header("connection")),
        ("blue", "close")
    );
    assert_eq!(rest(&mut events), b"");
    // The tests' patience is shorter than what requests in flight may take.
    until("the proxy has ended", || {
        sides.proxy.child.try_wait().unwrap().is_some()
    });
}

#[test]
fn sigterm_ends_the_streams_of_the_proxy_before_too() {
    let mut sides = Sides::start();
    let mut socket = sides.websocket();
    let mut older = sides.proxy.upgrade();
    socket.say(FRAME).unwrap();
    reads(&mut socket, FRAME);

    terminate(&sides.proxy.child);

    assert_eq!(rest(&mut socket), GOING_AWAY);
    until("both proxies have ended", || {
        [&mut older, &mut sides.proxy.child].map(|child| child.try_wait().unwrap().is_some()) == [true; 2]
    });
}

#[test]
fn pipelined_requests_are_all_answered_by_a_proxy_that_was_taken_over() {
    let mut sides = Sides::start();
    let mut client = sides.ask("GET /hold HTTP/1.1\r\nHost: test\r\n\r\nGET / HTTP/1.1\r\nHost: test\r\n\r\nGET / HTTP/1.1\r\nHost: test\r\n\r\n");
    until("one in flight", || {
        wait(sides.proxy.control.in_flight(&[sides.blue.address])).unwrap() == 1
    });

    let mut older = sides.proxy.upgrade();
    sides.blue.release();

    let closes: Vec<_> = (0..3)
        .map(|_| {
            let answer = client.response().expect("each is answered");
            assert_eq!(answer.text(), "blue");
            client.said_close()
        })
        .collect();
    assert_eq!(closes, [false, false, true]);
    until("the older one has ended", || older.try_wait().unwrap().is_some());
}

#[test]
fn a_request_that_comes_during_the_last_answer_of_a_proxy_that_was_taken_over_is_answered_too() {
    let mut sides = Sides::start();
    let mut client = sides.ask("GET /hold HTTP/1.1\r\nHost: test\r\n\r\n");
    until("one in flight", || {
        wait(sides.proxy.control.in_flight(&[sides.blue.address])).unwrap() == 1
    });

    let mut older = sides.proxy.upgrade();
    client.say("GET / HTTP/1.1\r\nHost: test\r\n\r\n").unwrap();
    sides.blue.release();

    for _ in 0..2 {
        assert_eq!(client.response().expect("each is answered").text(), "blue");
    }
    until("the older one has ended", || older.try_wait().unwrap().is_some());
}

fn seems_broken(client: &mut Client, what: &str) {
    let error = match client.response() {
        Ok(whole) => panic!("{what}: {:?} looks whole", whole.text()),
        Err(error) => error,
    };
    let broken = [io::ErrorKind::UnexpectedEof, io::ErrorKind::ConnectionReset];
    assert!(broken.contains(&error.kind()), "{what}: {error}");
}
