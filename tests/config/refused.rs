//! Every way in which a file is refused, and how that reads.

use deployer::config::{ConfigError, Fault};

use super::load;

fn faults(text: &str) -> Vec<Fault> {
    match load(text) {
        Err(ConfigError::Wrong { faults, .. }) => faults,
        Err(error) => panic!("{error}"),
        Ok(_) => panic!("taken:\n{text}"),
    }
}

/// Each line under `section` alone is refused at its value with a message that has the given part.
fn refused(section: &str, lines: &[(&str, &str)]) {
    for (line, part) in lines {
        let found = faults(&format!("{section}\n{line}\n"));
        let told = found
            .iter()
            .any(|fault| fault.message.contains(part) && fault.line == 2);
        assert!(told, "{line}: wanted {part:?}, got {found:#?}");
        assert_eq!(found.len(), 1, "{line}: {found:#?}");
    }
}

#[test]
fn a_fault_is_shown_with_its_line_and_a_mark() {
    let error = load("[engine]\nsubnet = \"10.213.0.1/16\"\n\n[app.shop]\nstop_grace = 30\n")
        .unwrap_err()
        .to_string();
    let (_, shown) = error.split_once("deployer.toml:2:10: ").expect(&error);
    let expected = r#""10.213.0.1/16" is not an IPv4 subnet from /8 to /22 with no host bits, like 10.213.0.0/16
  |
2 | subnet = "10.213.0.1/16"
  |          ^^^^^^^^^^^^^^^
"#;
    assert!(shown.starts_with(expected), "{error}");
    let second = r#"deployer.toml:5:14: the duration 30 has no unit
  |
5 | stop_grace = 30
  |              ^^
Hint: write 30s, 500ms, 2m or 1h30m

2 faults: the whole file is refused, and nothing was changed."#;
    assert!(error.ends_with(second), "{error}");
}

#[test]
fn twenty_faults_are_shown_and_the_rest_counted() {
    let text: String = (0..30)
        .map(|n| format!("[app.a{n}]\nhosts = [\"H{n}\"]\n"))
        .collect();
    let error = load(&text).unwrap_err();
    assert!(
        error.to_string().ends_with(
            "30 faults, 10 of them not shown: the whole file is refused, and nothing was changed."
        )
    );
    assert_eq!(faults(&text).len(), 20);
    assert!(faults(&text).is_sorted_by_key(|fault| fault.line));
}

#[test]
fn a_fault_of_syntax_is_shown_like_the_others() {
    let fault = faults("state = \"/x\"\n[engine\n").remove(0);
    assert_eq!(fault.line, 2, "{fault}");
    let fault = faults("state = \"/x\"\nstate = \"/y\"\n").remove(0);
    assert_eq!(
        (fault.line, fault.message.as_str()),
        (2, "duplicate key"),
        "{fault}"
    );
}

#[test]
fn wrong_engine_values_are_refused() {
    refused(
        "[engine]",
        &[
            (
                "host = \"tcp://10.0.0.1:2375\"",
                "not the address of an Engine on this host",
            ),
            (
                "host = \"unix://docker.sock\"",
                "not the address of an Engine on this host",
            ),
            ("network = \"host\"", "the Engine's own"),
            ("network = \"a b\"", "not a network's name"),
            ("subnet = \"10.0.0.0/24\"", "not an IPv4 subnet"),
            (
                "subnet = \"127.0.0.0/16\"",
                "not a subnet that containers can have",
            ),
            ("subnet = \"0.0.0.0/8\"", "not a subnet that containers can have"),
            (
                "subnet = \"224.0.0.0/8\"",
                "not a subnet that containers can have",
            ),
            ("builder = \"kaniko\"", "not one of auto, buildkit, classic"),
        ],
    );
}

