//! SIGKILL of install and uninstall at every fail point (`src/failpoint.rs`): before and after each thing is made or goes,
//! and within those that take several steps.
//!
//! A chain kills at one point after the other, each time going on from where the one before was killed: at every fifth,
//! and at each with `DEPLOYER_KILL=all`. Beside that a sample of points is tried with the other command after the kill.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use crate::root::{DEPLOYER, Root};
use crate::uninstall::{left, left_but_data};

/// The folder of orders, in a file system that the layer of changes does not have.
const POINTS: &str = "/run/points";

/// More points than there are.
const POINTS_MAX: usize = 500;

/// One of so many points is tried, unless all are.
const PART: usize = 5;

/// Points that are tried with the other command after the kill, unless all are.
const SAMPLE: usize = 2;

#[test]
fn install_and_uninstall_converge_after_a_kill_anywhere() {
    let root = Root::new();
    let before = root.changes();
    root.sh(&format!("mkdir {POINTS}")).good();
    // By a process in there: the file shows the reader's own network.
    let reserved_ports = || root.sh("cat /proc/sys/net/ipv4/ip_local_reserved_ports").good();
    let reserved = reserved_ports();
    configure(&root);
    let install = traced(&root, &["install"]);
    let left_out = left_out(&install);
    let whole = shape(&root);
    let uninstall = traced(&root, &["uninstall"]);
    root.deployer(&["uninstall", "--purge"]).good();

    // First what there is always, from nothing.
    let mut of_install = kill_everywhere(&root, &["install"], &left_out);
    let folder = root.sh("stat --format '%a %U:%G' /etc/deployer").good();
    assert_eq!(folder, "750 root:deploy\n");
    configure(&root);
    of_install.extend(kill_everywhere(&root, &["install"], &left_out));
    same(&whole, &shape(&root), "install, killed everywhere");
    assert_ne!(reserved_ports(), reserved);
    let of_uninstall = kill_everywhere(&root, &["uninstall"], &left_out);
    assert_eq!(left_but_data(&root, &before), Vec::<PathBuf>::new());
    assert_eq!(reserved_ports(), reserved);
    configure_and_install(&root);
    let of_purge = kill_everywhere(&root, &["uninstall", "--purge"], &left_out);
    assert_eq!(left(&before, &root.changes()), Vec::<PathBuf>::new());
    println!("{of_install:#?}\n{of_uninstall:#?}\n{of_purge:#?}");

    for point in sample(&of_install, &install) {
        configure(&root);
        kill_at(&root, &["install"], point);
        root.deployer(&["uninstall", "--purge"]).good();
        assert_eq!(left(&before, &root.changes()), Vec::<PathBuf>::new(), "{point}");
        assert_eq!(reserved_ports(), reserved, "{point}");
    }
    for point in sample(&of_uninstall, &uninstall) {
        configure_and_install(&root);
        kill_at(&root, &["uninstall"], point);
        configure_and_install(&root);
        same(&whole, &shape(&root), point);
    }
}

/// With HAProxy, and a port that the kernel may give to others, there is the most to put there.
fn configure(root: &Root) {
    root.sh(
        "mkdir -p /etc/deployer; chmod 0755 /etc/deployer
         printf '[proxy]\nkind = \"haproxy\"\nlisten = \"127.0.0.1:39080\"\n' >/etc/deployer/deployer.toml; chmod 0644 /etc/deployer/deployer.toml",
    )
    .good();
}

fn configure_and_install(root: &Root) {
    configure(root);
    root.deployer(&["install"]).good();
}

/// The points that the command comes to when nobody disturbs it, in their order.
#[track_caller]
fn traced(root: &Root, words: &[&str]) -> Vec<String> {
    root.sh(&format!("rm -rf {POINTS}/*; touch {POINTS}/trace"))
        .good();
    let folder = format!("DEPLOYER_FAILPOINTS={POINTS}");
    root.run(&[&["env", &folder, DEPLOYER], words].concat()).good();
    let trace = root.read(&format!("{POINTS}/trace"));
    let points = trace.lines().filter_map(|line| line.strip_prefix("command "));
    points.map(str::to_owned).collect()
}

/// Of these points of an undisturbed install, those at which nothing is killed: pages of the manual but one, since they differ from each
/// other by their name alone; and, unless all are wanted, all but every fifth other one.
fn left_out(points: &[String]) -> Vec<String> {
    let chance = std::process::id() as usize;
    println!("every {PART}th point, the {}th first", chance % PART);
    let is_left_out = |index: usize, point: &str| {
        let is_page = point.contains("deployer-") && point.contains(".1.");
        is_page || !(is_everything_wanted() || (index + chance).is_multiple_of(PART))
    };
    let left_out = points
        .iter()
        .enumerate()
        .filter(|(index, point)| is_left_out(*index, point));
    left_out.map(|(_, point)| format!("{point}\n")).collect()
}

fn is_everything_wanted() -> bool {
    std::env::var("DEPLOYER_KILL").is_ok_and(|word| word == "all")
}

