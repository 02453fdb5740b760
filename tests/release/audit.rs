//! Who did what: the audit log, and what records, `status`, `releases` and containers tell of it.

use std::fs::{self, File};
use std::io::{BufRead, BufReader, Write};
use std::os::unix::fs::PermissionsExt;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use serde_json::{Value, json};

use crate::support::fail_points::{Kind, Point};
use crate::support::process::{Output, run};
use crate::support::{Options, Repo, World, wait_for};

const DEADLINE: Duration = Duration::from_secs(60);

/// What the front door says of a key.
const LAPTOP: &str = r#"{"key":"laptop","from":"192.0.2.7"}"#;
const CI: &str = r#"{"key":"ci","from":"2001:db8::9","apps":["shop"],"slots":["blue","green"]}"#;

/// `deployer ARGUMENTS`, asked for by a key.
#[track_caller]
fn deployer_as(world: &World, key: &str, arguments: &[&str]) -> Output {
    run(world.command().env("DEPLOYER_BY", key).args(arguments), &[])
}

/// `git push ARGUMENTS`, by a key.
#[track_caller]
fn push_as(repo: &Repo, key: &str, arguments: &[&str]) -> Output {
    run(
        repo.command().env("DEPLOYER_BY", key).arg("push").args(arguments),
        &[],
    )
}

/// The user that this test runs as.
fn user() -> String {
    run(Command::new("id").arg("-un"), &[]).good().trim().to_owned()
}

fn actions(world: &World) -> Vec<Value> {
    let audit = world.json(&["audit", "-n", "1000"]);
    audit["actions"].as_array().expect("a list").clone()
}

/// The actions in short: `WHO FROM: COMMAND | APP/SLOT RELEASE | OUTCOME`.
fn told(world: &World) -> Vec<String> {
    actions(world).iter().map(in_short).collect()
}

fn in_short(action: &Value) -> String {
    let text = |name: &str| match &action[name] {
        Value::Null => "-".to_owned(),
        Value::String(text) => text.clone(),
        other => other.to_string(),
    };
    let who = match action["key"] {
        Value::Null => text("user"),
        _ => text("key"),
    };
    format!(
        "{who} {}: {} | {}/{} {} | {}",
        text("from"),
        text("command"),
        text("app"),
        text("slot"),
        text("release"),
        text("outcome")
    )
}

/// What the audit log tells of one release, in order.
fn told_of(world: &World, release: u64) -> Vec<String> {
    let all = actions(world);
    let of_release = all.iter().filter(|action| action["release"] == release);
    of_release.map(in_short).collect()
}

fn log_lines(world: &World) -> usize {
    let log = fs::read_to_string(world.state("audit.log")).expect("the audit log");
    log.lines().count()
}

