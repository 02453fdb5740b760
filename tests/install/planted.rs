//! What deployer's user plants where root works: root changes, removes and waits for nothing of it.

use crate::root::Root;

const INSTALLED: &str = "/usr/local/bin/deployer";

/// What nobody may touch: a folder of root's with a folder and a file in it.
const VICTIM: &str =
    "mkdir -p /srv/victim/sub && echo secret >/srv/victim/file && chmod 755 /srv/victim /srv/victim/sub";

/// Everything about it.
fn victim(root: &Root) -> String {
    root.sh("stat --format '%n %a %U:%G %h' /srv/victim /srv/victim/*; cat /srv/victim/file")
        .good()
}

/// Has the user deploy do it.
fn plant(root: &Root, line: &str) {
    root.run(&[
        "setpriv",
        "--reuid=deploy",
        "--regid=deploy",
        "--init-groups",
        "sh",
        "-euc",
        line,
    ])
    .good();
}

#[test]
fn install_changes_nothing_behind_a_link_that_the_user_planted() {
    let root = Root::new();
    root.deployer(&["install"]).good();
    root.sh(VICTIM).good();
    let before = victim(&root);

    for (plant_it, path, take_it_back) in [
        (
            "rmdir .ssh; ln -s /srv/victim .ssh",
            "/var/lib/deployer-home/.ssh",
            "rm .ssh",
        ),
        (
            "mv /var/lib/deployer/proxy /var/lib/deployer/was; ln -s /srv/victim /var/lib/deployer/proxy",
            "/var/lib/deployer/proxy",
            "rm /var/lib/deployer/proxy; mv /var/lib/deployer/was /var/lib/deployer/proxy",
        ),
    ] {
        plant(&root, &format!("cd /var/lib/deployer-home; {plant_it}"));
        for arguments in [&["install"][..], &["install", "--dry-run"]] {
            let refused = root.run(&[&[INSTALLED], arguments].concat()).refused();
            let named = format!("{path} is a link, in a folder that others than root may write to");
            assert!(refused.contains(&named), "{refused}");
            assert!(refused.contains(&format!("`rm {path}`")), "{refused}");
        }
        assert_eq!(victim(&root), before);
        plant(&root, &format!("cd /var/lib/deployer-home; {take_it_back}"));
    }
    // What else can stand there.
    for (plant_it, told) in [
        ("mkfifo .ssh", ".ssh is no folder: move it away"),
        ("echo >.ssh", ".ssh is no folder: move it away"),
        (
            "mkfifo /var/lib/deployer/proxy/kind.json",
            "kind.json: it is no regular file: remove it",
        ),
        (
            "ln -s /dev/zero /var/lib/deployer/proxy/kind.json",
            "kind.json: it is a link: remove it",
        ),
    ] {
        plant(
            &root,
            &format!("cd /var/lib/deployer-home; rm -rf .ssh; {plant_it}"),
        );
        let refused = root.run(&[INSTALLED, "install"]).refused();
        assert!(refused.contains(told), "{refused}");
        plant(
            &root,
            "rm -rf /var/lib/deployer-home/.ssh /var/lib/deployer/proxy/kind.json",
        );
    }
    root.run(&[INSTALLED, "install"]).good();
    assert_eq!(victim(&root), before);
}

#[test]
fn a_folder_of_roots_that_the_user_moved_is_not_given_to_the_user() {
    let root = Root::new();
    root.deployer(&["install"]).good();
    root.sh("mkdir -m 700 /var/lib/deployer/backup && echo secret >/var/lib/deployer/backup/file")
        .good();
    plant(&root, "cd /var/lib/deployer; rmdir proxy; mv backup proxy");

    let refused = root.run(&[INSTALLED, "install"]).refused();

    assert!(
        refused
            .contains("/var/lib/deployer/proxy belongs to root, and others than root may have put it there"),
        "{refused}"
    );
    let owner = root.sh("stat --format '%U %a' /var/lib/deployer/proxy").good();
    assert_eq!(owner, "root 700\n");
}

#[test]
fn purge_removes_links_and_nothing_that_they_lead_to() {
    let root = Root::new();
    root.deployer(&["install"]).good();
    root.sh(VICTIM).good();
    let before = victim(&root);
    plant(
        &root,
        "cd /var/lib/deployer; ln -s /srv/victim git; mkdir -p a/b; ln -s /srv/victim a/b/c; mkfifo a/pipe
         cd ../deployer-home; ln -s /srv/victim x; rmdir .ssh; ln -s /srv/victim .ssh",
    );

    root.run(&[INSTALLED, "uninstall", "--purge"]).good();

    assert_eq!(victim(&root), before);
    assert!(!root.path("/var/lib/deployer").exists() && !root.path("/var/lib/deployer-home").exists());
}

#[test]
fn root_works_in_no_state_folder_that_somebody_else_chose() {
    let root = Root::new();
    root.sh(VICTIM).good();
    root.sh("useradd -m -s /usr/sbin/nologin deploy; mkdir /etc/deployer; cp -r /srv/victim /srv/copy
             echo 'state = \"/home/deploy/in/state\"' >/etc/deployer/deployer.toml
             chgrp -R deploy /etc/deployer; chmod 750 /etc/deployer; install -d -o deploy -g deploy /home/deploy/in")
        .good();
    root.deployer(&["install"]).good();
    let before = victim(&root);
    root.sh("ssh-keygen -q -t ed25519 -N '' -f /root/laptop").good();
    // The folder in the middle, and the last one.
    for planted in [
        "mv in was; mkdir in; ln -s /srv/victim in/state",
        "mv in was; ln -s /srv in; ",
        "mv in/state was; ln -s /srv/victim in/state",
    ] {
        plant(&root, &format!("cd /home/deploy; {planted}"));
        for line in [
            "key add laptop </root/laptop.pub",
            "app create shop",
            "proxy run",
            "status",
            "install",
            "uninstall --purge",
        ] {
            let refused = root.sh(&format!("{INSTALLED} {line}")).refused();
            assert!(
                refused.contains("is a link, in a folder that others than root may write to"),
                "{line}: {refused}"
            );
        }
        plant(
            &root,
            "cd /home/deploy; if [ -d was/state ]; then rm -rf in; mv was in; else rm in/state; mv was in/state; fi",
        );
    }
    assert_eq!(victim(&root), before);
    assert!(!root.path("/root/.ssh/authorized_keys").exists() && root.path(INSTALLED).exists());

    // Root's, where somebody else may put another folder into its place.
    root.sh("mkdir /home/deploy/in/new; mv /home/deploy/in/state /home/deploy/was; mv /home/deploy/in/new /home/deploy/in/state")
        .good();
    let refused = root.run(&[INSTALLED, "app", "create", "shop"]).refused();
    assert!(
        refused.contains("root does not work in the state folder /home/deploy/in/state: others than root"),
        "{refused}"
    );
    root.sh("rmdir /home/deploy/in/state; mv /home/deploy/was /home/deploy/in/state")
        .good();
    root.sh(&format!("{INSTALLED} key add laptop </root/laptop.pub"))
        .good();
}
