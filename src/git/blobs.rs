//! The contents of files, from the repository to the disk, in bounded memory.

use std::fs::File;
use std::io::{self, BufRead, BufReader, Read, Write};
use std::path::Path;
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};

use git2::{ObjectType, Oid, Repository};

use super::error::GitError;
use super::push::{MEMORY_MAX, without_git};

/// Bytes that a checkout reads through the library. It maps the repository's packs and holds whole files, and
/// what it has touched counts as this process's memory.
const LIBRARY_MAX: u64 = 8 << 20;

/// Reads contents: a few through the library, and once they are many or large, through `git cat-file`, which
/// streams them and takes its memory along when it ends.
pub(super) struct Blobs<'a> {
    repository: &'a Repository,
    path: &'a Path,
    /// Bytes that may still be read through the library.
    left: u64,
    git: Option<CatFile>,
}

/// Why a content did not arrive: the side that gives or the side that takes.
pub(super) enum CopyError {
    Read(GitError),
    Write(io::Error),
}

impl From<GitError> for CopyError {
    fn from(error: GitError) -> Self {
        Self::Read(error)
    }
}

impl<'a> Blobs<'a> {
    /// The contents of `repository`, which lies at `path`.
    pub(super) fn new(repository: &'a Repository, path: &'a Path) -> Self {
        Self {
            repository,
            path,
            left: LIBRARY_MAX,
            git: None,
        }
    }

    /// Writes the content `id` to `to`.
    pub(super) fn copy(&mut self, id: Oid, to: &mut File) -> Result<(), CopyError> {
        if self.git.is_none() {
            let size = self.size(id)?;
            if size <= self.left {
                self.left -= size;
                let blob = self.repository.find_blob(id).map_err(|e| self.unread(id, &e))?;
                return to.write_all(blob.content()).map_err(CopyError::Write);
            }
        }
        let git = match &mut self.git {
            Some(git) => git,
            none => none.insert(CatFile::start(self.path).map_err(|e| said(self.path, id, e))?),
        };
        git.copy(id, to, |e| said(self.path, id, e).into())
    }

    /// The content `id`, if it has at most `max` bytes.
    pub(super) fn small(&self, id: Oid, max: u64) -> Result<Option<Vec<u8>>, GitError> {
        if self.size(id)? > max {
            return Ok(None);
        }
        let blob = self.repository.find_blob(id).map_err(|e| self.unread(id, &e))?;
        Ok(Some(blob.content().to_vec()))
    }

    fn size(&self, id: Oid) -> Result<u64, GitError> {
        let header = self.repository.odb().and_then(|odb| odb.read_header(id));
        match header.map_err(|e| self.unread(id, &e))? {
            (size, ObjectType::Blob) => Ok(size as u64),
            (_, kind) => Err(said(self.path, id, io::Error::other(format!("it is a {kind}")))),
        }
    }

    fn unread(&self, id: Oid, source: &git2::Error) -> GitError {
        GitError::repository(self.path, format!("read the file {id}"), source)
    }
}

/// The error for the content `id` that git did not give.
fn said(repository: &Path, id: Oid, source: io::Error) -> GitError {
    GitError::Repository {
        repository: repository.to_owned(),
        doing: format!("read the file {id}"),
        detail: source.to_string(),
    }
}

/// A running `git cat-file --batch`: an id in, `ID blob SIZE` and the content out.
struct CatFile {
    child: Child,
    ask: ChildStdin,
    answer: BufReader<ChildStdout>,
}

impl CatFile {
    fn start(repository: &Path) -> io::Result<Self> {
        let mut command = Command::new("git");
        // A pusher may write refs/replace/*, which would put other contents in place of the tree's.
        command
            .arg("--no-replace-objects")
            .arg("--git-dir")
            .arg(repository);
        command.args(["cat-file", "--batch"]);
        without_git(&mut command)
            .env(MEMORY_MAX.0, MEMORY_MAX.1)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null());
        let mut child = command.spawn()?;
        let (ask, answer) = (child.stdin.take(), child.stdout.take());
        Ok(Self {
            child,
            ask: ask.expect("stdin is piped"),
            answer: BufReader::with_capacity(64 << 10, answer.expect("stdout is piped")),
        })
    }

    fn copy(
        &mut self,
        id: Oid,
        to: &mut File,
        unread: impl Fn(io::Error) -> CopyError,
    ) -> Result<(), CopyError> {
        let mut left = self.announced(id).map_err(&unread)?;
        while left > 0 {
            let part = self.answer.fill_buf().map_err(&unread)?;
            let length = part.len().min(usize::try_from(left).unwrap_or(usize::MAX));
            if length == 0 {
                return Err(unread(io::ErrorKind::UnexpectedEof.into()));
            }
            to.write_all(&part[..length]).map_err(CopyError::Write)?;
            self.answer.consume(length);
            left -= length as u64;
        }
        let mut end = [0];
        self.answer.read_exact(&mut end).map_err(&unread)
    }

    /// Asks for `id` and reads the answer's head: the size of what follows.
    fn announced(&mut self, id: Oid) -> io::Result<u64> {
        writeln!(self.ask, "{id}")?;
        let mut head = Vec::new();
        (&mut self.answer).take(128).read_until(b'\n', &mut head)?;
        let head = String::from_utf8_lossy(&head);
        let size = head.trim_end().strip_prefix(&format!("{id} blob "));
        size.and_then(|size| size.parse().ok())
            .ok_or_else(|| io::Error::other(format!("git cat-file says {:?}", head.trim_end())))
    }
}

impl Drop for CatFile {
    fn drop(&mut self) {
        // It may stand in the middle of a content that nobody reads any more.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
