//! State files that are damaged, cut or lost: told, kept aside and made anew, with nothing that serves taken away.

use std::fs;
use std::path::PathBuf;

use deployer::ground::sealed;

use super::Random;
use crate::failures::live;
use crate::support::docker::{Container, docker};
use crate::support::{Repo, World};

#[test]
fn state_that_is_damaged_is_told_kept_aside_and_rebuilt() {
    let (world, _, repo) = live("damaged-state", "");
    let file = world.state("apps/shop/state.json");
    let good = fs::read(&file).unwrap();
    for (round, damage) in [&good[..good.len() / 2], b"", b"{}", b"\0\0\0\0"]
        .into_iter()
        .enumerate()
    {
        fs::write(&file, damage).unwrap();
        assert!(
            world
                .deployer(&["status"])
                .good()
                .contains("deployer recover shop")
        );

        let said = world.deployer(&["recover", "shop"]).good();

        assert!(
            said.contains("kept as") && said.contains("written anew"),
            "{said}"
        );
        assert_eq!(
            world.json(&["status"])["apps"][0]["problems"]
                .as_array()
                .map(Vec::len),
            Some(0)
        );
        fs::write(&file, damage).unwrap();
        let version = format!("v{}", round + 2);
        repo.version(&version);
        let push = repo.push("green");
        assert!(push.said().contains("written anew"), "{}", push.said());
        push.live();
        assert_eq!(world.version(), version);
        assert_eq!(world.containers().len(), 1);
    }
}

#[test]
fn state_of_a_newer_deployer_is_left_alone() {
    let (world, _, repo) = live("newer-state", "");
    let file = world.state("apps/shop/state.json");
    let newer = sealed::seal(9, &serde_json::json!({"unheard": "of"}));
    fs::write(&file, &newer).unwrap();
    repo.version("v2");

    let said = repo.push("green").said();

    assert!(said.contains("newer deployer"), "{said}");
    assert!(world.deployer(&["recover"]).stderr.contains("newer deployer"));
    assert_eq!(fs::read(&file).unwrap(), newer);
    assert_eq!(world.version(), "v1");
}

#[test]
fn state_that_is_lost_is_no_clean_start() {
    let (world, _, repo) = live("lost-state", "");
    let file = world.state("apps/shop/state.json");
    fs::remove_file(&file).unwrap();
    assert!(
        world
            .deployer(&["status"])
            .good()
            .contains("deployer recover shop")
    );
    let traffic = world.traffic();
    repo.version("v2");

    let push = repo.push("green");

    assert!(push.said().contains("written anew"), "{}", push.said());
    push.live();
    assert_eq!(world.version(), "v2");
    assert_eq!(world.containers().len(), 1);
    let outcome = traffic.stop();
    assert_eq!(outcome.failures(), 0, "{outcome}");
}

/// Release 2 is live, as if its worker was killed before it wrote state, and one of its files is
/// damaged.
#[track_caller]
fn serves_on_beside_damage(name: &str, file: &str, told: &str) {
    let (world, _, repo) = live(name, "");
    let state = world.state("apps/shop/state.json");
    let before = fs::read(&state).unwrap();
    repo.version("v2");
    repo.push("green").live();
    fs::write(&state, before).unwrap();
    let file = world.state("apps/shop/releases/2").join(file);
    let mut damaged = fs::read(&file).unwrap();
    damaged[80] ^= 1;
    fs::write(&file, damaged).unwrap();
    let status = world.deployer(&["status"]).good();
    assert!(status.contains(told), "{status}");
    let traffic = world.traffic();
    repo.version("v3");

    let push = repo.push("green");

    assert!(push.said().contains("written anew"), "{}", push.said());
    push.live();
    assert_eq!(world.version(), "v3");
    let said = world.deployer(&["recover"]).good();
    assert!(said.contains(&format!("{told}; it is kept as")), "{said}");
    assert!(world.deployer(&["recover"]).good().contains("nothing to mend"));
    assert_eq!(world.containers().len(), 1);
    let outcome = traffic.stop();
    assert_eq!(outcome.failures(), 0, "{outcome}");
}

#[test]
fn journal_that_is_damaged_takes_nothing_away_that_serves() {
    serves_on_beside_damage("damaged-journal", "journal", "line 1 is damaged");
}

#[test]
fn record_that_is_damaged_takes_nothing_away_that_serves() {
    let told = "its checksum is not that of its content";
    serves_on_beside_damage("damaged-record", "record.json", told);
}

#[test]
fn state_is_rebuilt_with_the_instances_that_are_gone() {
    let (world, _, _) = live("rebuilt-instances", "instances = 2");
    let container = world.containers().into_iter().find(|it| it.name.ends_with("0"));
    docker(&["rm", "-f", &container.expect("the first instance").id]).good();
    fs::write(world.state("apps/shop/state.json"), b"").unwrap();

    let said = world.deployer(&["recover"]).good();

    assert!(said.contains("1 of 2 instances started again"), "{said}");
    assert_eq!(world.containers().len(), 2);
    let status = world.json(&["status"]);
    assert_eq!(status["apps"][0]["problems"], serde_json::json!([]));
}

