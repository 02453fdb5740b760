//! A world for a test: a deployer of its own with a real git, Docker Engine, registry and proxy, beside any number of
//! others on the same machine. All of it goes when the [`World`] is dropped, also after a failed assertion; what a
//! killed test left is removed by the next test that takes its lease.
//!
//! ```text
//! let mut world = World::new("rollback");
//! let shop = world.app("shop", "drain_deadline = \"5s\"");
//! let repo = world.repo(&shop);
//! repo.version("v1");
//! repo.push("green").live();
//! assert_eq!(world.version(), "v1");
//! ```
//!
//! With `DEPLOYER_TEST_KEEP=1` in the environment the world's folder (configuration, state, logs) stays, and its path
//! is printed.

pub(crate) mod clock;
mod collection;
mod config;
pub(crate) mod docker;
pub(crate) mod engine;
pub(crate) mod fail_points;
pub(crate) mod forwarder;
pub(crate) mod http;
mod lease;
pub(crate) mod process;
pub(crate) mod programs;
mod repo;
pub(crate) mod sshd;
pub(crate) mod traffic;

use std::fs;
use std::net::{Ipv4Addr, SocketAddr};
use std::os::unix::net::UnixStream;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering::Relaxed};
use std::time::{Duration, Instant};

use tempfile::TempDir;

pub(crate) use config::Options;
use docker::{Container, Docker};
use engine::Engine;
use fail_points::FailPoints;
use http::{Failure, Reply, Request};
use lease::Lease;
use process::{Daemon, Output, run};
use programs::Kind;
pub(crate) use repo::{Push, Repo};
use traffic::{Load, Traffic};

/// The program under test.
pub(crate) const DEPLOYER: &str = env!("CARGO_BIN_EXE_deployer");

/// How long a daemon may take to begin or to end.
const DAEMON_DEADLINE: Duration = Duration::from_secs(30);

/// What was started again has this long to be probed and used.
const RECOVERY_DEADLINE: Duration = Duration::from_secs(120);

/// How long one request of a test may take.
const REQUEST_DEADLINE: Duration = Duration::from_secs(20);

/// The pause between two looks of [`wait_for`].
const SHORTEST_PAUSE: Duration = Duration::from_millis(2);
const LONGEST_PAUSE: Duration = Duration::from_millis(50);

/// Lines of a log that a failed test prints.
const LOG_TAIL: usize = 40;

/// An app of a world.
#[derive(Debug, Clone)]
pub(crate) struct App {
    pub(crate) name: String,
    /// Where green's own port answers.
    pub(crate) green: SocketAddr,
    /// Where blue's own port answers.
    pub(crate) blue: SocketAddr,
}

/// A deployer of its own. See the module.
pub(crate) struct World {
    lease: Lease,
    folder: Option<TempDir>,
    image: String,
    options: Options,
    engine: Option<Engine>,
    apps: u16,
    repos: AtomicU32,
    registry: Option<Daemon>,
    proxy: Option<Daemon>,
    program: Option<Daemon>,
    /// Programs that were started before it, and run too.
    others: Vec<Daemon>,
}

impl World {
    /// The usual world: an open registry and a proxy, both running; no app. `name` is the test's.
    #[track_caller]
    pub(crate) fn new(name: &str) -> Self {
        Self::with(name, Options::default())
    }

    /// A world that differs as `options` say.
    #[track_caller]
    pub(crate) fn with(name: &str, options: Options) -> Self {
        let lease = Lease::take();
        let folder = tempfile::Builder::new()
            .prefix(&format!("deployer-{name}-"))
            .tempdir();
        let folder = folder.expect("a temporary folder");
        Engine::remove_left_over(&lease);
        let engine = options
            .own_engine
            .map(|own| Engine::start(&lease, own, &folder.path().join("engine.log")));
        let docker = docker_of(engine.as_ref());
        docker.need();
        let mut world = Self {
            lease,
            folder: Some(folder),
            image: docker.test_app_image(),
            options,
            engine,
            apps: 0,
            repos: AtomicU32::new(0),
            registry: None,
            proxy: None,
            program: None,
            others: Vec::new(),
        };
        docker.remove_all(&world.network(), &world.registry_address().to_string());
        fs::create_dir(world.path("home")).expect("a home");
        fs::create_dir(world.path("ssh")).expect("a folder for keys");
        fs::create_dir(world.path(fail_points::FOLDER)).expect("a folder for fail points");
        fs::write(world.config(), config::deployer(&world)).expect("the configuration is written");
        world.start_registry();
        world.start_program();
        if world.options.kind.has_embedded() {
            world.start_proxy();
        }
        world
    }

