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
