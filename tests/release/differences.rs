//! What differs between what should be and what is: `status` tells it, `recover` mends it, and says what it cannot.

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::net::TcpListener;
use std::time::{Duration, SystemTime};

use serde_json::Value;

use crate::failures::live;
use crate::support::docker::{Container, docker};
use crate::support::{App, World, wait_for};

const DEADLINE: Duration = Duration::from_secs(30);

/// How old what a killed git has left must be to be taken for that.
const OLD: Duration = Duration::from_secs(60 * 60);

/// v1 on blue, and v2 on green, which is live.
fn two_slots(name: &str) -> (World, App) {
    let mut world = World::new(name);
    let shop = world.app("shop", "");
    let repo = world.repo(&shop);
    for (version, slot) in [("v1", "blue"), ("v2", "green")] {
        repo.version(version);
        repo.push(slot).live();
    }
    (world, shop)
}

fn container_of(world: &World, slot: &str) -> Container {
    let all = world.containers().into_iter();
    let mut of_slot = all.filter(|container| container.slot == slot && container.release < 90);
    of_slot.next().expect("a container")
}

fn problems(world: &World) -> Vec<Value> {
    let status = world.json(&["status"]);
    status["apps"][0]["problems"]
        .as_array()
        .cloned()
        .unwrap_or_default()
}

fn kinds(problems: &[Value]) -> BTreeSet<String> {
    let kinds = problems.iter().filter_map(|problem| problem["kind"].as_str());
    kinds.map(str::to_owned).collect()
}

/// Way in which a host is broken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Fault {
    Paused,
    Stopped,
    Removed,
    Stray,
    NoNetwork,
    NoRoute,
    StateDamaged,
    AppFileDamaged,
    OldRecordDamaged,
    HalfWritten,
    GitLeftover,
}

impl Fault {
    fn happens_to(self, world: &mut World) {
        match self {
            Fault::Paused => drop(docker(&["pause", &container_of(world, "green").id]).good()),
            Fault::Stopped => drop(docker(&["stop", "-t", "1", &container_of(world, "green").id]).good()),
            Fault::Removed => drop(docker(&["rm", "-f", &container_of(world, "blue").id]).good()),
            Fault::Stray => make_a_stray(world),
            Fault::NoNetwork => {
                for container in world.containers() {
                    docker(&["stop", "-t", "1", &container.id]).good();
                }
                docker(&["network", "rm", &world.network()]).good();
            }
            Fault::NoRoute => {
                world.stop_proxy();
                fs::remove_file(world.state("proxy/routes.json")).unwrap();
                world.start_proxy();
            }
            Fault::StateDamaged => fs::write(world.state("apps/shop/state.json"), "{").unwrap(),
            Fault::AppFileDamaged => fs::write(world.state("apps/shop/app.json"), "{").unwrap(),
            Fault::OldRecordDamaged => {
                fs::write(world.state("apps/shop/releases/1/record.json"), "{").unwrap()
            }
            Fault::HalfWritten => fs::write(world.state("apps/shop/.deployer-1-2"), "{").unwrap(),
            Fault::GitLeftover => {
                let pack = File::create(world.state("git/shop/green.git/objects/pack/tmp_pack_x")).unwrap();
                pack.set_modified(SystemTime::now() - OLD).unwrap();
            }
        }
    }

    /// The kind by which `status` tells it; none where only `recover` sees it.
    fn kind(self) -> Option<&'static str> {
        Some(match self {
            Fault::Paused => "paused-instance",
            Fault::Stopped | Fault::Removed => "missing-instances",
            Fault::Stray => "stray-containers",
            Fault::NoNetwork => "network",
            Fault::NoRoute => "route",
            Fault::StateDamaged => "state",
            Fault::AppFileDamaged => "app-file",
            Fault::OldRecordDamaged | Fault::HalfWritten | Fault::GitLeftover => return None,
        })
    }
}

/// A container with the labels of one that runs, and another release's name.
fn make_a_stray(world: &World) {
    let like = container_of(world, "green");
    let end = format!("-{}-0", like.release);
    let name = format!(
        "{}-99-0",
        like.name.strip_suffix(&end).expect("a release and a number")
    );
    let labels: Value = serde_json::from_str(&like.inspect("{{json .Config.Labels}}")).unwrap();
    let labels = labels.as_object().unwrap().iter().map(|(label, value)| {
        let value = value.as_str().unwrap();
        match label.as_str() {
            "deployer.release" => format!("{label}=99"),
            _ => format!("{label}={value}"),
        }
    });
    let mut arguments = vec!["create".to_owned(), "--name".to_owned(), name];
    arguments.extend(labels.flat_map(|label| ["--label".to_owned(), label]));
    arguments.push(like.image());
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    docker(&arguments).good();
}

