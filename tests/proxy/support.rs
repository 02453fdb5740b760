//! The proxy as a process of its own, in a folder of its own.

use std::fs;
use std::future::Future;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, SocketAddrV4, TcpListener};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering::Relaxed};
use std::time::{Duration, Instant};

use deployer::model::{ReleaseId, Slot};
use deployer::proxy::{AppRoute, Control, SlotRoute, Target};

use crate::client::{At, Client, PATIENCE};
use crate::upstream::Upstream;

pub(crate) struct Proxy {
    pub(crate) child: Child,
    pub(crate) public: SocketAddr,
    pub(crate) control: Control,
    folder: tempfile::TempDir,
    ports: [u16; 2],
    is_behind: bool,
}

impl Proxy {
    /// A proxy with default settings.
    pub(crate) fn start() -> Self {
        Self::start_with("")
    }

    /// A proxy with `settings` added to its `[proxy]`.
    pub(crate) fn start_with(settings: &str) -> Self {
        Self::start_in(tempfile::tempdir().unwrap(), settings)
    }

    /// A proxy behind another program: at a socket, in a folder that is not there yet.
    pub(crate) fn start_behind() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let socket = folder.path().join("run/http.sock");
        let settings = format!("kind = \"nginx\"\nmode = \"front\"\nsocket = {socket:?}");
        let mut proxy = Self::start_in(folder, &settings);
        proxy.is_behind = true;
        proxy
    }

    fn start_in(folder: tempfile::TempDir, settings: &str) -> Self {
        let [public, green, blue] = free_ports();
        let public = SocketAddr::from(([127, 0, 0, 1], public));
        let state = folder.path().join("state");
        let config = format!(
            "state = {state:?}\n[proxy]\nlisten = \"{public}\"\nslot_listen = \"127.0.0.1\"\n{settings}\n"
        );
        fs::write(folder.path().join("deployer.toml"), config).unwrap();
        let control = Control::new(&state.join("proxy/control.sock"));
        let child = spawn(&folder.path().join("deployer.toml"), &[]).expect("the proxy starts");
        Self {
            child,
            public,
            control,
            folder,
            ports: [blue, green],
            is_behind: false,
        }
    }

    /// The socket of one that is behind another program.
    pub(crate) fn socket(&self) -> PathBuf {
        self.folder.path().join("run/http.sock")
    }

    /// Where it listens for every app.
    pub(crate) fn at(&self) -> At {
        match self.is_behind {
            true => At::Socket(self.socket()),
            false => At::Port(self.public),
        }
    }

    /// STATE/proxy
    pub(crate) fn state(&self) -> PathBuf {
        self.folder.path().join("state/proxy")
    }

    /// The command that runs it.
    pub(crate) fn command(&self) -> [std::ffi::OsString; 5] {
        let config = self.folder.path().join("deployer.toml");
        let program = env!("CARGO_BIN_EXE_deployer");
        [
            program.into(),
            "--config".into(),
            config.into(),
            "proxy".into(),
            "run".into(),
        ]
    }

    /// Listens on another address from the next start on, with the port that it has.
    pub(crate) fn listen_on(&self, ip: &str) {
        self.reconfigure(&self.public.to_string(), &format!("{ip}:{}", self.public.port()));
    }

    /// Replaces a text of its configuration, for the next start.
    pub(crate) fn reconfigure(&self, from: &str, to: &str) {
        let config = self.folder.path().join("deployer.toml");
        let text = fs::read_to_string(&config).unwrap().replace(from, to);
        fs::write(config, text).unwrap();
    }

    /// Where the port of `slot` is.
    pub(crate) fn address_of(&self, slot: Slot) -> SocketAddr {
        ([127, 0, 0, 1], self.ports[slot as usize]).into()
    }

    /// Starts another process of this proxy with `arguments` added, and waits until it is ready.
    ///
    /// # Errors
    /// What it said on stderr, when it ended before.
    pub(crate) fn another(&self, arguments: &[&str]) -> Result<Child, String> {
        spawn(&self.folder.path().join("deployer.toml"), arguments)
    }

    /// Takes over with a newer process; gives the older one.
    pub(crate) fn upgrade(&mut self) -> Child {
        let newer = self.another(&["--upgrade"]).expect("the newer proxy starts");
        std::mem::replace(&mut self.child, newer)
    }

    /// The route of the app `shop` for every host: blue runs release 1, green release 2, `live` is live.
    pub(crate) fn route(&self, live: Slot, blue: &[&Upstream], green: &[&Upstream]) -> AppRoute {
        let slot = |slot: Slot, release, upstreams: &[&Upstream]| SlotRoute {
            port: self.ports[slot as usize],
            target: (!upstreams.is_empty()).then(|| Target {
                release: ReleaseId(release),
                upstreams: upstreams.iter().map(|upstream| upstream.address).collect(),
                probe: None,
            }),
        };
        AppRoute {
            app: "shop".parse().unwrap(),
            hosts: Vec::new(),
            response_timeout: None,
            body_timeout: None,
            live: Some(live),
            slots: [
                (Slot::Blue, slot(Slot::Blue, 1, blue)),
                (Slot::Green, slot(Slot::Green, 2, green)),
            ]
            .into(),
            trailers: false,
        }
    }

    /// The route of another app with ports of its own, for the host `APP.test`: blue runs on `upstream`, and is live.
    pub(crate) fn route_beside(&self, app: &str, upstream: &Upstream) -> AppRoute {
        let mut route = self.route(Slot::Blue, &[upstream], &[upstream]);
        (route.app, route.hosts) = (app.parse().unwrap(), vec![format!("{app}.test")]);
        for (slot, port) in route.slots.values_mut().zip(free_ports::<2>()) {
            slot.port = port;
        }
        route
    }

    /// The route of the app `shop` for every host that sends everything to `address`, by blue.
    pub(crate) fn route_to(&self, address: SocketAddrV4) -> AppRoute {
        let mut route = self.route(Slot::Blue, &[], &[]);
        let target = Target {
            release: ReleaseId(1),
            upstreams: vec![address],
            probe: None,
        };
        route.slots.get_mut(&Slot::Blue).unwrap().target = Some(target);
        route
    }

    /// Puts the route in force that sends everything to `upstreams`; gives the token for a check.
    pub(crate) fn send_to(&self, upstreams: &[&Upstream]) -> String {
        wait(self.control.put_route(&self.route(Slot::Blue, upstreams, &[])))
            .unwrap()
            .check
    }

    pub(crate) fn client(&self) -> Client {
        Client::open(self.at())
    }

    /// A client at the port of `slot`.
    pub(crate) fn client_of(&self, slot: Slot) -> Client {
        Client::open(self.address_of(slot))
    }

    /// The page of metrics.
    pub(crate) fn metrics(&self) -> String {
        let mut stream = std::os::unix::net::UnixStream::connect(self.state().join("control.sock")).unwrap();
        stream.write_all(b"GET /metrics HTTP/1.0\r\n\r\n").unwrap();
        let mut page = String::new();
        stream.read_to_string(&mut page).unwrap();
        page
    }

    /// What it has said on stderr.
    pub(crate) fn said(&self) -> String {
        fs::read_to_string(self.folder.path().join("deployer.stderr")).unwrap()
    }

    /// Memory that this process alone would give back, in bytes.
    pub(crate) fn memory(&self) -> u64 {
        let status = fs::read_to_string(format!("/proc/{}/status", self.child.id())).unwrap();
        let line = status.lines().find(|line| line.starts_with("RssAnon:")).unwrap();
        line.split_whitespace().nth(1).unwrap().parse::<u64>().unwrap() * 1024
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        end(&mut self.child);
    }
}