#[test]
fn wrong_registry_values_are_refused() {
    refused(
        "[registry]",
        &[
            ("address = \"http://127.0.0.1:5000\"", "not a registry's address"),
            ("address = \"127.0.0.1:5000/team\"", "not a registry's address"),
            ("address = \"127.0.0.1:0\"", "not a registry's address"),
            ("collect = [\"a\\nb\"]", "line"),
            ("address = \"127.0.0.1:70000\"", "not a registry's address"),
            ("address = \"127.0.0.1:\"", "not a registry's address"),
            ("address = \"[::1\"", "not a registry's address"),
            ("address = \"\"", "not a registry's address"),
            (
                "address = \"registry\"",
                "not an address that an image's name can begin with",
            ),
            (
                "address = \"me:secret@host:5000\"",
                "credentials do not belong into the address",
            ),
            ("prefix = \"/team\"", "not the beginning of an image's name"),
            ("prefix = \"Team\"", "not the beginning of an image's name"),
            ("prefix = \"a/../b\"", "not the beginning of an image's name"),
            ("username = \"me\"", "without password_file"),
            ("password_file = \"/x\"", "without username"),
            ("plain_http = \"yes\"", "expected true or false"),
        ],
    );
}

#[test]
fn wrong_registries_are_refused() {
    let login = "username = \"u\"\npassword_file = \"/x\"";
    for (text, part) in [
        (
            "[registries.\"127.0.0.1:5000\"]\nLOGIN",
            "is the registry of the section [registry]",
        ),
        (
            "registry.address = \"index.docker.io\"\n[registries.\"docker.io\"]\nLOGIN",
            "is the registry of the section [registry]",
        ),
        (
            "[registries.\"a.b\"]\nLOGIN\n[registries.\"A.b\"]\nLOGIN",
            "is the registry \"a.b\"",
        ),
        (
            "[registries.\"docker.io\"]\nLOGIN\n[registries.\"index.docker.io\"]\nLOGIN",
            "is the registry \"docker.io\"",
        ),
        (
            "[registries.\"a.b\"]\nusername = \"u\"",
            "needs username and password_file",
        ),
        (
            "[registries.\"a.b\"]\npassword_file = \"/x\"",
            "needs username and password_file",
        ),
        ("[registries.\"a.b\"]", "needs username and password_file"),
        ("[registries.\"http://a.b\"]\nLOGIN", "not a registry's address"),
        ("[registries.\"a.b/team\"]\nLOGIN", "not a registry's address"),
        ("[registries.\"[::1\"]\nLOGIN", "not a registry's address"),
        (
            "[registries.\"team\"]\nLOGIN",
            "not an address that an image's name can begin with",
        ),
        (
            "[registries.\"me:secret@a.b\"]\nLOGIN",
            "credentials do not belong",
        ),
        (
            "[registries.\"a.b\"]\nLOGIN\nplain_http = true",
            "there is no key",
        ),
        ("[registries.a.b]\nLOGIN", "there is no key \"b\""),
    ] {
        let error = load(&text.replace("LOGIN", login)).expect_err(text);
        let ConfigError::Wrong { faults, .. } = &error else {
            panic!("{error}")
        };
        assert_eq!(faults.len(), 1, "{error}");
        assert!(faults[0].message.contains(part), "{text}: {error}");
        assert!(!error.to_string().contains("secret"), "{error}");
    }
}

#[test]
fn a_password_in_the_file_is_not_repeated() {
    for text in [
        "[registry]\naddress = \"me:hunter2@host:5000\"",
        "[registry]\npassword = \"hunter2\"",
        "registry = { password = \"hunter2\" }",
        "registries.\"a.b\" = { username = \"u\", password = \"hunter2\" }",
        "[registries.\"me:hunter2@a.b\"]\nusername = \"u\"\npassword_file = \"/x\"",
        "[registries.\"a.b\"]\nusername = \"u\"\npassword = \"hunter2\"",
        "[app.shop]\nenv = { TOKEN = [\"hunter2\"] }",
        "[app.shop.env]\nTOKEN = { a = \"hunter2\" }",
        "[app.shop.env]\n\"A B\" = \"hunter2\"",
        "[app.shop.env]\nTOKEN = \"hunter2\\u0000\"",
        "[app.shop.build_args]\nTOKEN = hunter2",
        "[app.shop]\nenv = \"hunter2\"",
        "[app.shop]\nenv = [\"hunter2\"]",
        "[app]\nshop = \"hunter2\"",
    ] {
        let error = load(text).unwrap_err();
        assert!(
            !format!("{error} {error:?}").contains("hunter2"),
            "{error} {error:?}"
        );
    }
}