#[test]
fn standby_that_is_stopped_is_rebuilt_from_the_labels_of_one_instance() {
    let (world, _, repo) = live("rebuilt-standby", "instances = 2\nstandby = \"stopped\"");
    repo.version("v2");
    repo.push("blue").live();
    let mut of_green = world.containers();
    of_green.retain(|it| it.slot == "green");
    of_green.sort_by(|one, other| one.name.cmp(&other.name));
    docker(&["rm", "-f", &of_green[1].id]).good();
    // Neither state nor the release's own files tell where its instances were, and no route does.
    fs::write(world.state("apps/shop/state.json"), b"").unwrap();
    fs::remove_dir_all(world.state("apps/shop/releases/1")).unwrap();

    let said = world.deployer(&["recover"]).good();

    assert!(said.contains("written anew"), "{said}");
    world.deployer(&["promote", "green"]).good();
    assert_eq!(world.version(), "v1");
    let mut there = world.containers();
    there.retain(|it| it.slot == "green" && it.state == "running");
    assert_eq!(there.len(), 2);
    assert_eq!(there[0].endpoints, of_green[0].endpoints);
}

/// A line of a journal as a newer deployer may write it.
fn line_of_a_newer_deployer() -> String {
    let body = serde_json::json!({ "format": 9, "at": "later", "entry": { "entry": "observed" } });
    format!("{} {body}\n", deployer::ground::sealed::checksum(&body))
}

#[test]
fn journal_of_a_newer_deployer_is_told_and_left_as_it_is() {
    let (world, _, repo) = live("newer-journal", "");
    repo.version("v2");
    repo.push_with(&["-o", "no-promote", "blue", "main"]);
    let journal = world.state("apps/shop/releases/2/journal");
    let whole = fs::read_to_string(&journal).unwrap();
    let ended = whole.trim_end().rfind('\n').unwrap() + 1;
    let newer = line_of_a_newer_deployer();

    // Whether that release has ended only a newer deployer knows.
    for lines in [
        [&whole, newer.as_str()].concat(),
        [&whole[..ended], newer.as_str()].concat(),
        [&whole[..ended], &newer, whole.lines().next().unwrap(), "\n"].concat(),
    ] {
        fs::write(&journal, &lines).unwrap();
        let before = what_serves(&world);
        let status = world.deployer(&["status"]).good();
        assert!(
            status.contains("releases/2/journal was written by a newer deployer"),
            "{status}"
        );
        let recover = world.deployer(&["recover"]);
        assert_ne!(recover.code, Some(0));
        assert!(
            recover
                .stderr
                .contains("releases/2/journal was written by a newer deployer")
        );
        let pruned = world.deployer(&["prune"]);
        assert!(pruned.stderr.contains("newer deployer"), "{}", pruned.stderr);
        assert_eq!(fs::read_to_string(&journal).unwrap(), lines);
        assert_eq!(what_serves(&world), before);
    }
    repo.version("v3");
    let said = repo.push("green").said();
    assert!(said.contains("written by a newer deployer"), "{said}");
    assert_eq!(world.version(), "v1");

    // That it has ended a line says that both know.
    let lines = [&whole[..ended], &newer, &whole[ended..]].concat();
    fs::write(&journal, &lines).unwrap();
    let said = world.deployer(&["recover"]).good();
    assert!(
        said.contains("releases/2/journal was written by a newer deployer"),
        "{said}"
    );
    assert_eq!(fs::read_to_string(&journal).unwrap(), lines);
    assert_eq!((world.version().as_str(), world.containers().len()), ("v1", 2));
}

/// The files of the state folder, to be put back as they were.
struct Kept(Vec<(PathBuf, Vec<u8>)>);

impl Kept {
    /// Every state file of the app `shop`, the releases' own included.
    fn of(world: &World) -> Self {
        let mut files = vec![
            world.state("apps/shop/app.json"),
            world.state("apps/shop/state.json"),
        ];
        for release in fs::read_dir(world.state("apps/shop/releases")).unwrap() {
            let release = release.unwrap().path();
            files.extend(["record.json", "journal"].map(|name| release.join(name)));
        }
        files.sort();
        Self(
            files
                .into_iter()
                .map(|path| (path.clone(), fs::read(path).unwrap()))
                .collect(),
        )
    }

    fn put_back(&self) {
        for (path, content) in &self.0 {
            fs::write(path, content).unwrap();
        }
    }
}

/// What must not change, whatever file is damaged: the proxy's routes and the containers.
fn what_serves(world: &World) -> (serde_json::Value, Vec<Container>) {
    let mut containers = world.containers();
    containers.sort_by(|one, other| one.name.cmp(&other.name));
    (world.json(&["proxy", "routes"]), containers)
}

