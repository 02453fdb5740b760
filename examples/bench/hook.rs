//! The hand-written hook that people come from: a bare repository whose post-receive drives the docker CLI.

use std::fs;
use std::net::SocketAddr;
use std::os::unix::fs::PermissionsExt;

use anyhow::{Context as _, Result, ensure};

use crate::world::{Tree, World};

const SCRIPT: &str = include_str!("hand-written-hook.sh");

/// The contestant.
pub(crate) struct Hook {
    pub(crate) tree: Tree,
    /// Where its app answers: a port published on the host.
    pub(crate) address: SocketAddr,
}

impl Hook {
    pub(crate) fn new(world: &World) -> Result<Self> {
        let tree = world.tree("hook")?;
        let repository = world.work.join("hook.git");
        let ports = world
            .settings
            .app(&"hook".parse()?)
            .ports
            .context("the hook has a port")?;
        let path = repository.to_string_lossy();
        tree.git(&["init", "-q", "--bare", "-b", "main", &path])?;
        tree.git(&["remote", "add", "hook", &path])?;
        let script = SCRIPT
            .replace("@WORKTREE@", &world.work.join("hook").to_string_lossy())
            .replace("@NAME@", &format!("{}-hook", world.settings.engine.network))
            .replace("@REGISTRY@", &world.settings.registry.address)
            .replace("@PORT@", &ports.green.to_string());
        let hook = repository.join("hooks/post-receive");
        fs::create_dir_all(world.work.join("hook"))?;
        fs::create_dir_all(repository.join("hooks"))?;
        fs::write(&hook, script)?;
        fs::set_permissions(&hook, PermissionsExt::from_mode(0o755))?;
        Ok(Self {
            tree,
            address: SocketAddr::from(([127, 0, 0, 1], ports.green)),
        })
    }

    /// Pushes what was committed.
    pub(crate) fn push(&self) -> Result<()> {
        let output = self.tree.git_command(&["push", "hook", "main"]).output()?;
        let told = String::from_utf8_lossy(&output.stderr);
        ensure!(
            told.contains("remote: deployed"),
            "the hand-written hook failed:\n{told}"
        );
        Ok(())
    }
}