#[test]
fn every_action_is_told_in_order_with_who_asked_for_it() {
    let mut world = World::new("audit");
    let shop = world.app("shop", "");
    let repo = world.repo(&shop);
    let me = user();
    repo.version("v1");
    push_as(&repo, LAPTOP, &["green", "main"]).good();
    repo.remove("Dockerfile").commit("no Dockerfile");
    push_as(&repo, CI, &["blue", "main"]).good();
    repo.version("v2");
    push_as(&repo, CI, &["blue", "main"]).good();
    deployer_as(&world, LAPTOP, &["rollback"]).good();
    deployer_as(&world, CI, &["promote", "blue"]).good();
    assert_eq!(deployer_as(&world, CI, &["promote", "shop/blue"]).code, Some(1));
    assert_eq!(world.deployer(&["cancel", "9"]).code, Some(5));
    world.deployer(&["redeploy", "green", "--no-promote"]).good();
    push_as(&repo, LAPTOP, &["green", "main:other"]).good();
    // What only reads, or makes no sense, is no action.
    deployer_as(&world, LAPTOP, &["status"]).good();
    world.deployer(&["prune", "--dry-run"]).good();
    assert_eq!(world.deployer(&["promote", "red"]).code, Some(2));
    assert_eq!(world.deployer(&["app", "remove", "shop"]).code, Some(2));
    deployer_as(&world, LAPTOP, &["--color", "never", "prune", "shop"]).good();
    world.deployer(&["recover"]).good();

    let (laptop, ci) = ("laptop 192.0.2.7", "ci 2001:db8::9");
    let expected = [
        format!("{me} -: app create shop | shop/- - | done"),
        format!("{laptop}: git push refs/heads/main | shop/green 1 | begun"),
        format!("{laptop}: git push refs/heads/main | shop/green 1 | live"),
        format!("{ci}: git push refs/heads/main | shop/blue 2 | begun"),
        format!("{ci}: git push refs/heads/main | shop/blue 2 | failed"),
        format!("{ci}: git push refs/heads/main | shop/blue 3 | begun"),
        format!("{ci}: git push refs/heads/main | shop/blue 3 | live"),
        format!("{laptop}: rollback | shop/green 4 | begun"),
        format!("{laptop}: rollback | shop/green 4 | live"),
        format!("{ci}: promote blue | shop/blue 5 | begun"),
        format!("{ci}: promote blue | shop/blue 5 | live"),
        format!("{ci}: promote shop/blue | shop/blue - | failed"),
        format!("{me} -: cancel 9 | -/- - | failed"),
        format!("{me} -: redeploy green --no-promote | shop/green 6 | begun"),
        format!("{me} -: redeploy green --no-promote | shop/green 6 | standby"),
        format!("{laptop}: git push refs/heads/other | shop/green - | done"),
        format!("{laptop}: prune shop | shop/- - | done"),
        format!("{me} -: recover | -/- - | done"),
    ];
    assert_eq!(told(&world), expected);
    let all = actions(&world);
    let reason = |index: usize| all[index]["reason"].as_str().unwrap_or_default().to_owned();
    assert!(
        reason(4).starts_with("at build: there is no Dockerfile"),
        "{}",
        reason(4)
    );
    assert!(reason(11).contains("live already"), "{}", reason(11));
    assert!(reason(15).starts_with("no release: "), "{}", reason(15));
    assert!(all.iter().all(|action| action["user"] == me.as_str()), "{all:?}");
    who_asked_is_shown_everywhere(&world, &me);
    the_text_shows_a_part_as_it_is_asked(&world);
}

fn who_asked_is_shown_everywhere(world: &World, me: &str) {
    let record = fs::read(world.state("apps/shop/releases/1/record.json")).expect("the record");
    let record: Value = serde_json::from_slice(&record).expect("JSON");
    let laptop = json!({ "key": "laptop", "user": me, "from": "192.0.2.7" });
    assert_eq!(record["content"]["by"], laptop);

    let status = world.json(&["status"]);
    let by = |slot: usize| &status["apps"][0]["slots"][slot]["by"];
    assert_eq!((&by(0)["key"], by(1)), (&json!("ci"), &json!({ "user": me })));
    let status = world.deployer(&["status"]).good();
    assert!(
        status.contains("by ci") && status.contains(&format!("by {me}")),
        "{status}"
    );

    let releases = world.json(&["releases"]);
    assert_eq!(releases["releases"][5]["by"], laptop);
    let releases = world.deployer(&["releases"]).good();
    assert!(
        releases.contains("BY") && releases.contains("laptop"),
        "{releases}"
    );

    let mut labels: Vec<String> = world
        .containers()
        .iter()
        .map(|it| {
            it.inspect("{{index .Config.Labels \"deployer.slot\"}} {{index .Config.Labels \"deployer.by\"}}")
        })
        .collect();
    labels.sort();
    assert_eq!(labels, ["blue ci".to_owned(), format!("green {me}")]);
}

