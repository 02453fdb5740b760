//! `deployer install`: everything there, nothing twice, nobody's things taken.

use std::fs;
use std::os::unix::fs::MetadataExt;

use crate::root::{DEPLOYER, Root};

/// What only a machine that systemd runs has, and is left out here.
const LEFT_OUT: &str = "left out:";

#[test]
fn everything_is_there_after_install_and_a_second_one_changes_nothing() {
    let root = Root::new();

    let first = root.deployer(&["install"]).good();

    assert!(first.contains("created        the user deploy\n"), "{first}");
    assert!(
        first.contains("created        /usr/local/bin/deployer\n"),
        "{first}"
    );
    assert!(
        first.contains("by hand, as root: `/usr/local/bin/deployer proxy run`"),
        "{first}"
    );
    assert!(first.contains("\nNext:\n"), "{first}");
    let before = root.changes();
    let second = root.run(&["/usr/local/bin/deployer", "install"]).good();
    for line in second.lines().take_while(|line| *line != "Next:") {
        assert!(
            line.starts_with("there already ") || line.starts_with(LEFT_OUT),
            "{second}"
        );
    }
    assert_eq!(root.changes(), before);
}

#[test]
fn user_folders_and_files_have_their_owners_and_modes() {
    let root = Root::new();

    root.deployer(&["install"]).good();

    let passwd = root.run(&["getent", "passwd", "deploy"]).good();
    let fields: Vec<&str> = passwd.trim().split(':').collect();
    assert_eq!(
        fields[5..],
        ["/var/lib/deployer-home", "/usr/local/lib/deployer/deployer-shell"]
    );
    assert!(fields[2].parse::<u32>().unwrap() < 1000, "{passwd}");
    // Locked for passwords, and not for sshd.
    assert!(
        root.run(&["getent", "shadow", "deploy"])
            .good()
            .starts_with("deploy:*:")
    );
    assert!(root.run(&["id", "-nG", "deploy"]).good().contains("docker"));
    let is = |path: &str| {
        let found = fs::symlink_metadata(root.path(path)).unwrap_or_else(|error| panic!("{path}: {error}"));
        let owner = if found.uid() == 0 { "root" } else { "deploy" };
        let group = if found.gid() == 0 { "root" } else { "deploy" };
        format!("{owner}:{group} {:o}", found.mode() & 0o7777)
    };
    for (path, wanted) in [
        ("/usr/local/bin/deployer", "root:root 755"),
        ("/var/lib/deployer-home", "deploy:deploy 700"),
        ("/var/lib/deployer-home/.ssh", "deploy:deploy 700"),
        ("/var/lib/deployer", "deploy:deploy 700"),
        ("/var/lib/deployer/proxy", "deploy:deploy 700"),
        ("/etc/deployer", "root:deploy 750"),
        ("/etc/deployer/deployer.toml", "root:deploy 640"),
        ("/etc/systemd/system/deployer-proxy.service", "root:root 644"),
        (
            "/usr/local/share/bash-completion/completions/deployer",
            "root:root 644",
        ),
    ] {
        assert_eq!(is(path), wanted, "{path}");
    }
    let link = fs::read_link(root.path("/usr/local/lib/deployer/deployer-shell")).unwrap();
    assert_eq!(link.to_str(), Some("/usr/local/bin/deployer"));
    let example = include_str!("../../deployer.toml.example");
    assert_eq!(root.read("/etc/deployer/deployer.toml"), example);
    root.run(&["/usr/local/bin/deployer", "config", "check"]).good();
    for unit in ["deployer-proxy", "deployer-recover"] {
        assert_eq!(root.run(&["systemctl", "is-enabled", unit]).good(), "enabled\n");
    }
}

#[test]
fn a_dry_run_says_what_would_be_done_and_touches_nothing() {
    let root = Root::new();
    let before = root.changes();

    let dry = root.deployer(&["install", "--dry-run"]).good();

    assert_eq!(root.changes(), before);
    assert!(dry.ends_with("nothing was touched\n"), "{dry}");
    // What is created is what would have been.
    let told = |text: &str, word: &str| -> Vec<String> {
        let lines = text.lines().filter_map(|line| line.strip_prefix(word));
        lines.map(|line| line.trim().to_owned()).collect()
    };
    let wet = root.deployer(&["install"]).good();
    assert_eq!(told(&dry, "would create "), told(&wet, "created "));
    assert!(!told(&wet, "created ").is_empty());
}

#[test]
fn only_root_installs() {
    let root = Root::new();
    let before = root.changes();

    let said = root.run(&[
        "setpriv",
        "--reuid=65534",
        "--regid=65534",
        "--clear-groups",
        DEPLOYER,
        "install",
    ]);

    assert!(
        said.refused()
            .contains("only root can do this: `sudo deployer install`")
    );
    assert_eq!(root.changes(), before);
}

#[test]
fn a_person_called_deploy_keeps_their_login_shell() {
    let root = Root::new();
    root.run(&["useradd", "--create-home", "--shell", "/bin/bash", "deploy"])
        .good();
    let before = root.changes();

    let said = root.deployer(&["install"]).refused();

    assert!(
        said.contains("the user deploy is there and has the login shell /bin/bash"),
        "{said}"
    );
    assert_eq!(root.changes(), before);
    let other = root.deployer(&["install", "--user", "ship"]).good();
    assert!(other.contains("created        the user ship\n"), "{other}");
    assert!(
        root.read("/etc/systemd/system/deployer-proxy.service.d/50-deployer.conf")
            .contains("User=ship\n")
    );
    assert!(
        root.read("/etc/ssh/sshd_config.d/50-deployer.conf")
            .contains("Match User ship\n")
    );
}

