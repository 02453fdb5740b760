//! Who is routed where.

use std::fs;
use std::net::{Ipv4Addr, SocketAddr, SocketAddrV4, TcpListener};

use deployer::model::{ReleaseId, Slot};
use deployer::proxy::{Checked, ClosedPort, ProxyError};
use rustix::net;

use crate::client::{At, Client, Response};
use crate::support::{Proxy, free_ports, until, wait};
use crate::upstream::Upstream;

fn ask(client: &mut Client, host: &str) -> Response {
    client
        .say(format!("GET / HTTP/1.1\r\nHost: {host}\r\n\r\n"))
        .unwrap();
    client.response().unwrap()
}

#[test]
fn the_host_chooses_the_app_and_the_rest_is_the_default_apps() {
    let proxy = Proxy::start();
    let (shop, blog) = (
        Upstream::start("shop", "127.0.0.2"),
        Upstream::start("blog", "127.0.0.3"),
    );
    let mut route = proxy.route(Slot::Blue, &[&shop], &[]);
    route.hosts = vec!["shop.example".to_owned(), "www.shop.example".to_owned()];
    wait(proxy.control.put_route(&route)).unwrap();
    let mut client = proxy.client();
    assert_eq!(ask(&mut client, "SHOP.example:8080").text(), "shop");
    assert_eq!(ask(&mut client, "www.shop.example.").text(), "shop");
    assert_eq!(ask(&mut client, "other.example").status, 404);

    let mut other = proxy.route(Slot::Green, &[], &[&blog]);
    other.app = "blog".parse().unwrap();
    other.slots.remove(&Slot::Blue);
    let refused = wait(proxy.control.put_route(&other)).unwrap_err();
    assert!(
        matches!(&refused, ProxyError::Refused { reason } if reason.message.contains("is already shop's")),
        "{refused}"
    );
    route.slots.remove(&Slot::Green);
    wait(proxy.control.put_route(&route)).unwrap();
    wait(proxy.control.put_route(&other)).unwrap();
    assert_eq!(ask(&mut client, "other.example").text(), "blog");
    assert_eq!(ask(&mut client, "shop.example").text(), "shop");
    let apps: Vec<String> = wait(proxy.control.routes())
        .unwrap()
        .iter()
        .map(|route| route.app.to_string())
        .collect();
    assert_eq!(apps, ["blog", "shop"]);

    wait(proxy.control.remove_route(&"blog".parse().unwrap())).unwrap();
    assert_eq!(ask(&mut client, "other.example").status, 404);
    assert!(
        Client::try_open(client_address(&proxy, Slot::Green)).is_err(),
        "the slot port is closed"
    );
}

#[test]
fn a_wildcard_matches_one_label_that_nobody_names() {
    let proxy = Proxy::start();
    let (shop, blog) = (
        Upstream::start("shop", "127.0.0.2"),
        Upstream::start("blog", "127.0.0.3"),
    );
    let put = |app: &str, hosts: &[&str], upstream: &Upstream, slot: Slot| {
        let mut route = match slot {
            Slot::Blue => proxy.route(slot, &[upstream], &[]),
            Slot::Green => proxy.route(slot, &[], &[upstream]),
        };
        route.app = app.parse().unwrap();
        route.hosts = hosts.iter().map(|&host| host.to_owned()).collect();
        route.slots.retain(|of, _| *of == slot);
        wait(proxy.control.put_route(&route))
    };
    put("shop", &["*.shop.example", "shop.example"], &shop, Slot::Blue).unwrap();
    put(
        "blog",
        &["blog.shop.example", "*.blog.shop.example"],
        &blog,
        Slot::Green,
    )
    .unwrap();
    let mut twice = proxy.route(Slot::Blue, &[], &[]);
    twice.app = "twice".parse().unwrap();
    twice.hosts = vec!["*.shop.example".to_owned()];
    twice.live = None;
    twice.slots.clear();
    let refused = wait(proxy.control.put_route(&twice)).unwrap_err();
    assert!(
        matches!(&refused, ProxyError::Refused { reason } if reason.message == "the host *.shop.example is already shop's"),
        "{refused}"
    );
    let mut client = proxy.client();
    for (host, app) in [
        ("a.shop.example", Some("shop")),
        ("A-1.Shop.Example:8080", Some("shop")),
        ("a.shop.example.", Some("shop")),
        ("shop.example", Some("shop")),
        ("*.shop.example", None),
        ("a.b.shop.example", None),
        (".shop.example", None),
        ("ashop.example", None),
        ("blog.shop.example", Some("blog")),
        ("a.blog.shop.example", Some("blog")),
        ("example", None),
    ] {
        match (ask_or_close(&mut client, host, &proxy), app) {
            (answer, Some(app)) => assert_eq!(answer.text(), app, "{host}"),
            (answer, None) => assert!(matches!(answer.status, 400 | 404), "{host}"),
        }
    }
}

