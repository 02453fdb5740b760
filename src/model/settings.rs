//! What the server's configuration says, checked and with every default filled in.

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

use super::service_settings::ServiceSettings;
use super::{AppName, ByService, Network, ServiceName, Subnet};

/// The whole configuration.
#[derive(Debug, Clone, PartialEq)]
pub struct Settings {
    /// The state folder.
    pub state: PathBuf,
    /// The Docker Engine and deployer's network in it.
    pub engine: EngineSettings,
    /// The registry that every release's image goes through.
    pub registry: RegistrySettings,
    /// Other registries, by their address, whose base images need a login: `HOST[:PORT]`, or `docker.io`.
    pub registries: BTreeMap<String, LoginSettings>,
    /// The proxy.
    pub proxy: ProxySettings,
    /// The front door.
    pub ssh: SshSettings,
    /// The apps that have a section of their own; every other app has [`AppSettings::default`].
    pub apps: BTreeMap<AppName, AppSettings>,
}

impl Settings {
    /// The settings of `app`: its section's, or the defaults where it has none.
    pub fn app(&self, app: &AppName) -> AppSettings {
        self.apps.get(app).cloned().unwrap_or_default()
    }

    /// How the registry at `address` is spoken to, with the credentials of that one alone: the configured registry's where
    /// it is that one, else those of its own section of `[registries]`, else none.
    pub fn registry_at(&self, address: &str) -> RegistrySettings {
        if address == self.registry.address {
            return self.registry.clone();
        }
        let login = self.registries.get(address);
        // Allowed for a host of the operator's own, and only as long as no password goes there.
        let is_allowed = self.registry.plain_http && !is_loopback_registry(&self.registry.address);
        RegistrySettings {
            address: address.to_owned(),
            section: format!("registries.{address:?}"),
            prefix: String::new(),
            username: login.map(|login| login.username.clone()),
            password_file: login.map(|login| login.password_file.clone()),
            plain_http: is_loopback_registry(address) || (is_allowed && login.is_none()),
            transfer_timeout: self.registry.transfer_timeout,
            collect: None,
        }
    }

    /// Every port that the configuration says to listen on: the public one, that of the metrics, and the apps' own.
    pub fn listened_at(&self) -> Vec<u16> {
        let metrics = self.proxy.metrics_listen.map(|address| address.port());
        let slots = self.apps.values().filter_map(|app| app.ports);
        let slots = slots.flat_map(|ports| [ports.green, ports.blue]);
        [self.proxy.listen.port()]
            .into_iter()
            .chain(metrics)
            .chain(slots)
            .collect()
    }
}

/// `[engine]`
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EngineSettings {
    /// The Engine's address: `unix:///var/run/docker.sock`.
    pub host: String,
    /// The name of deployer's network; also the label by which its containers are known as its own.
    pub network: String,
    /// The subnet of that network.
    pub subnet: Subnet,
    /// Which builder.
    pub builder: Builder,
}

/// `engine.builder`
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Builder {
    /// BuildKit where the Engine has it, else classic.
    Auto,
    /// BuildKit.
    Buildkit,
    /// The classic builder.
    Classic,
}

/// `[registry]`
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RegistrySettings {
    /// `HOST[:PORT]`, as in an image's name.
    pub address: String,
    /// The section of the configuration that says who we are to it: `registry`.
    pub section: String,
    /// Put between the address and the app's name: empty, or `team/apps`.
    pub prefix: String,
    /// The user, where the registry wants one.
    pub username: Option<String>,
    /// The file that holds the password; read anew at every use, a trailing newline cut.
    pub password_file: Option<PathBuf>,
    /// Speak plain http: only ever true for a loopback address or where `plain_http = true` allows it by name.
    pub plain_http: bool,
    /// How long a push or a pull may make no progress.
    pub transfer_timeout: Duration,
    /// The command that frees what no image in it needs any more. Absent: what `deployer install` made for a registry on
    /// this host, where it did; empty: nothing is to free it.
    pub collect: Option<Vec<String>>,
}

