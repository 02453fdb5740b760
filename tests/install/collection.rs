//! What frees the disk of a registry on this host, as a service and as a container.

use std::fs;

use crate::engine::{Registry, install, machine, upload};
use crate::root::Root;

const UNIT: &str = "/etc/systemd/system/deployer-registry-collect.service";
const SUDOERS: &str = "/etc/sudoers.d/deployer";
const INSTALLED: &str = "/usr/local/bin/deployer";

/// What systemd says of a unit.
fn show(root: &Root, property: &str, unit: &str) -> String {
    let said = root.run(&["systemctl", "show", "--property", property, "--value", unit]);
    said.good().trim().to_owned()
}

/// Debian's registry, as the README has it set up.
fn debians_registry(root: &Root) {
    root.sh(
        "sed -i -e 's/addr: :5000/addr: 127.0.0.1:5000/' -e '/^auth:/,/path:/d' /etc/docker/registry/config.yml
         systemctl start docker-registry
         until curl --silent --fail http://127.0.0.1:5000/v2/; do sleep 0.05; done",
    )
    .good();
}

fn is_there(root: &Root, url: &str) -> bool {
    let line = format!("curl --silent --output /dev/null --write-out '%{{http_code}}' --head {url}");
    root.sh(&line).good() == "200"
}

#[test]
fn a_registry_that_was_not_found_is_told_and_left_alone() {
    let root = Root::new();

    let said = root.deployer(&["install"]).good();

    let told =
        "left out:      the registry's disk: nothing frees it: no registry was found at 127.0.0.1:5000";
    assert!(said.contains(told), "{said}");
    assert!(!root.path(UNIT).exists() && !root.path(SUDOERS).exists());
    let enabled = root.run(&["systemctl", "is-enabled", "deployer-prune.timer"]).out;
    assert_eq!(enabled, "disabled\n");
    let said = root.run(&[INSTALLED, "prune", "--registry"]).refused();
    assert!(
        said.contains("`deployer install`, as root, makes it for a registry on this host"),
        "{said}"
    );
    // With a command of the configuration's own nothing but the timer is needed; with none at all, not even that.
    for (collect, enabled) in [("[\"true\"]", "enabled\n"), ("[]", "disabled\n")] {
        root.sh(&format!(
            "printf '[registry]\ncollect = {collect}\n' >/etc/deployer/deployer.toml"
        ))
        .good();
        let said = root.deployer(&["install"]).good();
        assert!(!said.contains("the registry's disk"), "{said}");
        assert!(!root.path(UNIT).exists() && !root.path(SUDOERS).exists());
        let is = root.run(&["systemctl", "is-enabled", "deployer-prune.timer"]).out;
        assert_eq!(is, enabled, "{collect}");
    }
}

