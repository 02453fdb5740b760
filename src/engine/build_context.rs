//! A build's context: the files that the Engine gets, as a tar that is written while it is sent.
//!
//! The Dockerfile is always among them. The classic builder hides one that is ignored from the build's COPY;
//! BuildKit, which takes a tar as it is, does not. In this one point the two differ.

use std::ffi::OsString;
use std::fs::{self, File, Metadata};
use std::io::{self, Read, Write};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::os::unix::fs::{FileTypeExt, MetadataExt, OpenOptionsExt};
use std::path::{Component, Path, PathBuf};

use bytes::{Bytes, BytesMut};
use tokio::sync::mpsc;
use tokio::task::JoinHandle;

use super::ignore::{Ignore, Matched};
use super::lines::one_line;
use crate::ground::told::Hint;
use crate::model::{NotText, is_utf16};

/// Bytes per piece, and pieces that may wait for the Engine: together they bound the memory of a build.
const PIECE: usize = 64 * 1024;
const PIECES_WAITING: usize = 4;
/// Largest ignore file, and how much of a Dockerfile is looked at to see whether it is empty.
const TEXT_MAX: u64 = 1024 * 1024;

/// Why a context cannot be sent.
#[derive(Debug, thiserror::Error)]
pub enum ContextError {
    /// There is no such folder in the tree.
    #[error(
        "the build context {0} is no folder of the pushed tree{hint}",
        hint = Hint("set `context` for this app")
    )]
    NoContext(String),
    /// There is no such file in the context.
    #[error(
        "there is no {0} in the build context{hint}",
        hint = Hint("add one, or set `dockerfile` for this app")
    )]
    NoDockerfile(String),
    /// It has no instruction.
    #[error("{0} is empty: it needs at least a FROM line")]
    EmptyDockerfile(String),
    /// A link, or `..`, that leads out of the tree.
    #[error("{what} {path} leads out of the pushed tree; only files inside it are read")]
    Outside {
        /// The context, the Dockerfile or the ignore file.
        what: &'static str,
        /// Its path, as it was given.
        path: String,
    },
    /// An ignore file with a line that is no pattern.
    #[error("{file}: {reason}")]
    BadIgnore {
        /// The ignore file.
        file: String,
        /// The line and what is wrong with it.
        reason: String,
    },
    /// A file that was written to while it was read.
    #[error(
        "{0} changed while it was being sent to the Engine; the tree must not be written to during a build"
    )]
    Changed(String),
    /// A file that is none of file, folder, link, fifo.
    #[error("{0} is a device, which has no place in a build context")]
    Device(String),
    /// A file that cannot be read.
    #[error("cannot read {path}: {reason}")]
    Unreadable {
        /// The file, relative to the context.
        path: String,
        /// What the system said.
        reason: io::Error,
    },
}

/// A context that was looked at and found good to send.
#[derive(Debug)]
pub(super) struct BuildContext {
    root: PathBuf,
    /// Relative to the context, without `.` and `..`.
    dockerfile: PathBuf,
    ignore: Ignore,
}

impl BuildContext {
    /// Looks at the context folder `context` inside the tree `root`: its Dockerfile and its ignore file.
    pub(super) fn open(root: &Path, context: &Path, dockerfile: &str) -> Result<Self, ContextError> {
        let root = fs::canonicalize(root).map_err(|reason| unreadable(root, reason))?;
        let shown = || show(context.strip_prefix(&root).unwrap_or(context));
        let context = fs::canonicalize(context).map_err(|_| ContextError::NoContext(shown()))?;
        if !context.starts_with(&root) {
            return Err(outside("the build context", &shown()));
        }
        if !context.is_dir() {
            return Err(ContextError::NoContext(shown()));
        }
        let relative = check_dockerfile(&context, dockerfile)?;
        let ignore = read_ignore(&context, &relative)?;
        Ok(Self {
            root: context,
            dockerfile: relative,
            ignore,
        })
    }

    /// The Dockerfile's path within the context, as the Engine wants it.
    pub(super) fn dockerfile(&self) -> String {
        self.dockerfile.to_string_lossy().into_owned()
    }

    /// The Dockerfile's beginning, up to 1 MiB.
    pub(super) fn dockerfile_text(&self) -> String {
        let text = read_text(&self.root.join(&self.dockerfile)).unwrap_or_default();
        String::from_utf8_lossy(&text).into_owned()
    }

    /// Starts to write the tar on a thread of its own. The pieces come out of the receiver, an error ends them;
    /// dropping the receiver ends the thread.
    pub(super) fn send(
        self,
    ) -> (
        mpsc::Receiver<io::Result<Bytes>>,
        JoinHandle<Result<(), ContextError>>,
    ) {
        let (sender, receiver) = mpsc::channel(PIECES_WAITING);
        let task = tokio::task::spawn_blocking(move || {
            let pieces = Pieces {
                sender: sender.clone(),
                piece: BytesMut::with_capacity(PIECE),
            };
            let sent = self.write(pieces, &|| !sender.is_closed());
            if sent.is_err() {
                let _ = sender.blocking_send(Err(io::Error::other("the build context could not be read")));
            }
            sent
        });
        (receiver, task)
    }

