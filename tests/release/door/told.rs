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
