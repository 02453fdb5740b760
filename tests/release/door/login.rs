//! Who comes in without a command, or wants something that is no command.

use std::process::Command;

use super::{NOT_ALLOWED, add, key};
use crate::support::World;
use crate::support::process::run;
use crate::support::sshd::{Key, Sshd};

#[test]
fn a_login_says_who_you_are_and_what_you_may_do() {
    let mut world = World::new("greeting");
    world.app("shop", "hosts = [\"shop.test\"]");
    world.app("blog", "");
    let sshd = Sshd::start(&world, "");
    let read = key(&world, "ada@desk", &["--role", "read"]);
    let limited = key(
        &world,
        "laptop",
        &["--role", "operate", "--app", "shop", "--slot", "green"],
    );
    let admin = key(&world, "root", &["--role", "admin"]);

    let said = sshd.ssh(&limited, "").good();
    assert!(
        said.starts_with("You are laptop, from 127.0.0.1. This is deployer, and there is no shell here."),
        "{said}"
    );
    for part in [
        "Your role is operate, for the app shop, and green alone.",
        &format!(
            "ssh {}@HOST rollback green ",
            sshd.host().split('@').next().expect("a user")
        ),
        "git push green main",
        ":shop/green",
    ] {
        assert!(said.contains(part), "{part}: {said}");
    }
    for part in ["blog", "blue", "key add", "undo the last flip"] {
        assert!(!said.contains(part), "{part}: {said}");
    }
    let said = sshd.ssh(&read, "").good();
    assert!(
        said.contains("every app (blog, shop)") && !said.contains("git push"),
        "{said}"
    );
    assert!(sshd.ssh(&admin, "").good().contains("key add"));
}

#[test]
fn there_is_no_terminal_no_forwarding_and_no_file_transfer() {
    let mut world = World::new("nothing-else");
    world.app("shop", "");
    let sshd = Sshd::start(&world, "");
    let key = key(&world, "laptop", &["--role", "admin"]);
    let ssh = |options: &[&str], command: &str| run(&mut sshd.command(&key, options, command), &[]);

    // What sshd says that the line allows is the forced command and nothing else.
    let said = ssh(&["-v", "-o", "LogLevel=DEBUG1"], "status").stderr;
    let allowed = said
        .lines()
        .find(|line| line.contains("key options:"))
        .expect("the key's options");
    assert!(allowed.trim_end().ends_with("key options: command"), "{allowed}");

    // On a terminal of their own, as people log in.
    let login = sshd.client(&key).join(" ") + " -o LogLevel=INFO " + &sshd.host();
    let mut terminal = Command::new("script");
    let terminal = run(terminal.args(["-qec", &login, "/dev/null"]), &[]).stdout;
    assert!(terminal.contains("PTY allocation request failed"), "{terminal}");
    assert!(terminal.contains("You are laptop"), "{terminal}");

    let through = format!("{}", world.public());
    let forwarded = ssh(&["-W", &through], "");
    assert_eq!(forwarded.code, Some(255), "{}", forwarded.stdout);
    let back = format!("0:{through}");
    let remote = ssh(&["-N", "-o", "ExitOnForwardFailure=yes", "-R", &back], "");
    assert_eq!(remote.code, Some(255), "{}", remote.stdout);

    let subsystem = ssh(&["-s"], "sftp");
    assert_eq!(subsystem.code, NOT_ALLOWED, "{}", subsystem.stderr);
    let client = sshd.client(&key);
    for old_protocol in [&["-O"][..], &[]] {
        let mut scp = Command::new("scp");
        scp.args(old_protocol).args(["-S", "/usr/bin/ssh"]);
        // Options of ssh but its name; scp writes the port in capitals.
        for pair in client[1..].chunks(2) {
            let name = if pair[0] == "-p" { "-P" } else { &pair[0] };
            scp.arg(name).arg(&pair[1]);
        }
        scp.arg(world.config())
            .arg(format!("{}:{}", sshd.host(), world.path("stolen").display()));
        let ended = run(&mut scp, &[]);
        assert_ne!(ended.code, Some(0));
    }
    assert!(!world.path("stolen").exists());
}

#[test]
fn a_line_without_a_forced_command_is_told_and_left_alone() {
    let world = World::new("by-hand");
    let sshd = Sshd::start(&world, "");
    let by_hand = Key::new(world.path("by-hand"));
    sshd.let_in(&world, &by_hand);
    let laptop = key(&world, "laptop", &["--role", "admin"]);

    let said = sshd.ssh(&laptop, "key list").good();
    assert!(
        said.contains("1 line of") && said.contains("no forced command"),
        "{said}"
    );
    assert_eq!(sshd.ssh(&by_hand, "echo shell").good(), "shell\n");
    // Whoever is taken away comes in no more.
    sshd.ssh(&laptop, "key remove laptop").good();
    assert_eq!(sshd.ssh(&laptop, "status").code, Some(255));
    assert_eq!(sshd.ssh(&by_hand, "echo shell").good(), "shell\n");
}

#[test]
fn an_admin_lets_others_in_over_ssh() {
    let world = World::new("let-in");
    let sshd = Sshd::start(&world, "");
    let admin = key(&world, "admin", &["--role", "admin"]);
    let other = Key::new(world.path("other"));
    assert_eq!(sshd.ssh(&other, "status").code, Some(255));

    let mut adding = sshd.command(&admin, &[], "key add other --role read");
    run(&mut adding, other.public().as_bytes()).good();

    sshd.ssh(&other, "status").good();
    assert_eq!(sshd.ssh(&other, "key list").code, NOT_ALLOWED);
}

#[test]
fn a_certificate_comes_in_by_its_principal() {
    let world = World::new("authority");
    let sshd = Sshd::start(&world, "");
    let authority = Key::new(world.path("authority"));
    for (name, role) in [("ops", "operate"), ("ci", "read")] {
        let arguments = ["--role", role, "--ca"];
        let said = add(&world, name, &arguments, &authority.public()).good();
        assert!(
            said.contains(&format!("certificates for the principal {name}")),
            "{said}"
        );
    }
    // ssh offers the certificate that lies beside the key.
    let certified = |file: &str, principals: &[&str]| {
        let key = Key::new(world.path(file));
        let mut sign = Command::new("ssh-keygen");
        sign.arg("-q")
            .arg("-s")
            .arg(authority.path())
            .args(["-I", "ada's"])
            .args(principals);
        run(sign.arg(format!("{}.pub", key.path().display())), &[]).good();
        key
    };

    let ops = certified("ada", &["-n", "ops"]);
    assert!(sshd.ssh(&ops, "").good().starts_with("You are ops, "));
    let ci = certified("runner", &["-n", "ci"]);
    assert!(sshd.ssh(&ci, "").good().starts_with("You are ci, "));
    assert_eq!(sshd.ssh(&ci, "recover").code, NOT_ALLOWED);
    for stranger in [
        certified("stranger", &["-n", "root"]),
        certified("nameless", &[]),
        authority.clone(),
    ] {
        assert_eq!(
            sshd.ssh(&stranger, "").code,
            Some(255),
            "{stranger:?}: {}",
            sshd.log()
        );
    }
}