#[test]
fn debians_registry_is_collected_every_week_and_comes_back_whatever_happens() {
    let root = Root::booted();
    debians_registry(&root);
    let dry = root.deployer(&["install", "--dry-run"]).good();
    for told in [
        format!("would create   {UNIT}\n"),
        format!("would create   {SUDOERS}\n"),
        "would enable   deployer-prune.timer at boot\n".to_owned(),
        "would start    deployer-prune.timer\n".to_owned(),
    ] {
        assert!(dry.contains(&told), "{told}{dry}");
    }

    root.deployer(&["install"]).good();

    let verified = root.run(&["systemd-analyze", "verify", UNIT]);
    assert!(!verified.err.contains("deployer"), "{}", verified.err);
    assert_eq!(show(&root, "ActiveState", "deployer-prune.timer"), "active");
    assert_ne!(show(&root, "NextElapseUSecRealtime", "deployer-prune.timer"), "");
    let may = |unit: &str| {
        let line =
            format!("setpriv --reuid=deploy --regid=deploy --init-groups sudo -n systemctl start {unit}");
        root.sh(&line).code == Some(0)
    };
    assert!(!may("docker-registry.service"), "no other unit");
    let again = root.run(&[INSTALLED, "install"]).good();
    assert!(
        !again.contains("created") && !again.contains("changed"),
        "{again}"
    );

    // Also one that nothing was ever pushed to.
    let pid = || show(&root, "MainPID", "docker-registry");
    let prune = || {
        let said = root.run(&["systemctl", "start", "deployer-prune"]);
        let journal = root.run(&["journalctl", "--no-pager", "-o", "cat", "-n", "30"]);
        assert_eq!(said.code, Some(0), "{}{}", said.err, journal.out);
    };
    let before = pid();
    prune();
    assert_ne!(pid(), before, "the registry was not stopped");
    let layer = upload("http://127.0.0.1:5000", |line| root.sh(line).good());
    assert!(is_there(&root, &layer));
    prune();
    assert!(!is_there(&root, &layer));
    let said: serde_json::Value =
        serde_json::from_str(&root.run(&[INSTALLED, "status", "--json"]).good()).expect("JSON");
    let size = &said["registry"];
    assert_eq!(size["storage"], "/var/lib/docker-registry", "{said}");
    assert_eq!(size["bytes"], size["collected"]["bytes"], "{said}");
    let told = root.run(&[INSTALLED, "status"]).good();
    assert!(
        told.contains("registry 127.0.0.1:5000: ") && told.contains(" when it was collected on 20"),
        "{told}"
    );

    // A collection that fails, and one that is killed.
    let instead = |command: &str| {
        root.sh(&format!(
            "mkdir -p {UNIT}.d; printf '[Service]\\nExecStart=\\nExecStart={command}\\n' >{UNIT}.d/instead.conf; systemctl daemon-reload"
        ))
        .good();
    };
    let is_up_again = |before: &str| {
        root.sh("until [ \"$(systemctl is-active docker-registry)\" = active ]; do sleep 0.05; done")
            .good();
        assert_ne!(pid(), before, "the registry was not stopped");
    };
    instead("/bin/false");
    let before = pid();
    let said = root.run(&[INSTALLED, "prune", "--registry"]).refused();
    assert!(
        said.contains("failed") && said.contains("The registry answers"),
        "{said}"
    );
    is_up_again(&before);
    instead("/bin/sleep 100");
    let before = pid();
    root.sh("systemctl start --no-block deployer-registry-collect
         until [ \"$(systemctl is-active docker-registry)\" = inactive ]; do sleep 0.05; done
         until [ \"$(systemctl show -P MainPID deployer-registry-collect)\" != 0 ]; do sleep 0.05; done
         systemctl kill --signal KILL deployer-registry-collect")
        .good();
    is_up_again(&before);
    root.sh(&format!("rm -r {UNIT}.d; systemctl daemon-reload"))
        .good();

    // While it is stopped what was made stays.
    root.sh("systemctl stop docker-registry").good();
    let said = root.run(&[INSTALLED, "install"]).good();
    assert!(
        !said.contains("the registry's disk") && root.path(UNIT).exists(),
        "{said}"
    );
    assert!(root.path(SUDOERS).exists());
    // Another registry by now.
    root.sh("printf '[registry]\naddress = \"localhost:5000\"\n' >/etc/deployer/deployer.toml; systemctl start docker-registry")
        .good();
    let said = root.run(&[INSTALLED, "prune", "--registry"]).refused();
    assert!(
        said.contains("was made for another registry than localhost:5000"),
        "{said}"
    );
    let said = root.run(&[INSTALLED, "install"]).good();
    assert!(
        said.contains(&format!("changed        {UNIT} (its content)\n")),
        "{said}"
    );

    let said = root.run(&[INSTALLED, "uninstall"]).good();
    assert!(said.contains(&format!("removed        {UNIT}\n")), "{said}");
    let left = root.sh("find /etc /var/lib/systemd -name '*deployer-prune*' -o -name '*deployer-registry*'");
    assert_eq!(left.good(), "");
    assert!(!root.path(SUDOERS).exists());
    assert_eq!(show(&root, "ActiveState", "docker-registry"), "active");
}

#[test]
fn a_registry_in_a_container_is_collected_with_its_own_image_and_volumes() {
    let registry = Registry::start("collect");
    let root = Root::booted_with_engine();

    install(&root, &registry, "deployer-test-collect");

    let unit = fs::read_to_string(root.path(UNIT)).expect("the unit is there");
    assert!(
        unit.contains(&format!("docker start {}\n", registry.name)),
        "{unit}"
    );
    let verified = root.run(&["systemd-analyze", "verify", UNIT]);
    assert!(!verified.err.contains("deployer"), "{}", verified.err);
    let collect = || root.run(&["systemctl", "start", "deployer-registry-collect"]);
    let collected = || {
        let said = collect();
        let journal = root.run(&["journalctl", "--no-pager", "-u", "deployer-registry-collect"]);
        assert_eq!(said.code, Some(0), "{}{}", said.err, journal.out);
        registry.is_up();
    };
    // Nothing was ever pushed: it goes on.
    let before = registry.state();
    collected();
    assert_eq!(registry.state(), before);

    let layer = registry.upload();
    let status = |url: &str| {
        machine(&[
            "curl",
            "--silent",
            "--output",
            "/dev/null",
            "--write-out",
            "%{http_code}",
            "--head",
            url,
        ])
    };
    assert_eq!(status(&layer), "200");
    collected();
    assert_eq!(status(&layer), "404");
    assert_ne!(registry.state(), before, "it was stopped");

    // Its volume is root's alone: its own `du` tells the size.
    root.run(&[INSTALLED, "prune"]).good();
    let told = root.run(&[INSTALLED, "status", "--json"]).good();
    let said: serde_json::Value = serde_json::from_str(&told).expect("JSON");
    assert!(
        said["registry"]["bytes"].as_u64().is_some_and(|bytes| bytes > 0),
        "{said}"
    );
    assert_eq!(said["registry"]["collected"], serde_json::Value::Null, "{said}");

    // One that ends in the middle leaves it running, and nothing beside it.
    root.sh(&format!(
        "systemctl start --no-block deployer-registry-collect
         until [ \"$(docker inspect --format '{{{{.State.Running}}}}' {})\" = false ]; do sleep 0.02; done
         systemctl stop deployer-registry-collect",
        registry.name
    ))
    .good();
    registry.is_up();
    let beside = machine(&[
        "docker",
        "ps",
        "-aq",
        "--filter",
        "name=^deployer-registry-collect$",
    ]);
    assert_eq!(beside, "");
}
