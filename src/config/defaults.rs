//! The defaults; an app's defaults are [`crate::model::AppSettings::default`].

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

use crate::model::{
    Builder, EngineSettings, ProxyKind, ProxySettings, RegistrySettings, Settings, SshSettings,
};

/// The state folder of a configuration that does not name one.
pub const DEFAULT_STATE: &str = "/var/lib/deployer";

/// The settings that an empty file gives.
pub(super) fn settings() -> Settings {
    Settings {
        state: PathBuf::from(DEFAULT_STATE),
        engine: EngineSettings {
            host: "unix:///var/run/docker.sock".into(),
            network: "deployer".into(),
            subnet: "10.213.0.0/16".parse().expect("the default subnet is one"),
            builder: Builder::Auto,
        },
        registry: RegistrySettings {
            section: "registry".into(),
            address: "127.0.0.1:5000".into(),
            prefix: String::new(),
            username: None,
            password_file: None,
            plain_http: true,
            transfer_timeout: Duration::from_secs(60),
            collect: None,
        },
        registries: BTreeMap::new(),
        proxy: ProxySettings {
            kind: ProxyKind::Embedded,
            folder: PathBuf::from("/var/lib/deployer-proxy"),
            snippets: PathBuf::from("/etc/deployer/snippets"),
            socket: PathBuf::from("/run/deployer/http.sock"),
            programs: BTreeMap::new(),
            listen: SocketAddr::from((Ipv4Addr::UNSPECIFIED, 80)),
            slot_listen: IpAddr::from(Ipv4Addr::LOCALHOST),
            trusted: Vec::new(),
            metrics_listen: None,
            header_timeout: Duration::from_secs(10),
            idle_timeout: Duration::from_secs(75),
            body_timeout: Duration::from_secs(60),
            response_timeout: Duration::from_secs(60),
        },
        ssh: SshSettings::default(),
        apps: BTreeMap::new(),
    }
}
