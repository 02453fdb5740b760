//! What each role may do, to what: every command by every key.

use std::process::Command;

use super::{NOT_ALLOWED, key};
use crate::support::process::{Output, run};
use crate::support::sshd::{Key, Sshd};
use crate::support::{Repo, World};

/// Who may.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Least {
    Anybody,
    Read,
    Deploy,
    Operate,
    Admin,
    Nobody,
}

/// What a command is done to, for a key that is limited to `blog` and `green`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum To {
    /// What the key is for, or nothing in particular.
    Own,
    /// The other slot, or both.
    OtherSlot,
    /// Another app.
    OtherApp,
    /// The server.
    Server,
}

use Least::{Admin, Anybody, Deploy, Nobody, Operate, Read};
use To::{OtherApp, OtherSlot, Own, Server};

/// `blog` has release 1 on green and release 2 on blue, both of which failed at once; nothing was pushed to `shop`.
const TABLE: &[(&str, Least, To)] = &[
    ("help", Anybody, Own),
    ("--version", Anybody, Own),
    ("completions bash", Anybody, Own),
    ("rollback --help", Anybody, Own),
    ("status", Read, Own),
    ("deployer status", Read, Own),
    ("status blog --json", Read, Own),
    ("status shop", Read, OtherApp),
    ("releases blog", Read, Own),
    ("releases shop", Read, OtherApp),
    ("app list", Read, Own),
    ("app show blog", Read, Own),
    ("app show shop", Read, OtherApp),
    ("log blog/1", Read, Own),
    ("log blog/2", Read, OtherSlot),
    ("log shop/1", Read, OtherApp),
    ("logs blog/green", Read, Own),
    ("logs blog/blue", Read, OtherSlot),
    ("logs shop/green", Read, OtherApp),
    ("git-upload-pack 'blog/green'", Read, Own),
    ("git-upload-pack '/blog/green.git'", Read, Own),
    ("git upload-pack 'blog/blue'", Read, OtherSlot),
    ("git-upload-pack 'shop/green'", Read, OtherApp),
    ("git-upload-archive 'blog/green'", Read, Own),
    ("git-upload-archive 'blog/blue'", Read, OtherSlot),
    ("git-receive-pack 'blog/green'", Deploy, Own),
    ("git-receive-pack 'blog/blue'", Deploy, OtherSlot),
    ("git receive-pack 'shop/green'", Deploy, OtherApp),
    ("redeploy blog/green", Deploy, Own),
    ("redeploy blog/blue", Deploy, OtherSlot),
    ("redeploy shop/green", Deploy, OtherApp),
    ("promote blog/green", Operate, Own),
    ("promote blog/blue", Operate, OtherSlot),
    ("promote shop/green", Operate, OtherApp),
    ("rollback blog/green", Operate, Own),
    ("rollback blog/green --to 1", Operate, Own),
    ("rollback blog/blue", Operate, OtherSlot),
    ("rollback shop/green", Operate, OtherApp),
    ("rollback --app blog", Operate, OtherSlot),
    ("cancel blog/1", Operate, Own),
    ("cancel blog/2", Operate, OtherSlot),
    ("cancel shop/1", Operate, OtherApp),
    ("app create blog", Admin, Server),
    ("app remove blog", Admin, Server),
    ("prune --dry-run", Admin, Server),
    ("recover", Admin, Server),
    ("proxy routes", Admin, Server),
    ("config check", Admin, Server),
    ("key list", Admin, Server),
    ("key show nobody", Admin, Server),
    ("key add nobody", Admin, Server),
    ("key remove nobody", Admin, Server),
    ("proxy run", Nobody, Own),
    ("proxy run --upgrade", Nobody, Own),
    ("hook post-receive --slot blog/green", Nobody, Own),
    ("worker blog 1", Nobody, Own),
    ("ssh --key other --role admin", Nobody, Own),
    ("--config /dev/null status", Nobody, Own),
    ("status --config=/dev/null", Nobody, Own),
    ("sh -c id", Nobody, Own),
    ("id", Nobody, Own),
    ("status; id", Nobody, Own),
    ("status $(id)", Nobody, Own),
    ("scp -t /tmp", Nobody, Own),
    ("git gc", Nobody, Own),
    ("git-upload-pack /etc", Nobody, Own),
    ("git-upload-pack '../../etc'", Nobody, Own),
    ("git-upload-pack --upload-pack=id 'blog/green'", Nobody, Own),
    ("git-lfs-authenticate blog/green download", Nobody, Own),
];

struct Holder {
    name: &'static str,
    role: Least,
    limited: bool,
    key: Key,
}

/// A push to both slots of `blog` that fails at once, so that there is a release of each.
fn failed_releases(world: &World, repo: &Repo) {
    repo.write("README", "no Dockerfile").commit("v1");
    repo.push("green").failed();
    repo.push("blue").failed();
    assert_eq!(
        world.json(&["releases", "blog"])["releases"]
            .as_array()
            .map(Vec::len),
        Some(2)
    );
}

/// What sshd runs for the key `name`, as the file of keys says.
fn forced_command(world: &World, name: &str) -> String {
    let lines = std::fs::read_to_string(world.authorized_keys()).expect("the file of keys is read");
    let line = lines.lines().find(|line| line.ends_with(&format!(" {name}")));
    let command = line.and_then(|line| line.strip_prefix("restrict,command=\"")?.split('"').next());
    command.expect("a line of deployer's").to_owned()
}