/// The answer for `host`; by another connection next time, where this one was refused.
fn ask_or_close(client: &mut Client, host: &str, proxy: &Proxy) -> Response {
    let answer = ask(client, host);
    if answer.status == 400 {
        *client = proxy.client();
    }
    answer
}

fn client_address(proxy: &Proxy, slot: Slot) -> std::net::SocketAddr {
    (
        [127, 0, 0, 1],
        proxy.route(Slot::Blue, &[], &[]).slots[&slot].port,
    )
        .into()
}

#[test]
fn a_slot_port_answers_from_its_slot_live_or_not() {
    let proxy = Proxy::start();
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
    let mut at_green = proxy.client_of(Slot::Green);
    assert_eq!(ask(&mut at_green, "anything").text(), "green");
    assert_eq!(ask(&mut proxy.client_of(Slot::Blue), "anything").text(), "blue");
    assert_eq!(ask(&mut proxy.client(), "anything").text(), "blue");
    wait(proxy.control.put_route(&proxy.route(Slot::Green, &[&blue], &[]))).unwrap();
    assert_eq!(ask(&mut at_green, "anything").status, 503);
    assert_eq!(ask(&mut proxy.client(), "anything").status, 503);
}

#[test]
fn a_check_tells_which_release_has_answered_and_only_to_whom_has_the_token() {
    let proxy = Proxy::start();
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
    let check =
        |path: &str, token: &str| wait(proxy.control.check(proxy.public, "test", path, token)).unwrap();
    assert_eq!(
        check("/", &applied.check),
        Checked {
            status: 200,
            release: Some((Slot::Green, ReleaseId(2)))
        }
    );
    assert_eq!(
        check("/status/500", &applied.check).release,
        Some((Slot::Green, ReleaseId(2)))
    );
    assert_eq!(check("/", "guess").release, None);
    green.stop();
    assert_eq!(
        check("/", &applied.check),
        Checked {
            status: 503,
            release: None
        }
    );
}

#[test]
fn a_slot_port_that_is_taken_stops_no_flip_and_opens_by_itself_once_it_is_free() {
    let proxy = Proxy::start();
    let (blue, green) = (
        Upstream::start("blue", "127.0.0.2"),
        Upstream::start("green", "127.0.0.3"),
    );
    let route = proxy.route(Slot::Blue, &[&blue], &[&green]);
    let [of_blue, of_green] = [Slot::Blue, Slot::Green].map(|slot| route.slots[&slot].port);
    let holder = TcpListener::bind(("127.0.0.1", of_green)).unwrap();
    let reason = format!(
        "port {of_green} is taken by {} (pid {})",
        fs::read_to_string("/proc/self/comm").unwrap().trim_end(),
        std::process::id()
    );
    let closed = [ClosedPort {
        port: of_green,
        reason,
    }];

    // Its own route: the first one, and a flip to the slot itself.
    assert_eq!(wait(proxy.control.put_route(&route)).unwrap().closed, closed);
    assert_eq!(proxy.client().get("/").unwrap().text(), "blue");
    assert_eq!(client_at(of_blue).get("/").unwrap().text(), "blue");
    let flipped = proxy.route(Slot::Green, &[&blue], &[&green]);
    assert_eq!(wait(proxy.control.put_route(&flipped)).unwrap().closed, closed);
    assert_eq!(proxy.client().get("/").unwrap().text(), "green");

    // Another app's routes know nothing of it.
    let mut other = proxy.route_beside("cart", &blue);
    for live in [Slot::Blue, Slot::Green, Slot::Blue] {
        other.live = Some(live);
        assert_eq!(wait(proxy.control.put_route(&other)).unwrap().closed, []);
    }
    for slot in other.slots.values() {
        assert_eq!(client_at(slot.port).get("/").unwrap().text(), "blue");
    }
    wait(proxy.control.remove_route(&other.app)).unwrap();
    assert_eq!(wait(proxy.control.info()).unwrap().closed_ports, closed);

    drop(holder);
    until("the port to be opened", || {
        wait(proxy.control.info()).unwrap().closed_ports.is_empty()
    });
    assert_eq!(proxy.client_of(Slot::Green).get("/").unwrap().text(), "green");
}

