//! The units, as systemd reads them, and under a systemd that runs.

use std::fs;
use std::io::{BufRead, BufReader};
use std::process::Stdio;

use crate::root::{DEPLOYER, Root};

#[test]
fn systemd_finds_no_fault_with_the_units() {
    let root = Root::new();
    root.deployer(&["install"]).good();

    for unit in [
        "deployer-proxy.service",
        "deployer-recover.service",
        "deployer-prune.service",
        "deployer-prune.timer",
    ] {
        let said = root.run(&[
            "systemd-analyze",
            "verify",
            &format!("/etc/systemd/system/{unit}"),
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

#[test]
fn the_proxy_serves_under_systemd_and_hands_over_to_a_newer_program() {
    let root = Root::booted();

    let said = root.deployer(&["install"]).good();

    assert!(said.contains("started        deployer-proxy.service\n"), "{said}");
    assert_eq!(
        root.sh("stat -c %U /proc/$(systemctl show -P MainPID deployer-proxy)")
            .good(),
        "deploy\n"
    );
    let answer = "curl --silent --output /dev/null --write-out '%{http_code}\n' http://127.0.0.1/";
    assert_eq!(root.sh(answer).good(), "503\n");
    let again = root.run(&["/usr/local/bin/deployer", "install"]).good();
    assert!(
        again.contains("there already  deployer-proxy.service\n"),
        "{again}"
    );

    // A newer program, asked for all the time: no connection is refused.
    let newer = root.path("/root/newer");
    fs::copy(root.path(DEPLOYER), &newer).expect("the program is copied");
    fs::OpenOptions::new()
        .append(true)
        .open(&newer)
        .and_then(|mut file| std::io::Write::write_all(&mut file, b"newer"))
        .expect("the program is changed");
    let asked = format!("touch /run/ask; while test -e /run/ask; do {answer} || echo lost; done");
    let asked = root
        .command(&["sh", "-euc", &asked])
        .stdout(Stdio::piped())
        .spawn();
    let mut asked = asked.expect("a client starts");
    let mut answers = BufReader::new(asked.stdout.take().expect("a pipe")).lines();
    answers.next().expect("the client is answered").expect("text");
    let before = root
        .run(&["systemctl", "show", "-P", "MainPID", "deployer-proxy"])
        .good();
    let said = root.run(&["/root/newer", "install"]);
    let journal = root.run(&["journalctl", "--no-pager", "-u", "deployer-proxy"]);
    assert_eq!(said.code, Some(0), "{}{}{}", said.out, said.err, journal.out);
    let said = said.out;
    assert!(
        said.contains("changed        /usr/local/bin/deployer (to /root/newer)\n"),
        "{said}"
    );
    assert!(
        said.contains("reloaded       deployer-proxy.service (the new program takes over)\n"),
        "{said}"
    );
    let after = root
        .run(&["systemctl", "show", "-P", "MainPID", "deployer-proxy"])
        .good();
    assert_ne!(before, after);
    root.sh("rm /run/ask").good();
    for answer in answers {
        assert_eq!(answer.expect("text"), "503");
    }
    asked.wait().expect("the client ends");

    let said = root.run(&["/usr/local/bin/deployer", "uninstall"]).good();
    assert!(said.contains("stopped        deployer-proxy.service\n"), "{said}");
    root.sh(answer).refused();
}

#[test]
fn systemd_knows_the_newer_proxy_before_the_older_one_ends() {
    let root = Root::booted();
    root.deployer(&["install"]).good();
    // Held once the older one, which has nothing in flight, has been told to end.
    root.sh(
        "systemctl set-environment DEPLOYER_FAILPOINTS=/var/lib/deployer/proxy/points
        mkdir --mode=0777 /var/lib/deployer/proxy/points
        echo 'hold proxy proxy.answering' >/var/lib/deployer/proxy/points/order",
    )
    .good();

    let said = root
        .sh("older=$(systemctl show -P MainPID deployer-proxy)
        systemctl reload deployer-proxy
        while test -e /proc/$older; do sleep 0.01; done
        systemctl show -P ActiveState deployer-proxy
        test $older != $(systemctl show -P MainPID deployer-proxy)
        rm /var/lib/deployer/proxy/points/held
        until journalctl --no-pager -u deployer-proxy | grep -q 'took over'; do sleep 0.01; done
        systemctl show -P NRestarts deployer-proxy")
        .good();

    assert_eq!(said, "active\n0\n");
}

#[test]
fn a_killed_proxy_serves_again_with_the_sockets_that_systemd_has_kept() {
    let root = Root::booted();
    root.deployer(&["install"]).good();

    let said = root
        .sh("killed=$(systemctl show -P MainPID deployer-proxy)
        kill -KILL $killed
        for request in 1 2 3 4 5 6 7 8 9 10; do
          curl --silent --output /dev/null --write-out '%{http_code}\n' http://127.0.0.1/
        done
        test $killed != $(systemctl show -P MainPID deployer-proxy)
        systemctl show -P NRestarts deployer-proxy")
        .good();

    assert_eq!(said, format!("{}1\n", "503\n".repeat(10)));
}

#[test]
fn a_proxy_that_does_not_come_up_is_told() {
    let root = Root::booted();
    root.sh("mkdir /etc/deployer; printf '[proxy]\nlisten = \"192.0.2.1:80\"\n' >/etc/deployer/deployer.toml; chmod -R a+rX /etc/deployer")
        .good();

    let said = root.deployer(&["install"]).refused();

    assert!(
        said.contains("deployer-proxy.service did not come up: `journalctl -u deployer-proxy.service -n 20`"),
        "{said}"
    );
    root.sh("rm /etc/deployer/deployer.toml").good();
    root.deployer(&["install"]).good();
}

#[test]
fn the_recovery_after_a_boot_gets_as_far_as_the_engine() {
    let root = Root::booted();
    root.deployer(&["install"]).good();
    root.run(&["/usr/local/bin/deployer", "app", "create", "shop"])
        .good();

    root.run(&["systemctl", "start", "deployer-recover"]).refused();

    let said = root
        .run(&["journalctl", "--no-pager", "-o", "cat", "-u", "deployer-recover"])
        .good();
    assert!(
        said.contains("deployer: shop: the Docker Engine does not answer at"),
        "{said}"
    );
}
