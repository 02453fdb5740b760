//! A forwarder in front of a real HTTP server that can be told to fail: one request a connection, and what is chosen
//! is answered 500, or goes so far and no further.

use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering::SeqCst};
use std::sync::{Arc, Mutex};
use std::thread::{self, JoinHandle};
use std::time::Duration;

/// Bytes of a head.
const HEAD_MAX: usize = 64 << 10;

/// Which requests fail: their line begins with the method and contains the part.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Chosen(pub(crate) &'static str, pub(crate) &'static str);

/// How a chosen request fails.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Fault {
    /// It is answered 500.
    Answers500(Chosen),
    /// So many bytes of its body and of its answer pass, and then nothing, on a connection that stays open.
    Hangs(Chosen, u64),
}

/// See the module. Ends when it is dropped.
pub(crate) struct Forwarder {
    shared: Arc<Shared>,
    address: SocketAddr,
    accepting: Option<JoinHandle<()>>,
}

struct Shared {
    to: SocketAddr,
    fault: Mutex<Option<Fault>>,
    met: AtomicU32,
    ended: AtomicBool,
}

impl Forwarder {
    /// Listens at `address` and passes everything on to `to`.
    pub(crate) fn start(address: SocketAddr, to: SocketAddr) -> Self {
        let listener = TcpListener::bind(address).expect("the forwarder's port is free");
        let shared = Arc::new(Shared {
            to,
            fault: Mutex::default(),
            met: AtomicU32::new(0),
            ended: AtomicBool::new(false),
        });
        let of_thread = Arc::clone(&shared);
        let accepting = thread::spawn(move || {
            for client in listener.incoming().flatten() {
                if of_thread.ended.load(SeqCst) {
                    return;
                }
                let shared = Arc::clone(&of_thread);
                thread::spawn(move || shared.serve(client));
            }
        });
        Self {
            shared,
            address,
            accepting: Some(accepting),
        }
    }

    /// From now on requests fail like this; those that hang go on hanging.
    pub(crate) fn fail(&self, fault: Fault) {
        self.shared.met.store(0, SeqCst);
        *self.shared.fault.lock().expect("no thread panics") = Some(fault);
    }

    /// From now on everything passes. Gives how many requests have failed since the last [`Self::fail`].
    pub(crate) fn pass(&self) -> u32 {
        *self.shared.fault.lock().expect("no thread panics") = None;
        self.shared.met.load(SeqCst)
    }
}

impl Drop for Forwarder {
    fn drop(&mut self) {
        self.shared.ended.store(true, SeqCst);
        let _ = TcpStream::connect(self.address);
        // The port is free, and refuses connections, when this returns.
        let _ = self.accepting.take().map(JoinHandle::join);
    }
}

impl Shared {
    fn serve(&self, client: TcpStream) -> Option<()> {
        let (head, rest) = read_head(&client)?;
        let line = head.lines().next()?;
        let chosen = |chosen: Chosen| line.starts_with(chosen.0) && line.contains(chosen.1);
        let fault = *self.fault.lock().expect("no thread panics");
        let fault = fault.filter(|fault| match fault {
            Fault::Answers500(which) | Fault::Hangs(which, _) => chosen(*which),
        });
        if fault.is_some() {
            self.met.fetch_add(1, SeqCst);
        }
        match fault {
            None => self.pass_on(client, &head, &rest, None),
            Some(Fault::Hangs(_, bytes)) => self.pass_on(client, &head, &rest, Some(bytes)),
            Some(Fault::Answers500(_)) => answer_500(client, &rest, &head),
        }
    }

    /// Passes a request and its answer on, all of both or so many bytes of each.
    fn pass_on(&self, client: TcpStream, head: &str, rest: &[u8], bytes: Option<u64>) -> Option<()> {
        let server = TcpStream::connect(self.to).ok()?;
        let most = bytes.unwrap_or(u64::MAX);
        let (mut to_server, from_client) = (server.try_clone().ok()?, client.try_clone().ok()?);
        // The server closes after its answer, so that each connection has one request.
        let (line, headers) = head.split_once("\r\n")?;
        let head = format!("{line}\r\nConnection: close\r\n{headers}");
        let rest = rest[..rest.len().min(usize::try_from(most).unwrap_or(usize::MAX))].to_vec();
        thread::spawn(move || {
            let _ = to_server.write_all(head.as_bytes());
            let _ = to_server.write_all(&rest);
            let left = most - rest.len() as u64;
            let _ = std::io::copy(&mut from_client.take(left), &mut to_server);
            if bytes.is_none() {
                let _ = to_server.shutdown(Shutdown::Write);
            }
        });
        let _ = std::io::copy(&mut server.take(most), &mut &client);
        while bytes.is_some() && !self.ended.load(SeqCst) && is_open(&client) {
            thread::sleep(Duration::from_millis(20));
        }
        let _ = client.shutdown(Shutdown::Both);
        Some(())
    }
}

/// The head and what came behind it.
fn read_head(mut client: &TcpStream) -> Option<(String, Vec<u8>)> {
    let mut read = Vec::new();
    let mut buffer = [0; 4096];
    loop {
        if let Some(end) = read.windows(4).position(|four| four == b"\r\n\r\n") {
            let rest = read.split_off(end + 4);
            return Some((String::from_utf8(read).ok()?, rest));
        }
        let count = client.read(&mut buffer).ok().filter(|count| *count > 0)?;
        read.extend(&buffer[..count]);
        // The Engine tries TLS first: a server that speaks none hangs up.
        if read.len() > HEAD_MAX || !read[0].is_ascii_uppercase() {
            return None;
        }
    }
}

/// Takes what the client sends, so that it reads the answer, and answers 500.
fn answer_500(client: TcpStream, rest: &[u8], head: &str) -> Option<()> {
    let length = head.lines().find_map(|line| {
        let (name, value) = line.split_once(':')?;
        name.eq_ignore_ascii_case("content-length")
            .then(|| value.trim().parse().ok())?
    });
    let left = u64::saturating_sub(length.unwrap_or(0), rest.len() as u64);
    let _ = std::io::copy(&mut (&client).take(left), &mut std::io::sink());
    let answer = "HTTP/1.1 500 Internal Server Error\r\nConnection: close\r\nContent-Length: 5\r\n\r\noops\n";
    (&client).write_all(answer.as_bytes()).ok()?;
    client.shutdown(Shutdown::Write).ok()?;
    // Closed with something unread, the answer would be lost with it.
    client.set_read_timeout(Some(Duration::from_secs(5))).ok()?;
    let _ = std::io::copy(&mut &client, &mut std::io::sink());
    Some(())
}

/// Whether the client has not closed its side.
fn is_open(client: &TcpStream) -> bool {
    let waits = Some(Duration::from_millis(1));
    let mut byte = [0];
    client.set_read_timeout(waits).is_ok()
        && match client.peek(&mut byte) {
            Ok(count) => count > 0,
            Err(error) => matches!(
                error.kind(),
                std::io::ErrorKind::WouldBlock | std::io::ErrorKind::TimedOut
            ),
        }
}
