//! A model of deployer's in the form in which it is compared with Compose's.

use std::collections::BTreeMap;
use std::time::Duration;

use deployer::compose::{
    Condition, FileSource, FileUse, Healthcheck, Model, Mount, Port, Restart, Service, Source,
};
use serde_json::{Map, Value, json};

use super::oracle::sorted;

pub(super) fn model(model: &Model) -> Value {
    let services = model
        .services
        .iter()
        .map(|(name, service)| (name.clone(), self::service(service)));
    json!({
        "services": services.collect::<Map<String, Value>>(),
        "volumes": model.volumes,
        "networks": model.networks.iter().filter(|name| *name != "default").collect::<Vec<_>>(),
        "secrets": sources(&model.secrets),
        "configs": sources(&model.configs),
    })
}

fn service(service: &Service) -> Value {
    let mut all = Map::new();
    let mut put = |key: &str, value: Value| {
        if !matches!(&value, Value::Null) && value != json!([]) && value != json!({}) {
            all.insert(key.to_owned(), value);
        }
    };
    put("image", json!(service.image));
    put("environment", json!(service.environment));
    put("restart", restart(service.restart));
    put("container_name", json!(service.container_name));
    put("hostname", json!(service.hostname));
    put("profiles", json!(service.profiles));
    put("ports", service.ports.iter().map(port).collect());
    put("expose", service.expose.iter().map(exposed).collect());
    put(
        "mounts",
        json!(sorted_by_target(service.mounts.iter().map(mount).collect())),
    );
    put(
        "healthcheck",
        service.healthcheck.as_ref().map_or(Value::Null, healthcheck),
    );
    let networks = service
        .networks
        .iter()
        .map(|(name, aliases)| (name.clone(), json!(aliases)));
    put("networks", networks.collect::<Map<String, Value>>().into());
    put("secrets", service.secrets.iter().map(file).collect());
    put("configs", service.configs.iter().map(file).collect());
    // Compose adds those that are linked to.
    let is_linked = |name: &String| service.links.values().any(|other| other == name);
    let depends = service
        .depends_on
        .iter()
        .filter(|(name, _)| !is_linked(name))
        .map(|(name, dependency)| {
            let condition = match dependency.condition {
                Condition::Started => "service_started",
                Condition::Healthy => "service_healthy",
                Condition::Completed => "service_completed_successfully",
            };
            (
                name.clone(),
                json!({ "condition": condition, "required": dependency.required }),
            )
        });
    put("depends_on", depends.collect::<Map<String, Value>>().into());
    let links = service.links.iter().map(|(alias, other)| match alias == other {
        true => json!(other),
        false => json!(format!("{other}:{alias}")),
    });
    put("links", json!(sorted(links.collect())));
    if let Some(build) = &service.build {
        let mut said = json!({ "context": build.context });
        for (key, value) in [
            ("target", &build.target),
            ("dockerfile_inline", &build.dockerfile_inline),
        ] {
            if value.is_some() {
                said[key] = json!(value);
            }
        }
        if !build.dockerfile.is_empty() {
            said["dockerfile"] = json!(build.dockerfile);
        }
        if !build.args.is_empty() {
            said["args"] = json!(build.args);
        }
        put("build", said);
    }
    resources(service, &mut put);
    process(service, &mut put);
    // An empty one takes the image's away.
    for (key, words) in [("command", &service.command), ("entrypoint", &service.entrypoint)] {
        all.extend(words.as_ref().map(|words| (key.to_owned(), json!(words))));
    }
    Value::Object(all)
}

fn resources(service: &Service, put: &mut impl FnMut(&str, Value)) {
    let text = |value: Option<String>| json!(value);
    let resources = &service.resources;
    put("cpus", text(resources.cpus.map(|cpus| cpus.to_string())));
    put("memory", text(resources.memory.map(|bytes| bytes.to_string())));
    put("pids", text(resources.pids.map(|pids| pids.to_string())));
    put(
        "memory_reservation",
        text(resources.memory_reservation.map(|bytes| bytes.to_string())),
    );
    if service.replicas != 1 {
        put("replicas", json!(service.replicas));
    }
}