fn the_text_shows_a_part_as_it_is_asked(world: &World) {
    let text = world.deployer(&["audit", "--app", "shop", "-n", "3"]).good();
    let lines: Vec<&str> = text.lines().collect();
    assert_eq!(lines.len(), 4, "{text}");
    let words: Vec<&str> = lines[2]
        .split("  ")
        .map(str::trim)
        .filter(|word| !word.is_empty())
        .collect();
    let wanted = ["laptop", "192.0.2.7", "git push refs/heads/other", "shop/green"];
    assert_eq!(words[1..5], wanted, "{text}");
    assert!(words[5].starts_with("done: no release: "), "{text}");

    let all = world.deployer(&["audit", "--since", "1h"]).good();
    assert_eq!(all.lines().count(), 19, "{all}");
    for none in [
        &["audit", "--app", "blog"][..],
        &["audit", "--since", "2100-01-01"],
    ] {
        let said = world.deployer(none).good();
        assert!(said.contains("no such action"), "{said}");
    }
    // Another app's key sees nothing of this one, nor of what was about all of them.
    let elsewhere = r#"{"key":"elsewhere","apps":["blog"]}"#;
    let said = deployer_as(world, elsewhere, &["audit", "--json"]).good();
    let said: Value = serde_json::from_str(&said).expect("JSON");
    assert_eq!(said, json!({ "version": 1, "actions": [], "unreadable": 0 }));
}

/// A push by a key that is left running.
fn begin_push_as(repo: &Repo, key: &str, slot: &str) -> Child {
    let mut push = repo.command();
    push.env("DEPLOYER_BY", key);
    push.args(["push", "--quiet", slot, "HEAD:main"]);
    push.stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null());
    push.spawn().expect("git starts")
}

fn await_told(world: &World, release: u64, outcome: &str) {
    let what = format!("release {release} to be told as {outcome}");
    wait_for(&what, DEADLINE, || {
        let told = told_of(world, release);
        told.iter().any(|line| line.ends_with(outcome)).then_some(())
    });
}

#[test]
fn a_release_that_was_cancelled_or_superseded_tells_of_its_own_pusher() {
    let mut world = World::new("audit-cancelled");
    let shop = world.app("shop", "");
    let repo = world.repo(&shop);
    repo.unwell("v1", "SLOWSTART", "20000");
    let mut pushes = vec![begin_push_as(&repo, LAPTOP, "blue")];
    wait_for("release 1 to be probed", DEADLINE, || {
        (world.json(&["releases"])["releases"][0]["step"] == "probe").then_some(())
    });
    for (release, version) in [(2, "v2"), (3, "v3")] {
        repo.version(version);
        pushes.push(begin_push_as(
            &repo,
            if release == 2 { LAPTOP } else { CI },
            "blue",
        ));
        await_told(&world, release, "begun");
    }
    await_told(&world, 2, "superseded");

    let under_way = world.json(&["status"])["apps"][0]["under_way"][0].clone();
    assert_eq!(under_way["by"]["key"], "laptop", "{under_way}");
    deployer_as(&world, CI, &["cancel", "shop/1"]).good();
    for mut push in pushes {
        push.wait().expect("git ends");
    }

    let (laptop, ci) = ("laptop 192.0.2.7", "ci 2001:db8::9");
    let ends = |release: u64| told_of(&world, release).pop().unwrap_or_default();
    let push = "git push refs/heads/main | shop/blue";
    assert_eq!(ends(1), format!("{laptop}: {push} 1 | cancelled"));
    assert_eq!(ends(2), format!("{laptop}: {push} 2 | superseded"));
    assert_eq!(ends(3), format!("{ci}: {push} 3 | live"));
    let told = told(&world);
    let cancel = format!("{ci}: cancel shop/1 | shop/- - | done");
    assert_eq!(
        told.iter().filter(|line| **line == cancel).count(),
        1,
        "{told:#?}"
    );
    let all = actions(&world);
    let superseded = all.iter().find(|action| action["outcome"] == "superseded");
    assert_eq!(superseded.expect("it is told")["reason"], "by release 3");
}