/// Whether the registry at `address` (`HOST[:PORT]`) is on this machine, so that nobody else can hear a password sent in
/// the clear.
pub fn is_loopback_registry(address: &str) -> bool {
    let host = match address.strip_prefix('[') {
        Some(bracketed) => bracketed.split(']').next().unwrap_or_default(),
        None => address.split(':').next().unwrap_or_default(),
    };
    host == "localhost" || host.parse().is_ok_and(|ip: IpAddr| ip.is_loopback())
}

/// The port of a registry on this machine; none where it is on another one.
pub fn loopback_registry_port(address: &str) -> Option<u16> {
    let behind = address.rsplit_once(':').filter(|_| !address.ends_with(']'));
    is_loopback_registry(address).then(|| behind.map_or(Some(80), |(_, port)| port.parse().ok()))?
}

impl RegistrySettings {
    /// The repository of a service's images, registry included: `127.0.0.1:5000/team/shop` of `web`, and of others
    /// `127.0.0.1:5000/team/shop.worker`. No app's name has a dot.
    pub fn repository(&self, app: &AppName, service: &ServiceName) -> String {
        let name = match service.is_web() {
            true => app.to_string(),
            false => format!("{app}.{service}"),
        };
        match self.prefix.as_str() {
            "" => format!("{}/{name}", self.address),
            prefix => format!("{}/{prefix}/{name}", self.address),
        }
    }
}

/// `[registries."HOST:PORT"]`
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LoginSettings {
    /// The user.
    pub username: String,
    /// The file that holds the password; read anew at every use, a trailing newline cut.
    pub password_file: PathBuf,
}

/// A user and a password for a registry. Never printed.
#[derive(Clone, PartialEq, Eq)]
pub struct Credentials {
    /// The user.
    pub username: String,
    /// The password.
    pub password: String,
}

impl std::fmt::Debug for Credentials {
    fn fmt(&self, to: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(to, "Credentials({:?}, …)", self.username)
    }
}

/// A web server or load balancer that can be the proxy.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Program {
    /// nginx.
    Nginx,
    /// HAProxy.
    Haproxy,
    /// Caddy.
    Caddy,
}

impl Program {
    /// Every one.
    pub const ALL: [Program; 3] = [Program::Nginx, Program::Haproxy, Program::Caddy];

    /// The word for it in the configuration; also the name of its command.
    pub fn as_str(self) -> &'static str {
        match self {
            Program::Nginx => "nginx",
            Program::Haproxy => "haproxy",
            Program::Caddy => "caddy",
        }
    }

    /// Its name as people write it.
    pub fn name(self) -> &'static str {
        match self {
            Program::Nginx => "nginx",
            Program::Haproxy => "HAProxy",
            Program::Caddy => "Caddy",
        }
    }
}

/// `proxy.kind` and `proxy.mode`: whose listeners the public port's are, and who flips.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ProxyKind {
    /// The embedded proxy, alone.
    Embedded,
    /// A program that flips by itself.
    Flip(Program),
    /// A program that sends everything to the embedded proxy, which flips.
    Front(Program),
}

impl ProxyKind {
    /// The program that listens at the public port, where it is not the embedded proxy.
    pub fn program(self) -> Option<Program> {
        match self {
            ProxyKind::Embedded => None,
            ProxyKind::Flip(program) | ProxyKind::Front(program) => Some(program),
        }
    }

    /// Whether the embedded proxy runs.
    pub fn has_embedded(self) -> bool {
        !matches!(self, ProxyKind::Flip(_))
    }
}

impl std::fmt::Display for ProxyKind {
    fn fmt(&self, to: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            ProxyKind::Embedded => to.write_str("the embedded proxy"),
            ProxyKind::Flip(program) => to.write_str(program.name()),
            ProxyKind::Front(program) => write!(to, "{} in front of the embedded proxy", program.name()),
        }
    }
}