    // --- where things are ---

    /// The file of keys that the world's deployer writes.
    pub(crate) fn authorized_keys(&self) -> PathBuf {
        self.path("ssh/authorized_keys")
    }

    /// A path in the world's folder.
    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.folder
            .as_ref()
            .expect("the folder is there until the end")
            .path()
            .join(name)
    }

    /// The configuration file.
    pub(crate) fn config(&self) -> PathBuf {
        self.path("deployer.toml")
    }

    /// The state folder, or a path in it.
    pub(crate) fn state(&self, name: &str) -> PathBuf {
        self.path("state").join(name)
    }

    /// The subnet of deployer's network.
    pub(crate) fn subnet(&self) -> String {
        self.lease.subnet()
    }

    /// The name of deployer's network, which is the label of its containers too.
    pub(crate) fn network(&self) -> String {
        self.lease.network()
    }

    /// The public port.
    pub(crate) fn public(&self) -> SocketAddr {
        self.address(0)
    }

    /// Where the registry is looked for.
    pub(crate) fn registry_address(&self) -> SocketAddr {
        self.address(1)
    }

    /// Where the registry listens: elsewhere when a [`forwarder::Forwarder`] is to stand in front of it.
    pub(crate) fn registry_listens(&self) -> SocketAddr {
        match self.options.registry_behind {
            true => self.address(3),
            false => self.registry_address(),
        }
    }

    /// A port that nothing uses, for a metrics listener or a stranger.
    pub(crate) fn spare(&self) -> SocketAddr {
        self.address(2)
    }

    /// Another port that nothing uses, in a world without a forwarder.
    pub(crate) fn second_spare(&self) -> SocketAddr {
        self.address(3)
    }

    /// The image that the test apps' Dockerfiles begin with.
    pub(crate) fn image(&self) -> &str {
        &self.image
    }

    fn address(&self, index: u16) -> SocketAddr {
        (Ipv4Addr::LOCALHOST, self.lease.port(index)).into()
    }

    // --- apps and pushes ---

    /// Creates an app: `lines` are the further lines of its section in the configuration.
    #[track_caller]
    pub(crate) fn app(&mut self, name: &str, lines: &str) -> App {
        let app = self.configure(name, lines);
        self.deployer(&["app", "create", name]).good();
        app
    }

    /// Gives an app its ports and its section in the configuration, and creates nothing.
    pub(crate) fn configure(&mut self, name: &str, lines: &str) -> App {
        let (green, blue) = (self.address(4 + 2 * self.apps), self.address(5 + 2 * self.apps));
        self.apps += 1;
        let (green_port, blue_port) = (green.port(), blue.port());
        let mut text = fs::read_to_string(self.config()).expect("the configuration is read");
        text += &format!("\n[app.{name}]\nports = {{ green = {green_port}, blue = {blue_port} }}\n{lines}\n");
        fs::write(self.config(), text).expect("the configuration is written");
        App {
            name: name.into(),
            green,
            blue,
        }
    }

    /// Replaces a text that stands in the configuration.
    #[track_caller]
    pub(crate) fn reconfigure(&self, from: &str, to: &str) {
        let text = fs::read_to_string(self.config()).expect("the configuration is read");
        assert!(
            text.contains(from),
            "{from:?} is not in the configuration:\n{text}"
        );
        fs::write(self.config(), text.replace(from, to)).expect("the configuration is written");
    }

    /// A developer's empty working tree with the app's two remotes.
    pub(crate) fn repo(&self, app: &App) -> Repo {
        let number = self.repos.fetch_add(1, Relaxed) + 1;
        let path = self.path(&format!("work/{}-{number}", app.name));
        let remotes = ["green", "blue"].map(|slot| (slot, self.remote(app, slot)));
        Repo::new(
            path,
            &self.path("home"),
            &self.image,
            &remotes,
            self.environment(),
        )
    }

    /// The URL of a slot's remote.
    pub(crate) fn remote(&self, app: &App, slot: &str) -> String {
        let path = self.state(&format!("git/{}/{slot}.git", app.name));
        path.to_str().expect("a path in UTF-8").to_owned()
    }

    // --- commands ---

    /// `deployer ARGUMENTS` with the world's configuration, whatever becomes of it.
    #[track_caller]
    pub(crate) fn deployer(&self, arguments: &[&str]) -> Output {
        run(self.command().args(arguments), &[])
    }

    /// The object that `deployer ARGUMENTS --json` prints.
    #[track_caller]
    pub(crate) fn json(&self, arguments: &[&str]) -> serde_json::Value {
        let text = run(self.command().args(arguments).arg("--json"), &[]).good();
        serde_json::from_str(&text).unwrap_or_else(|error| panic!("not JSON ({error}): {text}"))
    }

    /// The command `deployer`, for what [`Self::deployer`] cannot do.
    pub(crate) fn command(&self) -> Command {
        let mut command = Command::new(DEPLOYER);
        command
            .current_dir(self.path(""))
            .env_clear()
            .env("PATH", std::env::var_os("PATH").unwrap_or_default())
            .env("HOME", self.path("home"))
            .envs(self.environment())
            .arg("--config")
            .arg(self.config());
        command
    }

    /// What every process of this world's deployer finds in its environment beside the usual.
    fn environment(&self) -> Option<(&'static str, PathBuf)> {
        let folder = self.path(fail_points::FOLDER);
        self.options
            .fail_points
            .then_some((fail_points::VARIABLE, folder))
    }

    /// The fail points of a world that has them.
    pub(crate) fn fail_points(&self) -> FailPoints {
        assert!(self.options.fail_points, "this world has no fail points");
        FailPoints::new(self.path(fail_points::FOLDER))
    }

    /// The processes of this world's deployer that are not its proxy: workers, hooks, commands.
    pub(crate) fn workers(&self) -> Vec<u32> {
        let mut found = process::processes_of(Path::new(DEPLOYER), &self.config());
        found.retain(|pid| self.proxy.as_ref().is_none_or(|proxy| proxy.pid() != *pid));
        found
    }

    /// The process that owns release `release` of `shop`. Workers of earlier ones may still tidy up beside it.
    pub(crate) fn worker(&self, release: u64) -> Option<u32> {
        let (release, workers) = (release.to_string(), self.workers());
        let owns =
            |pid: &u32| process::words_of(*pid).ends_with(&["worker", "shop", &release].map(str::to_owned));
        workers.into_iter().find(owns)
    }

    /// Has everything brought to where the journals say it is: then `status` knows of no problem, and there is no
    /// instance but of what a slot runs. `when` is told where that is not so.
    #[track_caller]
    pub(crate) fn recovers(&self, when: &str) {
        let said = self.deployer(&["recover"]).good();
        let app = || self.json(&["status"])["apps"][0].clone();
        // What was started again is back once the proxy has probed it.
        let end = Instant::now() + RECOVERY_DEADLINE;
        while app()["problems"].to_string().contains("gets no request") && Instant::now() < end {
            std::thread::sleep(Duration::from_millis(50));
        }
        let app = app();
        assert_eq!(app["problems"], serde_json::json!([]), "{when}, after\n{said}");
        let runs: Vec<(String, u64)> = app["slots"]
            .as_array()
            .into_iter()
            .flatten()
            .filter_map(|slot| Some((slot["slot"].as_str()?.to_owned(), slot["release"].as_u64()?)))
            .collect();
        for container in self.containers() {
            let ran = (container.slot.clone(), container.release);
            assert!(
                runs.contains(&ran),
                "{when}: {container:?} is left over, {runs:?} run"
            );
        }
    }

    /// The world's containers, in any state.
    pub(crate) fn containers(&self) -> Vec<Container> {
        self.docker().containers(&self.network())
    }

    /// The docker CLI for this world's Engine.
    pub(crate) fn docker(&self) -> Docker {
        docker_of(self.engine.as_ref())
    }

    // --- requests ---

    /// `GET path` at the public port.
    pub(crate) fn get(&self, path: &str) -> Result<Reply, Failure> {
        self.get_at(self.public(), "localhost", path)
    }

    /// `GET path` at `address` with a Host header.
    pub(crate) fn get_at(&self, address: SocketAddr, host: &str, path: &str) -> Result<Reply, Failure> {
        let request = Request {
            path: path.into(),
            host: host.into(),
            ..Request::default()
        };
        http::request(address, &request, REQUEST_DEADLINE)
    }

    /// The version that answers at the public port.
    #[track_caller]
    pub(crate) fn version(&self) -> String {
        self.version_at(self.public())
    }

    /// The version that answers at `address`, a slot's port or the public one.
    #[track_caller]
    pub(crate) fn version_at(&self, address: SocketAddr) -> String {
        match self.get_at(address, "localhost", "/version") {
            Ok(reply) if reply.status == 200 => reply.text(),
            Ok(reply) => panic!("{address} answers {}: {}", reply.status, reply.text()),
            Err(failure) => panic!("{address}: {failure}"),
        }
    }

    /// The usual traffic at the public port.
    pub(crate) fn traffic(&self) -> Traffic {
        self.traffic_with(Load::default())
    }

    /// Traffic at the public port.
    pub(crate) fn traffic_with(&self, load: Load) -> Traffic {
        let embedded = self.is_embedded();
        Traffic::start(self.public(), Load { embedded, ..load })
    }

    // --- daemons ---

    /// The Engine, in a world that has one of its own.
    pub(crate) fn engine(&mut self) -> &mut Engine {
        self.engine.as_mut().expect("the world has an Engine of its own")
    }

    /// The proxy, where it was started and neither stopped nor killed.
    pub(crate) fn proxy(&mut self) -> &mut Daemon {
        self.proxy.as_mut().expect("the proxy runs")
    }

    /// Starts the proxy and waits until it answers.
    #[track_caller]
    pub(crate) fn start_proxy(&mut self) {
        let mut command = self.command();
        self.start_proxy_as(command.args(["proxy", "run"]));
    }

    /// Stops the proxy and starts another, by `command`.
    #[track_caller]
    pub(crate) fn restart_proxy_as(&mut self, command: &mut Command) {
        self.stop_proxy();
        self.start_proxy_as(command);
    }

    /// Starts the program that serves the public port, in a world that has one, and waits until its user's own site
    /// answers.
    #[track_caller]
    pub(crate) fn start_program(&mut self) {
        if let Some(program) = self.options.kind.program() {
            self.start(program);
        }
    }

    /// Starts a program, as its user has it, with the main configuration that it had at first.
    #[track_caller]
    pub(crate) fn start(&mut self, program: programs::Program) {
        program.need();
        program.prepare(self);
        let log = self.path(&format!("{}.log", program.name()));
        let mut command = program.command(self);
        // A master that is killed leaves its workers, which hold its ports.
        command.process_group(0);
        let mut daemon = Daemon::start(&mut command, &log);
        self.await_answer(program.name(), self.new_user_site(), &mut daemon);
        self.others.extend(self.program.replace(daemon));
    }

    /// Whether the embedded proxy serves alone.
    pub(crate) fn is_embedded(&self) -> bool {
        self.options.kind == Kind::Embedded
    }

    /// Whether the embedded proxy is among what serves.
    pub(crate) fn has_embedded_proxy(&self) -> bool {
        self.options.kind.has_embedded()
    }

    /// The program that serves the public port.
    pub(crate) fn program(&mut self) -> &mut Daemon {
        self.program.as_mut().expect("the program runs")
    }

    /// SIGTERM for the program; waits until it has ended.
    #[track_caller]
    pub(crate) fn stop_program(&mut self) {
        let program = self.program.take().expect("the program runs");
        program.stop(DAEMON_DEADLINE);
    }

    /// SIGKILL for the program and all its processes.
    pub(crate) fn kill_program(&mut self) {
        if let Some(program) = self.program.take() {
            process::kill_group(program.pid());
        }
    }

    #[track_caller]
    fn start_proxy_as(&mut self, command: &mut Command) {
        let mut proxy = Daemon::start(command, &self.proxy_log());
        match self.options.kind {
            Kind::Front(_) => self.await_socket(&mut proxy),
            _ => self.await_answer("the proxy", self.public(), &mut proxy),
        }
        self.proxy = Some(proxy);
    }

    /// Stops the proxy and starts another, by `command` and with a descriptor as its standard input.
    #[track_caller]
    pub(crate) fn restart_proxy_with(&mut self, command: &mut Command, input: Stdio) {
        self.stop_proxy();
        let proxy = Daemon::start_with(command, input, &self.proxy_log());
        self.proxy = Some(proxy);
    }

    /// Starts the proxy, and waits for nothing.
    #[track_caller]
    pub(crate) fn launch_proxy(&mut self) {
        let proxy = Daemon::start(self.command().args(["proxy", "run"]), &self.proxy_log());
        self.proxy = Some(proxy);
    }

    /// Waits until the proxy has ended by itself; gives its exit code.
    #[track_caller]
    pub(crate) fn await_proxys_end(&mut self) -> Option<i32> {
        let proxy = self.proxy.take().expect("a proxy ran");
        proxy.await_end(DAEMON_DEADLINE)
    }

    /// SIGTERM for the proxy; waits until it has ended.
    #[track_caller]
    pub(crate) fn stop_proxy(&mut self) {
        let proxy = self.proxy.take().expect("the proxy runs");
        assert_eq!(proxy.stop(DAEMON_DEADLINE), Some(0), "the proxy's exit code");
    }

    /// SIGKILL for the proxy.
    pub(crate) fn kill_proxy(&mut self) {
        self.proxy.take().expect("the proxy runs").kill();
    }

    /// A second proxy that takes over from the running one, which is given back: it ends by itself.
    #[track_caller]
    pub(crate) fn upgrade_proxy(&mut self) -> Daemon {
        let newer = self.newer_proxy();
        self.replace_proxy(newer)
    }

    /// The same, while others use the world: gives the newer one, for [`Self::replace_proxy`].
    #[track_caller]
    pub(crate) fn newer_proxy(&self) -> Daemon {
        let mut command = self.command();
        command.args(["proxy", "run", "--upgrade"]);
        let mut newer = Daemon::start(&mut command, &self.proxy_log());
        let ready = format!("(pid {})", newer.pid());
        wait_for("the new proxy to say that it is ready", DAEMON_DEADLINE, || {
            assert!(newer.is_running(), "the new proxy ended: {}", newer.log());
            let is_ready = |line: &str| line.starts_with("proxy ready") && line.ends_with(&ready);
            newer.log().lines().any(is_ready).then_some(())
        });
        newer
    }

    /// Notes which proxy is the one that serves; gives the one that was.
    pub(crate) fn replace_proxy(&mut self, newer: Daemon) -> Daemon {
        self.proxy.replace(newer).expect("a proxy ran")
    }

    /// What all proxies of this world have said, one after another.
    pub(crate) fn proxy_log(&self) -> PathBuf {
        self.path("proxy.log")
    }

    /// Starts the registry, on what it held before, and waits until it answers.
    #[track_caller]
    pub(crate) fn start_registry(&mut self) {
        let password = self.options.registry_password.as_deref();
        self.registry = Some(self.start_registry_of("registry", self.registry_listens(), password));
    }

    /// Starts a registry on what it held before in the world's folder `data`, and waits until it answers. Its user is
    /// `deployer`, where it wants a password.
    #[track_caller]
    pub(crate) fn start_registry_of(
        &self,
        data: &str,
        address: SocketAddr,
        password: Option<&str>,
    ) -> Daemon {
        let config = self.path(&format!("{data}.yml"));
        let text = config::registry(self, data, address, password);
        fs::write(&config, text).expect("the registry's configuration is written");
        let mut command = Command::new("docker-registry");
        command.arg("serve").arg(config).env_clear();
        let mut registry = Daemon::start(&mut command, &self.path(&format!("{data}.log")));
        self.await_answer("docker-registry", address, &mut registry);
        registry
    }

    /// Stops the registry: its port refuses connections.
    pub(crate) fn stop_registry(&mut self) {
        self.registry.take().expect("the registry runs").kill();
    }

    /// Where the proxy is found by the program in front of it.
    pub(crate) fn socket(&self) -> PathBuf {
        self.path("http.sock")
    }

    #[track_caller]
    fn await_socket(&self, proxy: &mut Daemon) {
        wait_for("the proxy to listen at its socket", DAEMON_DEADLINE, || {
            assert!(proxy.is_running(), "the proxy ended at once:\n{}", proxy.log());
            UnixStream::connect(self.socket()).ok()
        });
    }

    #[track_caller]
    fn await_answer(&self, what: &str, address: SocketAddr, daemon: &mut Daemon) {
        wait_for(&format!("{what} to answer at {address}"), DAEMON_DEADLINE, || {
            assert!(daemon.is_running(), "{what} ended at once:\n{}", daemon.log());
            self.get_at(address, "localhost", "/v2/").ok()
        });
    }

    fn show_logs(&self) {
        for name in [
            "proxy.log",
            "nginx.log",
            "haproxy.log",
            "caddy.log",
            "registry.log",
            "engine.log",
        ] {
            let log = fs::read(self.path(name)).unwrap_or_default();
            let log = String::from_utf8_lossy(&log);
            // The registry takes it for an error that a push asks what it has already.
            let lines: Vec<_> = log
                .lines()
                .filter(|line| !line.contains("blob unknown"))
                .collect();
            if !lines.is_empty() {
                let tail = &lines[lines.len().saturating_sub(LOG_TAIL)..];
                eprintln!("--- the end of {name}\n{}", tail.join("\n"));
            }
        }
    }
}

