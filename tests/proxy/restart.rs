//! What survives the end of the process, and what a start refuses.

use std::fs;

use deployer::model::Slot;
use deployer::proxy::ClosedPort;

use crate::support::{Proxy, end, terminate, until, wait};
use crate::upstream::Upstream;

#[test]
fn routes_are_restored_before_the_first_connection_is_taken() {
    let mut proxy = Proxy::start();
    let (blue, green) = (
        Upstream::start("blue", "127.0.0.2"),
        Upstream::start("green", "127.0.0.3"),
    );
    let applied = wait(
        proxy
            .control
            .put_route(&proxy.route(Slot::Green, &[&blue], &[&green])),
    )
    .unwrap();
    for _ in 0..3 {
        end(&mut proxy.child);
        let again = proxy.another(&[]).unwrap();
        proxy.child = again;
        assert_eq!(proxy.client().get("/").unwrap().text(), "green");
        assert_eq!(proxy.client_of(Slot::Blue).get("/").unwrap().text(), "blue");
    }
    let checked = wait(proxy.control.check(proxy.public, "test", "/", &applied.check)).unwrap();
    assert!(checked.release.is_some(), "the token survives as well");
}

#[test]
fn a_routes_file_that_cannot_be_read_is_put_aside_and_said() {
    let mut proxy = Proxy::start();
    let blue = Upstream::start("blue", "127.0.0.2");
    proxy.send_to(&[&blue]);
    end(&mut proxy.child);
    let file = proxy.state().join("routes.json");
    let whole = fs::read(&file).unwrap();
    fs::write(&file, &whole[..whole.len() / 2]).unwrap();
    proxy.child = proxy.another(&[]).unwrap();
    assert_eq!(proxy.client().get("/").unwrap().status, 503);
    let info = wait(proxy.control.info()).unwrap();
    let aside = info.recovered_from.expect("it says where the file is");
    assert_eq!(fs::read(aside).unwrap(), whole[..whole.len() / 2]);
    proxy.send_to(&[&blue]);
    assert_eq!(proxy.client().get("/").unwrap().text(), "blue");
}

#[test]
fn a_routes_file_of_a_newer_version_stops_the_start_and_is_left_alone() {
    let mut proxy = Proxy::start();
    end(&mut proxy.child);
    let file = proxy.state().join("routes.json");
    let newer = deployer::ground::sealed::seal(2, &serde_json::json!({"unheard": "of"}));
    fs::write(&file, newer).unwrap();
    let said = proxy.another(&[]).unwrap_err();
    assert!(said.contains("written by a newer deployer"), "{said}");
    assert!(fs::read_to_string(&file).unwrap().contains("unheard"));
}

#[test]
fn a_second_proxy_is_refused() {
    let proxy = Proxy::start();
    let said = proxy.another(&[]).unwrap_err();
    assert!(
        said.contains("another proxy runs already") && said.contains("--upgrade"),
        "{said}"
    );
    assert!(said.contains(&proxy.child.id().to_string()), "{said}");
    assert_eq!(proxy.client().get("/").unwrap().status, 503);
}

#[test]
fn a_slot_port_that_is_taken_at_the_start_does_not_keep_the_public_port_closed() {
    let mut proxy = Proxy::start();
    let blue = Upstream::start("blue", "127.0.0.2");
    proxy.send_to(&[&blue]);
    end(&mut proxy.child);
    let port = proxy.route(Slot::Blue, &[], &[]).slots[&Slot::Green].port;
    let holder = std::net::TcpListener::bind(("127.0.0.1", port)).unwrap();
    proxy.child = proxy.another(&[]).unwrap();
    assert_eq!(proxy.client().get("/").unwrap().text(), "blue");
    let closed = wait(proxy.control.info()).unwrap().closed_ports;
    let name = std::fs::read_to_string("/proc/self/comm").unwrap();
    let reason = format!(
        "port {port} is taken by {} (pid {})",
        name.trim_end(),
        std::process::id()
    );
    assert_eq!(closed, [ClosedPort { port, reason }]);
    drop(holder);
    proxy.send_to(&[&blue]);
    assert_eq!(wait(proxy.control.info()).unwrap().closed_ports, []);
    assert_eq!(proxy.client_of(Slot::Green).get("/").unwrap().status, 503);
}

#[test]
fn sigterm_lets_requests_end_and_takes_no_more() {
    let mut proxy = Proxy::start();
    let blue = Upstream::start("blue", "127.0.0.2");
    proxy.send_to(&[&blue]);
    let mut held = proxy.client();
    held.say("GET /hold HTTP/1.1\r\nHost: test\r\n\r\n").unwrap();
    let mut idle = proxy.client();
    idle.get("/").unwrap();
    until("in flight", || {
        wait(proxy.control.in_flight(&[blue.address])).unwrap() == 1
    });
    terminate(&proxy.child);
    until("refused", || {
        crate::client::Client::try_open(proxy.public).is_err()
    });
    assert!(idle.is_closed());
    assert!(proxy.child.try_wait().unwrap().is_none());
    blue.release();
    let answer = held.response().unwrap();
    assert_eq!(
        (answer.text().as_str(), answer.header("connection")),
        ("blue", "close")
    );
    assert!(proxy.child.wait().unwrap().success());
}

#[test]
fn a_route_that_cannot_be_written_is_refused_and_nothing_changes() {
    let proxy = Proxy::start();
    let (blue, green) = (
        Upstream::start("blue", "127.0.0.2"),
        Upstream::start("green", "127.0.0.3"),
    );
    proxy.send_to(&[&blue]);
    // A folder in the file's place is what even root cannot put a file into the place of.
    fs::remove_file(proxy.state().join("routes.json")).unwrap();
    fs::create_dir(proxy.state().join("routes.json")).unwrap();
    let refused = wait(
        proxy
            .control
            .put_route(&proxy.route(Slot::Green, &[&blue], &[&green])),
    )
    .unwrap_err();
    assert!(
        refused.to_string().contains("the routes cannot be written"),
        "{refused}"
    );
    assert_eq!(proxy.client().get("/").unwrap().text(), "blue");
    assert_eq!(
        wait(proxy.control.routes()).unwrap(),
        [proxy.route(Slot::Blue, &[&blue], &[])]
    );
}