#[test]
fn wrong_proxy_values_are_refused() {
    refused(
        "[proxy]",
        &[
            ("listen = \"80\"", "not an address and a port"),
            ("listen = \"0.0.0.0\"", "not an address and a port"),
            ("listen = \"example.org:80\"", "not an address and a port"),
            ("listen = \"0.0.0.0:0\"", "port 0"),
            ("slot_listen = \"127.0.0.1:50100\"", "not an IP address"),
            (
                "metrics_listen = \"0.0.0.0:9180\"",
                "can be reached from other hosts",
            ),
            (
                "metrics_listen = \"127.0.0.1:80\"",
                "port 80 is already the port of proxy.listen",
            ),
            (
                "trusted = [\"10.0.0.1/8\"]",
                "not an IP address or a block of them",
            ),
            (
                "trusted = [\"10.0.0.0/33\"]",
                "not an IP address or a block of them",
            ),
            ("trusted = [\"::1/129\"]", "not an IP address or a block of them"),
            (
                "trusted = [\"::1\", \"proxy.example\"]",
                "\"proxy.example\" is not an IP address",
            ),
            (
                "trusted = [\"10.0.0.1:80\"]",
                "not an IP address or a block of them",
            ),
            ("trusted = [\"*\"]", "not an IP address or a block of them"),
            ("trusted = [\"\"]", "not an IP address or a block of them"),
            ("trusted = \"10.0.0.0/8\"", "expected a list"),
            ("trusted = [10]", "expected a text"),
            ("header_timeout = \"0s\"", "longer than nothing"),
            ("idle_timeout = 75", "the duration 75 has no unit"),
            ("body_timeout = \"1d\"", "not a duration"),
            ("response_timeout = \"48h\"", "longer than a day"),
        ],
    );
}

