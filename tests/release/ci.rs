//! The jobs of docs/guides/ci, by the words that a runner would run.

use std::fs;

use crate::door::key;
use crate::support::process::{Output, run};
use crate::support::sshd::{Key, Sshd};
use crate::support::{Repo, World};

/// The one block of shell that a job has: the lines below the one that ends in `opens`, as far as they are indented.
fn script(file: &str, opens: &str) -> String {
    let path = format!("{}/docs/guides/ci/{file}", env!("CARGO_MANIFEST_DIR"));
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

/// The line of known_hosts that says that the server of `world` has the key `host`.
fn known_as(world: &World, host: &str) -> String {
    format!("[127.0.0.1]:{} {host}", world.spare().port())
}

/// A job whose variables are given as texts, or as files that hold them.
struct Job {
    script: String,
    by_file: bool,
}

impl Job {
    fn run(&self, world: &World, repo: &Repo, (sshd, key): (&Sshd, &Key), known: &str) -> Output {
        let given = [
            (
                "DEPLOY_KEY",
                fs::read_to_string(key.path()).expect("the key is read"),
            ),
            ("DEPLOY_KNOWN_HOSTS", known.to_owned()),
        ];
        let mut shell = repo.shell("bash");
        shell
            .args(["-e", "-c", &self.script])
            .env("DEPLOY_REMOTE", sshd.url("/shop/green"));
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
    let sshd = Sshd::start(&world, "");
    let key = key(
        &world,
        "ci",
        &["--role", "deploy", "--app", "shop", "--slot", "green"],
    );
    let pusher = (&sshd, &key);
    let host = fs::read_to_string(world.path("host-key.pub")).expect("sshd's key");
    let known = known_as(&world, &host);
    let jobs = [
        ("github-actions.yml", "run: |", false),
        ("gitlab-ci.yml", "- |", true),
    ];
    for (file, opens, by_file) in jobs {
        let script = script(file, opens);
        let job = Job { script, by_file };
        let good = repo.version(file);

        let done = job.run(&world, &repo, pusher, &known);

        let told = format!("{file}: {}{}", done.stdout, done.stderr);
        assert_eq!(done.code, Some(0), "{told}");
        assert!(
            done.stdout
                .contains(&format!("ssh {} rollback green", sshd.host())),
            "{told}"
        );
        assert_eq!(world.version(), file);

        // Somebody else answers in the server's place.
        repo.version("elsewhere");
        let other = Key::new(world.path(if by_file { "other-2" } else { "other-1" }));
        let done = job.run(&world, &repo, pusher, &known_as(&world, &other.public()));
        assert_eq!(done.code, Some(1), "{file}: {}{}", done.stdout, done.stderr);
        assert!(
            done.stderr.contains("Host key verification failed"),
            "{}",
            done.stderr
        );

        repo.unwell("unwell", "FAIL", "exit");
        let done = job.run(&world, &repo, pusher, &known);
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
