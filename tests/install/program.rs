//! Another program as the proxy: deployer's user may write its part, and have it checked and read.

use std::fs;
use std::os::unix::fs::MetadataExt;

use crate::root::Root;

const SUDOERS: &str = "/etc/sudoers.d/deployer";
const NGINX: &str = "/etc/nginx/sites-enabled/zz-deployer.conf";
const HAPROXY: &str = "/etc/systemd/system/haproxy.service.d/deployer.conf";
const RECOVERY: &str = "/etc/systemd/system/deployer-recover.service.d/50-deployer.conf";

/// Writes the configuration with this kind of proxy.
fn wants(root: &Root, kind: &str) {
    fs::create_dir_all(root.path("/etc/deployer")).expect("the folder is made");
    let text = format!("[proxy]\nkind = \"{kind}\"\n");
    fs::write(root.path("/etc/deployer/deployer.toml"), text).expect("it is written");
    root.sh("chmod 0644 /etc/deployer/deployer.toml; chmod 0755 /etc/deployer")
        .good();
}

fn exists(root: &Root, path: &str) -> bool {
    fs::symlink_metadata(root.path(path)).is_ok()
}

fn install(root: &Root) -> String {
    root.deployer(&["install"]).good()
}

/// What `systemctl` says of the proxy's unit.
fn enabled(root: &Root, unit: &str) -> String {
    root.run(&["systemctl", "is-enabled", unit]).out
}

#[test]
fn nginx_gets_one_include_and_the_user_two_commands_and_all_of_it_goes_again() {
    let root = Root::new();
    wants(&root, "nginx");
    let before = root.changes();

    let dry = root.deployer(&["install", "--dry-run"]).good();
    assert!(dry.contains(&format!("would create   {NGINX}")), "{dry}");
    assert_eq!(root.changes(), before);
    let said = install(&root);

    for folder in ["/var/lib/deployer-proxy", "/var/lib/deployer-proxy/nginx"] {
        let is = fs::metadata(root.path(folder)).expect("a folder");
        assert_eq!(is.mode() & 0o7777, 0o755, "{folder}");
        assert_ne!(is.uid(), 0, "{folder} is deployer's");
    }
    assert!(
        root.read(NGINX)
            .contains("include /var/lib/deployer-proxy/nginx/*.conf;\n")
    );
    // A site in deployer's part is one of nginx's.
    root.sh(
        "echo 'server { listen 50999; }' >/var/lib/deployer-proxy/nginx/deployer.conf; nginx -T 2>&1 | grep -q 50999; \
         rm /var/lib/deployer-proxy/nginx/deployer.conf",
    )
    .good();
    assert!(!said.contains("there is no sudo here"), "{said}");
    let rules = root.read(SUDOERS);
    for command in ["-t -q", "-s reload"] {
        let rule = format!("deploy ALL=(root) NOPASSWD: /usr/sbin/nginx {command}\n");
        assert!(rules.contains(&rule), "{rules}");
    }
    // A system whose sudo wants a terminal, which deployer never has.
    root.sh("echo 'Defaults requiretty' >/etc/sudoers.d/00-tty")
        .good();
    let may = |command: &str| {
        let line = format!("setpriv --reuid=deploy --regid=deploy --init-groups sudo -n {command}");
        root.sh(&line).code == Some(0)
    };
    assert!(may("nginx -t -q"));
    assert!(!may("nginx -t -q -c /tmp/other.conf") && !may("true"));
    assert_ne!(enabled(&root, "deployer-proxy"), "enabled\n", "nginx flips");
    assert_eq!(enabled(&root, "deployer-recover"), "enabled\n");
    let recovery = root.read(RECOVERY);
    assert!(
        recovery.contains("\nReadWritePaths=/var/lib/deployer-proxy\n")
            && recovery.contains("\nNoNewPrivileges=no\n"),
        "{recovery}"
    );
    let before = root.changes();
    install(&root);
    assert_eq!(root.changes(), before, "a second time");

    wants(&root, "embedded");
    install(&root);
    assert!(!exists(&root, NGINX) && !exists(&root, SUDOERS) && !exists(&root, RECOVERY));
    assert_eq!(enabled(&root, "deployer-proxy"), "enabled\n");

    wants(&root, "nginx");
    install(&root);
    root.deployer(&["uninstall", "--yes"]).good();
    for path in [NGINX, SUDOERS, RECOVERY, "/var/lib/deployer-proxy"] {
        assert!(!exists(&root, path), "{path} is gone");
    }
}