#[test]
fn a_user_with_a_harmless_shell_becomes_deployers_and_keeps_the_home() {
    let root = Root::new();
    root.run(&[
        "useradd",
        "--create-home",
        "--shell",
        "/usr/bin/git-shell",
        "deploy",
    ])
    .good();

    let said = root.deployer(&["install"]).good();

    assert!(
        said.contains("changed        the user deploy (login shell"),
        "{said}"
    );
    let passwd = root.run(&["getent", "passwd", "deploy"]).good();
    assert!(
        passwd.ends_with(":/home/deploy:/usr/local/lib/deployer/deployer-shell\n"),
        "{passwd}"
    );
    assert!(
        root.run(&["getent", "shadow", "deploy"])
            .good()
            .starts_with("deploy:*:")
    );
    assert!(root.path("/home/deploy/.ssh").is_dir());
}

#[test]
fn a_configuration_that_is_there_is_never_changed() {
    let root = Root::new();
    let text = "state = \"/srv/deployer/state\"\n";
    root.sh(&format!("mkdir /etc/deployer && printf '%s' '{text}' >/etc/deployer/deployer.toml && chmod 600 /etc/deployer/*"))
        .good();

    let said = root.deployer(&["install"]).good();

    assert_eq!(root.read("/etc/deployer/deployer.toml"), text);
    assert!(
        said.contains("it is there, and deploy cannot read it: `chgrp "),
        "{said}"
    );
    assert!(root.path("/srv/deployer/state/proxy").is_dir());
    let differs = root.read("/etc/systemd/system/deployer-proxy.service.d/50-deployer.conf");
    assert!(
        differs.contains("\nReadWritePaths=/srv/deployer/state/proxy\n"),
        "{differs}"
    );
    // What differed, and does no more, goes.
    root.sh("rm /etc/deployer/deployer.toml").good();
    let said = root.deployer(&["install"]).good();
    assert!(
        said.contains("removed        /etc/systemd/system/deployer-proxy.service.d/50-deployer.conf\n"),
        "{said}"
    );
}

#[test]
fn nothing_of_this_machine_itself_is_touched() {
    let here = || {
        let users =
            ["/etc/passwd", "/etc/shadow", "/etc/group"].map(|file| fs::read(file).expect("a file of users"));
        let folders = [
            "/etc",
            "/etc/systemd/system",
            "/etc/ssh/sshd_config.d",
            "/usr/local/bin",
            "/var/lib",
        ];
        let times = folders.map(|folder| fs::metadata(folder).expect("a folder").mtime_nsec());
        (users, times)
    };
    let before = here();
    let root = Root::new();

    root.deployer(&["install"]).good();
    root.run(&["/usr/local/bin/deployer", "uninstall", "--purge"])
        .good();

    assert_eq!(here(), before);
}

#[test]
fn a_state_folder_with_a_strangers_files_is_refused() {
    let root = Root::new();
    root.sh("mkdir -p /var/lib/deployer/apps").good();
    let before = root.changes();

    let said = root.deployer(&["install"]).refused();

    assert!(
        said.contains("the state folder /var/lib/deployer is root's and holds something"),
        "{said}"
    );
    assert_eq!(root.changes(), before);

    // One from another machine, with a number that nobody has here: what is said is done, word by word.
    root.sh("chown -R 4321:4321 /var/lib/deployer").good();
    let said = root.deployer(&["install"]).refused();
    assert!(said.contains("the user's with the number 4321"), "{said}");
    let commands: Vec<&str> = said.split('`').skip(1).step_by(2).collect();
    assert_eq!(commands.len(), 2, "{said}");
    for command in commands {
        root.sh(command).good();
    }
    root.deployer(&["install"]).good();
    let owner = root.sh("stat -c %U /var/lib/deployer/apps").good();
    assert_eq!(owner, "deploy\n");
}

#[test]
fn a_wrong_configuration_stops_the_installation_before_it_begins() {
    let root = Root::new();
    root.sh("mkdir /etc/deployer && echo 'stat = 1' >/etc/deployer/deployer.toml")
        .good();
    let before = root.changes();

    let said = root.deployer(&["install"]).refused();

    assert!(said.contains("/etc/deployer/deployer.toml:1:1"), "{said}");
    assert_eq!(root.changes(), before);
}

#[test]
fn what_was_changed_by_others_is_put_right() {
    let root = Root::new();
    root.deployer(&["install"]).good();
    root.sh(
        "chmod 755 /var/lib/deployer; echo '# mine' >>/etc/systemd/system/deployer-proxy.service
         ln -sfn /bin/sh /usr/local/lib/deployer/deployer-shell; gpasswd -d deploy docker >/dev/null",
    )
    .good();

    let said = root.deployer(&["install"]).good();

    for line in [
        "changed        deploy in the group docker\n",
        "changed        /usr/local/lib/deployer/deployer-shell → /usr/local/bin/deployer (it led to /bin/sh)\n",
        "changed        /var/lib/deployer (mode 0700 instead of 0755)\n",
        "changed        /etc/systemd/system/deployer-proxy.service (its content)\n",
    ] {
        assert!(said.contains(line), "{line}{said}");
    }
}

#[test]
fn the_manual_has_a_page_for_each_command() {
    let root = Root::new();
    root.deployer(&["install"]).good();

    let page = root
        .sh("man --path >/dev/null; man deployer-rollback | cat")
        .good();

    assert!(page.contains("--to"), "{page}");
    for name in [
        "deployer",
        "deployer-app-create",
        "deployer-status",
        "deployer-proxy-run",
    ] {
        assert!(
            root.path(&format!("/usr/local/share/man/man1/{name}.1"))
                .is_file(),
            "{name}"
        );
    }
}
