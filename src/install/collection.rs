//! What frees the disk of a registry on this host: a unit of root's that stops it, has it collected and starts it again, and
//! a timer.
//!
//! It is systemd that starts the registry again: `ExecStopPost` is run whatever became of the collection, of `deployer
//! prune` and of whoever called it. Deployer's user may start that one unit and nothing else, by sudo.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use anyhow::{Context as _, Result};

use super::account::Account;
use super::files::{File, Gone, Owner};
use super::thing::Thing;
use super::tool;
use super::uncollected::{Uncollected, path};
use super::units::{self, AtBoot, Running, Stopped};
use crate::registry::{COLLECT_UNIT, LocalRegistry, STORAGE_LAYOUT};

/// The unit that prunes and collects, and the timer that starts it.
pub(super) const PRUNE: &str = "deployer-prune.service";
pub(super) const PRUNE_TIMER: &str = "deployer-prune.timer";
/// Where systemd notes when the timer has elapsed.
pub(super) const TIMER_STAMP: &str = "/var/lib/systemd/timers/stamp-deployer-prune.timer";

const SERVICE: &str = include_str!("../../templates/systemd/collect-service.service");
const CONTAINER: &str = include_str!("../../templates/systemd/collect-container.service");
/// What a registry's environment has where that says where it keeps everything.
const STORAGE_VARIABLE: &[u8] = b"REGISTRY_STORAGE";

/// What frees the registry's disk on a server.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Collection {
    /// Nothing, since the registry is another host's, or the configuration says so.
    None,
    /// The command that the configuration names.
    Command,
    /// A unit with this text.
    Unit(String),
    /// Nothing new, and why. A unit that was made before stays.
    NotFound(String),
}

/// A registry's container.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RegistryContainer<'a> {
    /// The Engine that it is at: `unix://…`.
    pub host: &'a str,
    /// Its name.
    pub name: &'a str,
    /// The program that it runs.
    pub program: &'a str,
    /// The registry's configuration, in the container.
    pub config: &'a str,
    /// Where its storage is mounted in the container.
    pub mount: &'a str,
    /// The storage's folder below that; empty where it is that.
    pub below: &'a str,
}

impl Collection {
    /// The unit for a registry at `address` that is a process of this host.
    pub fn of_process(address: &str, registry: &LocalRegistry) -> Collection {
        let Some(name) = &registry.unit else {
            return Collection::NotFound(format!(
                "the registry at {address} (process {}) is no service of systemd's, which could start it again",
                registry.pid
            ));
        };
        match unit_of_process(address, registry) {
            Ok(text) => Collection::Unit(text),
            Err(error) => Collection::NotFound(format!("{name}: {error:#}")),
        }
    }

    /// The unit for a registry at `address` that is a container.
    pub fn of_container(address: &str, registry: &RegistryContainer<'_>) -> Collection {
        match unit_of_container(address, registry) {
            Ok(text) => Collection::Unit(text),
            Err(error) => Collection::NotFound(format!("the container {}: {error:#}", registry.name)),
        }
    }

    /// Whether deployer's user has to start the unit.
    pub(super) fn needs_root(&self) -> bool {
        match self {
            Collection::Unit(_) => true,
            Collection::NotFound(_) => path().exists(),
            Collection::None | Collection::Command => false,
        }
    }

    fn is_there(&self) -> bool {
        *self == Collection::Command || self.needs_root()
    }

    /// The unit; none where none is needed.
    pub(super) fn unit(&self) -> Vec<Thing> {
        match self {
            Collection::Unit(text) => vec![Thing::File(File {
                path: path(),
                text: text.clone().into_bytes(),
                mode: 0o644,
                owner: Owner::root(),
                kept_for: None,
            })],
            Collection::NotFound(why) => vec![Thing::Uncollected(Uncollected { why: why.clone() })],
            Collection::None | Collection::Command => vec![Thing::Gone(Gone {
                path: path(),
                is_rare: true,
            })],
        }
    }

    /// The timer, which runs where there is something to run.
    pub(super) fn timer(&self, program: &Path) -> Vec<Thing> {
        if !self.is_there() {
            return stopped();
        }
        vec![
            Thing::AtBoot(AtBoot {
                unit: PRUNE_TIMER,
                starts: true,
            }),
            Thing::Running(Running {
                unit: PRUNE_TIMER,
                program: program.to_owned(),
                by_hand: "by hand, now and then: `deployer prune --registry`".into(),
            }),
        ]
    }
}

/// What nothing starts any more, and does not run. A collection that is stopped starts the registry again.
pub(super) fn stopped() -> Vec<Thing> {
    let mut things = vec![Thing::AtBoot(AtBoot {
        unit: PRUNE_TIMER,
        starts: false,
    })];
    if units::is_booted() {
        let units = [PRUNE_TIMER, PRUNE, COLLECT_UNIT];
        things.extend(units.map(|unit| Thing::Stopped(Stopped { unit })));
    }
    things
}

