//! The configuration through its front door: a file on disk is taken, or refused with every fault at its line.

use std::fs;
use std::net::SocketAddr;
use std::path::Path;
use std::time::Duration;

use deployer::config::{self, ConfigError};
use deployer::model::{AppName, Gate, ProbeKind, Settings, SlotPorts, Volume};

mod refused;

fn load(text: &str) -> Result<Settings, ConfigError> {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("deployer.toml");
    fs::write(&path, text).unwrap();
    config::load(&path)
}

fn app(text: &str) -> deployer::model::AppSettings {
    let name: AppName = "shop".parse().unwrap();
    load(text).unwrap_or_else(|error| panic!("{error}")).app(&name)
}

#[test]
fn an_app_without_a_section_has_the_defaults() {
    assert_eq!(app(""), deployer::model::AppSettings::default());
    assert_eq!(
        app("[app.other]\nkeep = 1"),
        deployer::model::AppSettings::default()
    );
}

#[test]
fn what_a_section_says_is_taken() {
    let shop = app(r#"
        [app.shop]
        hosts = ["shop.example.org", "10.0.0.1", "*.shop.example.org"]
        response_timeout = "5m"
        body_timeout = "90s"
        ports = { green = 6000, blue = 6001 }
        container_port = 3000
        build_args = { A = "1" }
        build_pull = true
        env = { "discovery.type" = "single-node" }
        volumes = ["data:/data", "/srv/x:/x:ro"]
        memory = 536870912
        cpus = 2
        keep = 0
        drain_deadline = "0s"
        probe = { path = "/healthz?full=1", status = 204, host = "Shop.example.org:80", deadline = "1h30m" }
    "#);
    assert_eq!(shop.hosts, ["shop.example.org", "10.0.0.1", "*.shop.example.org"]);
    assert_eq!(shop.own_host(), "shop.example.org");
    assert_eq!(
        (shop.response_timeout, shop.body_timeout),
        (Some(Duration::from_secs(300)), Some(Duration::from_secs(90)))
    );
    assert_eq!(
        shop.ports,
        Some(SlotPorts {
            green: 6000,
            blue: 6001
        })
    );
    let web = shop.public();
    assert_eq!(web.container_port, Some(3000));
    assert_eq!(web.build.args["A"], "1");
    assert!(web.build.pull);
    assert_eq!(web.run.env["discovery.type"], "single-node");
    let volume = |source: &str, target: &str, read_only| Volume {
        source: source.into(),
        target: target.into(),
        read_only,
    };
    assert_eq!(
        web.run.volumes,
        [volume("data", "/data", false), volume("/srv/x", "/x", true)]
    );
    assert_eq!(web.run.memory, Some(512 << 20));
    assert_eq!(web.run.cpus, Some(2.0));
    assert_eq!((shop.keep, shop.drain_deadline), (0, Duration::ZERO));
    assert_eq!(web.probe.deadline, Duration::from_secs(5400));
    assert_eq!(
        web.probe.kind,
        ProbeKind::Http {
            path: "/healthz?full=1".into(),
            status: (204, 204),
            host: Some("Shop.example.org:80".into()),
        }
    );
}

#[test]
fn a_name_stands_in_for_a_wildcard_where_one_is_needed() {
    let host = |hosts: &str| app(&format!("[app.shop]\nhosts = [{hosts}]")).own_host();
    assert_eq!(host("\"*.shop.example\""), "deployer-check.shop.example");
    assert_eq!(host("\"*.shop.example\", \"shop.example\""), "shop.example");
    assert_eq!(host(""), "localhost");
}

#[test]
fn a_probe_of_another_kind_needs_no_path() {
    assert_eq!(
        app("[app.shop]\nprobe = { kind = \"tcp\" }").public().probe.kind,
        ProbeKind::Tcp
    );
    assert_eq!(
        app("[app.shop.probe]\nkind = \"healthcheck\"")
            .public()
            .probe
            .kind,
        ProbeKind::Healthcheck
    );
}

#[test]
fn a_gate_and_the_size_of_a_push_are_taken() {
    for (word, gate) in [
        ("none", Gate::None),
        ("check", Gate::Check),
        ("release", Gate::Release),
    ] {
        assert_eq!(app(&format!("[app.shop]\ngate = \"{word}\"")).gate, gate);
        assert_eq!(gate.as_str(), word);
    }
    assert_eq!(app("[app.shop]\nmax_push = \"300m\"").max_push, 300 << 20);
}

#[test]
fn an_ipv6_address_is_taken() {
    let settings = load("[proxy]\nlisten = \"[::]:8080\"\nmetrics_listen = \"[::1]:9180\"").unwrap();
    assert_eq!(settings.proxy.listen, "[::]:8080".parse::<SocketAddr>().unwrap());
}

#[test]
fn trusted_peers_are_addresses_and_blocks_of_both_families() {
    let text = "[proxy]\ntrusted = [\"10.0.0.0/8\", \"::1\", \"2001:db8::/32\", \"::ffff:192.0.2.7\"]\n[app.shop]\ntrailers = true";
    let settings = load(text).unwrap();
    let told: Vec<String> = settings.proxy.trusted.iter().map(ToString::to_string).collect();
    assert_eq!(told, ["10.0.0.0/8", "::1", "2001:db8::/32", "192.0.2.7"]);
    assert!(settings.app(&"shop".parse().unwrap()).trailers);
    let defaults = load("").unwrap();
    assert!(defaults.proxy.trusted.is_empty() && !defaults.app(&"shop".parse().unwrap()).trailers);
}

#[test]
fn relative_paths_start_at_the_folder_of_the_file() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("deployer.toml");
    let text = "state = \"state\"\n[registry]\nusername = \"u\"\npassword_file = \"secrets/pw\"\n\
                [app.shop]\nenv_file = \"/abs/shop.env\"";
    fs::write(&path, text).unwrap();
    let settings = config::load(&path).unwrap();
    assert_eq!(settings.state, folder.path().join("state"));
    assert_eq!(
        settings.registry.password_file,
        Some(folder.path().join("secrets/pw"))
    );
    assert_eq!(
        settings
            .app(&"shop".parse().unwrap())
            .public()
            .run
            .env_file
            .as_deref(),
        Some(Path::new("/abs/shop.env"))
    );
}

