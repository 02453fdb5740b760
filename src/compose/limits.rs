//! `deploy`, limits, and how the processes of a service run.

use std::collections::{BTreeMap, BTreeSet};

use super::amounts::{bytes, duration};
use super::fault::shown;
use super::keys::{DEPLOY, LIMITS, RESERVATIONS, RESOURCES, Table};
use super::model::{Process, Resources, Restart};
use super::node::{Map, Node, Value};
use super::reading::Reading;

/// Instances of one service: as many as a lane has addresses for.
pub(super) const REPLICAS_MAX: u32 = 60;
const SIZE: &str = "a size, as 512m or 2g";

impl Reading<'_> {
    /// The instances and limits of a service.
    pub(super) fn deploy(&mut self, service: &Map) -> (u32, Resources) {
        let deploy = service.get("deploy").filter(|node| !node.is_null());
        let deploy = deploy
            .and_then(|node| self.fields(node, &DEPLOY))
            .cloned()
            .unwrap_or_default();
        let replicas = self
            .replicas(&deploy, "replicas")
            .or(self.replicas(service, "scale"));
        let resources = deploy.get("resources").filter(|node| !node.is_null());
        let resources = resources
            .and_then(|node| self.fields(node, &RESOURCES))
            .cloned()
            .unwrap_or_default();
        let part = |reading: &mut Self, key: &str, table: &'static Table| {
            let node = resources.get(key).filter(|node| !node.is_null());
            node.and_then(|node| reading.fields(node, table))
                .cloned()
                .unwrap_or_default()
        };
        let limits = part(self, "limits", &LIMITS);
        let reservations = part(self, "reservations", &RESERVATIONS);
        let cpus = self.parsed(&limits, "cpus", "a number of CPUs", cpus);
        let memory = self.parsed(&limits, "memory", SIZE, bytes);
        let pids = self.parsed(&limits, "pids", "a number", |text| text.parse().ok());
        let reserved = self.parsed(&reservations, "memory", SIZE, bytes);
        let resources = Resources {
            cpus: cpus.or(self.parsed(service, "cpus", "a number of CPUs", self::cpus)),
            memory: memory.or(self.parsed(service, "mem_limit", SIZE, bytes)),
            pids: pids.or(self
                .parsed(service, "pids_limit", "a number", pids_limit)
                .flatten()),
            memory_reservation: reserved.or(self.parsed(service, "mem_reservation", SIZE, bytes)),
        };
        (replicas.unwrap_or(1), resources)
    }

    fn replicas(&mut self, map: &Map, key: &str) -> Option<u32> {
        let wanted = format!("a number of instances; {REPLICAS_MAX} are the most");
        self.parsed(map, key, &wanted, |text| {
            text.parse().ok().filter(|count| *count <= REPLICAS_MAX)
        })
    }

    pub(super) fn restart(&mut self, service: &Map) -> Restart {
        let wanted = "no, always, unless-stopped or on-failure";
        self.parsed(service, "restart", wanted, restart)
            .unwrap_or_default()
    }

    pub(super) fn process(&mut self, service: &Map) -> Process {
        Process {
            user: self.text_of(service, "user"),
            group_add: self.plain_texts(service, "group_add"),
            working_dir: self.text_of(service, "working_dir"),
            init: self.flag(service, "init"),
            stop_signal: self.text_of(service, "stop_signal"),
            stop_grace: self.parsed(service, "stop_grace_period", "a duration, as 30s", duration),
            read_only: self.flag(service, "read_only").unwrap_or(false),
            shm_size: self.parsed(service, "shm_size", SIZE, bytes),
            ulimits: self.ulimits(service),
            cap_drop: self.plain_texts(service, "cap_drop"),
            no_new_privileges: self.security_opt(service),
            platform: self.text_of(service, "platform"),
            extra_hosts: self.extra_hosts(service),
        }
    }

    pub(super) fn plain_texts(&mut self, map: &Map, key: &str) -> Vec<String> {
        self.texts(map, key).into_iter().map(|(_, text)| text).collect()
    }

    fn ulimits(&mut self, service: &Map) -> BTreeMap<String, (i64, i64)> {
        let mut limits = BTreeMap::new();
        let Some(map) = service.get("ulimits").and_then(Node::map) else {
            return limits;
        };
        for (name, node) in &map.0 {
            let both = match &node.value {
                Value::Map(map) => {
                    let number = |reading: &mut Self, key| {
                        reading.parsed(map, key, "a number", |text| text.parse().ok())
                    };
                    number(self, "soft").zip(number(self, "hard"))
                }
                _ => {
                    let only = Map(vec![(name.clone(), node.clone())]);
                    let number: Option<i64> =
                        self.parsed(&only, &name.name, "a number", |text| text.parse().ok());
                    number.map(|number| (number, number))
                }
            };
            limits.extend(both.map(|both| (name.name.clone(), both)));
        }
        limits
    }

    fn security_opt(&mut self, service: &Map) -> bool {
        let mut is_set = false;
        for (at, text) in self.texts(service, "security_opt") {
            match text.replace('=', ":").as_str() {
                "no-new-privileges" | "no-new-privileges:true" => is_set = true,
                _ => {
                    let what = format!(
                        "security_opt is refused: {} weakens what the Engine holds a container with",
                        shown(&text)
                    );
                    self.fault(at, what, Some("write no-new-privileges:true, or nothing"));
                }
            }
        }
        is_set
    }

    fn extra_hosts(&mut self, service: &Map) -> BTreeSet<(String, String)> {
        let mut hosts = BTreeSet::new();
        let Some(node) = service.get("extra_hosts").filter(|node| !node.is_null()) else {
            return hosts;
        };
        let pairs = match &node.value {
            Value::List(_) => {
                let texts = self.texts(service, "extra_hosts").into_iter();
                let split = texts.map(|(at, text)| {
                    let pair = text.split_once('=').or(text.split_once(':'));
                    let (name, address) = pair.unwrap_or((&text, ""));
                    (at, name.to_owned(), address.to_owned())
                });
                split.collect::<Vec<_>>()
            }
            _ => {
                let pairs = self.pairs(service, "extra_hosts").into_iter();
                pairs
                    .map(|(at, name, address)| (at, name, address.unwrap_or_default()))
                    .collect()
            }
        };
        for (at, name, address) in pairs {
            if address == "host-gateway" {
                let what =
                    "extra_hosts: host-gateway is refused: it opens the wall between this app and the host";
                self.fault(
                    at,
                    what,
                    Some("write the address of a host that serves it for others, too"),
                );
            } else if address
                .trim_matches(['[', ']'])
                .parse::<std::net::IpAddr>()
                .is_err()
            {
                self.fault(
                    at,
                    format!("extra_hosts: {} is no address", shown(&address)),
                    Some("write NAME=ADDRESS"),
                );
            } else {
                hosts.insert((name, address.trim_matches(['[', ']']).to_owned()));
            }
        }
        hosts
    }
}

fn cpus(text: &str) -> Option<f64> {
    text.parse()
        .ok()
        .filter(|cpus: &f64| cpus.is_finite() && *cpus >= 0.0)
}

/// -1 and 0 are no limit.
fn pids_limit(text: &str) -> Option<Option<u32>> {
    match text {
        "-1" | "0" => Some(None),
        text => Some(Some(text.parse().ok()?)),
    }
}

fn restart(text: &str) -> Option<Restart> {
    match text {
        "no" | "false" => Some(Restart::No),
        "always" => Some(Restart::Always),
        "unless-stopped" => Some(Restart::UnlessStopped),
        "on-failure" => Some(Restart::OnFailure(None)),
        text => {
            let count = text.strip_prefix("on-failure:")?;
            Some(Restart::OnFailure(Some(count.parse().ok()?)))
        }
    }
}