    fn write(&self, to: impl Write, go_on: &dyn Fn() -> bool) -> Result<(), ContextError> {
        let mut tar = tar::Builder::new(to);
        self.write_folder(&mut tar, Path::new(""), None, go_on)?;
        let mut to = tar
            .into_inner()
            .map_err(|reason| unreadable(&self.root, reason))?;
        to.flush().map_err(|reason| unreadable(&self.root, reason))
    }

    fn write_folder<W: Write>(
        &self,
        tar: &mut tar::Builder<W>,
        folder: &Path,
        parent: Option<&Matched>,
        go_on: &dyn Fn() -> bool,
    ) -> Result<(), ContextError> {
        for name in sorted_names(&self.root.join(folder)).map_err(|reason| unreadable(folder, reason))? {
            // Nothing may be sent for long: where everything is ignored, by patterns that take their time.
            if !go_on() {
                return Err(unreadable(folder, hung_up()));
            }
            let path = folder.join(name);
            let meta =
                fs::symlink_metadata(self.root.join(&path)).map_err(|reason| unreadable(&path, reason))?;
            let (excluded, matched) = self.ignore.excludes(&path.to_string_lossy(), parent);
            let excluded = excluded && !self.always_sent(&path);
            if !excluded {
                self.write_entry(tar, &path, &meta)?;
            }
            if meta.is_dir() && (!excluded || self.holds_something_sent(&path)) {
                self.write_folder(tar, &path, Some(&matched), go_on)?;
            }
        }
        Ok(())
    }

    /// The Dockerfile and the ignore file are needed by the build itself: ignored or not.
    fn always_sent(&self, path: &Path) -> bool {
        path == self.dockerfile || path == Path::new(".dockerignore")
    }

    fn holds_something_sent(&self, folder: &Path) -> bool {
        self.dockerfile.starts_with(folder) || self.ignore.may_take_back_below(&folder.to_string_lossy())
    }

    fn write_entry<W: Write>(
        &self,
        tar: &mut tar::Builder<W>,
        path: &Path,
        meta: &Metadata,
    ) -> Result<(), ContextError> {
        let kind = meta.file_type();
        let failed = |reason: io::Error| match reason.get_ref().is_some_and(|inner| inner.is::<Changed>()) {
            true => ContextError::Changed(show(path)),
            false => unreadable(path, reason),
        };
        let mut header = tar::Header::new_gnu();
        header.set_mode(meta.mode() & 0o7777);
        header.set_uid(0);
        header.set_gid(0);
        header.set_mtime(u64::try_from(meta.mtime()).unwrap_or(0));
        header.set_size(0);
        if kind.is_dir() {
            header.set_entry_type(tar::EntryType::Directory);
            tar.append_data(&mut header, path, io::empty()).map_err(failed)
        } else if kind.is_symlink() {
            header.set_entry_type(tar::EntryType::Symlink);
            let target = fs::read_link(self.root.join(path)).map_err(failed)?;
            // The short form as it stands: `append_link` would tidy a target like `a//b`.
            match header.set_link_name_literal(target.as_os_str().as_bytes()) {
                Ok(()) => tar.append_data(&mut header, path, io::empty()).map_err(failed),
                Err(_) => tar.append_link(&mut header, path, target).map_err(failed),
            }
        } else if kind.is_fifo() {
            header.set_entry_type(tar::EntryType::Fifo);
            tar.append_data(&mut header, path, io::empty()).map_err(failed)
        } else if kind.is_socket() {
            Ok(())
        } else if kind.is_file() {
            header.set_size(meta.len());
            let file = open_file(&self.root.join(path)).map_err(failed)?;
            let exactly = Exactly {
                file,
                left: meta.len(),
            };
            tar.append_data(&mut header, path, exactly).map_err(failed)
        } else {
            Err(ContextError::Device(show(path)))
        }
    }
}

/// The Dockerfile's path within the context, when it is a file with an instruction in it.
fn check_dockerfile(context: &Path, given: &str) -> Result<PathBuf, ContextError> {
    let mut relative = PathBuf::new();
    for part in Path::new(given).components() {
        match part {
            Component::Normal(name) => relative.push(name),
            Component::CurDir => {}
            _ => return Err(outside("the Dockerfile", given)),
        }
    }
    let missing = || ContextError::NoDockerfile(show(&relative));
    let real = fs::canonicalize(context.join(&relative)).map_err(|_| missing())?;
    if !real.starts_with(context) {
        return Err(outside("the Dockerfile", given));
    }
    if !real.is_file() {
        return Err(missing());
    }
    let text = read_text(&real).map_err(|reason| unreadable(&relative, reason))?;
    if is_utf16(&text) {
        return Err(unreadable(&relative, io::Error::other(NotText::Utf16)));
    }
    let text = String::from_utf8_lossy(&text);
    let has_instruction = |line: &str| !line.trim().is_empty() && !line.trim_start().starts_with('#');
    if !text.trim_start_matches('\u{feff}').lines().any(has_instruction) {
        return Err(ContextError::EmptyDockerfile(show(&relative)));
    }
    Ok(relative)
}

