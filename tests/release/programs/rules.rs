//! What a user has in front of an app (TLS, redirects, logins, limits, another site) stops no release, rollback and
//! promotion, and is told. The examples of docs/guides/proxies/ stand here word by word, but for ports and files.

use std::fs;
use std::net::SocketAddr;
use std::process::Command;
use std::time::Duration;

use rustix::process::Signal;

use crate::support::process::{run, signal};
use crate::support::programs::{Kind, Program};
use crate::support::{Options, Repo, World, wait_for};

const DEADLINE: Duration = Duration::from_secs(30);

const HOST: &str = "shop.example";

/// Rules that stand where nginx's sites inherit them.
const HTTP_RULES: &str = "limit_req_zone $binary_remote_addr zone=few:1m rate=1r/m; limit_req zone=few;\n\
                          limit_conn_zone $binary_remote_addr zone=none:1m; limit_conn none 1;\n";

/// A world whose app `shop` has [`HOST`]: v1 on green, v2 live on blue.
struct Shop {
    world: World,
    repo: Repo,
    program: Program,
    /// The main configuration before the user added anything.
    main: String,
    /// The slot that is not live.
    standby: &'static str,
}

impl Shop {
    fn live(name: &str, kind: Kind) -> Option<Self> {
        let program = kind.program().expect("a program");
        if program.is_skipped() {
            return None;
        }
        let options = Options {
            kind,
            // As docs/guides/proxies/haproxy/shop.cfg wants it: a frontend of the user's own tells of https.
            proxy: "trusted = [\"127.0.0.1\"]".to_owned(),
            ..Options::default()
        };
        let mut world = World::with(&format!("{name}-{}", program.name()), options);
        let app = world.app("shop", &format!("hosts = [\"{HOST}\"]\ndrain_deadline = \"1s\""));
        let repo = world.repo(&app);
        for (version, slot) in [("v1", "green"), ("v2", "blue")] {
            repo.version(version);
            repo.push(slot).live();
        }
        fs::create_dir_all(world.path("snippets")).expect("a folder for snippets");
        let main = fs::read_to_string(main(&world, program)).expect("the main configuration");
        certificate(&world);
        Some(Self {
            world,
            repo,
            program,
            main,
            standby: "green",
        })
    }

    /// Where the user's own TLS is, and port 80 of the user's own.
    fn tls(&self) -> SocketAddr {
        self.world.spare()
    }

    /// An example of docs/guides/proxies/, with this world's ports and files; `http` is its port 80.
    fn example(&self, file: &str, http: SocketAddr) -> String {
        let path = format!("{}/docs/guides/proxies/{file}", env!("CARGO_MANIFEST_DIR"));
        let text = fs::read_to_string(path).expect("an example");
        let (tls, public, folder) = (self.tls(), self.world.public(), self.world.path("tls"));
        text.replace("listen 443", &format!("listen {tls}"))
            .replace("listen 80;", &format!("listen {http};"))
            .replace("bind :443", &format!("bind {tls}"))
            .replace("bind :80", &format!("bind {http}"))
            .replace("127.0.0.1:8080", &public.to_string())
            .replace("https://$host", &format!("https://$host:{}", tls.port()))
            .replace(
                "/etc/letsencrypt/live/shop.example",
                &folder.display().to_string(),
            )
            .replace(
                "/etc/haproxy/certs/",
                &folder.join("both.pem").display().to_string(),
            )
            .replace("shop.example {", "shop.example {\n\ttls internal")
    }

    /// The user's own main configuration is `text`, and in force.
    fn main_is(&self, text: &str) {
        fs::write(main(&self.world, self.program), text).expect("it is written");
    }

    /// The user's own addition to the app's part is `text`.
    fn snippet_is(&self, text: &str) {
        let file = format!("snippets/shop.{}", self.program.name());
        fs::write(self.world.path(&file), text).expect("the snippet is written");
    }

