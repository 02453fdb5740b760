//! `deployer uninstall`: what install put there goes, and data only when that is asked for.

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::path::{Path, PathBuf};

use crate::root::{DEPLOYER, Root};

const INSTALLED: &str = "/usr/local/bin/deployer";

/// What is there now and was not `before`, but for what the users and groups are kept in, and for folders: those that
/// this machine has, and the standard ones for completions and manuals.
pub(crate) fn left(before: &BTreeMap<PathBuf, String>, now: &BTreeMap<PathBuf, String>) -> Vec<PathBuf> {
    let users = [
        "passwd",
        "shadow",
        "group",
        "gshadow",
        "subuid",
        "subgid",
        ".pwd.lock",
    ];
    let of_users = |path: &Path| {
        let name = path.file_name().and_then(OsStr::to_str).unwrap_or_default();
        path.parent() == Some(Path::new("/etc")) && users.contains(&name.trim_end_matches('-'))
    };
    let is_folder = |path: &Path, told: &str| {
        told.starts_with('4') && (path.is_dir() || path.starts_with("/usr/local/share"))
    };
    let new = now.iter().filter(|(path, _)| !before.contains_key(*path));
    new.filter(|(path, told)| !of_users(path) && !is_folder(path, told))
        .map(|(path, _)| path.clone())
        .collect()
}

#[test]
fn uninstall_takes_away_what_install_put_there_and_keeps_the_data() {
    let root = Root::new();
    let before = root.changes();
    root.deployer(&["install"]).good();
    root.run(&[INSTALLED, "app", "create", "shop"]).good();

    let refused = root.run(&[INSTALLED, "uninstall"]).refused();
    assert!(refused.contains("there are apps (shop)"), "{refused}");
    let said = root.run(&[INSTALLED, "uninstall", "--yes"]).good();

    assert!(
        said.contains("removed        /usr/local/bin/deployer\n"),
        "{said}"
    );
    assert!(said.contains("kept           the containers of shop"), "{said}");
    let after = root.changes();
    for path in left(&before, &after) {
        let is_data = ["/var/lib/deployer", "/var/lib/deployer-home", "/etc/deployer"]
            .iter()
            .any(|data| path.starts_with(data));
        assert!(is_data, "{} is left", path.display());
    }
    assert!(after.contains_key(&PathBuf::from("/var/lib/deployer/apps/shop/app.json")));
    assert!(!after.contains_key(&PathBuf::from("/usr/local/lib/deployer")));
    root.run(&["getent", "passwd", "deploy"]).good();

    // Everything is taken up again by installing it anew.
    root.deployer(&["install"]).good();
    assert_eq!(root.run(&[INSTALLED, "app", "list"]).good(), "shop\n");
}

#[test]
fn purge_is_refused_while_there_are_apps_and_else_leaves_nothing() {
    let root = Root::new();
    let before = root.changes();
    root.deployer(&["install"]).good();
    root.run(&[INSTALLED, "app", "create", "shop"]).good();
    let refused = root.run(&[INSTALLED, "uninstall", "--purge"]).refused();
    assert!(refused.contains("`deployer app remove shop --yes`"), "{refused}");
    // The engine is out of reach here; without containers the folders are all that an app is.
    root.sh("rm -r /var/lib/deployer/apps/shop /var/lib/deployer/git/shop")
        .good();

    root.run(&[INSTALLED, "uninstall", "--purge"]).good();

    assert_eq!(left(&before, &root.changes()), Vec::<PathBuf>::new());
    root.run(&["getent", "passwd", "deploy"]).refused();
    assert!(!root.read("/etc/group").contains("deploy"));
}

#[test]
fn a_dry_run_of_uninstall_touches_nothing() {
    let root = Root::new();
    root.deployer(&["install"]).good();
    let before = root.changes();

    let dry = root.run(&[INSTALLED, "uninstall", "--purge", "--dry-run"]).good();

    assert!(
        dry.contains("would remove   /var/lib/deployer (with everything in it)\n"),
        "{dry}"
    );
    assert_eq!(root.changes(), before);
}

#[test]
fn a_wrong_configuration_keeps_nobody_from_uninstalling() {
    let root = Root::new();
    root.deployer(&["install"]).good();
    root.sh("echo 'stat = 1' >>/etc/deployer/deployer.toml").good();

    let refused = root.run(&[INSTALLED, "uninstall", "--purge"]).refused();
    assert!(refused.contains("deployer.toml:"), "{refused}");
    root.run(&[INSTALLED, "uninstall"]).good();

    assert!(!root.path(INSTALLED).exists());
}

