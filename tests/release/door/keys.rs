//! The file of keys: what `deployer key` puts there, what it leaves alone, and what it takes for a key.

use std::fs;
use std::os::unix::fs::{PermissionsExt, chown};
use std::path::Path;

use super::Keys;
use crate::support::process::run;

fn mode(path: &Path) -> u32 {
    fs::metadata(path).expect("it is there").permissions().mode() & 0o7777
}

/// What ssh-keygen says a public key's fingerprint is.
fn fingerprint(keys: &Keys, public: &str) -> String {
    let path = keys.path("fingerprint.pub");
    fs::write(&path, public).expect("the key is written");
    let mut keygen = std::process::Command::new("ssh-keygen");
    let said = run(keygen.arg("-lf").arg(&path), &[]).good();
    said.split(' ').nth(1).expect("a fingerprint").to_owned()
}

/// A security key's public line: what ssh-keygen would get from the device, which no test has.
const SECURITY_KEY: &str = "sk-ssh-ed25519@openssh.com AAAAGnNrLXNzaC1lZDI1NTE5QG9wZW5zc2guY29tAAAAIAABAgMEBQYHCAkKCwwNDg8QERITFBUWFxgZGhscHR4fAAAABHNzaDo= token";

#[test]
fn keys_are_added_listed_shown_and_removed() {
    let keys = Keys::new();
    let laptop = keys.public("laptop", &["-t", "ed25519"]);
    let said = keys.key(&["add", "laptop"], &laptop).good();
    let print = fingerprint(&keys, &laptop);
    assert_eq!(
        said.trim(),
        format!("laptop may come in: deploy for every app (ssh-ed25519 {print})")
    );
    let desk = keys.public("desk", &["-t", "ecdsa"]);
    keys.key(&["add", "desk", "--role", "operate", "--slot", "green"], &desk)
        .good();

    assert_eq!(
        (mode(&keys.file()), mode(&keys.path("home/.ssh"))),
        (0o600, 0o700)
    );
    let listed = keys.json(&["list"]);
    assert_eq!(listed["version"], 1);
    assert_eq!(listed["keys"][0]["name"], "laptop");
    assert_eq!(listed["keys"][0]["fingerprint"], print.as_str());
    assert_eq!(listed["keys"][1]["role"], "operate");
    assert_eq!(listed["keys"][1]["slots"], serde_json::json!(["green"]));
    let text = keys.key(&["list"], "").good();
    assert!(
        text.contains("green of every app") && text.contains(&print),
        "{text}"
    );
    let shown = keys.json(&["show", "desk"]);
    assert_eq!(shown["key"]["type"], "ecdsa-sha2-nistp256");

    let said = keys.key(&["remove", "laptop"], "").good();
    assert!(said.starts_with("laptop comes in no more"), "{said}");
    assert_eq!(keys.key(&["remove", "laptop"], "").code, Some(5));
    assert_eq!(keys.key(&["show", "laptop"], "").code, Some(5));
    assert!(!keys.text().contains("laptop") && keys.text().contains("--key desk"));
}

#[test]
fn every_type_of_key_is_known_by_its_own_fingerprint() {
    let keys = Keys::new();
    for (name, arguments) in [
        ("ed25519", &["-t", "ed25519"][..]),
        ("p256", &["-t", "ecdsa", "-b", "256"]),
        ("p384", &["-t", "ecdsa", "-b", "384"]),
        ("p521", &["-t", "ecdsa", "-b", "521"]),
        ("rsa", &["-t", "rsa", "-b", "2048"]),
    ] {
        let public = keys.public(name, arguments);
        keys.key(&["add", name], &public).good();
        let shown = keys.json(&["show", name]);
        assert_eq!(shown["key"]["fingerprint"], fingerprint(&keys, &public).as_str());
    }
    // With a newline of Windows, without any, and with blanks around it.
    keys.key(&["add", "token"], &format!("  {SECURITY_KEY}\r\n\n"))
        .good();
    let shown = keys.json(&["show", "token"]);
    assert_eq!(
        shown["key"]["fingerprint"],
        fingerprint(&keys, SECURITY_KEY).as_str()
    );
    // sshd can read what was written.
    let mut keygen = std::process::Command::new("ssh-keygen");
    let known = run(keygen.arg("-lf").arg(keys.file()), &[]).good();
    assert_eq!(known.lines().count(), 6, "{known}");
}

