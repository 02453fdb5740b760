//! sshd's rules for the user that one pushes to.

use std::fs;

use crate::root::{DEPLOYER, Root};

fn in_force(root: &Root, user: &str) -> String {
    root.sh(&format!(
        "mkdir -p /run/sshd; /usr/sbin/sshd -T -C user={user},host=h,addr=127.0.0.1"
    ))
    .good()
}

#[test]
fn sshd_goes_by_the_rules_for_the_user_and_nobody_else() {
    let root = Root::new();
    let before = in_force(&root, "nobody");

    root.deployer(&["install"]).good();

    let deploy = in_force(&root, "deploy");
    for rule in [
        "authenticationmethods publickey",
        "passwordauthentication no",
        "kbdinteractiveauthentication no",
        "disableforwarding yes",
        "permittty no",
        "permituserrc no",
        "authorizedkeysfile .ssh/authorized_keys",
        "acceptenv GIT_PROTOCOL",
    ] {
        assert!(
            deploy.lines().any(|line| line == rule),
            "{rule} is not in force:\n{deploy}"
        );
    }
    assert!(!deploy.contains("acceptenv LANG"), "{deploy}");
    assert_eq!(in_force(&root, "nobody"), before);
}

#[test]
fn an_sshd_that_refuses_its_own_configuration_is_left_alone() {
    let root = Root::new();
    root.sh("echo 'Nonsense yes' >>/etc/ssh/sshd_config; mkdir -p /run/sshd")
        .good();

    let said = root.deployer(&["install"]).good();

    assert!(
        said.contains("/etc/ssh/sshd_config.d/50-deployer.conf: sshd refuses its configuration: "),
        "{said}"
    );
    assert!(!root.path("/etc/ssh/sshd_config.d/50-deployer.conf").exists());
}

#[test]
fn rules_that_sshd_would_not_read_or_not_go_by_are_told() {
    let root = Root::new();
    root.sh("sed -i '/^Include/d' /etc/ssh/sshd_config").good();
    let said = root.deployer(&["install"]).good();
    assert!(
        said.contains("/etc/ssh/sshd_config does not include it; put `Include "),
        "{said}"
    );

    root.sh(
        "sed -i '1i Include /etc/ssh/sshd_config.d/*.conf' /etc/ssh/sshd_config
         printf 'Match User deploy\\n  PermitTTY yes\\n' >/etc/ssh/sshd_config.d/00-mine.conf",
    )
    .good();
    let said = root.deployer(&["install"]).good();
    assert!(said.contains("comes before its `permittty no`"), "{said}");
}

#[test]
fn whoever_holds_a_key_gets_its_command_and_nothing_else() {
    let root = Root::new();
    root.deployer(&["install"]).good();
    root.run(&["deployer", "app", "create", "shop"]).good();
    root.sh("ssh-keygen -A; mkdir -p /run/sshd; /usr/sbin/sshd -E /run/sshd.log")
        .good();
    let key = |name: &str| {
        root.sh(&format!("ssh-keygen -q -t ed25519 -N '' -f /root/{name}"))
            .good()
    };
    key("laptop");
    root.sh("deployer key add laptop --role operate </root/laptop.pub")
        .good();
    // A key that somebody wrote into the file by hand, without any command.
    key("bare");
    root.sh("cat /root/bare.pub >>/var/lib/deployer-home/.ssh/authorized_keys")
        .good();
    let options = "-F none -o BatchMode=yes -o StrictHostKeyChecking=no -o UserKnownHostsFile=/dev/null -o LogLevel=ERROR";
    let ssh = |key: &str, rest: &str| root.sh(&format!("ssh {options} -i /root/{key} {rest}"));

    assert_eq!(ssh("laptop", "deploy@127.0.0.1 app list").good(), "shop\n");
    let greeting = ssh("laptop", "deploy@127.0.0.1").good();
    assert!(greeting.contains("laptop"), "{greeting}");
    let fetched = root.sh(&format!(
        "GIT_SSH_COMMAND='ssh {options} -i /root/laptop' git ls-remote deploy@127.0.0.1:shop/green"
    ));
    assert_eq!(fetched.good(), "");
    // A shell, sftp, a terminal and a forwarding: none of them.
    for rest in ["deploy@127.0.0.1 'sh -c id'", "-s deploy@127.0.0.1 sftp"] {
        let said = ssh("laptop", rest);
        assert_eq!(said.code, Some(6), "{rest}: {}{}", said.out, said.err);
    }
    let said = ssh("laptop", "-tt deploy@127.0.0.1 app list").refused();
    assert!(said.contains("PTY allocation request failed"), "{said}");
    let said = ssh("laptop", "-W 127.0.0.1:22 deploy@127.0.0.1").refused();
    assert!(said.contains("stdio forwarding failed"), "{said}");
    let said = ssh("bare", "deploy@127.0.0.1 id").refused();
    assert!(said.contains("there is no shell here"), "{said}");
    assert!(
        !root
            .sh("find /var/lib/deployer ! -user deploy")
            .good()
            .contains('/')
    );
}