/// Kills the command at the first point that it was not killed at before, again and again, until it comes to its end. Gives
/// the points.
#[track_caller]
fn kill_everywhere(root: &Root, words: &[&str], left_out: &[String]) -> Vec<String> {
    root.sh(&format!("rm -rf {POINTS}/*")).good();
    let left_out = left_out.concat();
    fs::write(root.path(&format!("{POINTS}/tried")), &left_out).expect("the file is written");
    for _ in 0..POINTS_MAX {
        if !is_killed(root, words, "*") {
            let tried = root.read(&format!("{POINTS}/tried"));
            let tried = tried.strip_prefix(&left_out).expect("lines are added");
            return tried.lines().map(str::to_owned).collect();
        }
    }
    panic!("{words:?} was killed {POINTS_MAX} times");
}

#[track_caller]
fn kill_at(root: &Root, words: &[&str], point: &str) {
    assert!(is_killed(root, words, point), "{point} was not reached");
}

/// Runs the command with the order to be killed at a point; gives whether it was. Else it was good.
#[track_caller]
fn is_killed(root: &Root, words: &[&str], point: &str) -> bool {
    let order = root.path(&format!("{POINTS}/order"));
    fs::write(order, format!("kill command {point}")).expect("the order is given");
    let folder = format!("DEPLOYER_FAILPOINTS={POINTS}");
    let said = root.run(&[&["env", &folder, DEPLOYER], words].concat());
    if fs::remove_file(root.path(&format!("{POINTS}/killed"))).is_ok() {
        return true;
    }
    assert_eq!(said.code, Some(0), "{words:?}, {point}: {}{}", said.out, said.err);
    false
}

/// Some of the points of a chain that the command comes to also when nothing was killed before.
fn sample<'a>(points: &'a [String], undisturbed: &'a [String]) -> impl Iterator<Item = &'a String> {
    let step = match is_everything_wanted() {
        true => 5,
        false => points.len().div_ceil(SAMPLE).max(1),
    };
    points
        .iter()
        .filter(|point| undisturbed.contains(point))
        .step_by(step)
}

/// What is there, but for times.
fn shape(root: &Root) -> BTreeMap<PathBuf, String> {
    let mut all = root.changes();
    // What users are kept in changes with every one; the configuration is the test's.
    let is_of_install = |path: &Path| {
        path.parent() != Some(Path::new("/etc")) && path != Path::new("/etc/deployer/deployer.toml")
    };
    all.retain(|path, _| is_of_install(path));
    all.into_iter()
        .map(|(path, told)| {
            let words: Vec<&str> = told.split(" Some(").collect();
            let to = told.rsplit(' ').next().unwrap_or_default();
            (path, format!("{} {to}", words[0]))
        })
        .collect()
}

#[track_caller]
fn same(wanted: &BTreeMap<PathBuf, String>, is: &BTreeMap<PathBuf, String>, when: &str) {
    let differs: Vec<_> = wanted
        .iter()
        .filter(|(path, told)| is.get(*path) != Some(told))
        .map(|(path, told)| (path, Some(told), is.get(path)))
        .chain(
            is.iter()
                .filter(|(path, _)| !wanted.contains_key(*path))
                .map(|(path, told)| (path, None, Some(told))),
        )
        .collect();
    assert!(differs.is_empty(), "{when}: {differs:#?}");
}

/// Between the rules and the reload of sshd nothing but time tells that it has not read them.
#[test]
fn an_sshd_that_a_killed_install_did_not_tell_is_told_by_the_next() {
    let root = Root::booted();
    root.sh(&format!("mkdir {POINTS}; ssh-keygen -A; systemctl start ssh"))
        .good();
    let file = "/etc/ssh/sshd_config.d/50-deployer.conf";
    let told = |said: &str, word: &str| {
        let line = format!("{word:<14} {file}");
        assert!(said.lines().any(|said| said.starts_with(&line)), "{word}: {said}");
    };

    assert!(is_killed(&root, &["install"], "sshd.rules"));
    told(&root.deployer(&["install"]).good(), "reloaded");
    told(&root.deployer(&["install"]).good(), "there already");

    assert!(is_killed(&root, &["uninstall"], "sshd.rules"));
    told(&root.deployer(&["uninstall"]).good(), "reloaded");
    told(&root.deployer(&["uninstall"]).good(), "gone already");
}

/// A tool goes on when the install that ran it is killed, and holds what it locks: the next install waits for it.
#[test]
fn a_tool_that_outlives_a_killed_install_is_waited_for() {
    let root = Root::new();
    root.sh(
        "mv /usr/sbin/useradd /usr/sbin/useradd.real
         printf '#!/bin/sh\ntouch /run/adding; sleep 2; exec /usr/sbin/useradd.real \"$@\"\n' >/usr/sbin/useradd
         chmod 755 /usr/sbin/useradd",
    )
    .good();
    root.sh(&format!(
        "{DEPLOYER} install >/dev/null & until [ -e /run/adding ]; do sleep 0.02; done; kill -KILL $!"
    ))
    .good();

    let said = root.deployer(&["install"]).good();

    assert!(said.contains("waits for another `deployer install`"), "{said}");
    assert!(said.contains("there already  the user deploy\n"), "{said}");
}
