//! `deployer uninstall`: what install put there goes, and data only when that is asked for.

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::path::{Path, PathBuf};

use crate::root::Root;

const INSTALLED: &str = "/usr/local/bin/deployer";

/// What is there now and was not `before`, but for what the users and groups are kept in, and for folders: those that
/// this machine has, and the standard ones for completions and manuals.
fn left(before: &BTreeMap<PathBuf, String>, now: &BTreeMap<PathBuf, String>) -> Vec<PathBuf> {
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
