//! The units, as systemd reads them.

use crate::root::Root;

#[test]
fn systemd_finds_no_fault_with_the_units() {
    let root = Root::new();
    root.deployer(&["install"]).good();

    for unit in ["deployer-proxy", "deployer-recover"] {
        let said = root.run(&[
            "systemd-analyze",
            "verify",
            &format!("/etc/systemd/system/{unit}.service"),
        ]);
        let about_us: Vec<&str> = said
            .err
            .lines()
            .filter(|line| line.contains("deployer"))
            .collect();
        assert!(about_us.is_empty(), "{about_us:?}");
        assert_eq!(said.code, Some(0), "{}", said.err);
    }
}