/// Ends a process that the test has started.
pub(crate) fn end(child: &mut Child) {
    let _ = child.kill();
    let _ = child.wait();
}

/// SIGTERM.
pub(crate) fn terminate(child: &Child) {
    let pid = rustix::process::Pid::from_child(child);
    rustix::process::kill_process(pid, rustix::process::Signal::TERM).unwrap();
}

fn spawn(config: &std::path::Path, arguments: &[&str]) -> Result<Child, String> {
    let mut child = Command::new(env!("CARGO_BIN_EXE_deployer"))
        .arg("--config")
        .arg(config)
        .args(["proxy", "run"])
        .args(arguments)
        .stdout(Stdio::piped())
        .stderr(
            fs::OpenOptions::new()
                .create(true)
                .append(true)
                .open(config.with_extension("stderr"))
                .unwrap(),
        )
        .spawn()
        .unwrap();
    let mut line = String::new();
    BufReader::new(child.stdout.take().unwrap())
        .read_line(&mut line)
        .unwrap();
    if line.starts_with("proxy ready on ") {
        return Ok(child);
    }
    let _ = child.wait();
    Err(fs::read_to_string(config.with_extension("stderr")).unwrap())
}

/// Ports that nobody listens on, and that no connection is given for its own end meanwhile: those are from 32,768 on
/// (`ip_local_port_range`), and those of leases from 20,000 on. Tests that run beside each other begin at different ones.
pub(crate) fn free_ports<const N: usize>() -> [u16; N] {
    static TRIED: AtomicU32 = AtomicU32::new(0);
    let mut tried = std::iter::repeat_with(|| {
        let number = std::process::id() * 8 + TRIED.fetch_add(1, Relaxed);
        10_000 + (number % 10_000) as u16
    });
    [(); N].map(|()| {
        let free = tried.find(|port| TcpListener::bind(("127.0.0.1", *port)).is_ok());
        free.expect("there is always another one")
    })
}

/// Runs one future.
pub(crate) fn wait<F: Future>(future: F) -> F::Output {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    runtime.block_on(future)
}

/// Waits until `condition` holds.
pub(crate) fn until(what: &str, mut condition: impl FnMut() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !condition() {
        assert!(Instant::now() < deadline, "never came: {what}");
        std::thread::sleep(Duration::from_millis(5));
    }
}