#[test]
fn lines_that_people_wrote_stay_as_they_are() {
    let keys = Keys::new();
    let ada = keys.public("ada", &["-t", "ed25519"]);
    let backup = keys.public("backup", &["-t", "ed25519"]);
    let by_hand = format!(
        "# keep this\n\n{ada}from=\"192.0.2.*\",command=\"/usr/bin/backup \\\"all, of it\\\"\",no-pty {backup}\t \nnot a key"
    );
    keys.write(&by_hand);

    let laptop = keys.public("laptop", &["-t", "ed25519"]);
    keys.key(&["add", "laptop"], &laptop).good();
    assert!(
        keys.text()
            .starts_with(&format!("{by_hand}\nrestrict,command=\""))
    );
    let text = keys.key(&["list"], "").good();
    assert!(text.contains("3 lines of"), "{text}");
    assert!(
        text.contains(&fingerprint(&keys, &ada)) && text.contains("no forced command"),
        "{text}"
    );
    let listed = keys.json(&["list"]);
    assert_eq!(listed["keys"][0]["name"], serde_json::Value::Null);
    assert_eq!(listed["keys"][0]["line"], 3);
    assert_eq!(
        listed["keys"][1]["remark"],
        "not deployer's: it runs a command of its own"
    );

    keys.key(&["remove", "laptop"], "").good();
    assert_eq!(keys.text(), format!("{by_hand}\n"));
}

#[test]
fn a_key_or_a_name_that_is_there_already_is_refused() {
    let keys = Keys::new();
    let ada = keys.public("ada", &["-t", "ed25519"]);
    let laptop = keys.public("laptop", &["-t", "ed25519"]);
    keys.write(&format!("no-agent-forwarding {ada}"));
    keys.key(&["add", "laptop"], &laptop).good();
    let before = keys.text();

    for (name, key, told) in [
        ("laptop", &ada, "there is a key laptop already"),
        ("desk", &laptop, "this key is there already, as laptop"),
        ("ada", &ada, "in line 1, which deployer did not write"),
    ] {
        let refused = keys.key(&["add", name], key);
        assert_eq!(refused.code, Some(1));
        assert!(refused.stderr.contains(told), "{}", refused.stderr);
    }
    assert_eq!(keys.text(), before);
}

#[test]
fn what_is_no_good_key_is_refused_with_the_reason() {
    let keys = Keys::new();
    let good = keys.public("good", &["-t", "ed25519"]);
    let other = keys.public("other", &["-t", "ed25519"]);
    let short = keys.public("short", &["-t", "rsa", "-b", "1024"]);
    let private = fs::read_to_string(keys.path("good")).expect("the private key is read");
    let (kind, content) = good.split_once(' ').expect("a type");
    let cut = format!("{kind} {}", &content[..40]);
    let another_type = format!("ssh-rsa {content}");
    let mut certify = std::process::Command::new("ssh-keygen");
    certify
        .arg("-q")
        .arg("-s")
        .arg(keys.path("other"))
        .args(["-I", "ada", "-n", "ada"]);
    run(certify.arg(keys.path("good.pub")), &[]).good();
    let certificate = fs::read_to_string(keys.path("good-cert.pub")).expect("the certificate is read");
    let mut export = std::process::Command::new("ssh-keygen");
    let rfc4716 = run(export.args(["-e", "-f"]).arg(keys.path("good.pub")), &[]).good();
    // The shape alone: OpenSSH makes no such key any more.
    let dsa = "ssh-dss AAAAB3NzaC1kc3MAAACBAJ ada";

    for (input, told) in [
        ("", "standard input is empty"),
        ("\n \n", "standard input is empty"),
        (private.as_str(), "private key"),
        (rfc4716.as_str(), "RFC 4716"),
        (&format!("{good}{other}"), "2 lines"),
        (&format!("restrict {good}"), "options"),
        (&format!("command=\"sh\" {good}"), "options"),
        (&certificate, "certificate"),
        (dsa, "ssh-dss"),
        (&short, "1024 bits"),
        (&cut, "damaged"),
        (&another_type, "damaged"),
        ("ssh-ed25519", "damaged"),
        ("ssh-ed25519 %%%", "damaged"),
        ("ssh-ed448 AAAA", "no public key of a type"),
        ("hello", "no public key of a type"),
        ("\u{1b}[31mssh-ed25519 AAAA", "no text"),
        (&"a".repeat(17 << 10), "larger than"),
    ] {
        let refused = keys.key(&["add", "laptop"], input);
        assert_eq!(refused.code, Some(1), "{input}");
        assert!(refused.stderr.contains(told), "{input}: {}", refused.stderr);
        assert!(!refused.stderr.contains('\u{1b}'));
    }
    assert!(!keys.file().exists());
}

#[test]
fn grants_that_mean_nothing_are_refused() {
    let keys = Keys::new();
    let good = keys.public("good", &["-t", "ed25519"]);
    for (arguments, code, told) in [
        (
            &["--role", "admin", "--slot", "green"][..],
            2,
            "an admin has the whole server",
        ),
        (&["--app", "nowhere"], 5, "there is no app nowhere"),
        (&["--role", "root"], 2, "a role: read, deploy, operate or admin"),
        (
            &["--slot", "red"],
            2,
            "a slot: blue, green, APP/blue or APP/green",
        ),
        (&["--slot", "nowhere/blue"], 5, "there is no app nowhere"),
    ] {
        let refused = keys.key(&[&["add", "laptop"], arguments].concat(), &good);
        assert_eq!(refused.code, Some(code), "{arguments:?}");
        assert!(refused.stderr.contains(told), "{}", refused.stderr);
    }
    for name in ["-x", "a b", "a\"b", "", "ada/laptop"] {
        assert_eq!(keys.key(&["add", "--", name], &good).code, Some(2), "{name}");
    }
    // Both slots are no limit.
    keys.key(
        &[
            "add", "both", "--slot", "green", "--slot", "blue", "--slot", "green",
        ],
        &good,
    )
    .good();
    assert!(!keys.text().contains("--slot"));
}

