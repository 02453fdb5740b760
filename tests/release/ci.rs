//! The jobs of docs/ci, by the words that a runner would run.

use std::fs;
use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use crate::support::process::{Daemon, Output, run};
use crate::support::{Repo, World, wait_for};

const DEADLINE: Duration = Duration::from_secs(60);

/// The one block of shell that a job has: the lines below the one that ends in `opens`, as far as they are indented.
fn script(file: &str, opens: &str) -> String {
    let path = format!("{}/docs/ci/{file}", env!("CARGO_MANIFEST_DIR"));
    let text = fs::read_to_string(path).expect("the example is read");
    let mut lines = text
        .lines()
        .skip_while(|line| line.trim() != opens)
        .skip(1)
        .peekable();
    let indent = lines
        .peek()
        .map_or(0, |line| line.len() - line.trim_start().len());
    assert!(indent > 0, "{file} has no {opens:?}");
    let block = lines.take_while(|line| line.is_empty() || line.len() - line.trim_start().len() >= indent);
    block
        .map(|line| format!("{}\n", line.get(indent..).unwrap_or_default()))
        .collect()
}

/// An sshd that a deploy key may come to.
struct Server {
    _daemon: Daemon,
    port: u16,
    user: String,
    key: PathBuf,
    host_key: PathBuf,
}

impl Server {
    fn start(world: &World) -> Self {
        let [key, host_key] = ["ci-key", "ci-host-key"].map(|name| new_key(world, name));
        let port = world.spare().port();
        fs::create_dir_all("/run/sshd").expect("sshd's folder");
        let config = format!(
            "Port {port}\nListenAddress 127.0.0.1\nHostKey {}\nAuthorizedKeysFile {}.pub\nPidFile none\nUsePAM no\n\
             StrictModes no\nPermitRootLogin yes\nPasswordAuthentication no\n",
            host_key.display(),
            key.display()
        );
        fs::write(world.path("ci-sshd"), config).expect("the configuration is written");
        let mut command = Command::new("/usr/sbin/sshd");
        command.args(["-D", "-e", "-f"]).arg(world.path("ci-sshd"));
        let daemon = Daemon::start(&mut command, &world.path("ci-sshd.log"));
        wait_for("sshd", DEADLINE, || {
            std::net::TcpStream::connect(("127.0.0.1", port)).ok()
        });
        let user = run(Command::new("id").arg("-un"), &[]).good().trim().to_owned();
        Self {
            _daemon: daemon,
            port,
            user,
            key,
            host_key,
        }
    }

    /// The line of known_hosts that says that this server has the key in the file `key`.
    fn known_as(&self, key: &PathBuf) -> String {
        let public = fs::read_to_string(key.with_extension("pub")).expect("the key is read");
        format!("[127.0.0.1]:{} {public}", self.port)
    }
}

fn new_key(world: &World, name: &str) -> PathBuf {
    let path = world.path(name);
    let mut keygen = Command::new("ssh-keygen");
    run(
        keygen.args(["-q", "-t", "ed25519", "-N", "", "-f"]).arg(&path),
        &[],
    )
    .good();
    path
}

/// A job whose variables are given as texts, or as files that hold them.
struct Job {
    script: String,
    by_file: bool,
}

impl Job {
    fn run(&self, world: &World, repo: &Repo, server: &Server, known: &str) -> Output {
        let remote = world.state("git/shop/green.git");
        let given = [
            (
                "DEPLOY_KEY",
                fs::read_to_string(&server.key).expect("the key is read"),
            ),
            ("DEPLOY_KNOWN_HOSTS", known.to_owned()),
        ];
        let mut shell = repo.shell("bash");
        shell.args(["-e", "-c", &self.script]).env(
            "DEPLOY_REMOTE",
            format!(
                "ssh://{}@127.0.0.1:{}{}",
                server.user,
                server.port,
                remote.display()
            ),
        );
        for (name, text) in given {
            if self.by_file {
                let file = world.path(name);
                fs::write(&file, text).expect("the variable's file is written");
                shell.env(name, file);
            } else {
                shell.env(name, text.trim_end());
            }
        }
        run(&mut shell, &[])
    }
}

#[test]
fn jobs_of_the_examples_fail_when_the_deploy_fails_and_trust_one_server() {
    let mut world = World::new("ci");
    let shop = world.app("shop", "gate = \"release\"");
    let repo = world.repo(&shop);
    let server = Server::start(&world);
    let known = server.known_as(&server.host_key);
    let jobs = [
        ("github-actions.yml", "run: |", false),
        ("gitlab-ci.yml", "- |", true),
    ];
    for (file, opens, by_file) in jobs {
        let script = script(file, opens);
        let job = Job { script, by_file };
        let good = repo.version(file);

        let done = job.run(&world, &repo, &server, &known);

        let told = format!("{file}: {}{}", done.stdout, done.stderr);
        assert_eq!(done.code, Some(0), "{told}");
        assert!(
            done.stdout
                .contains(&format!("ssh {}@127.0.0.1 rollback green", server.user)),
            "{told}"
        );
        assert_eq!(world.version(), file);

        // Somebody else answers in the server's place.
        repo.version("elsewhere");
        let other = new_key(&world, if by_file { "other-2" } else { "other-1" });
        let done = job.run(&world, &repo, &server, &server.known_as(&other));
        assert_eq!(done.code, Some(1), "{file}: {}{}", done.stdout, done.stderr);
        assert!(
            done.stderr.contains("Host key verification failed"),
            "{}",
            done.stderr
        );

        repo.unwell("unwell", "FAIL", "exit");
        let done = job.run(&world, &repo, &server, &known);
        assert_eq!(done.code, Some(1), "{file}: {}{}", done.stdout, done.stderr);
        assert!(done.stdout.contains("Not deployed"), "{}", done.stdout);
        assert!(done.stderr.contains("at probe"), "{}", done.stderr);
        assert_eq!(world.version(), file);
        repo.git(&["reset", "-q", "--hard", &good]).good();
    }
    let releases = world.json(&["releases"]);
    assert_eq!(
        releases["releases"].as_array().map(Vec::len),
        Some(4),
        "{releases}"
    );
}
