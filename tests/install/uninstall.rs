//! `deployer uninstall`: what install put there goes, and data only when that is asked for.

use std::collections::BTreeMap;
use std::path::PathBuf;

use crate::root::Root;

const INSTALLED: &str = "/usr/local/bin/deployer";

/// Paths alone, without what users and groups are kept in, and without standard folders that were empty before.
fn paths(listing: &BTreeMap<PathBuf, String>) -> Vec<&PathBuf> {
    let shared = ["/usr/local/share", "/usr/local/lib"];
    let is_shared = |path: &PathBuf| shared.iter().any(|folder| path.starts_with(folder)) && path.extension().is_none();
    let of_users = ["passwd-", "shadow-", "group-", "gshadow-", "subuid", "subgid", "subuid-", "subgid-"];
    let is_of_users = |path: &PathBuf| path.parent().is_some_and(|folder| folder.ends_with("etc")) && of_users.iter().any(|name| path.ends_with(name));
    listing.keys().filter(|path| !is_shared(path) && !is_of_users(path)).collect()
}

#[test]
fn uninstall_takes_away_what_install_put_there_and_keeps_the_data() {
    let root = Root::new();
    let before = root.listing();
    root.deployer(&["install"]).good();
    root.run(&[INSTALLED, "app", "create", "shop"]).good();

    let refused = root.run(&[INSTALLED, "uninstall"]).refused();
    assert!(refused.contains("there are apps (shop)"), "{refused}");
    let said = root.run(&[INSTALLED, "uninstall", "--yes"]).good();

    assert!(said.contains("removed        /usr/local/bin/deployer\n"), "{said}");
    assert!(said.contains("kept           the containers of shop"), "{said}");
    let after = root.listing();
    let is_new = |path: &&PathBuf| !before.contains_key(*path);
    for path in paths(&after).into_iter().filter(is_new) {
        let is_data = ["/var/lib/deployer", "/var/lib/deployer-home", "/etc/deployer"].iter().any(|data| path.starts_with(data));
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
    let before = root.listing();
    root.deployer(&["install"]).good();
    root.run(&[INSTALLED, "app", "create", "shop"]).good();
    let refused = root.run(&[INSTALLED, "uninstall", "--purge"]).refused();
    assert!(refused.contains("`deployer app remove shop --yes`"), "{refused}");
    // The engine is out of reach here; without containers the folders are all that an app is.
    root.sh("rm -r /var/lib/deployer/apps/shop /var/lib/deployer/git/shop").good();

    root.run(&[INSTALLED, "uninstall", "--purge"]).good();

    let after = root.listing();
    assert_eq!(paths(&after), paths(&before));
    root.run(&["getent", "passwd", "deploy"]).refused();
    assert!(!root.read("/etc/group").contains("deploy"));
}

#[test]
fn a_dry_run_of_uninstall_touches_nothing() {
    let root = Root::new();
    root.deployer(&["install"]).good();
    let before = root.listing();

    let dry = root.run(&[INSTALLED, "uninstall", "--purge", "--dry-run"]).good();

    assert!(dry.contains("would remove   /var/lib/deployer (with everything in it)\n"), "{dry}");
    assert_eq!(root.listing(), before);
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