/// `[proxy.nginx]`, `[proxy.haproxy]`, `[proxy.caddy]`
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ProgramSettings {
    /// The command that checks the program's whole configuration; absent: Debian's way.
    pub check: Option<Vec<String>>,
    /// The command that has the program read its configuration again; absent: Debian's way.
    pub reload: Option<Vec<String>>,
    /// Where the program is told things as it runs: HAProxy's master socket, Caddy's admin address. Absent: Debian's.
    pub admin: Option<String>,
}

/// `[proxy]`
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ProxySettings {
    /// Who serves the public port, and who flips.
    pub kind: ProxyKind,
    /// Where the configuration and the markers of another program are: it must be able to read them.
    pub folder: PathBuf,
    /// Where what the user adds to another program's configuration is: `APP.nginx`, `APP.haproxy`, `APP.caddy`.
    pub snippets: PathBuf,
    /// The unix socket at which the embedded proxy listens where another program stands in front of it.
    pub socket: PathBuf,
    /// The programs' own settings; none for a program that has no section.
    pub programs: BTreeMap<Program, ProgramSettings>,
    /// The public port.
    pub listen: SocketAddr,
    /// The address that slot ports listen on.
    pub slot_listen: IpAddr,
    /// The peers whose word on who the client is goes on: other proxies. The unix socket's is always taken.
    pub trusted: Vec<Network>,
    /// Where metrics are served beside the control socket: a loopback address.
    pub metrics_listen: Option<SocketAddr>,
    /// How long a request's head may take to arrive.
    pub header_timeout: Duration,
    /// How long a kept connection may stay without a request.
    pub idle_timeout: Duration,
    /// How long a body, either way, may make no progress.
    pub body_timeout: Duration,
    /// How long an upstream may take to begin its answer.
    pub response_timeout: Duration,
}

/// `[ssh]`
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct SshSettings {
    /// The file of keys that sshd reads; absent: `.ssh/authorized_keys` in the home of the state folder's owner.
    pub authorized_keys: Option<PathBuf>,
}

/// What stands for a wildcard's `*` where a name is needed.
const WILDCARD_LABEL: &str = "deployer-check";

/// `[app.NAME]`
#[derive(Debug, Clone, PartialEq)]
pub struct AppSettings {
    /// The branch whose pushes are released.
    pub branch: String,
    /// The hosts that are this app's, lower case; empty: every host that is no other app's. `*.shop.example` is every name
    /// with one label before `.shop.example` that nobody names.
    pub hosts: Vec<String>,
    /// Whether trailers of requests go on, those that may.
    pub trailers: bool,
    /// The slot ports; absent: given at `app create`.
    pub ports: Option<SlotPorts>,
    /// The services: `web` alone of an app with one Dockerfile.
    pub services: ByService<ServiceSettings>,
    /// How long an upstream may take to begin its answer; absent: as the proxy has it.
    pub response_timeout: Option<Duration>,
    /// How long a body, either way, may make no progress; absent: as the proxy has it.
    pub body_timeout: Option<Duration>,
    /// How long requests in flight on old upstreams may take to end.
    pub drain_deadline: Duration,
    /// Whether a release goes live by itself.
    pub promote: Promote,
    /// What the standby's instances do.
    pub standby: Standby,
    /// Releases kept per slot beside the one it runs.
    pub keep: u32,
    /// What a push has to pass before its branch moves.
    pub gate: Gate,
    /// The most bytes that one push may bring, packed as git sends them.
    pub max_push: u64,
}

impl AppSettings {
    /// The service that requests go to.
    ///
    /// # Panics
    /// When `services` has no `web`, which every app has.
    pub fn public(&self) -> &ServiceSettings {
        &self.services[&ServiceName::web()]
    }

    /// A service that runs; the public one's settings, where the configuration has none for it any more.
    pub fn service(&self, name: &ServiceName) -> &ServiceSettings {
        self.services.get(name).unwrap_or_else(|| self.public())
    }

    /// The longest that any service may take for something.
    pub fn longest(&self, of: impl Fn(&ServiceSettings) -> Duration) -> Duration {
        self.services.values().map(of).max().unwrap_or_default()
    }