fn unit_of_process(address: &str, registry: &LocalRegistry) -> Result<String> {
    let process = Path::new("/proc").join(registry.pid.to_string());
    let environment = fs::read(process.join("environ")).context("its environment cannot be read")?;
    let mut variables = environment.split(|byte| *byte == 0);
    if variables.any(|variable| variable.starts_with(STORAGE_VARIABLE)) {
        anyhow::bail!(
            "it is told by its environment where it keeps everything, and its collection would not be"
        );
    }
    let unit = registry.unit.as_deref().unwrap_or_default();
    let main = tool::must("systemctl", &["show", "--property=MainPID", "--value", unit])?;
    if main.out.trim() != registry.pid.to_string() {
        anyhow::bail!("the registry (process {}) is not its main process", registry.pid);
    }
    let program = fs::read_link(process.join("exe")).context("its program cannot be seen")?;
    let uid = fs::metadata(&process)?.uid();
    let user = Account::numbered(uid)?.map_or_else(|| uid.to_string(), |account| account.name);
    let systemctl = tool::find("systemctl").context("there is no systemctl here")?;
    fill(
        SERVICE,
        &[
            ("ADDRESS", address),
            ("USER", &user),
            ("SYSTEMCTL", &text(&systemctl)?),
            ("UNIT", unit),
            ("STORAGE", &text(&registry.storage)?),
            ("LAYOUT", STORAGE_LAYOUT),
            ("PROGRAM", &text(&program)?),
            ("CONFIG", &text(&registry.config)?),
        ],
    )
}

fn unit_of_container(address: &str, registry: &RegistryContainer<'_>) -> Result<String> {
    let docker =
        tool::find("docker").context("there is no docker command here, which stops and starts it")?;
    let below = Path::new(registry.below).join(STORAGE_LAYOUT);
    fill(
        CONTAINER,
        &[
            ("ADDRESS", address),
            ("HOST", registry.host),
            ("DOCKER", &text(&docker)?),
            ("CONTAINER", registry.name),
            ("MOUNT", registry.mount),
            ("BELOW", &text(&below)?),
            ("PROGRAM", registry.program),
            ("CONFIG", registry.config),
        ],
    )
}

fn text(path: &Path) -> Result<String> {
    let text = path
        .to_str()
        .with_context(|| format!("{} is not UTF-8", path.display()))?;
    Ok(text.to_owned())
}

/// The template with each `@WORD@` replaced by what systemd and a shell read in no other way.
fn fill(template: &str, words: &[(&str, &str)]) -> Result<String> {
    let is_plain = |c: char| c.is_ascii_alphanumeric() || "/._-+:[]".contains(c);
    let mut filled = template.to_owned();
    for (word, value) in words {
        if value.is_empty() || !value.chars().all(is_plain) {
            anyhow::bail!("{value:?} cannot stand in a unit; `registry.collect` can name a command");
        }
        filled = filled.replace(&format!("@{word}@"), value);
    }
    Ok(filled)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_unit_is_filled_word_by_word_with_what_needs_no_quotes() {
        let registry = RegistryContainer {
            host: "unix:///var/run/docker.sock",
            name: "my-registry",
            program: "/entrypoint.sh",
            config: "/etc/docker/registry/config.yml",
            mount: "/var/lib/registry",
            below: "",
        };
        let words = [
            ("ADDRESS", "127.0.0.1:5000"),
            ("HOST", registry.host),
            ("DOCKER", "/usr/bin/docker"),
            ("CONTAINER", registry.name),
            ("MOUNT", registry.mount),
            ("BELOW", STORAGE_LAYOUT),
            ("PROGRAM", registry.program),
            ("CONFIG", registry.config),
        ];
        let unit = fill(CONTAINER, &words).unwrap();
        for line in [
            "Description=Free the disk of the registry at 127.0.0.1:5000\n",
            "Environment=DOCKER_HOST=unix:///var/run/docker.sock\n",
            "ExecStopPost=/usr/bin/docker start my-registry\n",
            "--entrypoint /entrypoint.sh \"$$image\" garbage-collect /etc/docker/registry/config.yml'\n",
        ] {
            assert!(unit.contains(line), "{line}{unit}");
        }
        assert!(!unit.contains('@'), "{unit}");
        for bad in ["", "a b", "a'b", "a\"b", "$a", "a%b", "a;b", "a\nb", "a\\b"] {
            fill(CONTAINER, &[("CONTAINER", bad)]).unwrap_err();
        }
    }
}
