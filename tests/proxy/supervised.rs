//! Under a supervisor that keeps the listening sockets from one process to the next, as systemd does with
//! `FileDescriptorStoreMax=`: a restart refuses no connection.

use std::collections::BTreeMap;
use std::io::IoSliceMut;
use std::mem::MaybeUninit;
use std::net::TcpStream;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixDatagram;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use deployer::model::Slot;
use rustix::net::{RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, recvmsg};

use crate::client::{At, Client};
use crate::support::{Proxy, end, terminate, until, wait};
use crate::upstream::Upstream;

/// As much of systemd as a service with a store of descriptors sees.
pub(crate) struct Manager {
    folder: tempfile::TempDir,
    socket: UnixDatagram,
    /// By name.
    store: BTreeMap<String, OwnedFd>,
}

impl Manager {
    pub(crate) fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let socket = UnixDatagram::bind(folder.path().join("notify")).unwrap();
        socket.set_read_timeout(Some(Duration::from_millis(50))).unwrap();
        Self {
            folder,
            socket,
            store: BTreeMap::new(),
        }
    }

    /// Starts the proxy with what the store has, and waits until it is ready; none where it ends before.
    fn try_start(&mut self, proxy: &Proxy) -> Option<Child> {
        // The shell puts up to three of them where systemd would: from 3 on. It keeps its process id for the program.
        let script = "exec 3<&0 4<&1 5<&2 </dev/null >>\"$LOG\" 2>&1; LISTEN_PID=$$ exec \"$@\"";
        let mut stored = self.store.values();
        let mut next = || {
            stored.next().map_or_else(Stdio::null, |descriptor| {
                Stdio::from(descriptor.try_clone().unwrap())
            })
        };
        let mut child = Command::new("sh")
            .args(["-c", script, "sh"])
            .args(proxy.command())
            .stdin(next())
            .stdout(next())
            .stderr(next())
            .env("LISTEN_FDS", self.store.len().to_string())
            .env("NOTIFY_SOCKET", self.folder.path().join("notify"))
            .env("LOG", self.folder.path().join("log"))
            .spawn()
            .unwrap();
        assert!(stored.next().is_none(), "the shell has three places");
        loop {
            match self.hear() {
                Some(ready) if ready.starts_with("READY=1") => return Some(child),
                None if child.try_wait().unwrap().is_some() => return None,
                _ => {}
            }
        }
    }

    pub(crate) fn start(&mut self, proxy: &Proxy) -> Child {
        self.try_start(proxy).expect("the proxy starts")
    }

    /// Takes messages until the store has `count` sockets.
    pub(crate) fn has(&mut self, count: usize) {
        until("the sockets in the store", || {
            self.hear();
            self.store.len() == count
        });
    }

    /// The next message, if one comes soon; takes what it brings.
    fn hear(&mut self) -> Option<String> {
        let mut text = [0; 256];
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
        let mut control = RecvAncillaryBuffer::new(&mut space);
        let received = recvmsg(
            &self.socket,
            &mut [IoSliceMut::new(&mut text)],
            &mut control,
            RecvFlags::CMSG_CLOEXEC,
        );
        let received = received.ok()?;
        let text = String::from_utf8_lossy(&text[..received.bytes]).into_owned();
        let name = text.lines().find_map(|line| line.strip_prefix("FDNAME="));
        if text.starts_with("FDSTOREREMOVE=1\n") {
            self.store.remove(name.unwrap());
        }
        for message in control.drain() {
            if let RecvAncillaryMessage::ScmRights(descriptors) = message {
                let named = descriptors.map(|descriptor| (name.unwrap().to_owned(), descriptor));
                self.store.extend(named);
            }
        }
        Some(text)
    }
}

/// `proxy` under a manager, with blue live.
pub(crate) fn supervised(mut proxy: Proxy) -> (Manager, Proxy, Upstream) {
    let mut manager = Manager::new();
    end(&mut proxy.child);
    proxy.child = manager.start(&proxy);
    let blue = Upstream::start("blue", "127.0.0.2");
    proxy.send_to(&[&blue]);
    manager.has(3);
    (manager, proxy, blue)
}

/// A connection with a request on it, made while nobody accepts.
fn ask(at: impl Into<At>) -> Client {
    let mut client = Client::try_open(at).expect("no connection is refused");
    client.say("GET / HTTP/1.1\r\nHost: test\r\n\r\n").unwrap();
    client
}

#[test]
fn a_restart_refuses_no_connection() {
    refuses_no_connection(supervised(Proxy::start()));
}

#[test]
fn a_restart_behind_another_program_refuses_no_connection() {
    refuses_no_connection(supervised(Proxy::start_behind()));
}

fn refuses_no_connection((mut manager, mut proxy, _blue): (Manager, Proxy, Upstream)) {
    for by_term in [true, false, true, false] {
        if by_term {
            terminate(&proxy.child);
            proxy.child.wait().unwrap();
        } else {
            end(&mut proxy.child);
        }
        let mut waiting = [ask(proxy.at()), ask(proxy.address_of(Slot::Blue))];

        proxy.child = manager.start(&proxy);

        for client in &mut waiting {
            assert_eq!(client.response().unwrap().text(), "blue");
        }
    }
}

#[test]
fn a_port_that_is_no_longer_wanted_is_kept_by_nobody() {
    let (mut manager, proxy, _blue) = supervised(Proxy::start());

    wait(proxy.control.remove_route(&"shop".parse().unwrap())).unwrap();

    manager.has(1);
    until("the slot port to be closed", || {
        TcpStream::connect(proxy.address_of(Slot::Blue)).is_err()
    });
}

#[test]
fn a_socket_of_a_former_address_is_given_up() {
    let (mut manager, mut proxy, _blue) = supervised(Proxy::start());
    end(&mut proxy.child);
    let former = proxy.public;

    proxy.listen_on("0.0.0.0");
    // The former one is in the way until the manager has let go of it: then the next start is the good one.
    let mut starts = (0..10).filter_map(|_| manager.try_start(&proxy));
    proxy.child = starts.next().expect("the proxy starts");

    assert_eq!(Client::open(former).get("/").unwrap().text(), "blue");
    assert!(manager.store.keys().any(|name| name.starts_with("0.0.0.0")));
    manager.has(3);
}