#[test]
fn a_killed_worker_leaves_one_outcome_once_it_is_recovered() {
    let options = Options {
        fail_points: true,
        ..Options::default()
    };
    let mut world = World::with("audit-killed", options);
    let shop = world.app("shop", "");
    let repo = world.repo(&shop);
    let points = world.fail_points();
    let worker = |name: &str| Point {
        kind: Kind::Worker,
        name: name.into(),
    };

    for (release, point) in (1..).zip(["audit.live.begun", "audit.live.written", "audit.live.durable"]) {
        repo.version(&format!("v{release}"));
        points.kill_at(&worker(point));
        push_as(&repo, LAPTOP, &["green", "main"]).good();
        assert!(points.was_reached(), "{point}");
        points.go_on();
        let lines = log_lines(&world);
        world.recovers(point);

        let push = "laptop 192.0.2.7: git push refs/heads/main | shop/green";
        let expected = [
            format!("{push} {release} | begun"),
            format!("{push} {release} | live"),
        ];
        assert_eq!(told_of(&world, release), expected, "{point}");
        // The release's end, told once more where it had been told, and the recovery.
        assert_eq!(log_lines(&world), lines + 2, "{point}");
    }
}

#[test]
fn a_push_whose_hook_is_killed_before_its_record_was_never_a_release() {
    let options = Options {
        fail_points: true,
        ..Options::default()
    };
    let mut world = World::with("audit-hook", options);
    let shop = world.app("shop", "");
    let repo = world.repo(&shop);
    let points = world.fail_points();
    repo.version("v1");
    points.kill_at(&Point {
        kind: Kind::Hook,
        name: "audit.begun.durable".into(),
    });
    push_as(&repo, LAPTOP, &["green", "main"]);
    assert!(points.was_reached());
    points.go_on();
    world.recovers("the hook was killed");

    repo.version("v2");
    let release = repo.push("green").live();

    let me = user();
    let push = format!("git push refs/heads/main | shop/green {release}");
    let expected = [
        format!("laptop 192.0.2.7: {push} | begun"),
        format!("{me} -: {push} | begun"),
        format!("{me} -: {push} | live"),
    ];
    assert_eq!(told_of(&world, release), expected);
}

#[test]
fn a_torn_line_is_closed_and_counted_and_hides_no_other() {
    let mut world = World::new("audit-torn");
    world.app("shop", "");
    let mut log = File::options()
        .append(true)
        .open(world.state("audit.log"))
        .expect("the audit log");
    log.write_all(b"{\"version\":1,\"time\":\"2026-11-2")
        .expect("half a line");
    assert_eq!(world.json(&["audit"])["unreadable"], 1);

    world.deployer(&["prune"]).good();

    let me = user();
    let expected = [
        format!("{me} -: app create shop | shop/- - | done"),
        format!("{me} -: prune | -/- - | done"),
    ];
    assert_eq!(told(&world), expected);
    assert_eq!(world.json(&["audit"])["unreadable"], 1);
    let said = world.deployer(&["audit"]);
    assert!(said.stderr.contains("newer deployer: 1"), "{}", said.stderr);
}

#[test]
fn the_audit_log_is_for_its_owner_alone_and_may_be_moved_away() {
    let mut world = World::new("audit-moved");
    world.app("shop", "");
    let mode = |name: &str| {
        let log = fs::metadata(world.state(name)).expect("the audit log");
        log.permissions().mode() & 0o777
    };
    assert_eq!(mode("audit.log"), 0o600);
    fs::rename(world.state("audit.log"), world.state("audit.log.1")).expect("it is moved");
    assert_eq!(told(&world), [""; 0]);

    world.deployer(&["prune"]).good();

    assert_eq!((mode("audit.log"), mode("audit.log.1")), (0o600, 0o600));
    assert_eq!(told(&world), [format!("{} -: prune | -/- - | done", user())]);
}

/// Lines of a log that is too long to be held in memory without being seen there.
const LONG: usize = 60_000;

/// The most memory that the process `pid` has had at once, in KiB.
fn memory_of(pid: u32) -> u64 {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).expect("it runs");
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    let number = line.and_then(|line| line.split_whitespace().next()?.parse().ok());
    number.expect("how much memory it has had")
}