#[test]
fn after_recovery_nothing_is_left_but_what_it_says_it_cannot_mend() {
    use Fault::*;
    let (mut world, shop) = two_slots("differences");
    for faults in [
        &[Paused, Removed, Stray, StateDamaged, HalfWritten, GitLeftover][..],
        &[NoNetwork, NoRoute],
        &[Stopped, Removed, AppFileDamaged, OldRecordDamaged],
        &[Stray, Stopped, NoRoute, Removed],
    ] {
        for fault in faults {
            fault.happens_to(&mut world);
        }
        let told = kinds(&problems(&world));
        // Beside what an app was given, and state, nothing can be said of it.
        let deepest = [AppFileDamaged, StateDamaged]
            .into_iter()
            .find(|it| faults.contains(it));
        let wanted = faults
            .iter()
            .filter(|fault| deepest.is_none_or(|deepest| deepest == **fault));
        let wanted: BTreeSet<String> = wanted
            .filter_map(|fault| fault.kind())
            .map(str::to_owned)
            .collect();
        assert!(
            told.is_superset(&wanted),
            "{faults:?}: {told:?} should have {wanted:?}"
        );

        let said = world.deployer(&["recover"]).good();

        for problem in problems(&world) {
            assert_ne!(
                problem["mended_by"], "recover",
                "{faults:?}: {problem} after\n{said}"
            );
            let message = problem["message"].as_str().unwrap();
            let is_out = problem["kind"] == "instance-out";
            assert!(
                said.contains(message) || is_out,
                "{faults:?}: {message} is not told in\n{said}"
            );
        }
        world.recovers(&format!("{faults:?}"));
        assert_eq!(
            (world.version(), world.version_at(shop.blue)),
            ("v2".into(), "v1".into())
        );
        let half_written = fs::read_dir(world.state("apps/shop")).unwrap().flatten();
        let mut names = half_written.map(|entry| entry.file_name().into_string().unwrap());
        assert!(names.all(|name| !name.starts_with(".deployer-")));
        assert!(!world.state("git/shop/green.git/objects/pack/tmp_pack_x").exists());
    }
}

#[test]
fn what_somebody_else_has_is_left_and_told_with_what_helps() {
    let (mut world, app, _) = live("differences-left", "");
    world.stop_proxy();
    let stranger = TcpListener::bind(app.blue).expect("the port is free");
    world.start_proxy();
    Fault::Stray.happens_to(&mut world);

    let said = world.deployer(&["recover"]).good();

    assert!(said.contains("1 container that no slot runs removed"), "{said}");
    let left = problems(&world);
    assert_eq!(
        kinds(&left),
        BTreeSet::from(["closed-port".to_owned()]),
        "{left:?}"
    );
    assert_eq!(left[0]["about"]["port"], app.blue.port());
    assert_eq!(left[0]["mended_by"], "itself");
    assert_eq!(left[0]["hints"][0], "the proxy opens it once it is free");
    assert!(said.contains(left[0]["message"].as_str().unwrap()), "{said}");
    drop(stranger);
}

#[test]
fn an_app_that_keeps_crashing_is_told_and_left() {
    let (world, _, _) = live("differences-crashes", "restart = \"always\"");
    for times in 1..=3 {
        world.get("/crash").ok();
        wait_for("the app to be started again", DEADLINE, || {
            let restarts = container_of(&world, "green").inspect("{{.RestartCount}}");
            let answers = world.get("/version").is_ok_and(|reply| reply.status == 200);
            (restarts.parse::<u32>().is_ok_and(|restarts| restarts >= times) && answers).then_some(())
        });
    }

    let said = world.deployer(&["recover"]).good();

    let left = problems(&world);
    let crashing = left.iter().find(|problem| problem["kind"] == "crashing-instance");
    let crashing = crashing.unwrap_or_else(|| panic!("{left:?}"));
    assert_eq!(crashing["mended_by"], "person", "{crashing}");
    assert_eq!(crashing["about"]["slot"], "green", "{crashing}");
    assert_eq!(crashing["hints"][0], "`deployer logs shop/green` may show why");
    assert!(said.contains("shop: nothing to mend"), "{said}");
    assert!(said.contains("not mended: green: instance 0 ended "), "{said}");
}
