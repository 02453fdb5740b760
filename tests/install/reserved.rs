//! The slot ports are kept from the kernel's outgoing connections.

use crate::root::Root;

const RESERVED: &str = "/proc/sys/net/ipv4/ip_local_reserved_ports";
const FILE: &str = "/etc/sysctl.d/zz-deployer.conf";
const CONFIG: &str = "[app.shop]\nports = { green = 40000, blue = 40001 }\n";

#[test]
fn slot_ports_are_reserved_beside_what_others_reserve_until_uninstall() {
    let root = Root::new();
    let now = || root.run(&["cat", RESERVED]).good().trim().to_owned();
    root.sh(&format!(
        "mkdir -p /etc/deployer && printf '{CONFIG}' >/etc/deployer/deployer.toml && echo 8080 >{RESERVED} && \
         echo 'net/ipv4/ip_local_reserved_ports = 9000' >/etc/sysctl.d/10-other.conf"
    ))
    .good();
    let check = || root.run(&["/usr/local/bin/deployer", "config", "check"]).good();

    let dry = root.deployer(&["install", "--dry-run"]).good();
    assert!(
        dry.contains("would create   the ports 40000-40001,50100-50199 reserved"),
        "{dry}"
    );
    assert_eq!(now(), "8080");
    root.deployer(&["install"]).good();

    let all = "8080,9000,40000-40001,50100-50199";
    assert_eq!(now(), all);
    let file = root.run(&["cat", FILE]).good();
    assert!(
        file.ends_with(&format!("\nnet.ipv4.ip_local_reserved_ports = {all}\n")),
        "{file}"
    );
    // The kernel has nothing else to give.
    root.sh("echo 50100 50199 >/proc/sys/net/ipv4/ip_local_port_range")
        .good();
    let refused = root.run(&["bash", "-c", ": </dev/tcp/127.0.0.1/1"]).refused();
    assert!(refused.contains("Cannot assign requested address"), "{refused}");
    assert!(!check().contains("outgoing"), "{}", check());

    // Somebody takes it back, and install puts it right.
    root.sh(&format!("echo 8080 >{RESERVED}")).good();
    let lacking = "the kernel may give the ports 40000-40001,50100-50101,";
    root.sh("echo 32768 60999 >/proc/sys/net/ipv4/ip_local_port_range")
        .good();
    root.run(&["/usr/local/bin/deployer", "app", "create", "blog"])
        .good();
    assert!(check().contains(lacking), "{}", check());
    let said = root.deployer(&["install"]).good();
    assert!(
        said.contains("(not in force: 9000,40000-40001,50100-50199)"),
        "{said}"
    );
    assert_eq!(now(), all);

    let said = root
        .run(&["/usr/local/bin/deployer", "uninstall", "--yes"])
        .good();
    assert_eq!(now(), "8080,9000", "{said}");
    assert!(!root.path(FILE).exists());
}

#[test]
fn where_nothing_can_be_reserved_install_says_so_and_does_the_rest() {
    let root = Root::new();
    root.sh("mount --bind /proc/sys /proc/sys && mount -o remount,ro,bind /proc/sys")
        .good();

    let said = root.deployer(&["install"]).good();

    assert!(
        said.contains("left out:      the ports 50100-50199 reserved"),
        "{said}"
    );
    assert!(said.contains("cannot be written here"), "{said}");
    assert!(!root.path(FILE).exists());
    root.run(&["/usr/local/bin/deployer", "uninstall", "--yes"])
        .good();
}
