//! A listening socket: at an address or, where another program stands in front, at a path.

use std::fmt;
use std::fs;
use std::io::{self, IoSlice, Read, Write};
use std::net::{IpAddr, SocketAddr, TcpListener, TcpStream};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd, RawFd};
use std::os::unix::fs::{FileTypeExt, PermissionsExt};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};

use rustix::io::Errno;
use rustix::net::{
    AddressFamily, SocketAddrUnix, SocketFlags, SocketType, acceptfrom_with, connect, listen, socket_with,
    sockopt,
};
use rustix::process::{Pid, getpid};

use crate::ground::durable;
use crate::ground::told::Told;
use crate::proxy::holder;

/// Connections that may wait to be accepted; the kernel caps it by net.core.somaxconn.
const QUEUE: i32 = 4096;

/// Anybody may connect to a socket at a path: its folder decides who gets there.
const MODE: u32 = 0o666;

/// What a socket's path ends in before it is put into its place. The kernel tells of a socket what it was bound to.
const NEW: &str = ".new";

/// Where a proxy listens.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) enum Place {
    /// A TCP port.
    Address(SocketAddr),
    /// A unix socket.
    Path(PathBuf),
}

/// A listening socket.
#[derive(Debug)]
pub(super) enum Listener {
    Tcp(TcpListener),
    Unix(UnixListener),
}

/// A connection that was accepted, and belongs to no runtime: it blocks nobody.
#[derive(Debug)]
pub(super) enum Connection {
    Tcp(TcpStream),
    Unix(UnixStream),
}

impl Place {
    /// Why nobody can listen here, as a sentence.
    pub(super) fn refused(&self, error: &io::Error) -> Told {
        match (self, error.kind()) {
            (Self::Address(address), io::ErrorKind::AddrInUse) => holder::told(*address).into(),
            (Self::Path(path), io::ErrorKind::AddrInUse) => {
                format!("another program listens at {}", path.display()).into()
            }
            (Self::Path(path), io::ErrorKind::PermissionDenied) => {
                Told::new(format!("cannot listen at {}: {error}", path.display()))
                    .hint("the proxy's user must own the folder; deployer's systemd unit makes /run/deployer")
            }
            _ => format!("cannot listen on {self}: {error}").into(),
        }
    }

    /// Whether a socket at `other` can keep one from listening here.
    pub(super) fn is_in_the_way_of(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Address(one), Self::Address(other)) => one.port() == other.port(),
            _ => false,
        }
    }
}

impl fmt::Display for Place {
    fn fmt(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Address(address) => address.fmt(to),
            Self::Path(path) => path.display().fmt(to),
        }
    }
}

impl Listener {
    /// A new socket at `place`. SO_REUSEADDR, which the standard library sets, lets it have a port of which the rest of
    /// one's own connections remains.
    ///
    /// # Errors
    /// When somebody listens there, or nobody may.
    pub(super) fn bind(place: &Place) -> io::Result<Self> {
        match place {
            Place::Address(address) => TcpListener::bind(address).map(Self::Tcp),
            Place::Path(path) => bind_path(path).map(Self::Unix),
        }
    }

    /// Where it listens.
    pub(super) fn place(&self) -> io::Result<Place> {
        match self {
            Self::Tcp(socket) => socket.local_addr().map(Place::Address),
            Self::Unix(socket) => {
                let address = socket.local_addr()?;
                let bound = address.as_pathname().and_then(Path::to_str);
                let bound = bound.ok_or_else(|| io::Error::other("a socket without a path"))?;
                let path = bound.strip_suffix(NEW).unwrap_or(bound);
                Ok(Place::Path(path.into()))
            }
        }
    }

    /// Gives it a long queue, and what is accepted its settings.
    pub(super) fn prepare(&self) -> io::Result<()> {
        // Again, for a longer queue than the standard library's.
        listen(self, QUEUE)?;
        match self {
            Self::Tcp(socket) => {
                socket.set_nonblocking(true)?;
                sockopt::set_tcp_nodelay(socket, true)?;
                super::listen::keep_alive(socket)
            }
            Self::Unix(socket) => socket.set_nonblocking(true),
        }
    }

    /// Whether clients still find it. A path may have gone with its folder, or have become another's; a port cannot.
    pub(super) fn is_found(&self) -> io::Result<bool> {
        let Place::Path(path) = self.place()? else {
            return Ok(true);
        };
        // From here on the kernel names this process to whoever connects.
        listen(self, QUEUE)?;
        Ok(match listening_at(&path)? {
            Listening::Process(pid) => pid == getpid(),
            Listening::Busy => true,
            Listening::Nobody => false,
        })
    }