    /// The program reads it all again.
    fn reload(&mut self) {
        match self.program {
            Program::Nginx => self.reload_nginx(),
            Program::Haproxy => signal(self.world.program().pid(), Signal::USR2),
            Program::Caddy => {
                let file = main(&self.world, self.program);
                let admin = self
                    .main
                    .lines()
                    .find_map(|line| line.trim().strip_prefix("admin "));
                let mut reload = Command::new("caddy");
                reload
                    .args(["reload", "--adapter", "caddyfile", "--config"])
                    .arg(file);
                run(reload.args(["--address", admin.expect("an address")]), &[]).good();
            }
        }
    }

    /// The status and the version that a visitor is answered.
    fn visit(&self) -> Option<(u16, String)> {
        let reply = self.world.get_at(self.world.public(), HOST, "/version").ok()?;
        Some((reply.status, reply.text()))
    }

    /// Has nginx read its configuration, and waits until no worker from before takes a connection any more.
    fn reload_nginx(&mut self) {
        let pid = self.world.program().pid();
        let workers = || {
            let children = fs::read_to_string(format!("/proc/{pid}/task/{pid}/children"));
            let children = children.expect("the kernel tells the workers");
            Vec::from_iter(children.split_whitespace().map(str::to_owned))
        };
        let before = workers();
        signal(pid, Signal::HUP);
        wait_for("the workers from before to end", DEADLINE, || {
            let now = workers();
            (!now.is_empty() && !now.iter().any(|worker| before.contains(worker))).then_some(())
        });
    }

    fn await_status(&self, status: u16) {
        wait_for(&format!("{status} at the public port"), DEADLINE, || {
            self.visit().filter(|(has, _)| *has == status)
        });
    }

    /// What the app answers by https.
    fn await_secure(&self, version: &str) {
        let tls = self.tls();
        wait_for(&format!("{version} by https"), DEADLINE, || {
            let mut curl = Command::new("curl");
            let at = format!("{HOST}:{}:127.0.0.1", tls.port());
            curl.args(["-sk", "--noproxy", "*", "--max-time", "5", "--resolve", &at]);
            let said = run(curl.arg(format!("https://{HOST}:{}/version", tls.port())), &[]);
            (said.stdout.trim() == version).then_some(())
        });
    }

    /// Promotes the other slot, and gives what was said.
    #[track_caller]
    fn promotes(&mut self) -> String {
        let slot = self.standby;
        self.standby = if slot == "green" { "blue" } else { "green" };
        let said = self.world.deployer(&["promote", slot]).good();
        println!("{said}");
        said
    }

    fn told(&self) -> (String, String) {
        let app = self.world.json(&["status"])["apps"][0].clone();
        (app["problems"].to_string(), app["notes"].to_string())
    }
}

fn main(world: &World, program: Program) -> std::path::PathBuf {
    world.path(&format!("{}.main", program.name()))
}

/// A certificate that nobody but these tests believes.
fn certificate(world: &World) {
    let folder = world.path("tls");
    fs::create_dir_all(&folder).expect("a folder for certificates");
    let (key, chain) = (folder.join("privkey.pem"), folder.join("fullchain.pem"));
    let mut make = Command::new("openssl");
    make.args([
        "req",
        "-x509",
        "-newkey",
        "ec",
        "-pkeyopt",
        "ec_paramgen_curve:P-256",
        "-nodes",
    ]);
    make.args([
        "-days",
        "2",
        "-subj",
        "/CN=shop.example",
        "-addext",
        "subjectAltName=DNS:shop.example",
    ]);
    run(make.arg("-keyout").arg(&key).arg("-out").arg(&chain), &[]).good();
    let both = [chain, key].map(|file| fs::read_to_string(file).expect("it was made"));
    fs::write(folder.join("both.pem"), both.concat()).expect("both are written");
}

