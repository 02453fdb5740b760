//! A proxy that says more than it does.

use std::fs;
use std::io::{Read, Write};
use std::net::Shutdown;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering::SeqCst};
use std::thread::{self, JoinHandle};

use crate::failures::{fails, live};

/// In the place of the proxy's control socket: every route is accepted, and none is put in force. All else is the proxy's own
/// answer. The proxy has its socket back when this is dropped.
struct Liar {
    socket: PathBuf,
    real: PathBuf,
    ended: Arc<AtomicBool>,
    /// How many routes it has accepted.
    accepted: Arc<AtomicU32>,
    accepting: Option<JoinHandle<()>>,
}

impl Liar {
    fn start(socket: PathBuf) -> Self {
        let real = socket.with_extension("real");
        fs::rename(&socket, &real).expect("the proxy's socket is put aside");
        let listener = UnixListener::bind(&socket).expect("a socket in its place");
        let (ended, accepted) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU32::new(0)));
        let (stop, count, to) = (Arc::clone(&ended), Arc::clone(&accepted), real.clone());
        let accepting = thread::spawn(move || {
            for client in listener.incoming().flatten() {
                if stop.load(SeqCst) {
                    return;
                }
                let (to, count) = (to.clone(), Arc::clone(&count));
                thread::spawn(move || serve(client, &to, &count));
            }
        });
        Self {
            socket,
            real,
            ended,
            accepted,
            accepting: Some(accepting),
        }
    }
}

impl Drop for Liar {
    fn drop(&mut self) {
        self.ended.store(true, SeqCst);
        let _ = UnixStream::connect(&self.socket);
        let _ = self.accepting.take().map(JoinHandle::join);
        let _ = fs::rename(&self.real, &self.socket);
    }
}

/// A call has a connection of its own, and its body comes with its length.
fn serve(mut client: UnixStream, real: &Path, accepted: &AtomicU32) -> Option<()> {
    let request = read_request(&mut client)?;
    let is_route = request.starts_with(b"PUT /v1/routes ");
    let answer = match is_route {
        true => {
            accepted.fetch_add(1, SeqCst);
            yes(real)?
        }
        false => call(real, &request)?,
    };
    client.write_all(&answer).ok()?;
    client.shutdown(Shutdown::Write).ok()
}

/// What the proxy says when a route is in force, with the token that it goes by.
fn yes(real: &Path) -> Option<Vec<u8>> {
    let checks = call(real, b"GET /v1/checks HTTP/1.1\r\nhost: localhost\r\n\r\n")?;
    let body = checks.windows(4).position(|four| four == b"\r\n\r\n")? + 4;
    let checks: serde_json::Value = serde_json::from_slice(&checks[body..]).ok()?;
    let body = serde_json::json!({ "check": checks["shop"] }).to_string();
    let length = body.len();
    Some(
        format!("HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-length: {length}\r\n\r\n{body}")
            .into_bytes(),
    )
}

/// The proxy's answer, to its end.
fn call(real: &Path, request: &[u8]) -> Option<Vec<u8>> {
    let mut proxy = UnixStream::connect(real).ok()?;
    proxy.write_all(request).ok()?;
    let mut answer = Vec::new();
    proxy.read_to_end(&mut answer).ok()?;
    Some(answer)
}

fn read_request(client: &mut UnixStream) -> Option<Vec<u8>> {
    let (mut read, mut buffer) = (Vec::new(), [0; 4096]);
    loop {
        if let Some(end) = read.windows(4).position(|four| four == b"\r\n\r\n") {
            let head = String::from_utf8_lossy(&read[..end]).to_ascii_lowercase();
            let length = head
                .lines()
                .find_map(|line| line.strip_prefix("content-length:")?.trim().parse().ok());
            if read.len() >= end + 4 + length.unwrap_or(0_usize) {
                return Some(read);
            }
        }
        let count = client.read(&mut buffer).ok().filter(|count| *count > 0)?;
        read.extend(&buffer[..count]);
    }
}

/// One after the other in one world: after each, all is as if it had not been.
#[test]
fn proxy_that_accepts_a_route_and_goes_on_by_the_former_one() {
    let (world, _, repo) = live("proxy-lies", "");
    let liar = Liar::start(world.state("proxy/control.sock"));
    repo.version("v2");
    let told = ["answers by green release 1 for the host"];
    fails(&world, &repo, "green", "flip", &told);
    fails(&world, &repo, "blue", "flip", &told);
    assert!(liar.accepted.load(SeqCst) >= 2, "no route was asked for");

    drop(liar);
    world.deployer(&["redeploy", "green"]).good();
    assert_eq!(world.version(), "v2");
}