    pub(super) fn try_clone(&self) -> io::Result<Self> {
        match self {
            Self::Tcp(socket) => socket.try_clone().map(Self::Tcp),
            Self::Unix(socket) => socket.try_clone().map(Self::Unix),
        }
    }

    /// Takes the next connection from the queue, with its peer's address where it has one.
    pub(super) fn accept(&self) -> io::Result<(Connection, Option<IpAddr>)> {
        let (stream, peer) = acceptfrom_with(self, SocketFlags::NONBLOCK | SocketFlags::CLOEXEC)?;
        match self {
            Self::Tcp(_) => {
                let peer = peer.and_then(|peer| SocketAddr::try_from(peer).ok());
                let peer = peer.ok_or(io::ErrorKind::ConnectionAborted)?;
                Ok((Connection::Tcp(stream.into()), Some(peer.ip())))
            }
            Self::Unix(_) => Ok((Connection::Unix(stream.into()), None)),
        }
    }
}

impl Connection {
    /// Reads what has come; nobody is waited for.
    pub(super) fn read(&self, to: &mut [u8]) -> io::Result<usize> {
        match self {
            Self::Tcp(socket) => (&*socket).read(to),
            Self::Unix(socket) => (&*socket).read(to),
        }
    }

    /// Writes what the kernel takes; nobody is waited for.
    pub(super) fn write_vectored(&self, from: &[IoSlice<'_>]) -> io::Result<usize> {
        match self {
            Self::Tcp(socket) => (&*socket).write_vectored(from),
            Self::Unix(socket) => (&*socket).write_vectored(from),
        }
    }
}

impl AsFd for Connection {
    fn as_fd(&self) -> BorrowedFd<'_> {
        match self {
            Self::Tcp(socket) => socket.as_fd(),
            Self::Unix(socket) => socket.as_fd(),
        }
    }
}

impl TryFrom<OwnedFd> for Listener {
    type Error = io::Error;

    fn try_from(descriptor: OwnedFd) -> io::Result<Self> {
        match sockopt::socket_domain(&descriptor)? {
            AddressFamily::UNIX => Ok(Self::Unix(descriptor.into())),
            AddressFamily::INET | AddressFamily::INET6 => Ok(Self::Tcp(descriptor.into())),
            _ => Err(io::ErrorKind::Unsupported.into()),
        }
    }
}

impl AsFd for Listener {
    fn as_fd(&self) -> BorrowedFd<'_> {
        match self {
            Self::Tcp(socket) => socket.as_fd(),
            Self::Unix(socket) => socket.as_fd(),
        }
    }
}

impl AsRawFd for Listener {
    fn as_raw_fd(&self) -> RawFd {
        self.as_fd().as_raw_fd()
    }
}

/// A socket at `path`, put in the place of one that nobody serves any more in one step: clients never miss it.
fn bind_path(path: &Path) -> io::Result<UnixListener> {
    match fs::symlink_metadata(path) {
        Ok(there) if !there.file_type().is_socket() => {
            return Err(io::Error::other("what is there is no socket"));
        }
        _ => {}
    }
    if !matches!(listening_at(path)?, Listening::Nobody) {
        return Err(io::ErrorKind::AddrInUse.into());
    }
    // The program in front must get through, whoever that runs as.
    if let Some(folder) = path.parent() {
        durable::make_folder(folder, 0o755)?;
    }
    let mut new = path.as_os_str().to_owned();
    new.push(NEW);
    match fs::remove_file(&new) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let socket = UnixListener::bind(&new)?;
    fs::set_permissions(&new, fs::Permissions::from_mode(MODE))?;
    fs::rename(&new, path)?;
    Ok(socket)
}

/// Who listens at a path.
enum Listening {
    Nobody,
    /// Who has listened last at the socket that is there.
    Process(Pid),
    /// Somebody whose queue is full.
    Busy,
}

fn listening_at(path: &Path) -> io::Result<Listening> {
    let flags = SocketFlags::NONBLOCK | SocketFlags::CLOEXEC;
    let socket = socket_with(AddressFamily::UNIX, SocketType::STREAM, flags, None)?;
    match connect(&socket, &SocketAddrUnix::new(path)?) {
        Ok(()) => Ok(Listening::Process(sockopt::socket_peercred(&socket)?.pid)),
        Err(Errno::NOENT | Errno::CONNREFUSED) => Ok(Listening::Nobody),
        Err(Errno::AGAIN) => Ok(Listening::Busy),
        Err(error) => Err(error.into()),
    }
}