#[test]
fn nginx_rules_in_front_stop_no_release_and_are_told() {
    let Some(mut shop) = Shop::live("rules", Kind::Flip(Program::Nginx)) else {
        return;
    };
    let public = shop.world.public();
    let tls = shop.tls();

    shop.snippet_is(&shop.example("nginx/shop.nginx", public));
    shop.reload();
    shop.await_secure("v2");
    let said = shop.promotes();
    let sent = format!("is sent to https://{HOST}:{}/", tls.port());
    assert!(
        said.contains(&format!(
            "note: a visitor of http://{HOST}:{}/ {}",
            public.port(),
            &sent[..]
        )) && said.contains(
            "(301) by a rule in the app's own part of nginx's configuration, where the app answers"
        ),
        "{said}"
    );
    shop.await_secure("v1");
    let (problems, notes) = shop.told();
    assert!(problems == "[]" && notes.contains(&sent), "{problems} {notes}");

    // As certbot leaves it: another block has the host at port 80.
    let tls_alone: Vec<String> = shop
        .example("nginx/shop.nginx", public)
        .lines()
        .take_while(|line| !line.starts_with("if "))
        .map(str::to_owned)
        .collect();
    shop.snippet_is(&tls_alone.join("\n"));
    let with = |lines: &str| shop.main.replacen("include ", &format!("{lines}\ninclude "), 1);
    let certbots = with(&shop.example("nginx/redirect.conf", public));
    let limited = with(HTTP_RULES);
    let closed = with("deny all; auth_basic mine; auth_basic_user_file /dev/null;");
    let foreign = with(&format!(
        "server {{ listen {public}; server_name {HOST}; return 200 theirs; }}"
    ));
    shop.main_is(&certbots);
    shop.reload();
    shop.await_status(301);
    let said = shop.world.deployer(&["rollback"]).good();
    shop.standby = "green";
    assert!(
        said.contains("by another part of nginx's configuration than deployer's, where the app answers"),
        "{said}"
    );
    shop.await_secure("v2");
    assert_eq!(shop.told().0, "[]");

    // Many of deployer's own requests, where a visitor may have one a minute; then nobody may come at all.
    shop.main_is(&limited);
    shop.reload();
    shop.await_status(503);
    assert!(shop.promotes().contains("is answered 503 by a rule"));
    shop.main_is(&closed);
    shop.reload();
    shop.await_status(403);
    shop.repo.version("v3");
    let push = shop.repo.push("blue");
    assert!(
        push.said().contains("is refused (403) by a rule"),
        "{}",
        push.said()
    );
    push.live();
    assert_eq!(shop.told().0, "[]");
    shop.standby = "green";

    shop.snippet_is("return 503;");
    shop.main_is(&shop.main);
    shop.reload();
    shop.await_status(503);
    assert!(
        shop.promotes()
            .contains("is answered 503 by a rule in the app's own part")
    );

    shop.snippet_is("");
    shop.main_is(&foreign);
    shop.reload();
    wait_for("the other site", DEADLINE, || {
        (shop.visit()?.1 == "theirs").then_some(())
    });
    assert!(shop.promotes().contains("does another site have its host there?"));
    let (problems, notes) = shop.told();
    assert!(
        problems.contains("is answered 200 by another part of nginx's configuration") && notes == "[]",
        "{problems} {notes}"
    );
    shop.main_is(&shop.main);
    shop.reload();
    wait_for("the app again", DEADLINE, || {
        (shop.visit()?.1 == "v3").then_some(())
    });
    assert_eq!(shop.told(), ("[]".to_owned(), "[]".to_owned()));
}

#[test]
fn haproxy_rules_in_front_stop_no_release_and_are_told() {
    let Some(mut shop) = Shop::live("rules", Kind::Flip(Program::Haproxy)) else {
        return;
    };
    let own = shop.example("haproxy/shop.cfg", shop.world.second_spare());
    shop.main_is(&format!("{}\n{own}", shop.main));
    shop.reload();
    shop.await_secure("v2");
    let said = shop.promotes();
    assert!(!said.contains("note: a visitor"), "{said}");
    shop.await_secure("v1");

    for (snippet, told) in [
        (
            format!(
                "  redirect location https://{HOST}:{}/ code 301 if !{{ req.hdr(x-forwarded-proto) https }}",
                shop.tls().port()
            ),
            "(301) by a rule in the app's own part of HAProxy's configuration, where the app answers",
        ),
        (
            "  http-request auth".to_owned(),
            "is asked for a login (401) by a rule",
        ),
        ("  http-request deny".to_owned(), "is refused (403) by a rule"),
        (
            "  http-request return status 503".to_owned(),
            "is answered 503 by a rule",
        ),
    ] {
        shop.snippet_is(&snippet);
        let said = shop.promotes();
        assert!(said.contains(told), "{said}");
        assert_eq!(shop.told().0, "[]", "{snippet}");
    }
    shop.repo.version("v3");
    shop.repo.push("green").live();
    shop.world.deployer(&["rollback"]).good();
}