#[test]
fn wrong_app_values_are_refused() {
    refused(
        "[app.shop]",
        &[
            ("branch = \"refs/heads/main\"", "not a branch's name alone"),
            ("branch = \"-main\"", "not a branch's name"),
            ("branch = \"a..b\"", "not a branch's name"),
            ("branch = \"\"", "not a branch's name"),
            ("hosts = [\"shop.example.org:80\"]", "not a host"),
            ("hosts = [\"Shop.example.org\"]", "not a host"),
            ("hosts = [\"*\"]", "not a host"),
            ("hosts = [\"*.com\"]", "not a host"),
            ("hosts = [\"*.*.example.org\"]", "not a host"),
            ("hosts = [\"a.*.example.org\"]", "not a host"),
            ("hosts = [\"a*.example.org\"]", "not a host"),
            ("hosts = [\"*example.org\"]", "not a host"),
            ("hosts = [\"*.Example.org\"]", "not a host"),
            ("hosts = [\"*.0.0.1\"]", "not a host"),
            (
                "hosts = [\"*.example.org\", \"*.example.org\"]",
                "is already a host of app",
            ),
            ("response_timeout = 30", "has no unit"),
            ("response_timeout = \"0s\"", "longer than nothing"),
            ("body_timeout = \"1d\"", "not a duration"),
            ("hosts = [\"https://example.org\"]", "not a host"),
            ("hosts = [\"\"]", "not a host"),
            ("hosts = [\"a..b\"]", "not a host"),
            ("hosts = [\"a.org\", \"a.org\"]", "already a host of app \"shop\""),
            ("trailers = \"yes\"", "expected true or false"),
            ("ports = { green = 50100 }", "needs both slots"),
            (
                "ports = { green = 50100, blue = 50100 }",
                "already the port of green of app \"shop\"",
            ),
            (
                "ports = { green = 80, blue = 50101 }",
                "already the port of proxy.listen",
            ),
            ("ports = { green = 0, blue = 50101 }", "0 is not a port"),
            ("ports = { green = 65536, blue = 50101 }", "65536 is not a port"),
            ("container_port = 0", "0 is not a port"),
            ("container_port = -1", "-1 is not a port"),
            ("dockerfile = \"/Dockerfile\"", "is absolute"),
            ("dockerfile = \"../Dockerfile\"", "leads upwards"),
            ("context = \"a/../..\"", "leads upwards"),
            ("context = \"\"", "not a text of one line"),
            ("build_args = { \"A=B\" = \"x\" }", "not a variable's name"),
            ("build_args = { A = 1 }", "must be a text"),
            ("target = \"\"", "not a text of one line"),
            ("build_deadline = \"0s\"", "longer than nothing"),
            ("instances = 0", "0 is not a number of instances"),
            ("instances = 64", "64 is not a number of instances"),
            ("env = { \"\" = \"x\" }", "not a variable's name"),
            ("env = { A = true }", "must be a text"),
            ("env_file = \"\"", "not a text of one line"),
            ("volumes = [\"data\"]", "not a volume"),
            ("volumes = [\"data:/a:rw\"]", "not a volume"),
            ("volumes = [\"data:a\"]", "not an absolute path"),
            ("volumes = [\"data:/\"]", "not an absolute path"),
            ("volumes = [\"data:/a/../b\"]", "not an absolute path"),
            (
                "volumes = [\"./data:/a\"]",
                "neither a volume's name nor an absolute path",
            ),
            (
                "volumes = [\"srv/data:/a\"]",
                "neither a volume's name nor an absolute path",
            ),
            (
                "volumes = [\"/srv/../etc:/a\"]",
                "neither a volume's name nor an absolute path",
            ),
            (
                "volumes = [\"one:/a\", \"two:/a\"]",
                "two volumes are mounted at /a",
            ),
            ("memory = 512", "less memory than the Engine gives"),
            ("memory = \"x\"", "not a size"),
            ("cpus = 0", "not a number of CPUs"),
            ("cpus = nan", "not a number of CPUs"),
            ("cpus = inf", "not a number of CPUs"),
            ("pids = 0", "not a limit of processes"),
            ("pids = 1", "not a limit of processes"),
            ("volumes = [\"data:/proc/\"]", "the kernel's own"),
            ("volumes = [\"data:/dev\"]", "the kernel's own"),
            ("volumes = [\"~/data:/data\"]", "paths are not expanded"),
            ("volumes = [\"$HOME/data:/data\"]", "paths are not expanded"),
            (
                "restart = \"unless-stopped\"",
                "not one of always, on-failure, no",
            ),
            ("stop_grace = 10", "the duration 10 has no unit"),
            ("log_size = 0", "more than nothing"),
            ("drain_deadline = \"-1s\"", "not a duration"),
            ("promote = \"yes\"", "not one of auto, manual"),
            ("gate = \"yes\"", "not one of none, check, release"),
            ("max_push = \"2 gb\"", "not a size"),
            ("max_push = 0", "must be more than nothing"),
            ("standby = \"cold\"", "not one of warm, stopped"),
            ("keep = -1", "not a number of releases"),
            ("probe = { kind = \"grpc\" }", "not one of http, tcp, healthcheck"),
            ("probe = { path = \"healthz\" }", "not a path to ask for"),
            ("probe = { path = \"/a b\" }", "not a path to ask for"),
            ("probe = { path = \"/a\\r\\nX: y\" }", "not a path to ask for"),
            ("probe = { status = 99 }", "not a status"),
            ("probe = { status = \"399-200\" }", "not a status"),
            ("probe = { status = \"200-\" }", "not a status"),
            ("probe = { status = \"200-600\" }", "not a status"),
            ("probe = { host = \"a b\" }", "not a host for the Host header"),
            (
                "probe = { kind = \"tcp\", path = \"/\" }",
                "for a probe of kind http",
            ),
            ("probe = { timeout = \"0ms\" }", "longer than nothing"),
        ],
    );
}

