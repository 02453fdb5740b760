//! The list of what install ever put on this server: `/etc/deployer/installed`, root's. It is written before the things
//! themselves are made, so that uninstall finds what an older program or another configuration has left, whatever was
//! broken off in the middle.
//!
//! One thing a line: `file PATH` for a file or link, `part PATH` for a folder with deployer's part of another program's
//! configuration.

use std::collections::BTreeSet;
use std::io::Write;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use anyhow::Result;

use super::found::{Found, Verb};
use super::open_folder::OpenFolder;

pub(super) const PATH: &str = "/etc/deployer/installed";
/// Its name in its folder.
pub(super) const NAME: &str = "installed";
/// The most bytes that are read: some hundred lines are more than there will ever be.
const SIZE_MAX: usize = 256 << 10;
const MODE: u32 = 0o644;

/// One thing that install makes.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Entry {
    /// A file or a link.
    File(PathBuf),
    /// A folder that goes with everything in it.
    Part(PathBuf),
}

impl Entry {
    fn parse(line: &str) -> Option<Self> {
        let (kind, path) = line.split_once(' ')?;
        let path = PathBuf::from(path);
        // What is not of this form was not written by deployer, and nothing of it is removed.
        let is_plain = path.is_absolute() && path.components().count() > 2 && !path.ends_with("..");
        match kind {
            _ if !is_plain || line.contains("/../") => None,
            "file" => Some(Entry::File(path)),
            "part" => Some(Entry::Part(path)),
            _ => None,
        }
    }

    fn write_to(&self, text: &mut Vec<u8>) {
        let (kind, path) = match self {
            Entry::File(path) => ("file ", path),
            Entry::Part(path) => ("part ", path),
        };
        text.extend_from_slice(kind.as_bytes());
        text.extend_from_slice(path.as_os_str().as_bytes());
        text.push(b'\n');
    }
}

/// What was ever made; nothing where there is no list, or one that others than root may have written.
///
/// # Errors
/// When it cannot be read.
pub(super) fn read() -> Result<BTreeSet<Entry>> {
    let Some((folder, name)) = OpenFolder::above(Path::new(PATH))? else {
        return Ok(BTreeSet::new());
    };
    let is_roots = folder
        .entry(name)?
        .is_some_and(|is| is.uid == 0 && is.mode & 0o022 == 0);
    if folder.is_of_others() || !is_roots {
        return Ok(BTreeSet::new());
    }
    let text = folder.read_file(name, SIZE_MAX)?;
    Ok(String::from_utf8_lossy(&text)
        .lines()
        .filter_map(Entry::parse)
        .collect())
}

/// The list with everything that is about to be made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Listed {
    /// What is about to be made.
    pub entries: BTreeSet<Entry>,
}

impl Listed {
    pub(super) fn name(&self) -> String {
        PATH.to_owned()
    }

    pub(super) fn look(&self) -> Result<Found> {
        let there = read()?;
        if self.entries.is_subset(&there) {
            return Ok(Found::There);
        }
        if self.may_be_others()? {
            return Ok(Found::LeftOut(
                "others than root may write to its folder, so that uninstall goes by the configuration alone: `chown root \
                 /etc/deployer && chmod go-w /etc/deployer`"
                    .into(),
            ));
        }
        Ok(match there.is_empty() {
            true => Found::ToDo(Verb::Create, String::new()),
            false => Found::ToDo(Verb::Change, "its content".into()),
        })
    }

    fn may_be_others(&self) -> Result<bool> {
        let folder = OpenFolder::above(Path::new(PATH))?;
        Ok(folder.is_some_and(|(folder, _)| folder.is_of_others()))
    }

    pub(super) fn make(&self) -> Result<Option<String>> {
        let (folder, name) = OpenFolder::make_way(Path::new(PATH))?;
        let mut text =
            b"# Written by `deployer install`: what `deployer uninstall` takes away. Leave it as it is.\n"
                .to_vec();
        for entry in read()?.union(&self.entries) {
            entry.write_to(&mut text);
        }
        folder.replace_file(name, MODE, (0, 0), |file| file.write_all(&text))?;
        Ok(None)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_is_read_as_it_was_written_and_nothing_else_is_taken() {
        for entry in [
            Entry::File("/etc/sudoers.d/deployer".into()),
            Entry::Part("/srv/a b/nginx".into()),
        ] {
            let mut text = Vec::new();
            entry.write_to(&mut text);
            assert_eq!(
                Entry::parse(str::from_utf8(&text).unwrap().trim_end()),
                Some(entry)
            );
        }
        for line in [
            "",
            "# x",
            "file",
            "file etc/a",
            "part /",
            "part /etc",
            "part /srv/a/..",
            "part /srv/../etc/b",
            "tree /srv/a",
        ] {
            assert_eq!(Entry::parse(line), None, "{line}");
        }
    }
}