impl Drop for World {
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.show_logs();
        }
        // Workers first: they would start again what is removed.
        for pid in self.workers() {
            process::signal(pid, rustix::process::Signal::KILL);
        }
        self.proxy = None;
        self.kill_program();
        for other in self.others.drain(..) {
            process::kill_group(other.pid());
        }
        match self.engine.take() {
            Some(engine) => drop(engine),
            None => self
                .docker()
                .remove_all(&self.network(), &self.registry_address().to_string()),
        }
        self.registry = None;
        if std::env::var_os("DEPLOYER_TEST_KEEP").is_some() {
            let kept = self
                .folder
                .take()
                .expect("the folder is there until the end")
                .keep();
            eprintln!("kept: {}", kept.display());
        }
    }
}

fn docker_of(engine: Option<&Engine>) -> Docker {
    engine.map_or_else(Docker::of_the_machine, Engine::docker)
}

/// What `look` finds, asked again and again until it finds something; panics after `deadline`, naming `what`.
#[track_caller]
pub(crate) fn wait_for<T>(what: &str, deadline: Duration, mut look: impl FnMut() -> Option<T>) -> T {
    let begun = Instant::now();
    loop {
        if let Some(found) = look() {
            return found;
        }
        let waited = begun.elapsed();
        assert!(waited < deadline, "waited {deadline:?} for {what}");
        // What looks is often a process of its own: the longer it waits, the less often it looks.
        std::thread::sleep((waited / 10).clamp(SHORTEST_PAUSE, LONGEST_PAUSE));
    }
}