/// A history with every kind of end: release 1 ran on green, 2 failed, 3 runs on green, 4 runs on blue and 5 made it
/// live.
fn with_a_history(name: &str) -> (World, Repo) {
    let (world, _, repo) = live(name, "");
    repo.remove("Dockerfile").commit("none");
    repo.push("green").failed();
    repo.version("v3");
    repo.push("green").live();
    repo.version("v4");
    repo.push_with(&["-o", "no-promote", "blue", "main"]);
    world.deployer(&["promote", "blue"]).good();
    assert_eq!(world.version(), "v4");
    (world, repo)
}

/// Cuts of each journal that the sample makes; all of them take minutes, and held as well.
const CUTS: usize = 6;

#[test]
fn journals_that_lost_their_end_take_nothing_away_and_bring_nothing_back() {
    let (world, repo) = with_a_history("cut-journals");
    let kept = Kept::of(&world);
    let served = what_serves(&world);
    let traffic = world.traffic();
    let mut random = Random::seeded();
    for (path, whole) in kept.0.iter().filter(|(path, _)| path.ends_with("journal")) {
        let ends = whole.iter().enumerate().filter(|(_, byte)| **byte == b'\n');
        let mut cuts: Vec<usize> = [0].into_iter().chain(ends.map(|(at, _)| at + 1)).collect();
        cuts.pop();
        for _ in 0..CUTS.min(cuts.len()) {
            let cut = cuts.remove(random.below(cuts.len()));
            fs::write(path, &whole[..cut]).unwrap();

            let said = world.deployer(&["recover"]).good();

            let what = format!(
                "seed {}: {} cut to {cut} bytes: {said}",
                random.seed,
                path.display()
            );
            assert!(
                said.contains("was unfinished") || said.contains("had lost the end"),
                "{what}"
            );
            assert_eq!(what_serves(&world), served, "{what}");
            kept.put_back();
        }
    }
    // What runs keeps its end and its image, so that it can be gone back to.
    fs::write(world.state("apps/shop/releases/4/journal"), b"").unwrap();
    let said = world.deployer(&["recover"]).good();
    assert!(
        said.contains("release 4 (blue) had lost the end of its journal"),
        "{said}"
    );
    repo.version("v6");
    repo.push("blue").live();
    world.deployer(&["rollback", "blue", "--to", "4"]).good();
    assert_eq!(world.version(), "v4");
    let outcome = traffic.stop();
    assert_eq!(outcome.failures(), 0, "{outcome}");
}

/// Damage that the sample makes; more take longer and find the same.
const SAMPLES: usize = 24;

#[test]
fn damaged_bytes_of_any_state_file_are_told_and_change_nothing_that_serves() {
    let (mut world, _) = with_a_history("damaged-bytes");
    let routes = world.state("proxy/routes.json");
    let mut files = Kept::of(&world);
    let served = what_serves(&world);
    let traffic = world.traffic();
    let mut random = Random::seeded();
    for _ in 0..SAMPLES {
        let (path, whole) = &files.0[random.below(files.0.len())];
        let at = random.below(whole.len());
        let mut damaged = whole.clone();
        match random.below(4) {
            0 => damaged.truncate(at),
            _ => damaged[at] ^= 1 << random.below(8),
        }
        fs::write(path, &damaged).unwrap();
        let what = format!("seed {}: byte {at} of {}", random.seed, path.display());

        for command in [&["status"][..], &["releases"], &["recover"]] {
            let output = world.deployer(command);
            let told = output.stderr + &output.stdout;
            assert!(matches!(output.code, Some(0 | 1)), "{what}: {command:?}: {told}");
            assert!(!told.contains("panicked"), "{what}: {command:?}: {told}");
        }

        assert_eq!(what_serves(&world), served, "{what}");
        let again = world.deployer(&["recover"]).good();
        assert!(again.contains("nothing to mend"), "{what}: {again}");
        files.put_back();
    }
    let outcome = traffic.stop();
    assert_eq!(outcome.failures(), 0, "{outcome}");

    // The proxy reads its file at its start alone, and says which it could not read.
    files.0 = vec![(routes.clone(), fs::read(&routes).unwrap())];
    for _ in 0..SAMPLES / 6 {
        let mut damaged = files.0[0].1.clone();
        let at = random.below(damaged.len());
        damaged[at] ^= 1 << random.below(8);
        world.stop_proxy();
        fs::write(&routes, &damaged).unwrap();
        world.start_proxy();
        let what = format!("seed {}: byte {at} of {}", random.seed, routes.display());
        let has = world.json(&["proxy", "routes"]);
        assert!(
            has == served.0 || has["routes"] == serde_json::json!([]),
            "{what}: {has}"
        );

        world.deployer(&["recover"]).good();

        assert_eq!(what_serves(&world), served, "{what}");
        assert_eq!(world.version(), "v4", "{what}");
    }
}
