//! Over a real sshd: a push from elsewhere, a rollback from elsewhere, and a pusher who goes away.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use rustix::process::Signal;

use crate::support::process::{Daemon, processes_of, run, signal};
use crate::support::{App, DEPLOYER, Options, Repo, World, wait_for};

const DEADLINE: Duration = Duration::from_secs(60);

/// An sshd for this test alone, and the command that reaches it.
struct Sshd {
    _daemon: Daemon,
    port: u16,
    client: Vec<String>,
    user: String,
}

impl Sshd {
    fn start(world: &World) -> Self {
        let port = world.spare().port();
        let key = |name: &str| -> PathBuf {
            let path = world.path(name);
            run(
                Command::new("ssh-keygen")
                    .args(["-q", "-t", "ed25519", "-N", "", "-f"])
                    .arg(&path),
                &[],
            )
            .good();
            path
        };
        let (host, user) = (key("host-key"), key("user-key"));
        fs::copy(user.with_extension("pub"), world.path("authorized_keys")).expect("the key is copied");
        fs::set_permissions(world.path("authorized_keys"), PermissionsExt::from_mode(0o600)).expect("a mode");
        fs::create_dir_all("/run/sshd").expect("sshd's folder");
        let config = format!(
            "Port {port}\nListenAddress 127.0.0.1\nHostKey {}\nAuthorizedKeysFile {}\nPidFile none\nUsePAM no\n\
             StrictModes no\nPermitRootLogin yes\nPasswordAuthentication no\n",
            host.display(),
            world.path("authorized_keys").display(),
        );
        fs::write(world.path("sshd_config"), config).expect("the configuration is written");
        let mut command = Command::new("/usr/sbin/sshd");
        command.args(["-D", "-e", "-f"]).arg(world.path("sshd_config"));
        let daemon = Daemon::start(&mut command, &world.path("sshd.log"));
        wait_for("sshd", DEADLINE, || {
            std::net::TcpStream::connect(("127.0.0.1", port)).ok()
        });
        let client = [
            "ssh",
            "-F",
            "none",
            "-o",
            "BatchMode=yes",
            "-o",
            "StrictHostKeyChecking=no",
            "-o",
            "UserKnownHostsFile=/dev/null",
            "-o",
            "LogLevel=ERROR",
            "-p",
            &port.to_string(),
            "-i",
            user.to_str().expect("a path in UTF-8"),
        ];
        let user = run(Command::new("id").arg("-un"), &[]).good().trim().to_owned();
        Self {
            _daemon: daemon,
            port,
            client: client.map(str::to_owned).to_vec(),
            user,
        }
    }

    fn url(&self, path: &str) -> String {
        format!("ssh://{}@127.0.0.1:{}{path}", self.user, self.port)
    }
}

#[test]
fn push_and_rollback_over_ssh() {
    let mut world = World::new("ssh");
    let shop = world.app("shop", "");
    let sshd = Sshd::start(&world);
    let repo = world.repo(&shop);
    let green = sshd.url(&world.remote(&shop, "green"));
    let push = |version: &str| {
        repo.version(version);
        let mut push = repo.command();
        push.env("GIT_SSH_COMMAND", sshd.client.join(" "))
            .args(["push", &green, "main"]);
        run(&mut push, &[]).stderr
    };

    assert!(push("v1").contains("live: shop/green release 1"));
    assert!(push("v2").contains("live: shop/green release 2"));
    assert_eq!(world.version(), "v2");

    let mut ssh = Command::new(&sshd.client[0]);
    ssh.args(&sshd.client[1..])
        .arg(format!("{}@127.0.0.1", sshd.user));
    ssh.arg(format!(
        "{DEPLOYER} --config {} rollback green",
        world.config().display()
    ));
    let said = run(&mut ssh, &[]).good();

    assert!(said.contains("live: shop/green release 3"), "{said}");
    assert_eq!(world.version(), "v1");
}

