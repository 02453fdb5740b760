//! What a flip promises: no request fails, none that begins after the flip's answer reaches the old side, and
//! a drain knows exactly what it waits for.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::SeqCst};
use std::thread;
use std::time::Duration;

use deployer::model::Slot;
use deployer::proxy::Drained;

use crate::client::{At, Client};
use crate::support::{Proxy, until, wait};
use crate::upstream::Upstream;

/// What one client has seen.
#[derive(Default)]
pub(crate) struct Count {
    pub(crate) sent: AtomicU64,
    pub(crate) failed: AtomicU64,
    pub(crate) late: AtomicU64,
    /// Even: the flip with half this number is in force. Odd: a flip is under way.
    pub(crate) flips: AtomicU64,
    pub(crate) stop: AtomicBool,
}

impl Count {
    /// Sends requests until told to stop; `request` sends one and gives who has answered.
    pub(crate) fn send(&self, at: &At, keep: bool, request: impl Fn(&mut Client) -> io::Result<String>) {
        let mut client = None;
        while !self.stop.load(SeqCst) {
            let before = self.flips.load(SeqCst);
            self.sent.fetch_add(1, SeqCst);
            let mut open = match client.take().map_or_else(|| Client::try_open(at.clone()), Ok) {
                Ok(open) => open,
                Err(error) => {
                    eprintln!("cannot connect: {error}");
                    self.failed.fetch_add(1, SeqCst);
                    continue;
                }
            };
            match request(&mut open) {
                Ok(from) => {
                    let expected = if before.is_multiple_of(4) { "blue" } else { "green" };
                    if before.is_multiple_of(2) && self.flips.load(SeqCst) == before && from != expected {
                        self.late.fetch_add(1, SeqCst);
                    }
                    client = keep.then_some(open).filter(|open| !open.said_close());
                }
                Err(error) => {
                    eprintln!("not answered: {error}");
                    self.failed.fetch_add(1, SeqCst);
                }
            }
        }
    }
}

pub(crate) fn get(client: &mut Client) -> io::Result<String> {
    let response = client.get("/")?;
    match response.status {
        200 => Ok(response.text()),
        status => Err(io::Error::other(format!("status {status}"))),
    }
}

pub(crate) fn post(client: &mut Client) -> io::Result<String> {
    let response = client.post("/echo", &[b'p'; 100_000])?;
    match (response.status, response.text().starts_with("100000 ")) {
        (200, true) => Ok(response.header("x-from").to_owned()),
        (status, _) => Err(io::Error::other(format!("status {status}: {}", response.text()))),
    }
}

pub(crate) fn slow(client: &mut Client) -> io::Result<String> {
    let response = client.get("/slow/60")?;
    match response.status {
        200 => Ok(response.text()),
        status => Err(io::Error::other(format!("status {status}"))),
    }
}

/// Keep-alive GETs and POSTs, slow answers, and a connection per request.
pub(crate) fn clients(count: &Arc<Count>, at: &At) -> Vec<thread::JoinHandle<()>> {
    type Request = fn(&mut Client) -> io::Result<String>;
    let kinds: [(bool, Request); 6] = [
        (true, get),
        (true, get),
        (true, post),
        (true, post),
        (true, slow),
        (false, get),
    ];
    kinds
        .into_iter()
        .map(|(keep, request)| {
            let (count, at) = (Arc::clone(count), at.clone());
            thread::spawn(move || count.send(&at, keep, request))
        })
        .collect()
}

/// Flips under traffic, with some twenty requests between two of them.
const FLIPS: usize = 40;