#[test]
fn a_path_that_a_shell_would_expand_is_refused_with_the_one_to_write() {
    let keys = [
        ("", "state"),
        ("[registry]\nusername = \"me\"", "password_file"),
        ("[proxy]", "folder"),
        ("[proxy]", "snippets"),
        ("[proxy]", "socket"),
        ("[proxy.haproxy]", "admin"),
        ("[ssh]", "authorized_keys"),
        ("[app.shop]", "env_file"),
    ];
    for (section, key) in keys {
        for path in ["~/x", "~", "~shop/x", "$HOME/x", "/home/${USER}/x", "%h/.ssh/x"] {
            let found = faults(&format!("{section}\n{key} = \"{path}\"\n"));
            let line = section.lines().count().max(1) + 1;
            let [fault] = found.as_slice() else {
                panic!("{key} = {path}: {found:#?}");
            };
            assert!(
                fault.line == line && fault.message.contains("paths are not expanded"),
                "{key} = {path}: {fault}"
            );
        }
        for path in ["/a/~x", "./~", "/a$/b", "/a/%", "/100%h"] {
            let text = format!("{section}\n{key} = \"{path}\"\n");
            assert!(load(&text).is_ok(), "{text}");
        }
    }
    refused(
        "[engine]",
        &[(
            "host = \"unix:///run/user/$UID/docker.sock\"",
            "paths are not expanded",
        )],
    );
    if let Ok(home) = std::env::var("HOME") {
        let fault = faults("[app.shop]\nenv_file = \"~/shop.env\"\n").remove(0);
        assert!(fault.to_string().contains(&format!("{home}/shop.env")), "{fault}");
    }
}

#[test]
fn a_wrong_app_name_is_refused_at_the_name() {
    let fault = faults("[app.Shop]\nkeep = 1").remove(0);
    assert_eq!((fault.line, fault.column), (1, 6), "{fault}");
    assert!(fault.message.contains("is not an app's name"), "{fault}");
}