/// What becomes of COMMAND as sshd has it done: by a shell, in the environment that sshd makes. Through sshd itself
/// the whole table would take minutes.
fn ask(world: &World, holder: &Holder, command: &str) -> Output {
    let mut shell = Command::new("/bin/sh");
    shell.args(["-c", &forced_command(world, holder.name)]);
    shell.env_clear().current_dir("/").env("HOME", world.path("home"));
    shell.env("SSH_CONNECTION", "192.0.2.7 50000 192.0.2.1 22");
    run(shell.env("SSH_ORIGINAL_COMMAND", command), &[])
}

fn is_as_it_should_be(holder: &Holder, least: Least, to: To, ended: &Output) -> bool {
    let refused = ended.code == NOT_ALLOWED && ended.stdout.is_empty();
    if least == Anybody {
        return ended.code == Some(0) && !ended.stdout.is_empty();
    }
    if holder.role < least {
        return refused;
    }
    match to {
        OtherSlot if holder.limited => refused,
        OtherApp if holder.limited => {
            ended.code == Some(5) && ended.stderr.contains("there is no app shop; there is blog")
        }
        _ => {
            !ended.stderr.contains("may not") && !ended.stderr.contains("no app") && ended.code != NOT_ALLOWED
        }
    }
}

#[test]
fn every_role_may_do_what_the_table_says_and_nothing_else() {
    let mut world = World::new("roles");
    world.app("shop", "hosts = [\"shop.test\"]");
    let blog = world.app("blog", "");
    failed_releases(&world, &world.repo(&blog));
    let limits = ["--app", "blog", "--slot", "green"];
    let holders: Vec<Holder> = [
        ("read", Read, false),
        ("deploy", Deploy, false),
        ("operate", Operate, false),
        ("admin", Admin, false),
        ("read", Read, true),
        ("deploy", Deploy, true),
        ("operate", Operate, true),
    ]
    .into_iter()
    .map(|(role, least, limited)| {
        let name: &'static str = if limited {
            role
        } else {
            ["all-", role].concat().leak()
        };
        let limits: &[&str] = if limited { &limits } else { &[] };
        let key = key(&world, name, &[&["--role", role], limits].concat());
        Holder {
            name,
            role: least,
            limited,
            key,
        }
    })
    .collect();

    let mut wrong = Vec::new();
    for holder in &holders {
        for (command, least, to) in TABLE {
            let ended = ask(&world, holder, command);
            if !is_as_it_should_be(holder, *least, *to, &ended) {
                wrong.push(format!(
                    "{} ({:?}, limited: {}): {command}: {:?} {}{}",
                    holder.name, holder.role, holder.limited, ended.code, ended.stdout, ended.stderr
                ));
            }
        }
    }

    let sshd = Sshd::start(&world, "");
    for holder in &holders {
        let may_push = sshd.ssh(&holder.key, "git-receive-pack 'blog/green'").code != NOT_ALLOWED;
        assert_eq!(may_push, holder.role >= Deploy, "{}", holder.name);
        let recovers = sshd.ssh(&holder.key, "recover blog").code == Some(0);
        assert_eq!(recovers, holder.role == Admin, "{}", holder.name);
    }
    assert!(
        wrong.is_empty(),
        "{} are wrong:\n{}",
        wrong.len(),
        wrong.join("\n")
    );
    assert_eq!(
        world.json(&["app", "list"])["apps"],
        serde_json::json!(["blog", "shop"])
    );
}

#[test]
fn a_key_sees_no_app_but_its_own() {
    let mut world = World::new("scope");
    let shop = world.app("shop", "hosts = [\"shop.test\"]");
    let blog = world.app("blog", "");
    let sshd = Sshd::start(&world, "");
    let key = key(&world, "laptop", &["--role", "operate", "--app", "blog"]);
    failed_releases(&world, &world.repo(&blog));
    let repo = world.repo(&shop);
    repo.write("README", "no Dockerfile").commit("v1");
    repo.push("green").failed();

    for command in [
        "",
        "app list",
        "status",
        "status --json",
        "releases",
        "app show",
        "log 1",
        "help",
    ] {
        let ended = sshd.ssh(&key, command);
        assert_eq!(ended.code, Some(0), "{command}: {}", ended.stderr);
        assert!(!ended.stdout.contains("shop.test"), "{command}: {}", ended.stdout);
        assert!(
            command == "help" || !ended.stdout.contains("shop"),
            "{command}: {}",
            ended.stdout
        );
    }
    // An app that there is and one that there is not are told of in the same words.
    for command in [
        "status NAME",
        "log NAME/1",
        "redeploy NAME/green",
        "git-upload-pack 'NAME/green'",
    ] {
        let of = |name: &str| {
            let ended = sshd.ssh(&key, &command.replace("NAME", name));
            (ended.code, ended.stdout, ended.stderr.replace(name, "NAME"))
        };
        assert_eq!(of("shop"), of("nowhere"));
    }
    // There is one app for this key, so that it need not be named.
    let said = sshd.ssh(&key, "redeploy green");
    assert_eq!(said.code, Some(3), "{}", said.stderr);
    assert!(
        said.stdout.contains("failed: blog/green release 3"),
        "{}",
        said.stdout
    );
}
