//! State, containers' labels and routes agree, and nothing is left over: looked at from outside, never through
//! deployer's own opinion alone.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, File};
use std::path::{Path, PathBuf};

use serde_json::Value;

use crate::support::{App, World};

/// Releases of one app that may be kept with `keep = 2`: of each slot what it runs and the two before it.
const KEPT_MAX: usize = 6;

/// What a slot runs, as far as the state, the labels and the routes should tell the same.
#[derive(Debug, PartialEq, Eq)]
struct Runs {
    release: u64,
    lane: String,
    /// Where the instances of its one service listen.
    endpoints: Vec<String>,
    digest: String,
    stopped: bool,
}

/// Nobody works on the app, and everything that is there belongs to what its slots run. Panics with `context`.
#[track_caller]
pub(super) fn check(world: &World, app: &App, context: &str) {
    assert_eq!(
        world.workers(),
        Vec::<u32>::new(),
        "{context}: processes are left over"
    );
    let status = world.json(&["status"]);
    let status = &status["apps"][0];
    for list in ["problems", "under_way"] {
        assert_eq!(status[list], serde_json::json!([]), "{context}: {list}");
    }
    let state = sealed(&world.state(&format!("apps/{}/state.json", app.name)));
    let runs = slots_of(&state);
    containers_are(world, &runs, context);
    routes_are(world, &state, &runs, context);
    networks_are(world, context);
    images_are_kept(world, app, context);
    the_audit_log_agrees(world, context);
    files_are(world, app, context);
    locks_are_free(world, app, context);
}

