//! A real login as deployer's user: the whole way from sshd through PAM, the file of keys and the login shell to the program.
//!
//! The key is made for it, may do nothing but hear who it is, and expires by itself, so that an attempt that is killed
//! leaves nothing that opens the door.

use std::ffi::OsStr;
use std::io::Write;
use std::net::{IpAddr, SocketAddr, TcpStream};
use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result, bail};

use super::account::Account;
use super::key_file;
use super::open_folder::OpenFolder;
use super::remove_tree::remove_tree;
use super::server::Server;
use super::sshd::{InForce, ORIGINS};
use super::tool;
use crate::ground::lock;
use crate::model::{Grant, KeyName, Role};
use crate::ssh::{AuthorizedKeys, ForcedCommand, PublicKey};

/// The name of the key.
const NAME: &str = "deployer-verify";
/// The app that it is for, which is not there.
const NO_APP: &str = "deployer-verify";
/// Where it is meanwhile.
const FOLDER: &str = "/run/deployer-verify";
/// How long the key is good for, as date(1) takes it: longer than a login, which is given up after 10 s, and the time that
/// two other writers may hold the file of keys.
const EXPIRES: &str = "+60 seconds";
const CONNECT: Duration = Duration::from_secs(5);
/// How long another writer of the file of keys is waited for.
const LOCK_DEADLINE: Duration = Duration::from_secs(10);

/// Logs in as the user by a key that is added for it and taken away again. Gives the address at which sshd was asked.
///
/// # Errors
/// When no sshd answers, or it does not let the key in, with what it said.
pub fn verify(server: &Server) -> Result<SocketAddr> {
    let rules = InForce::of(&server.user, ORIGINS[1])?;
    let rules = rules.map_err(|why| anyhow::anyhow!("sshd does not tell where it listens: {why}"))?;
    let at = listens_at(&rules);
    TcpStream::connect_timeout(&at, CONNECT).with_context(|| {
        format!("no sshd answers at {at}: `systemctl start ssh`, then `deployer install --verify`")
    })?;
    let folder = KeyFolder::make()?;
    let path = format!("{FOLDER}/key");
    tool::must("ssh-keygen", &["-q", "-t", kind(&rules), "-N", "", "-f", &path])?;
    let public = std::fs::read(format!("{path}.pub")).context("cannot read the new key")?;
    let added = Added::add(server, &public)?;
    let said = log_in(server, at, &path);
    added.remove()?;
    drop(folder);
    said.map(|()| at)
}

/// The folder of the key: always the same one, so that the next time takes what one that was killed has left.
struct KeyFolder;

impl KeyFolder {
    fn make() -> Result<Self> {
        Self::remove()?;
        let (above, name) = OpenFolder::make_way(Path::new(FOLDER))?;
        above.make_folder(name, 0o700, None)?;
        Ok(Self)
    }

    fn remove() -> Result<()> {
        match OpenFolder::above(Path::new(FOLDER))? {
            Some((above, name)) => remove_tree(&above, name),
            None => Ok(()),
        }
    }
}

impl Drop for KeyFolder {
    fn drop(&mut self) {
        let _ = Self::remove();
    }
}

/// Of all addresses at which sshd listens, one that can be reached from here.
fn listens_at(rules: &InForce) -> SocketAddr {
    let addresses: Vec<SocketAddr> = rules
        .all("listenaddress")
        .filter_map(|text| text.parse().ok())
        .collect();
    let chosen = addresses.iter().find(|at| at.is_ipv4()).or(addresses.first());
    let port = rules.first("port").and_then(|port| port.parse().ok());
    let mut at = chosen
        .copied()
        .unwrap_or((IpAddr::from([127, 0, 0, 1]), port.unwrap_or(22)).into());
    match at.ip() {
        ip if !ip.is_unspecified() => {}
        IpAddr::V4(_) => at.set_ip(IpAddr::from([127, 0, 0, 1])),
        IpAddr::V6(_) => at.set_ip(std::net::Ipv6Addr::LOCALHOST.into()),
    }
    at
}

/// A type of key that sshd takes.
fn kind(rules: &InForce) -> &'static str {
    let accepted = rules.first("pubkeyacceptedalgorithms").unwrap_or("ssh-ed25519");
    let has = |part: &str| accepted.split(',').any(|one| one.contains(part));
    match () {
        () if has("ssh-ed25519") => "ed25519",
        () if has("ecdsa-") => "ecdsa",
        () => "rsa",
    }
}