/// A push over ssh that is left running, with nobody who reads along, and the process id of its ssh.
fn begin_push(world: &World, sshd: &Sshd, repo: &Repo, shop: &App) -> (Child, u32) {
    let mut push = repo.command();
    push.env("GIT_SSH_COMMAND", sshd.client.join(" "));
    push.args(["push", &sshd.url(&world.remote(shop, "green")), "main"]);
    push.stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null());
    let push = push.spawn().expect("git starts");
    let ssh = wait_for("ssh", DEADLINE, || {
        processes_of(Path::new("/usr/bin/ssh"), &world.path("user-key")).pop()
    });
    (push, ssh)
}

fn await_live(world: &World, version: &str) {
    wait_for("the release to be live", DEADLINE, || {
        (world.json(&["status"])["apps"][0]["live"] == "green").then_some(())
    });
    wait_for("the worker to end", DEADLINE, || {
        world.workers().is_empty().then_some(())
    });
    assert_eq!(world.version(), version);
    assert_eq!(
        world.json(&["status"])["apps"][0]["problems"],
        serde_json::json!([])
    );
}

#[test]
fn release_goes_on_when_its_pushers_ssh_is_killed() {
    let mut world = World::new("ssh-killed");
    let shop = world.app("shop", "");
    let sshd = Sshd::start(&world);
    let repo = world.repo(&shop);
    repo.unwell("v1", "SLOWSTART", "1500");
    let (mut push, ssh) = begin_push(&world, &sshd, &repo, &shop);
    wait_for("the worker", DEADLINE, || {
        (world.workers().len() == 2).then_some(())
    });

    signal(ssh, Signal::KILL);

    let status = push.wait().expect("git ends");
    assert!(!status.success(), "git knows that its ssh is gone");
    await_live(&world, "v1");
}

#[test]
fn release_ends_when_its_pusher_is_killed_with_a_mebibyte_unread() {
    let options = Options {
        engine: "builder = \"classic\"".into(),
        ..Options::default()
    };
    let mut world = World::with("ssh-unread", options);
    let shop = world.app("shop", "");
    let sshd = Sshd::start(&world);
    let repo = world.repo(&shop);
    // 1,600 lines, which a pusher is shown all, are 1.07 MiB.
    repo.write("VERSION", "v1")
        .write("SLOWSTART", "1500")
        .write(
            "Dockerfile",
            format!(
                "FROM {}\nARG PRINT=1600\nRUN [\"/app\"]\nCOPY . /\nEXPOSE 8080\n",
                world.image()
            ),
        )
        .commit("v1");
    let (mut push, ssh) = begin_push(&world, &sshd, &repo, &shop);
    wait_for("the worker", DEADLINE, || {
        (world.workers().len() == 2).then_some(())
    });
    signal(ssh, Signal::STOP);
    let log = world.state("apps/shop/releases/1/log");
    wait_for("a mebibyte of build output", DEADLINE, || {
        (fs::metadata(&log).ok()?.len() > 1 << 20).then_some(())
    });

    signal(ssh, Signal::KILL);

    push.wait().expect("git ends");
    await_live(&world, "v1");
}

#[test]
fn release_goes_on_when_its_pusher_goes_away() {
    let mut world = World::new("ssh-gone");
    let shop = world.app("shop", "");
    let sshd = Sshd::start(&world);
    let repo = world.repo(&shop);
    repo.unwell("v1", "SLOWSTART", "1500");
    let mut push = repo.command();
    push.env("GIT_SSH_COMMAND", sshd.client.join(" "));
    push.args(["push", &sshd.url(&world.remote(&shop, "green")), "main"]);
    push.stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null());
    let mut push = push.spawn().expect("git starts");
    wait_for("the worker", DEADLINE, || {
        (world.workers().len() == 2).then_some(())
    });

    signal(push.id(), Signal::KILL);

    push.wait().expect("git is gone");
    wait_for("the release to be live", DEADLINE, || {
        (world.json(&["status"])["apps"][0]["live"] == "green").then_some(())
    });
    assert_eq!(world.version(), "v1");
}