#[test]
fn a_link_in_place_of_the_file_is_left_alone() {
    let keys = Keys::new();
    let good = keys.public("good", &["-t", "ed25519"]);
    fs::create_dir_all(keys.path("home/.ssh")).expect("a folder");
    fs::write(keys.path("elsewhere"), "as it was").expect("a file");
    std::os::unix::fs::symlink(keys.path("elsewhere"), keys.file()).expect("a link");

    for arguments in [&["add", "laptop"][..], &["list"], &["remove", "laptop"]] {
        let refused = keys.key(arguments, &good);
        assert_eq!(refused.code, Some(1));
        assert!(refused.stderr.contains("symbolic link"), "{}", refused.stderr);
    }
    assert_eq!(
        fs::read_to_string(keys.path("elsewhere")).expect("it is there"),
        "as it was"
    );
}

#[test]
fn the_file_is_where_sshd_looks_for_the_keys_of_the_state_folders_owner() {
    let keys = Keys::new();
    let config = format!("state = {:?}\n", keys.path("state"));
    fs::write(keys.path("deployer.toml"), config).expect("the configuration is written");
    let users = fs::read_to_string("/etc/passwd").expect("the machine's users");
    let nobody = users.lines().find_map(|line| line.strip_prefix("nobody:x:"));
    let fields: Vec<&str> = nobody.expect("a user nobody").split(':').collect();
    let (uid, home) = (fields[0].parse().expect("a number"), fields[3]);
    // The command becomes that user, who reads the configuration too.
    fs::set_permissions(keys.path(""), PermissionsExt::from_mode(0o755)).expect("a mode");
    chown(keys.path("state"), Some(uid), None).expect("tests run as root");

    let listed = keys.key(&["list"], "").good();
    assert!(
        listed.contains(&format!(" {home}/.ssh/authorized_keys")),
        "{listed}"
    );

    chown(keys.path("state"), Some(54_321), None).expect("tests run as root");
    let unknown = keys.key(&["list"], "");
    assert_eq!(unknown.code, Some(1));
    assert!(
        unknown.stderr.contains("`authorized_keys` in [ssh]"),
        "{}",
        unknown.stderr
    );
}

#[test]
fn the_key_is_asked_for_where_there_is_only_a_terminal() {
    let keys = Keys::new();
    let add = format!(
        "{} --config {} key add laptop",
        crate::support::DEPLOYER,
        keys.path("deployer.toml").display()
    );
    let mut terminal = std::process::Command::new("script");
    let ended = run(terminal.args(["-qec", &add, "/dev/null"]), &[]);
    assert_eq!(ended.code, Some(2));
    assert!(
        ended.stdout.contains("key add laptop < laptop.pub"),
        "{}",
        ended.stdout
    );
}

#[test]
fn of_many_who_add_keys_at_once_none_is_lost() {
    let keys = Keys::new();
    let names: Vec<String> = (0..8).map(|number| format!("key-{number}")).collect();
    std::thread::scope(|scope| {
        for name in &names {
            let keys = &keys;
            scope.spawn(move || {
                let public = keys.public(name, &["-t", "ed25519"]);
                keys.key(&["add", name], &public).good();
            });
        }
    });
    let listed = keys.json(&["list"]);
    assert_eq!(listed["keys"].as_array().map(Vec::len), Some(8), "{listed}");
}

#[test]
fn the_file_is_whole_whenever_its_writer_is_killed() {
    let keys = Keys::new();
    keys.write("# as it was\n");
    let good = keys.public("good", &["-t", "ed25519"]);
    for (point, is_in) in [
        ("authorized_keys.written", false),
        ("authorized_keys.renamed", true),
    ] {
        let points = keys.path(point);
        fs::create_dir(&points).expect("a folder for fail points");
        fs::write(points.join("order"), format!("kill command {point}\n")).expect("the order is given");
        let mut command = keys.command(&["key", "add", "laptop"]);
        command.env("DEPLOYER_FAILPOINTS", &points);
        assert_eq!(run(&mut command, good.as_bytes()).code, None, "it was killed");

        let text = keys.text();
        assert!(text.starts_with("# as it was\n"));
        assert_eq!(text.contains("--key laptop"), is_in, "{point}: {text}");
    }
    keys.key(&["remove", "laptop"], "").good();
    assert_eq!(keys.text(), "# as it was\n");
    let left = fs::read_dir(keys.path("home/.ssh"))
        .expect("the folder is read")
        .count();
    assert_eq!(left, 1, "nothing is left over");
}