#[test]
fn what_keeps_the_user_out_is_told_with_its_remedy() {
    let root = Root::new();
    root.deployer(&["install"]).good();
    let mine = "/etc/ssh/sshd_config.d/00-mine.conf";
    let look = || root.deployer(&["install", "--dry-run"]).good();
    let is_open = "there already  the way in for deploy over ssh\n";
    for (rules, told) in [
        (
            "AllowUsers admin\nAllowGroups admin\nDenyUsers dep*\nDenyGroups docker\nPubkeyAcceptedAlgorithms rsa-sha2-512\n\
             MaxSessions 0",
            &[
                "`AllowUsers admin` alone: add deploy",
                "add deploy to that line",
                "`DenyUsers dep*`: take that out",
                "`DenyGroups docker`",
                "no key of the type ssh-ed25519",
                "`MaxSessions 0`: leave the line out",
            ][..],
        ),
        (
            "Match LocalPort 22\n  ForceCommand /bin/false",
            &["comes before its `forcecommand none`: `forcecommand /bin/false` is in force"],
        ),
        (
            "Match User deploy\n  PubkeyAuthentication no",
            &["comes before its `pubkeyauthentication yes`"],
        ),
    ] {
        fs::write(root.path(mine), format!("{rules}\n")).expect("it is written");
        let said = look();
        for told in told {
            assert!(said.contains(told), "{told}:\n{said}");
        }
    }
    // What is meant for all users is none of this one's, who has rules of its own.
    root.sh(&format!(
        "printf 'ForceCommand /bin/false\\nChrootDirectory /srv\\n' >{mine}"
    ))
    .good();
    let said = look();
    assert!(said.contains(is_open) && !said.contains("comes before"), "{said}");

    root.sh(
        "touch /etc/nologin; chage -E 1 deploy; echo '-:ALL EXCEPT root:ALL' >/etc/security/access.conf
         printf 'account required pam_shells.so\\naccount required pam_access.so\\n' >>/etc/pam.d/sshd",
    )
    .good();
    let said = look();
    for told in [
        "`rm /etc/nologin`",
        "`chage -E -1 deploy`",
        "put `+:deploy:ALL` above it",
        "`echo /usr/local/lib/deployer/deployer-shell >>/etc/shells`",
    ] {
        assert!(said.contains(told), "{told}:\n{said}");
    }
    root.sh(
        "rm /etc/nologin; chage -E -1 deploy; sed -i '1i +:deploy:ALL' /etc/security/access.conf
         echo /usr/local/lib/deployer/deployer-shell >>/etc/shells",
    )
    .good();
    assert!(look().contains(is_open), "{}", look());
}

#[test]
fn the_rules_are_known_to_be_in_force_however_they_are_included() {
    for include in [
        "Include sshd_config.d/*.conf",
        "Include=/etc/ssh/sshd_config.d/50-deployer.conf",
    ] {
        let root = Root::new();
        root.sh(&format!("sed -i 's|^Include .*|{include}|' /etc/ssh/sshd_config"))
            .good();
        let said = root.deployer(&["install"]).good();
        assert!(
            !said.contains("left out:      /etc/ssh/sshd_config.d/50-deployer.conf: it is there"),
            "{include}:\n{said}"
        );
        assert!(
            in_force(&root, "deploy").contains("\npermittty no\n"),
            "{include}"
        );
    }
}

