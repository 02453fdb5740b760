//! A newer proxy takes over from a running one.

use std::io::Read;
use std::process::Child;
use std::sync::Arc;
use std::sync::atomic::Ordering::SeqCst;
use std::thread;
use std::time::Duration;

use deployer::model::Slot;
use deployer::proxy::Drained;

use crate::flips::{Count, clients};
use crate::support::{Proxy, end, until, wait};
use crate::upstream::Upstream;

fn has_ended(older: &mut Child) -> bool {
    older.try_wait().unwrap().is_some()
}

#[test]
fn takeovers_under_traffic_fail_no_request() {
    takes_over(Proxy::start(), 6);
}

/// Newer proxies take over from `proxy`, one after another: traffic does not notice.
pub(crate) fn takes_over(mut proxy: Proxy, times: usize) {
    let (blue, green) = (
        Upstream::start("blue", "127.0.0.2"),
        Upstream::start("green", "127.0.0.3"),
    );
    wait(
        proxy
            .control
            .put_route(&proxy.route(Slot::Blue, &[&blue], &[&green])),
    )
    .unwrap();
    let count = Arc::new(Count::default());
    let clients = clients(&count, &proxy.at());
    let mut older = Vec::new();
    let mut slot = Slot::Blue;
    for _ in 0..times {
        older.push(proxy.upgrade());
        // A flip through the newer one is in force in the older ones, which still have kept connections.
        slot = slot.other();
        count.flips.fetch_add(1, SeqCst);
        wait(proxy.control.put_route(&proxy.route(slot, &[&blue], &[&green]))).unwrap();
        count.flips.fetch_add(1, SeqCst);
        let sent = count.sent.load(SeqCst);
        until("traffic", || count.sent.load(SeqCst) > sent + 100);
    }
    count.stop.store(true, SeqCst);
    clients.into_iter().for_each(|client| client.join().unwrap());
    let sent = count.sent.load(SeqCst);
    println!("{sent} requests, {times} takeovers");
    assert_eq!(count.failed.load(SeqCst), 0, "of {sent}");
    assert_eq!(count.late.load(SeqCst), 0, "of {sent}");
    until("the older ones have ended", || older.iter_mut().all(has_ended));
}

#[test]
fn what_the_older_proxy_has_in_flight_is_counted_drained_and_cut_through_the_newer_one() {
    let mut proxy = Proxy::start();
    let (blue, green) = (
        Upstream::start("blue", "127.0.0.2"),
        Upstream::start("green", "127.0.0.3"),
    );
    wait(
        proxy
            .control
            .put_route(&proxy.route(Slot::Blue, &[&blue], &[&green])),
    )
    .unwrap();
    let mut kept = proxy.client();
    assert_eq!(kept.get("/").unwrap().text(), "blue");
    let mut upgraded = proxy.client();
    upgraded
        .say("GET / HTTP/1.1\r\nHost: test\r\nConnection: upgrade\r\nUpgrade: echo\r\n\r\n")
        .unwrap();
    assert_eq!(upgraded.head().unwrap().status, 101);
    let mut held = proxy.client();
    held.say("GET /slow/4000 HTTP/1.1\r\nHost: test\r\n\r\n").unwrap();
    until("two in flight", || {
        wait(proxy.control.in_flight(&[blue.address])).unwrap() == 2
    });

    let mut first = proxy.upgrade();
    let mut second = proxy.upgrade();
    assert_eq!(
        wait(proxy.control.in_flight(&[blue.address])).unwrap(),
        2,
        "counted through two takeovers"
    );
    wait(
        proxy
            .control
            .put_route(&proxy.route(Slot::Green, &[&blue], &[&green])),
    )
    .unwrap();
    let answer = kept.get("/").unwrap();
    assert_eq!(
        (answer.text().as_str(), answer.header("connection")),
        ("green", "close")
    );

    upgraded.say("still").unwrap();
    let mut came = [0; 5];
    upgraded.reader.read_exact(&mut came).unwrap();
    assert_eq!(&came, b"still");
    let control = proxy.control.clone();
    let address = blue.address;
    let drain = thread::spawn(move || wait(control.drain(&[address], Duration::from_secs(6))).unwrap());
    assert_eq!(held.response().unwrap().text(), "blue");
    assert_eq!(
        drain.join().unwrap(),
        Drained {
            finished: 1,
            cut: 1,
            closed: 0
        }
    );
    assert!(upgraded.is_closed());
    until("the older ones have ended", || {
        has_ended(&mut first) && has_ended(&mut second)
    });
    assert_eq!(proxy.client().get("/").unwrap().text(), "green");
}

#[test]
fn an_upgrade_where_no_proxy_runs_is_a_start() {
    let mut proxy = Proxy::start();
    let blue = Upstream::start("blue", "127.0.0.2");
    proxy.send_to(&[&blue]);
    end(&mut proxy.child);
    let again = proxy.another(&["--upgrade"]).unwrap();
    proxy.child = again;
    assert_eq!(proxy.client().get("/").unwrap().text(), "blue");
}

#[test]
fn a_takeover_that_dies_half_way_leaves_the_running_proxy_as_it_was() {
    let proxy = Proxy::start();
    let blue = Upstream::start("blue", "127.0.0.2");
    // Asks for the sockets, and goes away instead of committing.
    let mut half = std::os::unix::net::UnixStream::connect(proxy.state().join("takeover.sock")).unwrap();
    half.read_exact(&mut [0; 4]).unwrap();
    drop(half);
    proxy.send_to(&[&blue]);
    assert_eq!(proxy.client().get("/").unwrap().text(), "blue");
}