#[test]
fn flips_under_traffic_fail_no_request_and_leave_none_on_the_old_side() {
    let proxy = Proxy::start();
    let (blue, green) = (
        Upstream::start("blue", "127.0.0.2"),
        Upstream::start("green", "127.0.0.3"),
    );
    let flip = |slot| wait(proxy.control.put_route(&proxy.route(slot, &[&blue], &[&green]))).unwrap();
    flip(Slot::Blue);
    let count = Arc::new(Count::default());
    let clients = clients(&count, &proxy.at());
    let mut slot = Slot::Blue;
    for _ in 0..FLIPS {
        let sent = count.sent.load(SeqCst);
        until("traffic between two flips", || {
            count.sent.load(SeqCst) > sent + 20
        });
        slot = slot.other();
        count.flips.fetch_add(1, SeqCst);
        flip(slot);
        count.flips.fetch_add(1, SeqCst);
    }
    count.stop.store(true, SeqCst);
    clients.into_iter().for_each(|client| client.join().unwrap());
    let (sent, flips) = (count.sent.load(SeqCst), count.flips.load(SeqCst) / 2);
    println!("{sent} requests, {flips} flips");
    assert_eq!(
        count.failed.load(SeqCst),
        0,
        "of {sent} requests, in {flips} flips"
    );
    assert_eq!(count.late.load(SeqCst), 0, "of {sent} requests, in {flips} flips");
}

#[test]
fn a_drain_waits_for_what_is_in_flight_and_counts_it() {
    let proxy = Proxy::start();
    let (blue, green) = (
        Upstream::start("blue", "127.0.0.2"),
        Upstream::start("green", "127.0.0.3"),
    );
    let flip = |slot| wait(proxy.control.put_route(&proxy.route(slot, &[&blue], &[&green]))).unwrap();
    flip(Slot::Blue);
    let mut held: Vec<_> = (0..3).map(|_| proxy.client()).collect();
    for client in &mut held {
        client.say("GET /hold HTTP/1.1\r\nHost: test\r\n\r\n").unwrap();
    }
    until("three in flight", || {
        wait(proxy.control.in_flight(&[blue.address])).unwrap() == 3
    });
    flip(Slot::Green);
    assert_eq!(proxy.client().get("/").unwrap().text(), "green");
    let control = proxy.control.clone();
    let address = blue.address;
    let drain = thread::spawn(move || wait(control.drain(&[address], Duration::from_secs(20))).unwrap());
    until("the drain", || proxy.metrics().contains("deployer_draining 1\n"));
    for (ended, mut client) in held.into_iter().enumerate() {
        assert_eq!(
            wait(proxy.control.in_flight(&[blue.address])).unwrap(),
            3 - ended as u64
        );
        assert!(!drain.is_finished());
        blue.release();
        let answered = thread::spawn(move || client.response().unwrap().text());
        until("one fewer", || {
            wait(proxy.control.in_flight(&[blue.address])).unwrap() == 2 - ended as u64
        });
        drop(answered);
    }
    assert_eq!(
        drain.join().unwrap(),
        Drained {
            finished: 3,
            ..Drained::default()
        }
    );
}

#[test]
fn a_drain_cuts_at_its_deadline_whatever_the_request_is_doing() {
    let proxy = Proxy::start();
    let (blue, green) = (
        Upstream::start("blue", "127.0.0.2"),
        Upstream::start("green", "127.0.0.3"),
    );
    let flip = |slot| wait(proxy.control.put_route(&proxy.route(slot, &[&blue], &[&green]))).unwrap();
    flip(Slot::Blue);
    let ask = |text: &str| {
        let mut client = proxy.client();
        client.say(text).unwrap();
        client
    };
    let mut waiting = ask("GET /hold HTTP/1.1\r\nHost: test\r\n\r\n");
    let mut uploading = ask("POST /echo HTTP/1.1\r\nHost: test\r\nContent-Length: 9\r\n\r\nabc");
    let mut events = ask("GET /events HTTP/1.1\r\nHost: test\r\n\r\n");
    let mut upgraded = ask("GET / HTTP/1.1\r\nHost: test\r\nConnection: upgrade\r\nUpgrade: echo\r\n\r\n");
    // One that does not read its answer, which is more than every buffer on the way.
    let lazy = ask("GET /download/100000000 HTTP/1.1\r\nHost: test\r\n\r\n");
    assert_eq!(upgraded.head().unwrap().status, 101);
    assert_eq!(events.head().unwrap().status, 200);
    assert_eq!(events.chunk().unwrap().unwrap(), b"data: 0\n\n");
    until("five in flight", || {
        wait(proxy.control.in_flight(&[blue.address])).unwrap() == 5
    });
    flip(Slot::Green);
    let drained = wait(proxy.control.drain(&[blue.address], Duration::from_millis(100))).unwrap();
    assert_eq!(
        drained,
        Drained {
            finished: 0,
            cut: 5,
            closed: 1
        }
    );
    assert_eq!(wait(proxy.control.in_flight(&[blue.address])).unwrap(), 0);
    assert_eq!(waiting.response().unwrap().status, 503);
    assert_eq!(uploading.response().unwrap().status, 503);
    assert!(events.chunk().unwrap().is_none(), "an event stream ends in form");
    assert!(upgraded.is_closed());
    drop(lazy);
    assert_eq!(proxy.client().get("/").unwrap().text(), "green");
}