#[test]
fn two_at_a_time_go_one_after_the_other() {
    let root = Root::new();
    let said = root.sh(&format!(
        "(flock 9; touch /run/held; until [ -e /run/go ]; do sleep 0.05; done; touch /run/over) 9</etc &
         until [ -e /run/held ]; do sleep 0.05; done
         {DEPLOYER} install --dry-run >/run/dry
         {DEPLOYER} install >/run/said &
         install=$!
         until grep -q '^waits for another' /run/said; do sleep 0.05; done
         sleep 0.3
         [ $(wc -l </run/said) = 1 ]
         touch /run/go
         wait $install
         [ -e /run/over ]
         cat /run/said"
    ));
    let said = said.good();
    assert!(
        said.starts_with("waits for another `deployer install` or `deployer uninstall` to end\n"),
        "{said}"
    );
}

/// Writes the configuration with this kind of proxy, whose part is in this folder, and installs.
fn install_with(root: &Root, kind: &str, folder: &str) {
    root.sh(&format!(
        "mkdir -p /etc/deployer; printf '[proxy]\nkind = \"{kind}\"\nfolder = \"{folder}\"\n' >/etc/deployer/deployer.toml
         chmod 0644 /etc/deployer/deployer.toml; chmod 0755 /etc/deployer"
    ))
    .good();
    root.deployer(&["install"]).good();
    if kind != "embedded" {
        root.sh(&format!("echo '# x' >{folder}/{kind}/deployer.conf"))
            .good();
    }
}

/// What is left of everything but the data.
pub(crate) fn left_but_data(root: &Root, before: &BTreeMap<PathBuf, String>) -> Vec<PathBuf> {
    let is_data = |path: &PathBuf| {
        [
            "/var/lib/deployer",
            "/var/lib/deployer-home",
            "/etc/deployer/deployer.toml",
        ]
        .iter()
        .any(|data| path.starts_with(data))
    };
    let mut left = left(before, &root.changes());
    left.retain(|path| !is_data(path) && path != Path::new("/etc/deployer"));
    left
}

#[test]
fn uninstall_takes_away_what_every_kind_of_proxy_ever_got() {
    let root = Root::new();
    let before = root.changes();
    let kinds = ["haproxy", "caddy", "nginx", "embedded"];
    for kind in kinds {
        install_with(&root, kind, "/var/lib/deployer-proxy");
    }
    // Another folder, and a file of an older program's.
    install_with(&root, "haproxy", "/srv/parts");
    install_with(&root, "embedded", "/srv/other");
    root.sh(
        "echo 'file /usr/local/share/man/man1/deployer-former.1' >>/etc/deployer/installed
         echo >/usr/local/share/man/man1/deployer-former.1",
    )
    .good();

    // One that cannot go keeps no other from it, and the program stays to do it again.
    root.sh("mount -t tmpfs tmpfs /var/lib/deployer-proxy/nginx")
        .good();
    let broken = root.run(&[INSTALLED, "uninstall"]);
    assert_eq!(broken.code, Some(1), "{}{}", broken.out, broken.err);
    assert!(
        broken
            .out
            .contains("left out:      /var/lib/deployer-proxy/nginx: "),
        "{}",
        broken.out
    );
    assert!(broken.err.contains("could not be taken away"), "{}", broken.err);
    assert!(!root.path("/srv/parts").exists() && !root.path("/var/lib/deployer-proxy/haproxy").exists());
    assert!(root.path(INSTALLED).exists());
    root.sh("umount /var/lib/deployer-proxy/nginx").good();
    root.run(&[INSTALLED, "uninstall"]).good();
    assert_eq!(left_but_data(&root, &before), Vec::<PathBuf>::new());

    // Made by a deployer that had no list.
    for kind in ["haproxy", "nginx"] {
        install_with(&root, kind, "/var/lib/deployer-proxy");
    }
    root.sh("rm /etc/deployer/installed").good();
    root.run(&[INSTALLED, "uninstall"]).good();
    assert_eq!(left_but_data(&root, &before), Vec::<PathBuf>::new());

    // Killed anywhere, in either. A killed process may be there still: one that nobody waits for.
    root.deployer(&["install"]).good();
    root.sh("echo >/usr/local/bin/.deployer-1-0").good();
    root.deployer(&["uninstall"]).good();
    assert_eq!(left_but_data(&root, &before), Vec::<PathBuf>::new());
    for pause in ["0.1", "0.3"] {
        root.sh(&format!("timeout -s KILL {pause} {DEPLOYER} install || true"))
            .good();
        install_with(&root, "nginx", "/var/lib/deployer-proxy");
        root.sh(&format!("timeout -s KILL {pause} {DEPLOYER} uninstall || true"))
            .good();
        root.deployer(&["uninstall"]).good();
        assert_eq!(left_but_data(&root, &before), Vec::<PathBuf>::new(), "{pause}");
    }
    // With the data, whoever owns that by now.
    root.deployer(&["install"]).good();
    root.sh("userdel -f deploy; chown -R 4242:4242 /var/lib/deployer")
        .good();
    root.run(&[INSTALLED, "uninstall", "--purge"]).good();
    assert_eq!(left(&before, &root.changes()), Vec::<PathBuf>::new());
}
