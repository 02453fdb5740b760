//! sshd's rules for the user that one pushes to.

use crate::root::Root;

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