/// `DOCKERFILE.dockerignore` where there is one, else `.dockerignore`, else nothing.
fn read_ignore(context: &Path, dockerfile: &Path) -> Result<Ignore, ContextError> {
    let mut own: OsString = dockerfile.as_os_str().to_owned();
    own.push(".dockerignore");
    for relative in [PathBuf::from(own), PathBuf::from(".dockerignore")] {
        let path = context.join(&relative);
        if fs::symlink_metadata(&path).is_err() {
            continue;
        }
        let real = fs::canonicalize(&path).map_err(|reason| unreadable(&relative, reason))?;
        if !real.starts_with(context) {
            return Err(outside("the ignore file", &show(&relative)));
        }
        let bad = |reason: String| ContextError::BadIgnore {
            file: show(&relative),
            reason,
        };
        if fs::metadata(&real).is_ok_and(|meta| meta.len() > TEXT_MAX) {
            return Err(bad("it is larger than 1 MiB".to_owned()));
        }
        let text = read_text(&real).map_err(|reason| unreadable(&relative, reason))?;
        if is_utf16(&text) {
            return Err(bad(NotText::Utf16.to_string()));
        }
        return Ignore::parse(&String::from_utf8_lossy(&text))
            .map_err(|reason| bad(one_line(&reason.to_string(), 300)));
    }
    Ok(Ignore::default())
}

fn read_text(path: &Path) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    open_file(path)?.take(TEXT_MAX).read_to_end(&mut bytes)?;
    Ok(bytes)
}

/// Opens without following a last link and without waiting on a fifo, should the tree change under the walk.
fn open_file(path: &Path) -> io::Result<File> {
    let flags = rustix::fs::OFlags::NOFOLLOW | rustix::fs::OFlags::NONBLOCK;
    let flags = i32::try_from(flags.bits()).map_err(io::Error::other)?;
    fs::OpenOptions::new().read(true).custom_flags(flags).open(path)
}

fn sorted_names(folder: &Path) -> io::Result<Vec<OsString>> {
    let mut names: Vec<Vec<u8>> = Vec::new();
    for entry in fs::read_dir(folder)? {
        names.push(entry?.file_name().into_vec());
    }
    names.sort_unstable();
    Ok(names.into_iter().map(OsString::from_vec).collect())
}

/// Reads a file's bytes when they are as many as its entry says, and fails otherwise: a tar cannot be mended.
struct Exactly {
    file: File,
    left: u64,
}

#[derive(Debug, thiserror::Error)]
#[error("the file changed")]
struct Changed;

impl Read for Exactly {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        let room = usize::try_from(self.left).unwrap_or(usize::MAX).min(into.len());
        let wanted = if self.left == 0 { into.len().min(1) } else { room };
        let read = self.file.read(&mut into[..wanted])?;
        match (read, self.left) {
            (0, 0) => Ok(0),
            (0, _) | (_, 0) => Err(io::Error::other(Changed)),
            (read, left) => {
                self.left = left - read as u64;
                Ok(read)
            }
        }
    }
}

/// Turns writes into pieces of a size, and waits while enough of them are on the way.
struct Pieces {
    sender: mpsc::Sender<io::Result<Bytes>>,
    piece: BytesMut,
}

impl Pieces {
    fn send(&mut self) -> io::Result<()> {
        let piece = std::mem::replace(&mut self.piece, BytesMut::with_capacity(PIECE));
        let sent = self.sender.blocking_send(Ok(piece.freeze()));
        sent.map_err(|_| hung_up())
    }
}

impl Write for Pieces {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let taken = bytes.len().min(PIECE - self.piece.len());
        self.piece.extend_from_slice(&bytes[..taken]);
        if self.piece.len() == PIECE {
            self.send()?;
        }
        Ok(taken)
    }

    fn flush(&mut self) -> io::Result<()> {
        match self.piece.is_empty() {
            true => Ok(()),
            false => self.send(),
        }
    }
}

fn hung_up() -> io::Error {
    io::Error::new(
        io::ErrorKind::BrokenPipe,
        "the Engine takes no more of the context",
    )
}

fn unreadable(path: &Path, reason: io::Error) -> ContextError {
    ContextError::Unreadable {
        path: show(path),
        reason,
    }
}

fn outside(what: &'static str, path: &str) -> ContextError {
    ContextError::Outside {
        what,
        path: one_line(path, 200),
    }
}

fn show(path: &Path) -> String {
    match path.as_os_str().as_bytes() {
        [] => ".".to_owned(),
        bytes => one_line(&String::from_utf8_lossy(bytes), 200),
    }
}