#[test]
fn caddy_rules_in_front_stop_no_release_and_are_told() {
    let Some(mut shop) = Shop::live("rules", Kind::Flip(Program::Caddy)) else {
        return;
    };
    let (tls, http) = (shop.tls().port(), shop.world.second_spare().port());
    // The ports that Caddy takes for https and for its redirects by itself; nothing is put into the machine's own store.
    let ports = format!("https_port {tls}\n  skip_install_trust\n  http_port");
    let own = shop.example("caddy/shop.caddyfile", shop.world.public());
    let with = |port: u16| shop.main.replace("auto_https off", &format!("{ports} {port}")) + "\n" + &own;
    let (apart, together) = (with(http), with(shop.world.public().port()));
    for main in [apart, together] {
        shop.main_is(&main);
        shop.reload();
        shop.promotes();
        let version = if shop.standby == "green" { "v2" } else { "v1" };
        shop.await_secure(version);
        assert_eq!(shop.told().0, "[]");
    }

    for (snippet, told) in [
        (format!("redir https://{HOST}:{tls}{{uri}} 308"), "(308) by a rule in the app's own part of Caddy's configuration"),
        ("handle {\n respond later 503\n}".to_owned(), "is answered 503 by a rule"),
        ("basicauth {\n me JDJhJDE0JFdJTzZQUGdOT2Y2L1J6MTRYVDdXd2VKUHNVSXBXUjFVcGdLM2p4UVVTdmRWTGZsY2VhbE5X\n}".to_owned(), "is asked for a login (401) by a rule"),
    ] {
        shop.snippet_is(&snippet);
        shop.reload();
        let said = shop.promotes();
        assert!(said.contains(told), "{said}");
    }
    shop.repo.version("v3");
    shop.repo.push("green").live();
    shop.world.deployer(&["rollback"]).good();
}

#[test]
fn rules_of_a_program_in_front_stop_no_release_and_are_told() {
    for program in [Program::Nginx, Program::Haproxy, Program::Caddy] {
        let Some(mut shop) = Shop::live("front-rules", Kind::Front(program)) else {
            continue;
        };
        let public = shop.world.public();
        let file = match program {
            Program::Nginx => "nginx/front.conf",
            Program::Haproxy => "haproxy/front.cfg",
            Program::Caddy => "caddy/front.caddyfile",
        };
        let own = shop.example(file, public);
        let text = match program {
            Program::Nginx => shop.main.replacen("include ", &format!("{own}\ninclude "), 1),
            Program::Haproxy => format!("{}\n{own}", shop.main),
            Program::Caddy => {
                let ports = format!(
                    "https_port {}\n  skip_install_trust\n  http_port {}",
                    shop.tls().port(),
                    shop.world.second_spare().port()
                );
                let login = format!(
                    "http://{HOST}:{} {{\n bind 127.0.0.1\n respond 401\n}}\n",
                    public.port()
                );
                shop.main.replace("auto_https off", &ports) + "\n" + &own + &login
            }
        };
        shop.main_is(&text);
        shop.reload();
        shop.await_secure("v2");
        let said = shop.promotes();
        let told = match program {
            Program::Nginx => "where the app answers",
            Program::Caddy => "is asked for a login (401) by another part of Caddy's configuration",
            Program::Haproxy => "",
        };
        assert!(said.contains(told), "{said}");
        shop.await_secure("v1");
        assert_eq!(shop.told().0, "[]", "{program:?}");
    }
}
