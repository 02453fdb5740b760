//! What install puts onto a server is synced, and in the order that a crash cannot hurt.

use std::path::Path;

use crate::durable_calls::{Written, strace};
use crate::root::{DEPLOYER, Root};

#[test]
fn every_durable_write_is_synced_in_order() {
    let root = Root::new();
    let calls = Path::new("/run/calls");
    let mut words = strace(&root.path("/run/calls"));
    let file = words.last_mut().expect("the file");
    *file = calls.join("of").display().to_string();
    let words: Vec<&str> = words.iter().map(String::as_str).collect();

    root.run(&[&words[..], &[DEPLOYER, "install"]].concat()).good();

    let written = Written::read(&[root.path("/run/calls")]);
    written.has_replaced(&[
        "/etc/deployer/installed",
        "/etc/deployer/deployer.toml",
        "/etc/ssh/sshd_config.d/50-deployer.conf",
        "/usr/local/bin/deployer",
        "/usr/local/lib/deployer/deployer-shell",
    ]);
}
