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
    ("logs blog/green --since 2h", Read, Own),
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
    ("audit", Admin, Server),
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

/// Every command of the table by each of the roles, done by keys with `limits`.
fn try_all(world: &mut World, roles: &[(&'static str, Least)], limits: &[&str]) {
    world.app("shop", "hosts = [\"shop.test\"]");
    let blog = world.app("blog", "");
    failed_releases(world, &world.repo(&blog));
    let holder = |(name, role): &(&'static str, Least)| Holder {
        name,
        role: *role,
        limited: !limits.is_empty(),
        key: key(world, name, &[&["--role", name], limits].concat()),
    };
    let holders: Vec<Holder> = roles.iter().map(holder).collect();

    let mut wrong = Vec::new();
    for holder in &holders {
        for (command, least, to) in TABLE {
            let ended = ask(world, holder, command);
            if !is_as_it_should_be(holder, *least, *to, &ended) {
                wrong.push(format!(
                    "{}: {command}: {:?} {}{}",
                    holder.name, ended.code, ended.stdout, ended.stderr
                ));
            }
        }
    }

    assert!(
        wrong.is_empty(),
        "{} are wrong:\n{}",
        wrong.len(),
        wrong.join("\n")
    );
    let sshd = Sshd::start(world, "");
    for holder in &holders {
        let may_push = sshd.ssh(&holder.key, "git-receive-pack 'blog/green'").code != NOT_ALLOWED;
        assert_eq!(may_push, holder.role >= Deploy, "{}", holder.name);
        let recovers = sshd.ssh(&holder.key, "recover blog").code == Some(0);
        assert_eq!(recovers, holder.role == Admin, "{}", holder.name);
    }
    assert_eq!(
        world.json(&["app", "list"])["apps"],
        serde_json::json!(["blog", "shop"])
    );
}

#[test]
fn every_role_may_do_what_the_table_says_and_nothing_else() {
    let roles = [
        ("read", Read),
        ("deploy", Deploy),
        ("operate", Operate),
        ("admin", Admin),
    ];
    try_all(&mut World::new("roles"), &roles, &[]);
}

#[test]
fn a_key_with_limits_may_do_it_to_its_own_app_and_slot_alone() {
    let roles = [("read", Read), ("deploy", Deploy), ("operate", Operate)];
    let limits = ["--slot", "blog/green"];
    try_all(&mut World::new("limits"), &roles, &limits);
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
    let lfs = sshd.ssh(&key, "git-lfs-authenticate blog/green upload");
    assert_eq!(lfs.code, NOT_ALLOWED, "{}", lfs.stderr);
    assert!(
        lfs.stderr.contains("Git LFS is not served here"),
        "{}",
        lfs.stderr
    );
    // There is one app for this key, so that it need not be named.
    let said = sshd.ssh(&key, "redeploy green");
    assert_eq!(said.code, Some(3), "{}", said.stderr);
    assert!(
        said.stdout.contains("failed: blog/green release 3"),
        "{}",
        said.stdout
    );
}