#[test]
fn a_drain_neither_waits_for_nor_cuts_what_came_to_the_standby_after_the_flip() {
    let proxy = Proxy::start();
    let (blue, green) = (
        Upstream::start("blue", "127.0.0.2"),
        Upstream::start("green", "127.0.0.3"),
    );
    let flip = |slot| wait(proxy.control.put_route(&proxy.route(slot, &[&blue], &[&green]))).unwrap();
    flip(Slot::Blue);
    let hold = |mut client: Client| {
        client.say("GET /hold HTTP/1.1\r\nHost: test\r\n\r\n").unwrap();
        client
    };
    let in_flight = || wait(proxy.control.in_flight(&[blue.address])).unwrap();
    let mut before = hold(proxy.client());
    until("one in flight", || in_flight() == 1);
    flip(Slot::Green);
    let mut after = hold(proxy.client_of(Slot::Blue));
    until("two in flight", || in_flight() == 2);

    let drained = wait(proxy.control.drain(&[blue.address], Duration::from_millis(100))).unwrap();

    assert_eq!(
        drained,
        Drained {
            cut: 1,
            ..Drained::default()
        }
    );
    assert_eq!(before.response().unwrap().status, 503);
    assert_eq!(in_flight(), 1);
    blue.release();
    blue.release();
    assert_eq!(after.response().unwrap().text(), "blue");
    assert_eq!(
        wait(proxy.control.drain(&[blue.address], Duration::from_secs(20))).unwrap(),
        Drained::default()
    );
}

#[test]
fn a_drain_that_is_called_off_cuts_nothing() {
    let proxy = Proxy::start();
    let (blue, green) = (
        Upstream::start("blue", "127.0.0.2"),
        Upstream::start("green", "127.0.0.3"),
    );
    let flip = |slot| wait(proxy.control.put_route(&proxy.route(slot, &[&blue], &[&green]))).unwrap();
    flip(Slot::Blue);
    let mut client = proxy.client();
    client.say("GET /hold HTTP/1.1\r\nHost: test\r\n\r\n").unwrap();
    until("one in flight", || {
        wait(proxy.control.in_flight(&[blue.address])).unwrap() == 1
    });
    flip(Slot::Green);
    wait(async {
        let upstreams = [blue.address];
        let drain = proxy.control.drain(&upstreams, Duration::from_millis(400));
        tokio::time::timeout(Duration::from_millis(100), drain)
            .await
            .unwrap_err();
        // Past the deadline that was called off.
        tokio::time::sleep(Duration::from_millis(500)).await;
    });
    blue.release();
    assert_eq!(client.response().unwrap().text(), "blue");
}

#[test]
fn several_instances_share_the_requests() {
    let proxy = Proxy::start();
    let instances = [2, 3, 4].map(|last| Upstream::start(&format!("i{last}"), &format!("127.0.0.{last}")));
    proxy.send_to(&instances.iter().collect::<Vec<_>>());
    let mut client = proxy.client();
    let mut answers: Vec<String> = (0..6).map(|_| client.get("/").unwrap().text()).collect();
    answers.sort();
    assert_eq!(answers, ["i2", "i2", "i3", "i3", "i4", "i4"]);
}
