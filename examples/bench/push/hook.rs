//! The hand-written hook that people come from: a bare repository whose post-receive drives the docker CLI.

use std::fs;
use std::net::{Ipv4Addr, SocketAddr};
use std::os::unix::fs::PermissionsExt;
use std::process::Command;
use std::time::Instant;

use anyhow::{Result, ensure};

use super::{DEADLINE, Round};
use crate::poll::Poller;
use crate::ports;
use crate::world::{Tree, World};

const SCRIPT: &str = include_str!("hand-written-hook.sh");

pub(super) struct Hook<'a> {
    tree: &'a Tree,
    /// Its container and its images.
    name: String,
    /// Where its app answers: a port published on the host.
    address: SocketAddr,
    /// The container that answers.
    runs: String,
}

impl<'a> Hook<'a> {
    /// Makes the remote `hook` of `tree`.
    pub(super) fn new(world: &World, tree: &'a Tree, app: &str) -> Result<Self> {
        let name = format!("{}-{app}-hook", world.settings.engine.network);
        let (repository, worktree) = (
            world.work.join(format!("{app}-hook.git")),
            world.folder(&format!("{app}-hook"))?,
        );
        let port = ports::free(1)?[0];
        let script = SCRIPT
            .replace("@WORKTREE@", &worktree.to_string_lossy())
            .replace("@NAME@", &name)
            .replace("@NETWORK@", &world.settings.engine.network)
            .replace("@REGISTRY@", &world.settings.registry.address)
            .replace("@PORT@", &port.to_string());
        let path = repository.to_string_lossy();
        tree.git(&["init", "-q", "--bare", "-b", "main", &path])?;
        tree.git(&["remote", "add", "hook", &path])?;
        let hook = repository.join("hooks/post-receive");
        fs::create_dir_all(repository.join("hooks"))?;
        fs::write(&hook, script)?;
        fs::set_permissions(&hook, PermissionsExt::from_mode(0o755))?;
        Ok(Self {
            tree,
            name,
            address: SocketAddr::from((Ipv4Addr::LOCALHOST, port)),
            runs: String::new(),
        })
    }

    /// Pushes what was committed.
    pub(super) fn round(&mut self) -> Result<Round> {
        let poller = Poller::start(self.address, "localhost", "/instance");
        let begun = Instant::now();
        let output = self.tree.git_command(&["push", "hook", "main"]).output()?;
        let told = String::from_utf8_lossy(&output.stderr);
        ensure!(
            told.contains("remote: deployed"),
            "the hand-written hook failed:\n{told}"
        );
        let (instance, live) = poller.wait_for(|answer| answer != self.runs, DEADLINE)?;
        self.runs = instance;
        Ok(Round {
            took: live - begun,
            gap: poller.seen().gap,
            steps: Vec::new(),
        })
    }

    /// Removes its container.
    pub(super) fn finish(self) -> Result<()> {
        let output = Command::new("docker").args(["rm", "-f", &self.name]).output()?;
        ensure!(
            output.status.success(),
            "{} could not be removed: {}",
            self.name,
            String::from_utf8_lossy(&output.stderr)
        );
        Ok(())
    }
}