fn sealed(path: &Path) -> Value {
    let text = fs::read(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    let whole: Value = serde_json::from_slice(&text).expect("JSON");
    whole["content"].clone()
}

fn slots_of(state: &Value) -> BTreeMap<String, Runs> {
    let slots = state["slots"].as_object().expect("slots");
    let runs = |slot: &Value| Runs {
        release: slot["release"].as_u64().expect("a release"),
        lane: slot["lane"].as_str().expect("a lane").to_owned(),
        endpoints: texts(&slot["services"]["web"]["endpoints"]),
        digest: slot["services"]["web"]["image"]["digest"]
            .as_str()
            .expect("a digest")
            .to_owned(),
        stopped: slot["stopped"] == true,
    };
    slots.iter().map(|(slot, is)| (slot.clone(), runs(is))).collect()
}

fn texts(list: &Value) -> Vec<String> {
    let list = list.as_array().into_iter().flatten();
    list.filter_map(|text| Some(text.as_str()?.to_owned())).collect()
}

fn containers_are(world: &World, runs: &BTreeMap<String, Runs>, context: &str) {
    let mut found: BTreeMap<String, Runs> = BTreeMap::new();
    let mut count: BTreeMap<String, usize> = BTreeMap::new();
    for container in world.containers() {
        let stopped = container.state != "running";
        let is = found.entry(container.slot.clone()).or_insert_with(|| Runs {
            release: container.release,
            lane: container.lane.clone(),
            endpoints: container.endpoints.clone(),
            digest: container.digest.clone(),
            stopped,
        });
        *count.entry(container.slot.clone()).or_insert(0) += 1;
        assert_eq!(
            (is.release, &is.lane, &is.endpoints, &is.digest, is.stopped),
            (
                container.release,
                &container.lane,
                &container.endpoints,
                &container.digest,
                stopped
            ),
            "{context}: a slot has containers of two kinds: {:?}",
            world.containers()
        );
    }
    assert_eq!(
        &found, runs,
        "{context}: the containers' labels, and what state says"
    );
    for (slot, is) in runs {
        assert_eq!(count[slot], is.endpoints.len(), "{context}: containers of {slot}");
    }
}

fn routes_are(world: &World, state: &Value, runs: &BTreeMap<String, Runs>, context: &str) {
    let routes = world.json(&["proxy", "routes"]);
    let route = &routes["routes"][0];
    assert_eq!(
        route["live"], state["live"],
        "{context}: what is live by the route, and by state"
    );
    for (slot, is) in runs {
        let target = &route["slots"][slot]["target"];
        if is.stopped {
            assert_eq!(*target, Value::Null, "{context}: {slot} is stopped and routed");
            continue;
        }
        assert_eq!(
            target["release"], is.release,
            "{context}: where {slot} goes by the route, and by state"
        );
        let upstreams = texts(&target["upstreams"]);
        assert_eq!(upstreams, is.endpoints, "{context}: upstreams of {slot}");
    }
}

fn networks_are(world: &World, context: &str) {
    let filter = format!("name={}", world.network());
    let names = world
        .docker()
        .run(&["network", "ls", "--filter", &filter, "--format", "{{.Name}}"])
        .good();
    let ours = names.lines().filter(|name| **name == *world.network()).count();
    assert_eq!(ours, 1, "{context}: networks: {names}");
}

/// The audit log has begun every release, and tells its end once: the one that it came to.
fn the_audit_log_agrees(world: &World, context: &str) {
    let audit = world.json(&["audit", "-n", "100000"]);
    assert_eq!(audit["unreadable"], 0, "{context}");
    let releases = world.json(&["releases", "-n", "100000"]);
    for release in releases["releases"].as_array().expect("releases") {
        let actions = audit["actions"].as_array().into_iter().flatten();
        let of_release = actions.filter(|action| action["release"] == release["release"]);
        let (begun, ends): (Vec<_>, Vec<_>) = of_release.partition(|action| action["outcome"] == "begun");
        assert!(!begun.is_empty(), "{context}: nothing tells who began {release}");
        let ends: Vec<&Value> = ends.into_iter().map(|action| &action["outcome"]).collect();
        assert_eq!(ends, [&release["outcome"]], "{context}: {release}");
    }
}

/// On the host and in the registry is no image but those of releases that are kept.
fn images_are_kept(world: &World, app: &App, context: &str) {
    let releases = world.json(&["releases", "-n", "100000"]);
    let releases = releases["releases"].as_array().expect("releases");
    let kept: BTreeMap<&str, u64> = releases
        .iter()
        .filter(|release| release["kept"] == true)
        .filter_map(|release| Some((release["digests"]["web"].as_str()?, release["release"].as_u64()?)))
        .collect();
    assert!(kept.len() <= KEPT_MAX, "{context}: too much is kept: {kept:?}");
    // A release that was gone back to is kept under its own tag, by the digest of the one that went back.
    let may_stay = |tag: &str| {
        let number: Option<u64> = tag.rsplit('-').next().and_then(|number| number.parse().ok());
        let release = releases
            .iter()
            .find(|release| release["release"].as_u64() == number);
        let digest = release.and_then(|release| release["digests"]["web"].as_str());
        digest.is_some_and(|digest| kept.contains_key(digest))
    };
    let repository = format!("{}/{}", world.registry_address(), app.name);
    let on_host = world
        .docker()
        .run(&["images", &repository, "--format", "{{.Tag}}"])
        .good();
    let path = format!("/v2/{}/tags/list", app.name);
    let listed = world
        .get_at(world.registry_address(), "localhost", &path)
        .expect("the registry's tags");
    let listed: Value = serde_json::from_str(&listed.text()).expect("JSON");
    let in_registry = listed["tags"].as_array().into_iter().flatten();
    let tags = on_host.lines().chain(in_registry.filter_map(Value::as_str));
    let left: Vec<&str> = tags.filter(|tag| *tag != "<none>" && !may_stay(tag)).collect();
    assert!(
        left.is_empty(),
        "{context}: images are left over: {left:?}; kept are {kept:?}"
    );
}

/// Nothing is in the state folder that ARCHITECTURE.md does not name.
fn files_are(world: &World, app: &App, context: &str) {
    let only = |folder: &str, names: &[&str]| {
        let found: BTreeSet<String> = names_in(&world.state(folder));
        let stray: Vec<_> = found
            .iter()
            .filter(|name| !names.contains(&name.as_str()))
            .collect();
        assert!(stray.is_empty(), "{context}: left over in {folder}: {stray:?}");
    };
    let of_app = format!("apps/{}", app.name);
    let own = [
        "apps",
        "apps.lock",
        "audit.log",
        "git",
        "identity.json",
        "identity.lock",
        "proxy",
        "registry",
        "registry.lock",
    ];
    only("", &own);
    if world.state("registry").exists() {
        only("registry", &["size.json"]);
    }
    only(
        "proxy",
        &[
            "routes.json",
            "kind.json",
            "lock",
            "control.sock",
            "takeover.sock",
        ],
    );
    only(
        &of_app,
        &[
            "blue.lock",
            "green.lock",
            "app.json",
            "state.json",
            "lock",
            "numbers",
            "pushes",
            "releases",
            "worktrees",
        ],
    );
    let pushes = format!("{of_app}/pushes");
    if world.state(&pushes).exists() {
        only(&pushes, &[]);
    }
    only(
        &format!("{of_app}/worktrees"),
        &["blue", "green", "blue.index", "green.index"],
    );
    for release in names_in(&world.state(&format!("{of_app}/releases"))) {
        let folder = format!("{of_app}/releases/{release}");
        only(
            &folder,
            &["record.json", "journal", "log", "worker", "cancel", "pruned"],
        );
        assert!(
            world.state(&format!("{folder}/record.json")).exists(),
            "{context}: {folder} has no record"
        );
    }
    let mut stray = Vec::new();
    walk(&world.state("git"), &mut |path| {
        let name = path
            .file_name()
            .unwrap_or_default()
            .to_string_lossy()
            .into_owned();
        if name.ends_with(".lock")
            || name.starts_with("tmp_")
            || name.starts_with("incoming-")
            || name.starts_with(".tmp")
        {
            stray.push(path.to_owned());
        }
    });
    assert!(stray.is_empty(), "{context}: left over: {stray:?}");
}

fn locks_are_free(world: &World, app: &App, context: &str) {
    let mut locks = vec![
        world.state("apps.lock"),
        world.state(&format!("apps/{}/lock", app.name)),
        world.state(&format!("apps/{}/numbers", app.name)),
        world.state(&format!("apps/{}/blue.lock", app.name)),
        world.state(&format!("apps/{}/green.lock", app.name)),
    ];
    let releases = world.state(&format!("apps/{}/releases", app.name));
    locks.extend(
        names_in(&releases)
            .iter()
            .map(|release| releases.join(release).join("worker")),
    );
    for path in locks {
        let Ok(file) = File::open(&path) else { continue };
        assert!(file.try_lock().is_ok(), "{context}: {} is held", path.display());
    }
}

fn names_in(folder: &Path) -> BTreeSet<String> {
    let entries = fs::read_dir(folder).unwrap_or_else(|error| panic!("{}: {error}", folder.display()));
    entries
        .filter_map(|entry| Some(entry.ok()?.file_name().to_string_lossy().into_owned()))
        .collect()
}

fn walk(folder: &Path, seen: &mut dyn FnMut(&PathBuf)) {
    for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
        let path = entry.path();
        seen(&path);
        if path.is_dir() && !path.is_symlink() {
            walk(&path, seen);
        }
    }
}