fn log_in(server: &Server, at: SocketAddr, key: &str) -> Result<()> {
    let (host, port, to) = (at.ip().to_string(), at.port().to_string(), &server.user);
    let options = [
        "BatchMode=yes",
        "StrictHostKeyChecking=no",
        "UserKnownHostsFile=/dev/null",
        "IdentitiesOnly=yes",
        "ConnectTimeout=10",
        "LogLevel=ERROR",
    ];
    let mut arguments = vec![
        "-F",
        "none",
        "-T",
        "-i",
        key,
        "-p",
        port.as_str(),
        "-l",
        to.as_str(),
    ];
    arguments.extend(options.iter().flat_map(|option| ["-o", option]));
    arguments.push(&host);
    let said = tool::run("ssh", &arguments)?;
    if said.is_good() && said.out.contains(&format!("You are {NAME}")) {
        return Ok(());
    }
    bail!(
        "sshd at {at} does not let a key of {to}'s in ({}), although it is in the file of keys. The lines above may name why; \
         sshd's log does: `journalctl -u ssh -n 20`, or /var/log/auth.log",
        said.last_words()
    )
}

/// The key in the file of keys. Taken away when this goes.
struct Added<'a> {
    server: &'a Server,
    is_there: bool,
}

impl<'a> Added<'a> {
    fn add(server: &'a Server, public: &[u8]) -> Result<Self> {
        let key = PublicKey::read(public)?;
        let command = ForcedCommand {
            program: server.place.program.clone(),
            config: None,
            key: name(),
            grant: Grant {
                role: Role::Read,
                apps: vec![NO_APP.parse().expect("a valid name")],
                slots: Vec::new(),
            },
        };
        let until = tool::must("date", &["-d", EXPIRES, "+%Y%m%d%H%M%S"])?;
        let line = format!(
            "restrict,expiry-time=\"{}\",command=\"{}\" {} {NAME}\n",
            until.out.trim(),
            command.to_line()?,
            key.to_line()
        );
        let added = Self {
            server,
            is_there: true,
        };
        added.change(|keys| {
            if !keys.is_empty() && !keys.ends_with(b"\n") {
                keys.push(b'\n');
            }
            keys.extend_from_slice(line.as_bytes());
        })?;
        Ok(added)
    }

    fn remove(mut self) -> Result<()> {
        self.is_there = false;
        self.change(|_| ())
    }

    /// Changes the file of keys, from which a key of this name is taken first, alone with it.
    fn change(&self, change: impl FnOnce(&mut Vec<u8>)) -> Result<()> {
        let _alone = self.lock()?;
        let path = self.server.key_file();
        let account = Account::named(&self.server.user)?.context("the user is gone")?;
        let above = OpenFolder::above(&path)?;
        let (folder, file) = above.with_context(|| format!("the folder of {} is gone", path.display()))?;
        let (mode, owner, text) = match folder.entry(file)? {
            None => (0o600, (account.uid, account.gid), Vec::new()),
            Some(_) => {
                let (is, text) = key_file::read(&folder, file)?;
                // Root's stays root's: it is not given to the user.
                if is.uid != 0 && is.uid != account.uid {
                    bail!("{} is neither root's nor {}'s", path.display(), account.name);
                }
                (is.mode, (is.uid, is.gid), text)
            }
        };
        let mut keys = AuthorizedKeys::parse(&text);
        while keys.remove(&name()).is_some() {}
        let mut text = keys.to_bytes();
        change(&mut text);
        folder.replace_file(file, mode, owner, |to| to.write_all(&text))
    }

    /// The lock of whoever changes the file of keys; none where nobody ever has.
    fn lock(&self) -> Result<Option<std::fs::File>> {
        let Some(state) = OpenFolder::at(&self.server.state)? else {
            return Ok(None);
        };
        let lock = OsStr::new(crate::store::KEYS_LOCK);
        if state.entry(lock)?.is_none() {
            return Ok(None);
        }
        let file = state.open_file(lock)?;
        if !lock::take_within(&file, LOCK_DEADLINE) {
            bail!("another command changes the file of keys all the time");
        }
        Ok(Some(file))
    }
}

impl Drop for Added<'_> {
    fn drop(&mut self) {
        if self.is_there {
            // Where this fails, the key expires.
            let _ = self.change(|_| ());
        }
    }
}

fn name() -> KeyName {
    NAME.parse().expect("a valid name")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sshd_is_asked_where_it_listens() {
        for (rules, at) in [
            ("", "127.0.0.1:22"),
            ("port 2222", "127.0.0.1:2222"),
            ("listenaddress [::]:22\nlistenaddress 0.0.0.0:22", "127.0.0.1:22"),
            ("listenaddress [::]:24", "[::1]:24"),
            ("listenaddress 10.0.0.7:2222", "10.0.0.7:2222"),
        ] {
            assert_eq!(listens_at(&InForce::parse(rules)).to_string(), at, "{rules}");
        }
    }
}
