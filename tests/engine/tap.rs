//! What a client sends to the Engine for a build, without the build: a socket in front of the Engine's.

use std::collections::BTreeSet;
use std::io::{BufRead, BufReader, Write};
use std::os::unix::net::{UnixListener, UnixStream};
use std::sync::{Arc, Mutex};
use std::thread;

use super::support::host;

/// Passes everything on but builds, which it reads and refuses.
pub(crate) struct Tap {
    folder: tempfile::TempDir,
    /// For each build the names of all that came with it.
    seen: Arc<Mutex<Vec<Names>>>,
}

type Names = BTreeSet<String>;

impl Tap {
    pub(crate) fn open() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let listener = UnixListener::bind(folder.path().join("sock")).unwrap();
        let seen: Arc<Mutex<Vec<Names>>> = Arc::default();
        let into = Arc::clone(&seen);
        thread::spawn(move || {
            for client in listener.incoming().map_while(Result::ok) {
                let into = Arc::clone(&into);
                thread::spawn(move || serve(&client, &into));
            }
        });
        Self { folder, seen }
    }

    /// Its address, as DOCKER_HOST.
    pub(crate) fn host(&self) -> String {
        format!("unix://{}/sock", self.folder.path().display())
    }

    /// The names that came with the one build since the last look.
    pub(crate) fn take(&self) -> Names {
        let mut seen = self.seen.lock().unwrap();
        assert_eq!(seen.len(), 1, "{seen:?}");
        let names = seen.remove(0);
        assert!(names.contains("Dockerfile"), "{names:?}");
        names
    }
}

/// One request, after which the connection ends.
fn serve(client: &UnixStream, seen: &Mutex<Vec<Names>>) {
    let mut reader = BufReader::new(client);
    let mut head = String::new();
    while !head.ends_with("\r\n\r\n") {
        if reader.read_line(&mut head).unwrap_or(0) == 0 {
            return;
        }
    }
    let mut client = client;
    let target = head.split(' ').nth(1).unwrap_or_default();
    if !target.contains("/build?") {
        let mut engine = UnixStream::connect(host().trim_start_matches("unix://")).unwrap();
        let closing = head.replacen("\r\n", "\r\nConnection: close\r\n", 1);
        engine.write_all(closing.as_bytes()).unwrap();
        let _ = std::io::copy(&mut engine, &mut client);
        return;
    }
    let chunked = head.to_lowercase().contains("transfer-encoding: chunked");
    assert!(chunked, "{head}");
    let body = dechunked(&mut reader);
    let mut archive = tar::Archive::new(body.as_slice());
    let names = archive.entries().unwrap().map(|entry| {
        let entry = entry.unwrap();
        let path = entry.path().unwrap().display().to_string();
        path.trim_end_matches('/').to_owned()
    });
    seen.lock().unwrap().push(names.collect());
    let _ = client.write_all(
        b"HTTP/1.1 400 Bad Request\r\nContent-Type: application/json\r\nConnection: close\r\n\
          Content-Length: 18\r\n\r\n{\"message\":\"seen\"}",
    );
}

fn dechunked(from: &mut impl BufRead) -> Vec<u8> {
    let mut body = Vec::new();
    loop {
        let mut line = String::new();
        from.read_line(&mut line).unwrap();
        let size = usize::from_str_radix(line.trim(), 16).unwrap();
        let begun = body.len();
        body.resize(begun + size, 0);
        from.read_exact(&mut body[begun..]).unwrap();
        from.read_line(&mut line).unwrap();
        if size == 0 {
            return body;
        }
    }
}