fn process(service: &Service, put: &mut impl FnMut(&str, Value)) {
    let process = &service.process;
    put("user", json!(process.user));
    put("group_add", json!(process.group_add));
    put("working_dir", json!(process.working_dir));
    put("init", json!(process.init));
    put("stop_signal", json!(process.stop_signal));
    put("stop_grace_period", json!(process.stop_grace.map(duration)));
    put("platform", json!(process.platform));
    put("cap_drop", json!(process.cap_drop));
    put("shm_size", json!(process.shm_size.map(|bytes| bytes.to_string())));
    if process.read_only {
        put("read_only", json!(true));
    }
    if process.no_new_privileges {
        put("security_opt", json!(["no-new-privileges:true"]));
    }
    let limits = process
        .ulimits
        .iter()
        .map(|(name, (soft, hard))| match soft == hard {
            true => (name.clone(), json!(soft)),
            false => (name.clone(), json!({ "soft": soft, "hard": hard })),
        });
    put("ulimits", limits.collect::<Map<String, Value>>().into());
    let hosts = process
        .extra_hosts
        .iter()
        .map(|(name, address)| json!(format!("{name}={address}")));
    put("extra_hosts", json!(sorted(hosts.collect())));
}

fn restart(restart: Restart) -> Value {
    match restart {
        Restart::Unsaid => Value::Null,
        Restart::No => json!("no"),
        Restart::Always => json!("always"),
        Restart::UnlessStopped => json!("unless-stopped"),
        Restart::OnFailure(None) => json!("on-failure"),
        Restart::OnFailure(Some(times)) => json!(format!("on-failure:{times}")),
    }
}

fn port(port: &Port) -> Value {
    let mut said = json!({ "target": port.target, "protocol": port.protocol });
    for (key, value) in [("published", &port.published), ("host_ip", &port.host_ip)] {
        if value.is_some() {
            said[key] = json!(value);
        }
    }
    said
}

fn exposed(port: &Port) -> Value {
    match port.protocol.as_str() {
        "tcp" => json!(port.target.to_string()),
        protocol => json!(format!("{}/{protocol}", port.target)),
    }
}

fn mount(mount: &Mount) -> Value {
    let (kind, source) = match &mount.source {
        Source::Volume { name, .. } => ("volume", Some(name)),
        Source::Anonymous => ("volume", None),
        Source::Copied(path) | Source::Dropped(path) => ("bind", Some(path)),
        Source::Memory { .. } => ("tmpfs", None),
    };
    let mut said = json!({ "type": kind, "target": mount.target });
    if let Some(source) = source {
        said["source"] = json!(source);
    }
    if mount.read_only {
        said["read_only"] = json!(true);
    }
    match &mount.source {
        Source::Volume { nocopy: true, .. } => said["nocopy"] = json!(true),
        Source::Memory { size: Some(size), .. } => said["size"] = json!(size.to_string()),
        _ => {}
    }
    said
}

fn sorted_by_target(mut mounts: Vec<Value>) -> Vec<Value> {
    mounts.sort_by_key(|mount| mount["target"].to_string());
    mounts
}

fn healthcheck(check: &Healthcheck) -> Value {
    let mut said = Map::new();
    for (key, value) in [
        ("test", json!(check.test)),
        ("interval", json!(check.interval.map(duration))),
        ("timeout", json!(check.timeout.map(duration))),
        ("retries", json!(check.retries)),
        ("start_period", json!(check.start_period.map(duration))),
        ("start_interval", json!(check.start_interval.map(duration))),
    ] {
        if !value.is_null() {
            said.insert(key.to_owned(), value);
        }
    }
    Value::Object(said)
}

fn file(file: &FileUse) -> Value {
    let mut said = json!({ "source": file.source, "target": file.target });
    for (key, value) in [
        ("uid", json!(file.uid)),
        ("gid", json!(file.gid)),
        ("mode", json!(file.mode)),
    ] {
        if !value.is_null() {
            said[key] = value;
        }
    }
    said
}

fn sources(sources: &BTreeMap<String, FileSource>) -> Value {
    let all = sources.iter().map(|(name, source)| {
        let source = match source {
            FileSource::File(path) => json!({ "file": path }),
            FileSource::Variable(name) => json!({ "environment": name }),
            FileSource::Content(content) => json!({ "content": content }),
        };
        (name.clone(), source)
    });
    Value::Object(all.collect())
}

/// A duration as Go prints it.
fn duration(duration: Duration) -> String {
    let seconds = duration.as_secs();
    let fraction = duration.as_secs_f64() - seconds as f64 + (seconds % 60) as f64;
    match (seconds / 3_600, seconds / 60 % 60) {
        (0, 0) if duration.is_zero() => "0s".to_owned(),
        (0, 0) if seconds == 0 => format!("{}ms", duration.as_millis()),
        (0, 0) => format!("{fraction}s"),
        (0, minutes) => format!("{minutes}m{fraction}s"),
        (hours, minutes) => format!("{hours}h{minutes}m{fraction}s"),
    }
}