#[test]
fn haproxy_and_caddy_read_deployers_part_and_what_is_the_users_is_told() {
    let root = Root::new();
    wants(&root, "haproxy");

    let said = install(&root);

    assert!(
        root.read(HAPROXY).contains(
            "\"EXTRAOPTS=-S /run/haproxy-master.sock,mode,660,group,deploy -f /var/lib/deployer-proxy/haproxy\"\n"
        ),
        "{said}"
    );
    root.sh("haproxy -c -q -f /etc/haproxy/haproxy.cfg -f /var/lib/deployer-proxy/haproxy")
        .good();
    root.sh("echo 'EXTRAOPTS=\"-de\"' >>/etc/default/haproxy").good();
    let said = install(&root);
    assert!(
        said.contains("/etc/default/haproxy is yours and sets EXTRAOPTS"),
        "{said}"
    );

    // Debian's HAProxy changes its root, and looks for the embedded proxy's socket from there.
    root.sh("echo 'mode = \"front\"' >>/etc/deployer/deployer.toml")
        .good();
    install(&root);
    let unit = root.read(HAPROXY);
    assert!(
        unit.contains("\nBindReadOnlyPaths=-/run/deployer:/var/lib/haproxy/run/deployer\n"),
        "{unit}"
    );
    let faults = root.run(&["systemd-analyze", "verify", "haproxy.service"]).err;
    assert!(!faults.contains("deployer.conf"), "{faults}");

    wants(&root, "caddy");
    let said = install(&root);
    let line = "import /var/lib/deployer-proxy/caddy/*.caddyfile";
    assert!(
        said.contains(&format!("the file is yours; write `{line}` into it")),
        "{said}"
    );
    assert!(!exists(&root, HAPROXY) && !exists(&root, SUDOERS));
    root.sh(&format!(
        "mkdir -p /etc/caddy; echo '{line}' >>/etc/caddy/Caddyfile"
    ))
    .good();
    let said = install(&root);
    assert!(
        said.contains("there already  a line in /etc/caddy/Caddyfile"),
        "{said}"
    );
}

/// Its unit looks at the slot ports first, also where deployer cannot.
#[test]
fn a_program_starts_whatever_becomes_of_the_look_at_its_ports() {
    let root = Root::booted();
    let unit = "/etc/systemd/system/nginx.service.d/deployer.conf";
    wants(&root, "nginx");
    install(&root);
    let line = "ExecStartPre=-+/usr/bin/timeout --kill-after=1 10 /usr/local/bin/deployer proxy before-start nginx\n";
    assert!(root.read(unit).contains(line), "{}", root.read(unit));
    let start = || {
        root.sh("systemctl restart nginx; systemctl show -p ExecStartPre nginx")
            .good()
    };
    let said = start();
    assert!(
        said.contains("before-start nginx") && said.contains("status=0 ") || said.contains("status=0/"),
        "{said}"
    );
    for broken in [
        "echo nonsense >>/etc/deployer/deployer.toml",
        "rm /usr/local/bin/deployer",
    ] {
        root.sh(broken).good();
        start();
    }
    root.deployer(&["uninstall"]).good();
    assert!(!exists(&root, "/etc/systemd/system/nginx.service.d"));
    start();
}

#[test]
fn a_program_that_is_not_there_is_told() {
    let root = Root::new();
    wants(&root, "caddy");
    root.sh("rm -f /usr/bin/caddy /usr/local/bin/caddy").good();

    let said = install(&root);

    assert!(
        said.contains(
            "left out:      the program caddy: deployer.toml names it as the proxy, and it is not here"
        ),
        "{said}"
    );
    let said = root.run(&["/usr/local/bin/deployer", "config", "check"]).good();
    assert!(said.contains("there is no caddy on this machine"), "{said}");
}

#[test]
fn a_proxy_that_has_nothing_to_do_ends_well_and_is_not_started_again() {
    let root = Root::booted();
    wants(&root, "nginx");
    install(&root);

    let said = root.run(&["systemctl", "start", "deployer-proxy"]);

    assert_eq!(said.code, Some(0), "{}", said.err);
    let told = root
        .sh(
            "until ! systemctl is-active -q deployer-proxy; do sleep 0.05; done; \
             systemctl show -p ActiveState,NRestarts,ExecMainStatus deployer-proxy",
        )
        .good();
    for property in ["ActiveState=inactive", "NRestarts=0", "ExecMainStatus=7"] {
        assert!(told.contains(property), "{told}");
    }
    // Recovery may use sudo: what the unit usually takes away is there.
    root.sh(
        "printf '[Service]\\nExecStart=\\nExecStart=cp /proc/self/status /var/lib/deployer/seen\\n' \
         >/etc/systemd/system/deployer-recover.service.d/99-test.conf; systemctl daemon-reload; \
         systemctl start deployer-recover",
    )
    .good();
    let seen = root.read("/var/lib/deployer/seen");
    assert!(seen.contains("NoNewPrivs:\t0\n"), "{seen}");
    assert!(!seen.contains("CapBnd:\t0000000000000000\n"), "{seen}");
}

#[test]
fn the_restart_that_haproxy_needs_runs_with_deployers_part_and_later_without() {
    let root = Root::booted();
    wants(&root, "haproxy");
    root.sh(
        "printf 'listen mine\n  bind 127.0.0.1:50998\n' >>/etc/haproxy/haproxy.cfg; [ -e /dev/log ] || touch /dev/log; mkdir -p /run/haproxy
         systemctl start haproxy || { journalctl --no-pager -u haproxy >&2; false; }",
    )
    .good();
    let arguments = || {
        root.sh("tr '\\0' ' ' </proc/$(systemctl show -P MainPID haproxy)/cmdline")
            .good()
    };

    let said = install(&root);

    assert!(said.contains("`systemctl restart haproxy` once"), "{said}");
    root.run(&["systemctl", "restart", "haproxy"]).good();
    let part = " -f /var/lib/deployer-proxy/haproxy";
    assert!(arguments().contains(part), "{}", arguments());
    let said = install(&root);
    assert!(said.contains("there already  haproxy with -S "), "{said}");

    let said = root.deployer(&["uninstall"]).good();
    assert!(
        said.contains("a reload would fail: `systemctl restart haproxy` once"),
        "{said}"
    );
    root.run(&["systemctl", "restart", "haproxy"]).good();
    assert!(!arguments().contains(part), "{}", arguments());
}