    /// Whether builds ask the registries for the base images anew.
    pub fn pulls_base_images(&self) -> bool {
        self.services.values().any(|service| service.build.pull)
    }

    /// A host that the app answers for, for requests of deployer's own: the first that is named, else a name that the first
    /// wildcard matches, else `localhost`.
    pub fn own_host(&self) -> String {
        let named = self.hosts.iter().find(|host| !host.starts_with("*."));
        match named.or(self.hosts.first()) {
            Some(host) => host.replacen('*', WILDCARD_LABEL, 1),
            None => "localhost".to_owned(),
        }
    }
}

/// The slot ports.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct SlotPorts {
    /// Green's port.
    pub green: u16,
    /// Blue's port.
    pub blue: u16,
}

impl SlotPorts {
    /// The port of `slot`.
    pub fn of(self, slot: super::Slot) -> u16 {
        match slot {
            super::Slot::Blue => self.blue,
            super::Slot::Green => self.green,
        }
    }
}

/// `promote`
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Promote {
    /// A good release goes live.
    Auto,
    /// A good release waits on the standby for `deployer promote`.
    Manual,
}

/// `gate`
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Gate {
    /// Nothing: the push is taken, and released then.
    None,
    /// The pushed tree is looked at: a push that no build could take is declined.
    Check,
    /// The whole release: a push whose release fails is declined.
    Release,
}

impl Gate {
    /// The word for it in the configuration.
    pub fn as_str(self) -> &'static str {
        match self {
            Gate::None => "none",
            Gate::Check => "check",
            Gate::Release => "release",
        }
    }
}

/// `standby`
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Standby {
    /// Its instances run: going back is one flip.
    Warm,
    /// Its instances are stopped: going back starts them first.
    Stopped,
}

impl Default for AppSettings {
    fn default() -> Self {
        Self {
            branch: "main".into(),
            hosts: Vec::new(),
            trailers: false,
            response_timeout: None,
            body_timeout: None,
            ports: None,
            services: [(ServiceName::web(), ServiceSettings::default())].into(),
            drain_deadline: Duration::from_secs(30),
            promote: Promote::Auto,
            standby: Standby::Warm,
            keep: 5,
            gate: Gate::None,
            max_push: 2 << 30,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_images_of_web_are_in_the_apps_repository_and_others_in_one_of_their_own() {
        let mut registry = RegistrySettings {
            address: "127.0.0.1:5000".into(),
            section: "registry".into(),
            prefix: String::new(),
            username: None,
            password_file: None,
            plain_http: true,
            transfer_timeout: Duration::from_secs(60),
            collect: None,
        };
        let of = |registry: &RegistrySettings, service: &str| {
            registry.repository(&"shop".parse().unwrap(), &service.parse().unwrap())
        };
        assert_eq!(of(&registry, "web"), "127.0.0.1:5000/shop");
        assert_eq!(of(&registry, "worker"), "127.0.0.1:5000/shop.worker");
        registry.prefix = "team".into();
        assert_eq!(of(&registry, "worker"), "127.0.0.1:5000/team/shop.worker");
    }

    #[test]
    fn a_registry_of_this_machine_is_known_by_its_address() {
        for address in [
            "localhost",
            "localhost:5000",
            "127.0.0.1:5000",
            "127.9.9.9",
            "[::1]:5000",
            "[::1]",
        ] {
            assert!(is_loopback_registry(address), "{address}");
        }
        for address in [
            "10.0.0.1:5000",
            "registry:5000",
            "localhost.example",
            "[::2]:5000",
            "",
        ] {
            assert!(!is_loopback_registry(address), "{address}");
        }
        for (address, port) in [
            ("localhost:5000", Some(5000)),
            ("[::1]:5000", Some(5000)),
            ("[::1]", Some(80)),
            ("localhost", Some(80)),
            ("registry:5000", None),
        ] {
            assert_eq!(loopback_registry_port(address), port, "{address}");
        }
    }
}
