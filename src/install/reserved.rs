//! The ports that the proxy listens on, kept from the kernel, which would give them to outgoing connections.
//!
//! The kernel has one list of such ports for everybody. What others have put on it stays there, and stays when deployer's
//! part goes.

use std::fs::{self, OpenOptions};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

use super::files::{File, Owner};
use super::found::{Found, Verb};
use crate::ground::failpoint;
use crate::model::PortSet;
use crate::proxy::local_ports::{self, RESERVED};

/// Read at boot behind all the others, so that it is the one that counts: it holds theirs too.
pub(super) const FILE: &str = "/etc/sysctl.d/zz-deployer.conf";

/// Where the others are (sysctl.d(5)), and the file of before there were folders.
const FOLDERS: [&str; 5] = [
    "/etc/sysctl.d",
    "/run/sysctl.d",
    "/usr/local/lib/sysctl.d",
    "/usr/lib/sysctl.d",
    "/lib/sysctl.d",
];
const OLD_FILE: &str = "/etc/sysctl.conf";

const KEY: &str = "net.ipv4.ip_local_reserved_ports";

/// Ports that the kernel gives to no outgoing connection, now and after a boot.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reserved {
    /// The ports.
    pub ports: PortSet,
}

impl Reserved {
    pub(super) fn name(&self) -> String {
        format!("the ports {} reserved for listening ({FILE})", self.ports)
    }

    pub(super) fn look(&self) -> Result<Found> {
        let now = match now() {
            Ok(now) => now,
            Err(why) => return Ok(Found::LeftOut(why)),
        };
        let wanted = self.wanted(&now);
        let file = file(&wanted).look()?;
        Ok(match file {
            Found::There if now == wanted => Found::There,
            Found::There => Found::ToDo(Verb::Change, format!("not in force: {}", wanted.without(&now))),
            other => other,
        })
    }

    pub(super) fn make(&self) -> Result<Option<String>> {
        let wanted = self.wanted(&local_ports::reserved().unwrap_or_default());
        file(&wanted).make()?;
        failpoint::at("reserved.file");
        put_in_force(&wanted)?;
        Ok(None)
    }

    /// These ports and all that are reserved already, or will be at the next boot.
    fn wanted(&self, now: &PortSet) -> PortSet {
        self.ports.with(now).with(&by_others())
    }
}

/// No such ports any more, but for those that others reserve.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unreserved {
    /// The ports.
    pub ports: PortSet,
}

impl Unreserved {
    pub(super) fn name(&self) -> String {
        FILE.into()
    }

    pub(super) fn look(&self) -> Result<Found> {
        Ok(match Path::new(FILE).exists() {
            true => Found::ToDo(Verb::Remove, String::new()),
            false => Found::Gone,
        })
    }

    pub(super) fn make(&self) -> Result<Option<String>> {
        let now = now();
        if let Ok(now) = &now {
            put_in_force(&now.without(&self.ports).with(&by_others()))?;
        }
        // Last, since it is by the file that this is found to be done.
        failpoint::at("unreserved");
        fs::remove_file(FILE).with_context(|| format!("cannot remove {FILE}"))?;
        Ok(now.err())
    }
}

/// What is reserved now; as an error, why nothing can be here.
fn now() -> std::result::Result<PortSet, String> {
    let now = local_ports::reserved().ok_or_else(|| format!("{RESERVED} cannot be read here"))?;
    match OpenOptions::new().write(true).open(RESERVED) {
        Ok(_) => Ok(now),
        Err(error) => Err(format!(
            "{RESERVED} cannot be written here ({error}), as in a container: reserve them where the host is set up, or \
             an outgoing connection may be given one"
        )),
    }
}

fn put_in_force(ports: &PortSet) -> Result<()> {
    fs::write(RESERVED, format!("{ports}\n")).with_context(|| format!("cannot write {RESERVED}"))
}

fn file(ports: &PortSet) -> File {
    let text = format!(
        "# Written by `deployer install`: ports that programs listen on, and that the kernel gives to no outgoing\n\
         # connection. It has one list for all: what else was on it is here too.\n{KEY} = {ports}\n"
    );
    File {
        path: FILE.into(),
        text: text.into_bytes(),
        mode: 0o644,
        owner: Owner::root(),
        kept_for: None,
    }
}

/// What other files reserve.
fn by_others() -> PortSet {
    let folders = FOLDERS.iter().filter_map(|folder| fs::read_dir(folder).ok());
    let entries = folders.flatten().filter_map(|entry| Some(entry.ok()?.path()));
    let files =
        entries.filter(|path| path.extension().is_some_and(|ext| ext == "conf") && path != Path::new(FILE));
    let texts = files
        .chain([PathBuf::from(OLD_FILE)])
        .filter_map(|path| fs::read_to_string(path).ok());
    texts.fold(PortSet::default(), |all, text| all.with(&reserved_in(&text)))
}

/// What the lines of one file reserve: the last one counts. `/` may stand for `.`, and `-` before a key that need not be
/// there.
fn reserved_in(text: &str) -> PortSet {
    let lines = text.lines().filter_map(|line| line.trim().split_once('='));
    let mut values = lines.filter(|(key, _)| key.trim().trim_start_matches('-').replace('/', ".") == KEY);
    values
        .next_back()
        .and_then(|(_, value)| value.parse().ok())
        .unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_file_of_others_reserves_is_read_as_sysctl_reads_it() {
        for (text, ports) in [
            ("", ""),
            (
                "# net.ipv4.ip_local_reserved_ports = 1\n; net.ipv4.ip_local_reserved_ports = 2\n",
                "",
            ),
            (
                "net.ipv4.ip_local_reserved_ports=8080,9000-9010\nvm.swappiness = 1\n",
                "8080,9000-9010",
            ),
            (
                " -net/ipv4/ip_local_reserved_ports = 1\nnet.ipv4.ip_local_reserved_ports = 2 , 3\n",
                "2-3",
            ),
        ] {
            assert_eq!(reserved_in(text).to_string(), ports, "{text:?}");
        }
    }
}