#[test]
fn a_file_of_keys_that_sshd_refuses_is_mended() {
    let root = Root::new();
    root.deployer(&["install"]).good();
    let file = "/var/lib/deployer-home/.ssh/authorized_keys";
    root.sh("ssh-keygen -q -t ed25519 -N '' -f /root/laptop; deployer key add laptop </root/laptop.pub")
        .good();
    let keys = root.read(file);
    for (fault, told) in [
        (
            "chown root:root FILE; chmod 600 FILE",
            "it is to be deploy's, for sshd to take it",
        ),
        ("chown nobody FILE", "it is to be deploy's, for sshd to take it"),
        (
            "chmod 666 FILE",
            "others could write to it: see by `deployer key list`",
        ),
    ] {
        root.sh(&fault.replace("FILE", file)).good();
        let said = root.deployer(&["install"]).good();
        assert!(
            said.contains(&format!("changed        {file} (")) && said.contains(told),
            "{fault}:\n{said}"
        );
        assert_eq!(root.sh(&format!("stat -c '%U %a' {file}")).good(), "deploy 600\n");
        assert_eq!(root.read(file), keys);
    }
    // Root's own, in the user's reach: sshd takes it.
    root.sh(&format!("chown root:root {file}; chmod 644 {file}"))
        .good();
    let said = root.deployer(&["install"]).good();
    assert!(said.contains(&format!("there already  {file}\n")), "{said}");
    // What is no key may be anybody's secret.
    root.sh(&format!("chmod 600 {file}; echo secret >>{file}")).good();
    let said = root.deployer(&["install"]).good();
    assert!(said.contains("not every line of it is a key"), "{said}");
    assert_eq!(root.sh(&format!("stat -c '%U %a' {file}")).good(), "root 600\n");
}

#[test]
fn a_real_login_verifies_the_way_in_and_leaves_no_key() {
    let root = Root::new();
    let verify = || root.deployer(&["install", "--verify"]);
    let refused = verify().refused();
    assert!(refused.contains("no sshd answers at 127.0.0.1:22"), "{refused}");
    root.sh(
        "printf 'ForceCommand /bin/false\nChrootDirectory /srv\nPort 2222\n' >/etc/ssh/sshd_config.d/99-mine.conf
         ssh-keygen -A; mkdir -p /run/sshd; /usr/sbin/sshd -E /run/sshd.log
         ssh-keygen -q -t ed25519 -N '' -f /root/laptop; deployer key add laptop </root/laptop.pub",
    )
    .good();
    let file = "/var/lib/deployer-home/.ssh/authorized_keys";
    let keys = root.read(file);

    let said = verify().good();

    let told = "verified       the way in for deploy at 127.0.0.1:2222, by a real login\n";
    assert!(said.contains(told), "{said}");
    assert_eq!(root.read(file), keys);

    // Killed while sshd does not answer: what is left expires, and goes the next time.
    root.sh(&format!(
        "kill -STOP $(cat /run/sshd.pid)
         {DEPLOYER} install --verify >/dev/null & until grep -q expiry-time {file}; do sleep 0.02; done
         kill -KILL $!; kill -CONT $(cat /run/sshd.pid)"
    ))
    .good();
    assert!(
        root.read(file).contains("restrict,expiry-time=\"2"),
        "{}",
        root.read(file)
    );
    verify().good();
    assert_eq!(root.read(file), keys);

    // What no file tells of.
    root.sh("echo 'account required pam_deny.so' >>/etc/pam.d/sshd")
        .good();
    let refused = verify().refused();
    assert!(
        refused.contains("does not let a key of deploy's in ("),
        "{refused}"
    );
    assert_eq!(root.read(file), keys);
}