#[test]
fn connections_of_the_proxys_own_keep_no_port_from_being_opened() {
    let proxy = Proxy::start();
    // Several, since the kernel may have given one port to a stranger's connection too.
    let upstreams = [(); 5].map(|()| Upstream::start("blue", "127.0.0.1"));
    proxy.send_to(&upstreams.each_ref());
    let mut client = proxy.client();
    for _ in &upstreams {
        client.get("/").unwrap();
    }
    let opened = upstreams.iter().find_map(|upstream| {
        let port = port_of_a_connection_to(upstream.address.into())?;
        let mut route = proxy.route(Slot::Blue, &upstreams.each_ref(), &[]);
        route.slots.get_mut(&Slot::Green).unwrap().port = port;
        let closed = wait(proxy.control.put_route(&route)).unwrap().closed;
        closed.is_empty().then_some(port)
    });
    let opened = opened.expect("a port of a connection is opened");
    assert_eq!(client_at(opened).get("/").unwrap().status, 503);
}

#[test]
fn the_rest_of_a_strangers_connection_is_told_as_what_it_is() {
    let proxy = Proxy::start();
    let blue = Upstream::start("blue", "127.0.0.2");
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let mut route = proxy.route(Slot::Blue, &[&blue], &[]);
    // A port that the kernel gives to nobody else meanwhile.
    let [port] = free_ports::<1>();
    let outgoing = net::socket(net::AddressFamily::INET, net::SocketType::STREAM, None).unwrap();
    net::bind(&outgoing, &SocketAddrV4::new(Ipv4Addr::LOCALHOST, port)).unwrap();
    net::connect(&outgoing, &listener.local_addr().unwrap()).unwrap();
    drop((outgoing, listener.accept().unwrap()));
    route.slots.get_mut(&Slot::Green).unwrap().port = port;

    let closed = wait(proxy.control.put_route(&route)).unwrap().closed;

    let told = format!(
        "port {port} waits for the last packets of a connection to {}",
        listener.local_addr().unwrap()
    );
    assert!(closed[0].reason.starts_with(&told), "{closed:?}");
    assert!(
        closed[0].reason.contains("free by itself within 60 s"),
        "{closed:?}"
    );
    assert_eq!(proxy.client().get("/").unwrap().text(), "blue");
}

fn client_at(port: u16) -> Client {
    Client::open(At::Port((Ipv4Addr::LOCALHOST, port).into()))
}

/// The port that the kernel gave to a connection to `peer`, by its table.
fn port_of_a_connection_to(peer: SocketAddr) -> Option<u16> {
    let peer = format!("0100007F:{:04X}", peer.port());
    let table = fs::read_to_string("/proc/net/tcp").unwrap();
    let mut fields = table
        .lines()
        .map(|line| line.split_whitespace().collect::<Vec<_>>());
    let to_peer = fields.find(|fields| fields[2] == peer)?;
    u16::from_str_radix(to_peer[1].split_once(':')?.1, 16).ok()
}

#[test]
fn metrics_count_by_app_slot_and_class() {
    let proxy = Proxy::start();
    let blue = Upstream::start("blue", "127.0.0.2");
    proxy.send_to(&[&blue]);
    let mut client = proxy.client();
    client.get("/").unwrap();
    client.get("/status/404").unwrap();
    client.get("/die").unwrap();
    wait(
        proxy
            .control
            .put_route(&proxy.route(Slot::Green, &[&blue], &[&blue])),
    )
    .unwrap();
    let page = proxy.metrics();
    for line in [
        "deployer_requests_total{app=\"shop\",slot=\"blue\",class=\"2xx\"} 1",
        "deployer_requests_total{app=\"shop\",slot=\"blue\",class=\"4xx\"} 1",
        "deployer_requests_total{app=\"shop\",slot=\"blue\",class=\"5xx\"} 1",
        "deployer_request_duration_seconds_count{app=\"shop\",slot=\"blue\"} 3",
        "deployer_in_flight{app=\"shop\",slot=\"blue\"} 0",
        "deployer_flips_total{app=\"shop\"} 1",
    ] {
        assert!(page.lines().any(|found| found == line), "{line} in\n{page}");
    }
}

#[test]
fn a_proxy_that_is_not_there_is_said_to_be_unreachable() {
    let control = deployer::proxy::Control::new(std::path::Path::new("/nowhere/control.sock"));
    let error = wait(control.info()).unwrap_err();
    assert!(matches!(error, ProxyError::Unreachable { .. }));
    assert!(
        error.to_string().contains("is `deployer proxy run` up?"),
        "{error}"
    );
}
