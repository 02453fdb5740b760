//! The file of keys as sshd takes it: the user's or root's, written by nobody else, and within the user's reach. One that
//! is not locks everybody out.
//!
//! What stands there is not given away: others choose what that is. It is read, and where it holds nothing but keys, a
//! new file of the user's takes its place.

use std::ffi::OsStr;
use std::io::Read;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use rustix::fs::FileType;

use super::account::Account;
use super::found::{Found, Verb};
use super::open_folder::{Entry, OpenFolder};
use crate::ssh::AuthorizedKeys;

/// The mode of a file that deployer writes.
const MODE: u32 = 0o600;
/// The most bytes that are read.
const SIZE_MAX: usize = 4 << 20;
/// The type of key that is expected as long as there is none.
const USUAL_KIND: &str = "ssh-ed25519";

/// A file of keys that sshd takes. Where there is none yet, there is none to mend.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeyFile {
    /// Where.
    pub path: PathBuf,
    /// Whose keys they are.
    pub user: String,
}

impl KeyFile {
    pub(super) fn name(&self) -> String {
        self.path.display().to_string()
    }

    pub(super) fn look(&self) -> Result<Found> {
        let (Some(account), Some((folder, name))) =
            (Account::named(&self.user)?, OpenFolder::above(&self.path)?)
        else {
            return Ok(Found::Gone);
        };
        let Some(is) = folder.entry(name)? else {
            return Ok(Found::Gone);
        };
        if is.kind != FileType::RegularFile {
            return Ok(Found::LeftOut(
                "it is no regular file, and deployer writes no key into it: put the file itself there".into(),
            ));
        }
        let Some(how) = self.fault(is, &account) else {
            return Ok(Found::There);
        };
        let (_, text) = read(&folder, name)?;
        Ok(match self.is_given_away(is, &account) && !is_keys_alone(&text) {
            false => Found::ToDo(Verb::Change, how),
            true => Found::LeftOut(format!(
                "sshd takes no key of it ({how}), and not every line of it is a key: look at it, then `chown {} {1} && chmod \
                 0600 {1}`",
                self.user,
                self.path.display()
            )),
        })
    }

    /// What sshd has against it.
    fn fault(&self, is: Entry, account: &Account) -> Option<String> {
        if self.is_given_away(is, account) {
            return Some(format!("it is to be {}'s, for sshd to take it", self.user));
        }
        let wanted = is.mode & !0o022 | if is.uid == account.uid { 0o600 } else { 0 };
        (is.mode != wanted).then(|| format!("mode {MODE:04o} instead of {:04o}", is.mode))
    }

    /// Whether it has to change its owner: it is a stranger's, or root's and out of the user's reach.
    fn is_given_away(&self, is: Entry, account: &Account) -> bool {
        let is_in_reach = is.mode & 0o004 != 0 || (is.gid == account.gid && is.mode & 0o040 != 0);
        is.uid != account.uid && !(is.uid == 0 && is_in_reach)
    }

    pub(super) fn make(&self) -> Result<Option<String>> {
        let account = Account::named(&self.user)?.context("the user is gone")?;
        let (folder, name) = OpenFolder::above(&self.path)?.context("its folder is gone")?;
        // Of the file that is read, whatever was put into its place since it was looked at.
        let (is, text) = read(&folder, name)?;
        if self.is_given_away(is, &account) && !is_keys_alone(&text) {
            bail!("{} was changed while it was looked at", self.path.display());
        }
        folder.replace_file(name, MODE, (account.uid, account.gid), |file| {
            std::io::Write::write_all(file, &text)
        })?;
        Ok((is.mode & 0o022 != 0).then(|| {
            "others could write to it: see by `deployer key list` whether every key is one that you know"
                .to_owned()
        }))
    }
}

/// What the regular file `name` is, and what is in it.
pub(super) fn read(folder: &OpenFolder, name: &OsStr) -> Result<(Entry, Vec<u8>)> {
    let file = folder.open_file(name)?;
    let is = rustix::fs::fstat(&file).map_err(std::io::Error::from)?.into();
    let mut text = Vec::new();
    file.take(SIZE_MAX as u64)
        .read_to_end(&mut text)
        .context("cannot read the file of keys")?;
    if text.len() == SIZE_MAX {
        bail!("the file of keys has 4 MiB or more");
    }
    Ok((is, text))
}

/// Whether there is nothing in it but keys, comments and empty lines.
fn is_keys_alone(text: &[u8]) -> bool {
    AuthorizedKeys::parse(text)
        .key_lines()
        .all(|line| line.key.is_some())
}

/// The types of the keys in the file at `path`, each once; the usual one where there are none.
pub(super) fn kinds(path: &Path) -> Vec<String> {
    let all = || -> Result<Vec<u8>> {
        let above = OpenFolder::above(path)?;
        let (folder, name) = above.context("its folder is gone")?;
        Ok(read(&folder, name)?.1)
    };
    // A file that cannot be read is told of as itself.
    let text = all().unwrap_or_default();
    let keys = AuthorizedKeys::parse(&text);
    let mut kinds: Vec<String> = keys
        .key_lines()
        .filter_map(|line| Some(line.key?.kind().to_owned()))
        .collect();
    kinds.sort();
    kinds.dedup();
    if kinds.is_empty() {
        kinds.push(USUAL_KIND.to_owned());
    }
    kinds
}
