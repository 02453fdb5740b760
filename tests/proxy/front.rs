//! Behind another program: at a unix socket in the public port's place, with all that holds for the port.

use std::fs;
use std::net::TcpStream;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixListener;

use deployer::model::Slot;

use crate::client::Client;
use crate::supervised::supervised;
use crate::support::{Proxy, end, until, wait};
use crate::upgrade::takes_over;
use crate::upstream::{Upstream, field};

/// A proxy behind another program, with blue live.
fn start() -> (Proxy, Upstream) {
    let proxy = Proxy::start_behind();
    let blue = Upstream::start("blue", "127.0.0.2");
    proxy.send_to(&[&blue]);
    (proxy, blue)
}

fn answers(proxy: &Proxy) -> String {
    proxy.client().get("/").unwrap().text()
}

#[test]
fn the_socket_is_there_for_every_user_and_the_public_port_is_the_programs() {
    let (proxy, _blue) = start();

    assert_eq!(answers(&proxy), "blue");
    assert_eq!(proxy.client_of(Slot::Blue).get("/").unwrap().text(), "blue");
    let mode = |path: &std::path::Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!(mode(&proxy.socket()), 0o666);
    assert_eq!(mode(proxy.socket().parent().unwrap()), 0o755);
    TcpStream::connect(proxy.public).expect_err("the program's port");
    let info = wait(proxy.control.info()).unwrap();
    assert_eq!((info.listen, info.socket), (proxy.public, Some(proxy.socket())));
    // Which is no slot's, though nobody listens there yet.
    let mut route = proxy.route(Slot::Blue, &[], &[]);
    route.slots.get_mut(&Slot::Green).unwrap().port = proxy.public.port();
    let refused = wait(proxy.control.put_route(&route)).unwrap_err().to_string();
    assert!(refused.contains("is wanted twice"), "{refused}");
}

#[test]
fn the_way_so_far_is_what_the_program_in_front_wrote() {
    let (proxy, _blue) = start();
    let asks = |lines: &str| {
        let mut client = proxy.client();
        let request = format!("GET /head HTTP/1.1\r\nHost: Shop.Example:81\r\n{lines}\r\n");
        client.say(request).unwrap();
        client.response().unwrap().text()
    };

    let head = asks("X-Forwarded-For: 9.9.9.9\r\nX-Forwarded-For: 8.8.8.8\r\nX-Forwarded-Proto: https\r\n");

    assert_eq!(field(&head, "x-forwarded-for"), Some("9.9.9.9, 8.8.8.8"));
    assert_eq!(field(&head, "x-forwarded-proto"), Some("https"));
    assert_eq!(field(&head, "x-forwarded-host"), Some("Shop.Example:81"));
    assert_eq!(field(&head, "host"), Some("Shop.Example:81"));
    assert_eq!(field(&asks(""), "x-forwarded-for"), None);
}

#[test]
fn takeovers_at_a_socket_under_traffic_fail_no_request() {
    takes_over(Proxy::start_behind(), 3);
}

#[test]
fn a_socket_that_nobody_serves_is_replaced_and_anything_else_is_left_alone() {
    let (mut proxy, _blue) = start();
    end(&mut proxy.child);
    assert!(proxy.socket().exists(), "what a killed proxy leaves");
    Client::try_open(proxy.at()).err().expect("nobody serves it");
    proxy.child = proxy.another(&[]).unwrap();
    assert_eq!(answers(&proxy), "blue");

    // A second proxy, of this folder or of another one, gets it neither way.
    let said = proxy.another(&[]).unwrap_err();
    assert!(said.contains("another proxy runs already"), "{said}");
    let other = Proxy::start();
    other.reconfigure(
        "[proxy]",
        &format!(
            "[proxy]\nkind = \"nginx\"\nmode = \"front\"\nsocket = {:?}",
            proxy.socket()
        ),
    );
    let said = other.another(&["--upgrade"]).unwrap_err();
    assert!(
        said.contains(&format!(
            "another program listens at {}",
            proxy.socket().display()
        )),
        "{said}"
    );
    assert_eq!(
        other.client().get("/").unwrap().status,
        503,
        "and the older one goes on"
    );
    assert_eq!(answers(&proxy), "blue");

    end(&mut proxy.child);
    fs::remove_file(proxy.socket()).unwrap();
    fs::write(proxy.socket(), "mine").unwrap();
    let said = proxy.another(&[]).unwrap_err();
    assert!(said.contains("what is there is no socket"), "{said}");
    assert_eq!(fs::read_to_string(proxy.socket()).unwrap(), "mine");
}

#[test]
fn a_kept_socket_that_clients_no_longer_find_is_made_anew() {
    let (mut manager, mut proxy, _blue) = supervised(Proxy::start_behind());
    let restart = |manager: &mut crate::supervised::Manager, proxy: &mut Proxy| {
        end(&mut proxy.child);
        fs::remove_file(proxy.socket()).unwrap();
        proxy.child = manager.start(proxy);
    };
    restart(&mut manager, &mut proxy);
    assert_eq!(answers(&proxy), "blue");
    manager.has(3);

    // And so by an upgrade.
    fs::remove_dir_all(proxy.socket().parent().unwrap()).unwrap();
    let mut older = proxy.upgrade();
    assert_eq!(answers(&proxy), "blue");
    until("the older one has ended", || older.try_wait().unwrap().is_some());

    // One that is another's now is that one's.
    fs::remove_file(proxy.socket()).unwrap();
    let _stranger = UnixListener::bind(proxy.socket()).unwrap();
    let said = proxy.another(&["--upgrade"]).unwrap_err();
    assert!(said.contains("another program listens at"), "{said}");
    assert_eq!(proxy.client_of(Slot::Blue).get("/").unwrap().text(), "blue");
}
