//! A registry that runs on this machine: its process, where it keeps what it has, and how much that is.
//!
//! What is known of it is what every user may know: the command that a process was started with, and the configuration that
//! this names.

use std::fs;
use std::io::{self, Read};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use rustix::fs::OFlags;

use crate::model::loopback_registry_port;

/// Names of the program: distribution's own, and Debian's.
const PROGRAMS: [&str; 2] = ["registry", "docker-registry"];
/// The folder of its storage that everything is in; that has `repositories` and `blobs` once something was pushed.
pub const STORAGE_LAYOUT: &str = "docker/registry/v2";
/// The most bytes of a configuration that are read.
const CONFIG_MAX: u64 = 256 << 10;

/// A registry's process on this machine.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LocalRegistry {
    /// Its number.
    pub pid: u32,
    /// Its configuration.
    pub config: PathBuf,
    /// The folder that it keeps everything in.
    pub storage: PathBuf,
    /// The unit of the system's that it is the service of, where it is one: `docker-registry.service`.
    pub unit: Option<String>,
}

/// The registry that listens at `address` as a process of this machine; none where it is on another host, in a container,
/// or keeps what it has elsewhere than in a folder. Reads the list of processes: some milliseconds.
pub fn local_registry(address: &str) -> Option<LocalRegistry> {
    let port = loopback_registry_port(address)?;
    let entries = fs::read_dir("/proc").ok()?.flatten();
    let processes = entries.filter_map(|entry| entry.file_name().to_str()?.parse().ok());
    let registries = processes.filter_map(|pid| registry_of(pid, port));
    // Anybody may start a process that says it is one; a service was made by root.
    registries.max_by_key(|registry| registry.unit.is_some())
}

fn registry_of(pid: u32, port: u16) -> Option<LocalRegistry> {
    let read = |name: &str| fs::read(format!("/proc/{pid}/{name}")).ok();
    let command = read("cmdline")?;
    let words: Vec<&str> = command
        .split(|byte| *byte == 0)
        .map(|word| str::from_utf8(word).unwrap_or_default())
        .collect();
    let config = config_of(words[0], &words[1..])?;
    let status = String::from_utf8(read("status")?).ok()?;
    if is_contained(&status) || !Path::new(config).is_absolute() {
        return None;
    }
    let storage = storage(&read_config(config)?, port)?;
    let groups = String::from_utf8(read("cgroup")?).ok()?;
    Some(LocalRegistry {
        pid,
        config: config.into(),
        storage,
        unit: unit(&groups).map(str::to_owned),
    })
}

/// The configuration that a registry with this command serves by; none where the command is not a registry's:
/// `registry serve FILE`, or `/entrypoint.sh FILE` of the registry's own image.
pub fn config_of<'a>(program: &str, arguments: &[&'a str]) -> Option<&'a str> {
    let name = program.rsplit('/').next()?;
    let mut arguments = arguments.iter().filter(|word| !word.is_empty());
    let config = match (name, *arguments.next()?) {
        (program, "serve") if PROGRAMS.contains(&program) => arguments.next()?,
        ("entrypoint.sh", "serve") => arguments.next()?,
        ("entrypoint.sh", config) => config,
        _ => return None,
    };
    let is_config = config.ends_with(".yml") || config.ends_with(".yaml");
    is_config.then_some(config)
}

/// Whether `/proc/PID/status` is of a process in a container: it has a further number there.
fn is_contained(status: &str) -> bool {
    let line = status.lines().find_map(|line| line.strip_prefix("NSpid:"));
    line.is_none_or(|numbers| numbers.split_whitespace().count() > 1)
}

/// The service of the system's in `/proc/PID/cgroup`.
fn unit(groups: &str) -> Option<&str> {
    let mut paths = groups.lines().filter_map(|line| line.splitn(3, ':').nth(2));
    paths.find_map(|path| {
        let unit = path.strip_prefix("/system.slice/")?;
        (unit.ends_with(".service") && !unit.contains('/')).then_some(unit)
    })
}

/// Reads a file that anybody may have named: a pipe is not waited for, and no more is read than a configuration has.
fn read_config(path: &str) -> Option<String> {
    let flags = i32::try_from(OFlags::NONBLOCK.bits()).ok()?;
    let file = fs::File::options()
        .read(true)
        .custom_flags(flags)
        .open(path)
        .ok()?;
    let is_file = file.metadata().ok()?.is_file();
    let mut text = String::new();
    is_file.then(|| file.take(CONFIG_MAX).read_to_string(&mut text).ok())??;
    Some(text)
}

/// The folder that the configuration `text` names, where it is of a registry at `port` that keeps what it has in one. The
/// few keys are found in either of YAML's notations.
fn storage(text: &str, port: u16) -> Option<PathBuf> {
    let is_here = |address: &str| address.rsplit_once(':').map(|(_, told)| told.parse()) == Some(Ok(port));
    let listens = values(text, "addr").any(is_here);
    let in_folder = values(text, "filesystem").next().is_some();
    let folder = values(text, "rootdirectory")
        .next()
        .filter(|_| listens && in_folder)?;
    let folder = Path::new(folder);
    folder.is_absolute().then(|| folder.to_owned())
}

