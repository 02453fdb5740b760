//! The Debian package, built from the program under test, installed and removed by dpkg.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::root::Root;

fn build(into: &Path) -> PathBuf {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("script/package");
    let built = Command::new(script)
        .args(["--dev", "--output"])
        .arg(into)
        .output();
    let built = built.expect("script/package starts");
    assert!(
        built.status.success(),
        "{}",
        String::from_utf8_lossy(&built.stderr)
    );
    let mut found = fs::read_dir(into)
        .expect("a folder")
        .flatten()
        .map(|entry| entry.path());
    found
        .find(|path| path.extension().is_some_and(|end| end == "deb"))
        .expect("a package")
}

#[test]
fn the_package_installs_upgrades_removes_and_purges() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let package = build(folder.path());
    let root = Root::new();
    // Seen by the root, as everything of this machine that was there before.
    let package = package.to_str().expect("a path in UTF-8");
    // Triggers would make the whole machine's index of manuals anew, four times.
    let dpkg =
        |arguments: &[&str]| root.run(&[&["dpkg", "--force-depends", "--no-triggers"], arguments].concat());

    let said = dpkg(&["--install", package]).good();

    assert!(said.contains("created        the user deploy\n"), "{said}");
    assert!(
        said.contains("created        /usr/lib/deployer/deployer-shell → /usr/bin/deployer\n"),
        "{said}"
    );
    for path in [
        "/usr/bin/deployer",
        "/usr/lib/systemd/system/deployer-proxy.service",
        "/usr/lib/systemd/system/deployer-prune.timer",
        "/usr/share/man/man1/deployer-rollback.1.gz",
        "/usr/share/bash-completion/completions/deployer",
        "/usr/share/zsh/vendor-completions/_deployer",
        "/usr/share/fish/vendor_completions.d/deployer.fish",
        "/usr/share/doc/deployer/README.md",
        "/usr/share/doc/deployer/docs/start.md",
        "/usr/share/doc/deployer/docs/guides/proxies/nginx/front.conf",
        "/etc/deployer/deployer.toml",
        "/etc/ssh/sshd_config.d/50-deployer.conf",
    ] {
        assert!(root.path(path).is_file(), "{path}");
    }
    assert!(
        root.read("/usr/lib/systemd/system/deployer-proxy.service")
            .contains("ExecStart=/usr/bin/deployer proxy run")
    );
    assert!(!root.path("/usr/local/bin/deployer").exists());
    assert_eq!(
        root.run(&["systemctl", "is-enabled", "deployer-proxy"]).good(),
        "enabled\n"
    );
    root.run(&["deployer", "app", "create", "shop"]).good();
    root.run(&["dpkg", "--verify", "deployer"]).good();

    // The same program by hand beside it would take its units.
    let said = root.deployer(&["install"]).refused();
    assert!(
        said.contains("deployer is at /usr/bin/deployer already, as a Debian package"),
        "{said}"
    );

    // A newer version, as far as dpkg can see: everything is there already.
    let said = dpkg(&["--install", package]).good();
    assert!(
        said.contains("there already  the user deploy\n") && !said.contains("created "),
        "{said}"
    );

    let said = dpkg(&["--remove", "deployer"]).good();
    assert!(said.contains("kept           the containers of shop"), "{said}");
    for path in [
        "/usr/bin/deployer",
        "/usr/lib/deployer",
        "/etc/ssh/sshd_config.d/50-deployer.conf",
    ] {
        assert!(!root.path(path).exists(), "{path}");
    }
    assert!(root.path("/etc/deployer/deployer.toml").is_file());

    let said = dpkg(&["--purge", "deployer"]).good();
    assert!(
        said.contains("/var/lib/deployer and the user deploy stay"),
        "{said}"
    );
    assert!(!root.path("/etc/deployer").exists());
    assert!(root.path("/var/lib/deployer/apps/shop/app.json").is_file());
}
