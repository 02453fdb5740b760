//! A docker-registry of the test's own, and images pushed to it without an Engine.

use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use deployer::model::RegistrySettings;
use deployer::registry::Registry;
use sha2::{Digest, Sha256};
use tempfile::TempDir;

/// A running docker-registry, stopped at the end.
pub(crate) struct Server {
    child: Child,
    pub(crate) port: u16,
    pub(crate) folder: TempDir,
}

impl Server {
    /// One that is open to all and deletes.
    pub(crate) fn open() -> Self {
        Self::start("delete: {enabled: true}", "", "")
    }

    /// One with these lines in its configuration; `FOLDER` stands for its folder.
    pub(crate) fn start(storage: &str, http: &str, rest: &str) -> Self {
        let folder = TempDir::new().unwrap();
        Self::start_in(folder, storage, http, rest)
    }

    /// One in a prepared folder.
    pub(crate) fn start_in(folder: TempDir, storage: &str, http: &str, rest: &str) -> Self {
        // The port that was free may be taken meanwhile: then another one.
        for _ in 0..5 {
            let port = free_port();
            let config = format!(
                "version: 0.1\nlog: {{level: error}}\nstorage:\n  filesystem: {{rootdirectory: FOLDER/data}}\n  \
                 {storage}\nhttp:\n  addr: 127.0.0.1:{port}\n  {http}\n{rest}\n"
            );
            let path = folder.path().join("config.yml");
            fs::write(&path, config.replace("FOLDER", folder.path().to_str().unwrap())).unwrap();
            let log = fs::File::create(folder.path().join("log")).unwrap();
            let mut child = Command::new("docker-registry")
                .arg("serve")
                .arg(&path)
                .stdout(log.try_clone().unwrap())
                .stderr(log)
                .stdin(Stdio::null())
                .spawn()
                .expect("docker-registry is installed: script/setup");
            let deadline = Instant::now() + Duration::from_secs(30);
            while child.try_wait().unwrap().is_none() {
                if TcpStream::connect(("127.0.0.1", port)).is_ok() {
                    return Self { child, port, folder };
                }
                assert!(Instant::now() < deadline, "docker-registry did not start");
                std::thread::yield_now();
            }
        }
        let log = fs::read_to_string(folder.path().join("log")).unwrap();
        panic!("docker-registry ends at once: {log}");
    }

    pub(crate) fn settings(&self) -> RegistrySettings {
        settings(self.port)
    }

    pub(crate) fn registry(&self) -> Registry {
        Registry::new(&self.settings()).unwrap()
    }

    /// Pushes an image of one empty layer, told apart by `content`, as `path:tag`, and gives its digest.
    pub(crate) fn push(&self, path: &str, tag: &str, content: &str) -> String {
        let config = format!("{{\"content\":\"{content}\"}}");
        let config_digest = self.upload(path, config.as_bytes());
        let layer_digest = self.upload(path, b"layer");
        let manifest = format!(
            "{{\"schemaVersion\":2,\"mediaType\":\"{MANIFEST}\",\
             \"config\":{{\"mediaType\":\"application/vnd.docker.container.image.v1+json\",\"digest\":\"{config_digest}\",\"size\":{}}},\
             \"layers\":[{{\"mediaType\":\"application/vnd.docker.image.rootfs.diff.tar.gzip\",\"digest\":\"{layer_digest}\",\"size\":5}}]}}",
            config.len()
        );
        let target = format!("/v2/{path}/manifests/{tag}");
        let (status, _) = self.send("PUT", &target, MANIFEST, manifest.as_bytes());
        assert_eq!(status, 201);
        digest(manifest.as_bytes())
    }

    fn upload(&self, path: &str, content: &[u8]) -> String {
        let digest = digest(content);
        let (_, location) = self.send("POST", &format!("/v2/{path}/blobs/uploads/"), "", b"");
        let location = location.expect("an upload has a location");
        let target = &location[location.find("/v2/").unwrap()..];
        let target = format!("{target}&digest={digest}");
        let (status, _) = self.send("PUT", &target, "application/octet-stream", content);
        assert_eq!(status, 201);
        digest
    }

    /// Sends a request, and gives the status and the location.
    fn send(&self, method: &str, target: &str, kind: &str, body: &[u8]) -> (u16, Option<String>) {
        let mut stream = TcpStream::connect(("127.0.0.1", self.port)).unwrap();
        let length = body.len();
        let head = format!(
            "{method} {target} HTTP/1.1\r\nhost: 127.0.0.1:{}\r\ncontent-type: {kind}\r\ncontent-length: {length}\r\n\
             connection: close\r\n\r\n",
            self.port
        );
        stream.write_all(&[head.as_bytes(), body].concat()).unwrap();
        let lines: Vec<String> = BufReader::new(stream).lines().map_while(Result::ok).collect();
        let status = lines[0].split(' ').nth(1).unwrap().parse().unwrap();
        let location = lines.iter().find_map(|line| line.strip_prefix("Location: "));
        (status, location.map(str::to_owned))
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

const MANIFEST: &str = "application/vnd.docker.distribution.manifest.v2+json";

/// `sha256:…` of `content`.
fn digest(content: &[u8]) -> String {
    let hex: String = Sha256::digest(content)
        .iter()
        .map(|b| format!("{b:02x}"))
        .collect();
    format!("sha256:{hex}")
}

/// The settings for a registry on this port of the loopback.
pub(crate) fn settings(port: u16) -> RegistrySettings {
    RegistrySettings {
        address: format!("127.0.0.1:{port}"),
        section: "registry".into(),
        prefix: String::new(),
        username: None,
        password_file: None,
        plain_http: true,
        transfer_timeout: std::time::Duration::from_secs(60),
        collect: None,
    }
}

/// A port of the loopback that is free now.
pub(crate) fn free_port() -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    listener.local_addr().unwrap().port()
}

/// Writes a file that only its owner may read.
pub(crate) fn secret(path: &Path, content: &str) -> PathBuf {
    use std::os::unix::fs::PermissionsExt;
    fs::write(path, content).unwrap();
    fs::set_permissions(path, fs::Permissions::from_mode(0o600)).unwrap();
    path.to_owned()
}

/// Runs a command that must succeed, and gives what it printed.
pub(crate) fn run(command: &mut Command) -> Vec<u8> {
    let output = command.output().unwrap();
    let told = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{command:?}: {told}");
    output.stdout
}

/// A server that answers each connection by `answer`, given the request's head, on a thread of its own. For what
/// Debian's docker-registry never does.
pub(crate) fn scripted(answer: impl Fn(&str) -> Vec<u8> + Send + Sync + 'static) -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = stream.unwrap();
            let mut head = String::new();
            let mut reader = BufReader::new(stream.try_clone().unwrap());
            while reader.read_line(&mut head).is_ok_and(|read| read > 2) {}
            let _ = stream.write_all(&answer(&head));
        }
    });
    port
}

/// An answer of HTTP with `headers` of its own.
pub(crate) fn answer(status: &str, headers: &str, body: &str) -> Vec<u8> {
    let length = body.len();
    format!("HTTP/1.1 {status}\r\n{headers}content-length: {length}\r\nconnection: close\r\n\r\n{body}")
        .into_bytes()
}
