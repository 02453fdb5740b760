//! What the audit log tells of those who came by the front door.

use serde_json::json;

use super::{NOT_ALLOWED, key};
use crate::support::World;
use crate::support::process::run;
use crate::support::sshd::{Key, Sshd};

#[test]
fn the_audit_log_tells_what_each_key_did_and_what_it_was_refused() {
    let mut world = World::new("door-audit");
    let shop = world.app("shop", "");
    let sshd = Sshd::start(&world, "");
    let laptop = key(&world, "laptop", &["--slot", "green"]);
    let admin = key(&world, "admin", &["--role", "admin"]);
    let repo = world.repo(&shop);
    repo.write("README", "no Dockerfile").commit("v1");
    let git = |arguments: &[&str]| {
        let mut git = repo.command();
        git.env("GIT_SSH_COMMAND", sshd.client(&laptop).join(" "));
        run(git.args(arguments), &[])
    };
    let begun = world.json(&["audit"])["actions"].as_array().map_or(0, Vec::len);

    assert!(
        git(&["push", &sshd.url("/shop/green"), "main"])
            .stderr
            .contains("failed: shop/green")
    );
    git(&["ls-remote", &sshd.url("/shop/green")]).good();
    sshd.ssh(&laptop, "status").good();
    sshd.ssh(&laptop, "").good();
    for refused in [
        "promote green",
        "redeploy shop/blue",
        "cat /etc/passwd",
        "status; reboot",
    ] {
        assert_eq!(sshd.ssh(&laptop, refused).code, NOT_ALLOWED, "{refused}");
    }
    assert_eq!(sshd.ssh(&laptop, "redeploy blog/green").code, Some(5));
    assert_eq!(sshd.ssh(&laptop, "redeploy").code, Some(2));
    let other = Key::new(world.path("other"));
    run(
        &mut sshd.command(&admin, &[], "key add other"),
        other.public().as_bytes(),
    )
    .good();
    sshd.ssh(&admin, "key remove other").good();

    let audit = world.json(&["audit", "-n", "100"]);
    let actions = &audit["actions"].as_array().expect("a list")[begun..];
    let told = actions.iter().map(|action| {
        assert_eq!(action["from"], "127.0.0.1", "{action}");
        json!([
            action["key"],
            action["command"],
            action["app"],
            action["slot"],
            action["outcome"]
        ])
    });
    let told: Vec<_> = told.collect();
    let none = serde_json::Value::Null;
    assert_eq!(
        told,
        [
            json!(["laptop", "git push refs/heads/main", "shop", "green", "begun"]),
            json!(["laptop", "git push refs/heads/main", "shop", "green", "failed"]),
            json!(["laptop", "git-upload-pack '/shop/green'", "shop", "green", "done"]),
            json!(["laptop", "promote green", none, none, "refused"]),
            json!(["laptop", "redeploy shop/blue", "shop", "blue", "refused"]),
            json!(["laptop", "cat /etc/passwd", none, none, "refused"]),
            json!(["laptop", "status; reboot", none, none, "refused"]),
            json!(["laptop", "redeploy blog/green", "blog", "green", "refused"]),
            json!(["admin", "key add other", none, none, "done"]),
            json!(["admin", "key remove other", none, none, "done"]),
        ]
    );
    let reason = |index: usize| actions[index]["reason"].as_str().unwrap_or_default().to_owned();
    assert!(reason(3).contains("that needs the role operate"), "{}", reason(3));
    assert!(reason(7).contains("there is no app blog"), "{}", reason(7));
}

/// The lines of an audit log's table, without its heading, and its bytes.
fn table(keys: &super::Keys) -> (Vec<String>, u64) {
    let text = run(&mut keys.command(&["audit", "-n", "1000"]), &[]).good();
    let log = std::fs::metadata(keys.path("state/audit.log")).expect("an audit log");
    (text.lines().skip(1).map(str::to_owned).collect(), log.len())
}

#[test]
fn refusals_without_end_are_counted_and_a_long_one_makes_no_wide_table() {
    let keys = super::Keys::new();
    let refused = |key: &str, command: &str| {
        let mut door = keys.command(&["ssh", "--key", key, "--role", "read"]);
        door.env("SSH_ORIGINAL_COMMAND", command)
            .env("SSH_CONNECTION", "192.0.2.7 1 192.0.2.1 22");
        assert_eq!(run(&mut door, &[]).code, NOT_ALLOWED);
    };

    for number in 0..40 {
        refused("reader", &format!("cat {number} {}", "x".repeat(3_000)));
    }
    refused("other", "promote green");

    let (lines, bytes) = table(&keys);
    assert_eq!(lines.len(), 22, "{lines:#?}");
    assert!(bytes < 22 * 2_000, "{bytes} bytes");
    assert!(lines.iter().all(|line| line.chars().count() < 300), "{lines:#?}");
    assert!(
        lines[20].contains("other") && !lines[20].contains("more"),
        "{}",
        lines[20]
    );
    assert!(
        lines[21].contains("cat 39 xxx")
            && lines[21].contains("… ")
            && lines[21].contains("(and 19 more in "),
        "{}",
        lines[21]
    );
    let json = run(&mut keys.command(&["audit", "--json"]), &[]).good();
    let json: serde_json::Value = serde_json::from_str(&json).expect("JSON");
    let newest = &json["actions"][21];
    assert_eq!(
        (&newest["more"], &newest["outcome"]),
        (&json!(19), &json!("refused"))
    );
    assert!(newest["since"].is_string() && json["actions"][0].get("more").is_none());
    assert_eq!(newest["command"].as_str().map(str::len), Some("…".len() + 499));
}
