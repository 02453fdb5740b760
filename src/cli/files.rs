//! `deployer files`: what a Debian package holds beside the program (script/package).

use std::path::{Path, PathBuf};

use anyhow::Context as _;
use clap::Command;

use super::failure::Result;
use super::{output, texts};
use crate::install;

/// Write units, manual and completions as a package has them below FOLDER
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    folder: PathBuf,
}

impl Args {
    pub(super) fn run(self, command: &Command) -> Result {
        for (path, text) in install::package(&texts::texts(command)?) {
            let below = path.strip_prefix("/").unwrap_or(&path);
            let to = self.folder.join(below);
            write(&to, &text).with_context(|| format!("cannot write {}", to.display()))?;
            output::lines([to.display().to_string()])?;
        }
        Ok(())
    }
}

fn write(path: &Path, text: &[u8]) -> std::io::Result<()> {
    std::fs::create_dir_all(path.parent().unwrap_or(Path::new("/")))?;
    std::fs::write(path, text)
}