/// What stands behind `key:` in each place.
fn values<'a>(text: &'a str, key: &'a str) -> impl Iterator<Item = &'a str> {
    let lines = text.lines().map(|line| match line.split_once('#') {
        Some((before, _)) if before.is_empty() || before.ends_with(char::is_whitespace) => before,
        _ => line,
    });
    lines.flat_map(move |line| {
        let is_word = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == '-';
        line.match_indices(key).filter_map(move |(at, _)| {
            let behind = line[at + key.len()..].strip_prefix(':')?;
            let starts = !line[..at].ends_with(is_word);
            let value = behind.split([',', '}']).next().unwrap_or_default();
            starts.then(|| value.trim().trim_matches(['"', '\'', '{']))
        })
    })
}

/// The bytes on the disk of everything in `folder`; none where not all of it may be read, or that takes longer than
/// `deadline`.
pub fn size_on_disk(folder: &Path, deadline: Duration) -> Option<u64> {
    let end = Instant::now() + deadline;
    let mut folders = vec![folder.to_owned()];
    let mut bytes = fs::symlink_metadata(folder).ok()?.blocks() * 512;
    while let Some(folder) = folders.pop() {
        if Instant::now() > end {
            return None;
        }
        let entries = match fs::read_dir(&folder) {
            // An upload that came to its end meanwhile.
            Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
            entries => entries.ok()?,
        };
        for entry in entries.flatten() {
            let Ok(found) = entry.metadata() else { continue };
            bytes += found.blocks() * 512;
            if found.is_dir() {
                folders.push(entry.path());
            }
        }
    }
    Some(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    const DEBIANS: &str = "version: 0.1\nlog:\n  fields:\n    service: registry\nstorage:\n  cache:\n    blobdescriptor: \
                           inmemory\n  filesystem:\n    rootdirectory: /var/lib/docker-registry\n  delete:\n    enabled: \
                           true\nhttp:\n  addr: :5000\n  # addr: :6000\n";

    #[test]
    fn the_storage_is_that_of_a_registry_at_this_port_with_a_folder() {
        let folder = |text: &str| storage(text, 5000).map(|path| path.display().to_string());
        assert_eq!(folder(DEBIANS).as_deref(), Some("/var/lib/docker-registry"));
        let flow =
            "storage: { filesystem: { rootdirectory: \"/srv/r\" } }\nhttp: { addr: \"127.0.0.1:5000\" }\n";
        assert_eq!(folder(flow).as_deref(), Some("/srv/r"));
        for other in [
            DEBIANS.replace(":5000", ":5001"),
            DEBIANS.replace("filesystem", "s3"),
            DEBIANS.replace("/var/lib/docker-registry", "data"),
            DEBIANS.replace("addr: :5000", "# addr: :5000"),
            String::new(),
        ] {
            assert_eq!(folder(&other), None, "{other}");
        }
        assert_eq!(storage(DEBIANS, 6000), None);
    }

    #[test]
    fn a_registry_is_known_by_its_command() {
        for (words, config) in [
            ("/usr/bin/docker-registry serve /etc/r.yml", Some("/etc/r.yml")),
            ("registry serve /etc/r.yaml ", Some("/etc/r.yaml")),
            ("/entrypoint.sh /etc/r.yml", Some("/etc/r.yml")),
            ("/entrypoint.sh serve /etc/r.yml", Some("/etc/r.yml")),
            ("/entrypoint.sh traefik", None),
            ("registry garbage-collect /etc/r.yml", None),
            ("registry serve", None),
            ("nginx serve /etc/r.yml", None),
            ("registry", None),
        ] {
            let words: Vec<&str> = words.split(' ').collect();
            assert_eq!(config_of(words[0], &words[1..]), config, "{words:?}");
        }
    }

    #[test]
    fn a_configuration_that_is_no_file_is_not_waited_for() {
        let folder = tempfile::tempdir().unwrap();
        let pipe = folder.path().join("pipe.yml");
        rustix::fs::mkfifoat(rustix::fs::CWD, &pipe, 0o600.into()).unwrap();
        assert_eq!(read_config(pipe.to_str().unwrap()), None);
        let file = folder.path().join("r.yml");
        fs::write(&file, DEBIANS).unwrap();
        assert_eq!(read_config(file.to_str().unwrap()).as_deref(), Some(DEBIANS));
    }

    #[test]
    fn only_a_service_of_the_systems_is_a_unit() {
        for (groups, told) in [
            (
                "0::/system.slice/docker-registry.service\n",
                Some("docker-registry.service"),
            ),
            ("1:name=systemd:/system.slice/r.service\n", Some("r.service")),
            ("0::/user.slice/user-0.slice/session-1.scope\n", None),
            ("0::/system.slice/docker-0123.scope\n", None),
            ("0::/\n", None),
        ] {
            assert_eq!(unit(groups), told, "{groups}");
        }
        assert!(is_contained("Name: registry\nNSpid:\t812\t1\n"));
        assert!(!is_contained("Name: registry\nNSpid:\t812\n"));
    }

    #[test]
    fn a_size_counts_folders_below_and_is_none_where_it_takes_too_long() {
        let folder = tempfile::tempdir().unwrap();
        fs::create_dir_all(folder.path().join("a/b")).unwrap();
        fs::write(folder.path().join("a/b/c"), vec![7; 100_000]).unwrap();
        let size = size_on_disk(folder.path(), Duration::from_secs(10)).unwrap();
        assert!((100_000..200_000).contains(&size), "{size}");
        assert_eq!(size_on_disk(folder.path(), Duration::ZERO), None);
        assert_eq!(
            size_on_disk(&folder.path().join("none"), Duration::from_secs(10)),
            None
        );
    }
}