#[test]
fn two_apps_cannot_share_a_host_or_a_port_or_the_rest() {
    let fault = faults("[app.b]\nhosts = [\"x.org\"]\n[app.a]\nhosts = [\"y.org\", \"x.org\"]").remove(0);
    assert_eq!(
        (fault.line, fault.message.as_str()),
        (4, r#""x.org" is already a host of app "b""#)
    );
    let ports = "ports = { green = 6000, blue = 6001 }\n";
    let found = faults(&format!("[app.a]\nhosts = [\"x.org\"]\n{ports}[app.b]\n{ports}"));
    assert_eq!(found.len(), 2, "{found:#?}");
    assert_eq!(
        found[0].message,
        r#"port 6000 is already the port of green of app "a""#
    );
    let fault = faults("[app.b]\nkeep = 1\n[app.a]\nkeep = 1").remove(0);
    assert_eq!(fault.line, 3, "{fault}");
    assert!(
        fault
            .message
            .contains(r#"neither this app nor app "b" has hosts"#),
        "{fault}"
    );
}

#[test]
fn a_hostile_file_is_refused_within_bounds() {
    for text in [
        "a = ".to_owned() + &"[".repeat(500_000),
        "a.".repeat(100_000) + "b = 1",
        format!("state = \"{}", "x".repeat(500_000)),
        format!("\u{1b}[2J = \"{}\"", "\u{1b}".repeat(1000)),
        "=\n".repeat(300_000),
        format!("[app.{:?}]", "\u{7f}".repeat(5000)),
    ] {
        let error = load(&text).unwrap_err().to_string();
        assert!(error.len() < 64 << 10, "{} bytes", error.len());
        assert!(
            !error.contains(|c: char| c.is_control() && c != '\n'),
            "{error:?}"
        );
    }
}

#[test]
fn a_name_with_what_nobody_sees_is_refused_by_its_code() {
    for (section, line) in [
        ("", "state = \"/srv/st~ate\""),
        ("[app.shop]", "dockerfile = \"Docker~file\""),
        ("[app.shop]", "context = \"services/~shop\""),
        ("[app.shop]", "target = \"~web\""),
        ("[app.shop]", "env_file = \"/etc/shop~.env\""),
        ("[app.shop]", "branch = \"ma~in\""),
        ("[app.shop]", "hosts = [\"shop~.example.org\"]"),
        ("[app.shop]", "volumes = [\"da~ta:/data\"]"),
        ("[app.shop]", "volumes = [\"data:/da~ta\"]"),
        ("[app.shop]", "env = { \"TOK~EN\" = \"hunter2\" }"),
        ("[app.shop]", "build_args = { \"A~\" = \"hunter2\" }"),
        ("[registry]", "address = \"127.0.0.1~:5000\""),
        ("[engine]", "network = \"dep~loyer\""),
        ("[engine]", "host = \"unix:///var/run/~docker.sock\""),
        ("[proxy]", "snippets = \"/etc/~snippets\""),
        ("[ssh]", "authorized_keys = \"/etc/keys~\""),
        ("", "[app.\"sh~op\"]"),
    ] {
        for (character, code) in [
            ('\u{200b}', "U+200B"),
            ('\u{feff}', "U+FEFF"),
            ('\u{202e}', "U+202E"),
            ('\u{2069}', "U+2069"),
            ('\u{a0}', "U+00A0"),
            ('\u{ad}', "U+00AD"),
            ('\u{fe0f}', "U+FE0F"),
        ] {
            let error = load(&format!(
                "{section}\n{}\n",
                line.replace('~', &character.to_string())
            ));
            let error = error.expect_err(line).to_string();
            let told = format!("it has an invisible character, {code}, as character ");
            assert!(
                error.contains(&told) && error.contains("toml:2:"),
                "{line}: {error}"
            );
            assert!(
                !error.contains(character) && !error.contains("hunter2"),
                "{line}: {error:?}"
            );
        }
    }
    // A value is what it is.
    load("[app.shop]\nenv = { A = \"p\u{200b}\u{a0}\u{202e}\" }\nbuild_args = { B = \"\u{feff}\" }").unwrap();
    // Beside the names, where the syntax has no place for it.
    let found = &faults("[app.shop]\nkeep\u{a0}= 1\n")[0];
    let hint = found.hint.as_deref();
    assert_eq!(
        hint,
        Some("the line has an invisible character, U+00A0, as character 5"),
        "{found}"
    );
}

#[test]
fn a_file_in_another_encoding_is_told_and_a_byte_order_mark_is_no_fault() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("deployer.toml");
    let text = "[app.shop]\nkeep = 1\n";
    std::fs::write(&path, format!("\u{feff}{text}")).unwrap();
    deployer::config::load(&path).unwrap();
    std::fs::write(&path, format!("\u{feff}keep = 1\n{text}")).unwrap();
    let error = deployer::config::load(&path).unwrap_err().to_string();
    assert!(
        error.contains("toml:1:1: there is no key \"keep\" here"),
        "{error}"
    );

    for first in [&b"\xff\xfe"[..], b""] {
        let utf16 = text.encode_utf16().flat_map(u16::to_le_bytes);
        std::fs::write(&path, first.iter().copied().chain(utf16).collect::<Vec<u8>>()).unwrap();
        let error = deployer::config::load(&path).unwrap_err().to_string();
        let told = "toml:1:1: the file cannot be read: it is UTF-16, as some programs on Windows write: save it as UTF-8";
        assert!(error.contains(told), "{error}");
    }
}
