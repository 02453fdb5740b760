//! What `docker compose config` says of a tree, in the form of [`ours`](super::ours). `script/setup --test` brings it.

use std::path::Path;
use std::process::Command;

use serde_json::{Map, Value, json};

/// Compose of the version that is compared with; the package of Debian 12 with that name is another program.
const PROGRAM: &str = "docker-compose";

/// Keys of a service that deployer ignores, and those that are read below.
const TAKEN: [&str; 20] = [
    "image",
    "command",
    "entrypoint",
    "restart",
    "container_name",
    "hostname",
    "user",
    "working_dir",
    "init",
    "stop_signal",
    "stop_grace_period",
    "platform",
    "group_add",
    "cap_drop",
    "read_only",
    "profiles",
    "links",
    "ulimits",
    "shm_size",
    "security_opt",
];

/// The model of the tree at `path` as Compose has it.
pub(super) fn model(path: &Path, file: &str) -> Value {
    let output = Command::new(PROGRAM)
        .args(["--file", file, "config", "--format", "json"])
        .current_dir(path)
        .env_clear()
        .envs([("PATH", "/usr/bin:/bin:/usr/local/bin"), ("HOME", "/nowhere")])
        .output();
    let output = output.expect("docker-compose 2 runs: script/setup --test installs it");
    let told = String::from_utf8_lossy(&output.stderr);
    assert!(
        output.status.success(),
        "{}: docker-compose: {told}",
        path.display()
    );
    let mut all: Value = serde_json::from_slice(&output.stdout).expect("JSON");
    unescape(&mut all);
    let services = all["services"].as_object().cloned().unwrap_or_default();
    let all_names: Vec<String> = services.keys().cloned().collect();
    let services = services
        .into_iter()
        .map(|(name, service)| (name, self::service(path, &service, &all_names)));
    let names = |key: &str| {
        let names = all[key].as_object().into_iter().flat_map(Map::keys);
        names
            .filter(|name| *name != "default")
            .cloned()
            .collect::<Vec<String>>()
    };
    json!({
        "services": services.collect::<Map<String, Value>>(),
        "volumes": names("volumes"),
        "networks": names("networks"),
        "secrets": sources(path, &all["secrets"]),
        "configs": sources(path, &all["configs"]),
    })
}

fn service(path: &Path, service: &Value, names: &[String]) -> Value {
    let mut read: Map<String, Value> = TAKEN
        .iter()
        .filter(|key| !service[**key].is_null())
        .map(|key| ((*key).to_owned(), service[*key].clone()))
        .collect();
    if read.get("read_only") == Some(&json!(false)) {
        read.remove("read_only");
    }
    for key in ["profiles", "links"] {
        if let Some(Value::Array(list)) = read.get_mut(key) {
            *list = sorted(std::mem::take(list));
        }
    }
    let mut put = |key: &str, value: Value| {
        if !matches!(&value, Value::Null) && value != json!([]) && value != json!({}) {
            read.insert(key.to_owned(), value);
        }
    };
    put("environment", service["environment"].clone());
    put("build", build(path, &service["build"]));
    put(
        "ports",
        list(&service["ports"], |port| {
            without(port, &["mode", "name", "app_protocol"])
        }),
    );
    put(
        "expose",
        list(&service["expose"], |port| {
            json!(port.as_str().unwrap().trim_end_matches("/tcp"))
        }),
    );
    put("mounts", mounts(path, service));
    put("depends_on", depends_on(service, names));
    put("healthcheck", healthcheck(&service["healthcheck"]));
    put(
        "networks",
        map(&service["networks"], |network| {
            json!(
                network["aliases"]
                    .as_array()
                    .map(|all| sorted(all.clone()))
                    .unwrap_or_default()
            )
        }),
    );
    put(
        "secrets",
        list(&service["secrets"], |one| with_target(one, "/run/secrets")),
    );
    put("configs", list(&service["configs"], |one| with_target(one, "")));
    put(
        "extra_hosts",
        service["extra_hosts"]
            .as_array()
            .map_or(Value::Null, |all| json!(sorted(all.clone()))),
    );
    let (deploy, limits) = (&service["deploy"], &service["deploy"]["resources"]["limits"]);
    let first = |values: &[&Value]| {
        values
            .iter()
            .find(|value| !value.is_null())
            .map_or(Value::Null, |value| (*value).clone())
    };
    put("replicas", first(&[&deploy["replicas"], &service["scale"]]));
    put("cpus", number(&first(&[&limits["cpus"], &service["cpus"]])));
    put(
        "memory",
        number(&first(&[&limits["memory"], &service["mem_limit"]])),
    );
    put("pids", number(&first(&[&limits["pids"], &service["pids_limit"]])));
    let reserved = &deploy["resources"]["reservations"]["memory"];
    put(
        "memory_reservation",
        number(&first(&[reserved, &service["mem_reservation"]])),
    );
    Value::Object(read)
}