#[test]
fn other_registries_have_logins_and_the_docker_hub_has_one_name() {
    for (written, address) in [
        ("registry.example.org", "registry.example.org"),
        ("10.0.0.5:5000", "10.0.0.5:5000"),
        ("[fd00::1]:5000", "[fd00::1]:5000"),
        ("docker.io", "docker.io"),
        ("index.docker.io", "docker.io"),
        ("https://index.docker.io/v1/", "docker.io"),
        ("registry-1.docker.io", "docker.io"),
    ] {
        let text = format!("[registries.\"{written}\"]\nusername = \"u\"\npassword_file = \"/pw\"");
        let settings = load(&text).unwrap_or_else(|error| panic!("{error}"));
        let login = &settings.registries[address];
        assert_eq!(
            (login.username.as_str(), login.password_file.as_path()),
            ("u", Path::new("/pw"))
        );
    }
}

#[test]
fn plain_http_is_for_loopback_or_where_it_is_allowed() {
    for (registry, plain) in [
        ("", true),
        ("address = \"127.0.0.1:5000\"", true),
        ("address = \"127.8.8.8:5000\"\nplain_http = false", true),
        ("address = \"localhost:5000\"", true),
        ("address = \"localhost\"", true),
        ("address = \"[::1]:5000\"", true),
        ("address = \"registry.example.org\"", false),
        ("address = \"127.0.0.1.example.org\"", false),
        ("address = \"localhost.example.org:5000\"", false),
        ("address = \"10.0.0.5:5000\"", false),
        ("address = \"10.0.0.5:5000\"\nplain_http = true", true),
    ] {
        let settings = load(&format!("[registry]\n{registry}")).unwrap_or_else(|error| panic!("{error}"));
        assert_eq!(settings.registry.plain_http, plain, "{registry}");
    }
}

#[test]
fn a_missing_file_is_told_with_what_to_copy() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("none.toml");
    let error = config::load(&path).unwrap_err();
    assert!(
        matches!(&error, ConfigError::Missing { path: named } if *named == path),
        "{error:?}"
    );
    assert!(
        error.to_string().contains("copy deployer.toml.example there"),
        "{error}"
    );
}

#[test]
fn what_is_no_file_or_too_large_is_not_read() {
    let folder = tempfile::tempdir().unwrap();
    assert!(matches!(
        config::load(folder.path()),
        Err(ConfigError::Unreadable { .. })
    ));
    assert!(matches!(
        config::load(Path::new("/dev/zero")),
        Err(ConfigError::Unreadable { .. })
    ));
    let path = folder.path().join("large.toml");
    fs::write(&path, " ".repeat(config::SIZE_MAX as usize + 1)).unwrap();
    let error = config::load(&path).unwrap_err();
    assert!(error.to_string().contains("larger than"), "{error}");
    fs::write(&path, " ".repeat(config::SIZE_MAX as usize)).unwrap();
    assert!(config::load(&path).is_ok());
}

#[test]
fn a_file_that_this_user_may_not_read_is_told_apart() {
    use std::os::unix::fs::PermissionsExt;
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("deployer.toml");
    fs::write(&path, "").unwrap();
    fs::set_permissions(&path, fs::Permissions::from_mode(0o000)).unwrap();
    // Root may read every file.
    if fs::read(&path).is_err() {
        assert!(matches!(config::load(&path), Err(ConfigError::Denied { .. })));
    }
}

#[test]
fn a_file_that_is_not_utf_8_is_refused_at_its_line() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("deployer.toml");
    fs::write(&path, b"state = \"/x\"\nbad = \xff\n").unwrap();
    let error = config::load(&path).unwrap_err().to_string();
    assert!(error.contains(":2:7: the file is not UTF-8 here"), "{error}");
}