#[test]
fn a_long_audit_log_is_never_held_in_memory() {
    let mut world = World::new("audit-long");
    world.app("shop", "");
    let log = world.state("audit.log");
    let line = fs::read_to_string(&log).expect("a line");
    fs::write(&log, line.repeat(LONG)).expect("a long log");
    let mut command = world.command();
    command.args(["audit", "--since", "2000-01-01", "--json"]);
    let mut reader = command.stdout(Stdio::piped()).spawn().expect("it starts");
    let mut lines = BufReader::new(reader.stdout.take().expect("its output")).lines();
    let mut read = |count: usize| lines.by_ref().take(count).map_while(Result::ok).count();

    assert_eq!(read(LONG / 10), LONG / 10);
    let early = memory_of(reader.id());
    // Far enough from the end that it cannot have written all of it.
    assert_eq!(read(LONG * 8 / 10), LONG * 8 / 10);
    let late = memory_of(reader.id());

    assert!(late < early + 4096, "{early} KiB grew to {late} KiB");
    // The rest of the list; the head and the tail have three lines each.
    assert_eq!(read(LONG), LONG / 10 + 6);
    assert!(reader.wait().expect("it ends").success());
}

#[test]
fn a_release_that_the_audit_log_cannot_be_told_of_is_refused_whole() {
    let mut world = World::new("audit-refused");
    let shop = world.app("shop", "");
    let repo = world.repo(&shop);
    repo.version("v1");
    repo.push("green").live();
    // Nothing can be appended to a folder, whoever tries.
    fs::remove_file(world.state("audit.log")).expect("it is removed");
    fs::create_dir(world.state("audit.log")).expect("a folder in its place");

    let refused = world.deployer(&["redeploy", "green"]);

    assert_eq!(refused.code, Some(1), "{}{}", refused.stdout, refused.stderr);
    assert!(refused.stderr.contains("audit.log"), "{}", refused.stderr);
    assert!(!world.state("apps/shop/releases/2").exists());
    assert_eq!(world.version(), "v1");
    // What is no release is done, and it is said that it was not told.
    let pruned = world.deployer(&["prune"]);
    assert!(
        pruned.stderr.contains("the audit log does not tell of this"),
        "{}",
        pruned.stderr
    );
    pruned.good();
    fs::remove_dir(world.state("audit.log")).expect("the folder is removed");
    world.deployer(&["redeploy", "green"]).good();
}

#[test]
fn a_release_whose_end_cannot_be_told_goes_live_and_says_so() {
    let options = Options {
        fail_points: true,
        ..Options::default()
    };
    let mut world = World::with("audit-end", options);
    let shop = world.app("shop", "");
    let repo = world.repo(&shop);
    let points = world.fail_points();
    repo.version("v1");
    points.hold_at(&Point {
        kind: Kind::Worker,
        name: "journal.began.record.durable".into(),
    });
    let mut push = repo.begin_push("green");
    wait_for("the release to be at its last step", DEADLINE, || {
        points.was_reached().then_some(())
    });
    fs::remove_file(world.state("audit.log")).expect("it is removed");
    fs::create_dir(world.state("audit.log")).expect("a folder in its place");
    points.go_on();
    push.wait().expect("git ends");

    let log = world.deployer(&["log", "1"]).good();
    assert!(
        log.contains("note: the audit log does not tell how this release has ended"),
        "{log}"
    );
    assert!(
        log.lines().last().is_some_and(|line| line.starts_with("live: ")),
        "{log}"
    );
    assert_eq!(world.version(), "v1");
}

#[test]
fn what_the_front_door_would_not_say_of_a_key_is_refused() {
    let mut world = World::new("audit-malformed");
    let shop = world.app("shop", "");
    let repo = world.repo(&shop);
    repo.version("v1");
    for said in [
        "",
        "laptop",
        r#"{"key":"a b"}"#,
        r#"{"key":"laptop","app":"shop"}"#,
    ] {
        let refused = deployer_as(&world, said, &["prune"]);
        assert_eq!(refused.code, Some(1), "{said}: {}", refused.stdout);
        assert!(
            refused.stderr.contains("DEPLOYER_BY"),
            "{said}: {}",
            refused.stderr
        );
    }
    let push = push_as(&repo, "laptop", &["green", "main"]);
    assert!(push.stderr.contains("DEPLOYER_BY"), "{}", push.stderr);
    assert!(!world.state("apps/shop/releases/1").exists());
    let told = told(&world);
    assert_eq!(told.len(), 1, "only `app create`: {told:#?}");
}