/// Without those that are only linked to, and those that are left out.
fn depends_on(service: &Value, names: &[String]) -> Value {
    let links = service["links"]
        .as_array()
        .into_iter()
        .flatten()
        .filter_map(Value::as_str);
    let linked: Vec<&str> = links.map(|link| link.split(':').next().unwrap_or(link)).collect();
    let mut depends = map(&service["depends_on"], |one| without(one, &["restart"]));
    if let Some(map) = depends.as_object_mut() {
        map.retain(|name, _| names.contains(name) && !linked.contains(&name.as_str()));
    }
    depends
}

/// A secret or config with its whole path in the container, which Compose leaves to the Engine.
fn with_target(file: &Value, folder: &str) -> Value {
    let mut file = file.clone();
    let target = file["target"]
        .as_str()
        .or(file["source"].as_str())
        .unwrap_or_default();
    if !target.starts_with('/') {
        file["target"] = json!(format!("{folder}/{target}"));
    }
    file
}

fn build(path: &Path, build: &Value) -> Value {
    if build.is_null() {
        return Value::Null;
    }
    let mut build = without(
        build,
        &[
            "labels",
            "tags",
            "cache_from",
            "cache_to",
            "no_cache",
            "pull",
            "platforms",
        ],
    );
    build["context"] = json!(inside(path, &build["context"]));
    build
}

fn mounts(path: &Path, service: &Value) -> Value {
    let mut mounts = Vec::new();
    for mount in service["volumes"].as_array().into_iter().flatten() {
        let mut mount = without(mount, &["consistency", "bind"]);
        if mount["type"] == "bind" {
            mount["source"] = json!(inside(path, &mount["source"]));
        }
        for (kind, key) in [
            ("volume", "nocopy"),
            ("volume", "subpath"),
            ("tmpfs", "size"),
            ("tmpfs", "mode"),
        ] {
            let value = mount[kind][key].clone();
            if !value.is_null() {
                mount[key] = number(&value);
            }
        }
        mounts.push(without(&mount, &["volume", "tmpfs"]));
    }
    for tmpfs in service["tmpfs"].as_array().into_iter().flatten() {
        let (target, options) = tmpfs
            .as_str()
            .unwrap()
            .split_once(':')
            .unwrap_or((tmpfs.as_str().unwrap(), ""));
        let mut mount = json!({ "type": "tmpfs", "target": target });
        let size = options
            .split(',')
            .find_map(|option| option.strip_prefix("size=")?.strip_suffix('m'));
        if let Some(mebibytes) = size {
            mount["size"] = json!((mebibytes.parse::<u64>().unwrap() << 20).to_string());
        }
        mounts.push(mount);
    }
    mounts.sort_by_key(|mount| mount["target"].to_string());
    json!(mounts)
}

fn healthcheck(check: &Value) -> Value {
    match check["disable"] == true {
        true => json!({ "test": ["NONE"] }),
        false => check.clone(),
    }
}

fn sources(path: &Path, sources: &Value) -> Value {
    map(sources, |source| {
        let mut source = without(source, &["name", "labels"]);
        if !source["file"].is_null() {
            source["file"] = json!(inside(path, &source["file"]));
        }
        // Indexing has made it.
        match source["file"].is_null() {
            true => without(&source, &["file"]),
            false => source,
        }
    })
}

/// A path in the tree, relative to it.
fn inside(path: &Path, of: &Value) -> String {
    let inside = Path::new(of.as_str().unwrap())
        .strip_prefix(path)
        .expect("a path in the tree");
    match inside.to_str().unwrap() {
        "" => ".".to_owned(),
        inside => inside.to_owned(),
    }
}

/// `$$` stands for a dollar in what Compose prints.
fn unescape(value: &mut Value) {
    match value {
        Value::String(text) => *text = text.replace("$$", "$"),
        Value::Array(list) => list.iter_mut().for_each(unescape),
        Value::Object(map) => map.values_mut().for_each(unescape),
        _ => {}
    }
}

fn without(value: &Value, keys: &[&str]) -> Value {
    let mut value = value.clone();
    if let Some(map) = value.as_object_mut() {
        map.retain(|key, _| !keys.contains(&key.as_str()));
    }
    value
}

/// A number, which Compose sometimes prints as a text, as a text.
fn number(value: &Value) -> Value {
    match value {
        Value::Number(number) => json!(number.to_string()),
        other => other.clone(),
    }
}

fn list(value: &Value, of: impl Fn(&Value) -> Value) -> Value {
    value
        .as_array()
        .map_or(Value::Null, |list| list.iter().map(of).collect())
}

fn map(value: &Value, of: impl Fn(&Value) -> Value) -> Value {
    let map = value.as_object();
    map.map_or(json!({}), |map| {
        map.iter().map(|(key, value)| (key.clone(), of(value))).collect()
    })
}

pub(super) fn sorted(mut list: Vec<Value>) -> Vec<Value> {
    list.sort_by_key(Value::to_string);
    list
}
