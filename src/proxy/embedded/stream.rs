//! A client's stream: over TCP, or through a unix socket from the program in front.
//!
//! Having the kernel tell of a socket costs more than reading from it. Many connections that bring a single request bring
//! it at once and end with its answer, and nothing of theirs is ever waited for: a socket is watched from when there is.

use std::io::{self, IoSlice};
use std::os::fd::{AsFd, BorrowedFd};
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use rustix::net::{RecvFlags, recv, sockopt};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpStream, UnixStream};

use super::hangup::HangUp;
use super::listener::Connection;

/// How long after the peer's end, and between two probes that are answered, the kernel asks whether it is there. A Linux that
/// has closed altogether answers like one that reads for a minute, and resets from then on.
const HALF_CLOSED_IDLE: Duration = Duration::from_secs(15);

/// See the module.
#[derive(Debug)]
pub(super) struct Stream {
    socket: Socket,
    /// Whether nothing but the stream's end tells where the answer under way ends.
    pub(super) is_unframed: bool,
}

/// A socket, and whether the kernel tells this thread of it.
#[derive(Debug)]
enum Socket {
    /// It does not. `tried`: it was read from once, and all that had come was taken.
    Bare {
        socket: Connection,
        tried: bool,
    },
    Tcp(TcpStream),
    Unix(UnixStream),
    /// It could not be watched, and was closed.
    Gone,
}

impl Stream {
    /// A stream of whoever has just connected.
    pub(super) fn new(socket: Connection) -> Self {
        Self {
            socket: Socket::Bare { socket, tried: false },
            is_unframed: false,
        }
    }

    /// Whether the kernel is yet to be asked to tell of it.
    pub(super) fn is_unwatched(&self) -> bool {
        matches!(self.socket, Socket::Bare { .. })
    }

    /// Reads into `room` what has come, 0 bytes at the end.
    pub(super) fn poll_read(&mut self, cx: &mut Context<'_>, room: &mut [u8]) -> Poll<io::Result<usize>> {
        if let Socket::Bare { socket, tried } = &mut self.socket
            && !std::mem::replace(tried, true)
        {
            match socket.read(room) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                read => return Poll::Ready(read),
            }
        }
        let mut room = ReadBuf::new(room);
        let read = self.socket.watched()?.poll_read(cx, &mut room);
        read.map_ok(|()| room.filled().len())
    }

    /// Writes of `bytes` what the kernel takes.
    pub(super) fn poll_write(
        &mut self,
        cx: &mut Context<'_>,
        bytes: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        if let Socket::Bare { socket, .. } = &self.socket {
            match socket.write_vectored(bytes) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                written => return Poll::Ready(written),
            }
        }
        self.socket.watched()?.poll_write_vectored(cx, bytes)
    }

    /// What tells when the peer, which sends nothing more, has gone altogether.
    ///
    /// # Errors
    /// When that cannot be watched.
    pub(super) fn hang_up(&self) -> io::Result<HangUp> {
        let socket = self.socket.descriptor().ok_or(io::ErrorKind::NotConnected)?;
        // A unix socket has none, and needs none.
        let _ = sockopt::set_tcp_keepidle(socket, HALF_CLOSED_IDLE);
        HangUp::of(socket)
    }

    /// Whether something has come that was not read; the end is nothing.
    pub(super) fn has_more(&self) -> bool {
        let Some(socket) = self.socket.descriptor() else {
            return false;
        };
        let read = recv(socket, &mut [0; 1][..], RecvFlags::PEEK | RecvFlags::DONTWAIT);
        matches!(read, Ok((1.., _)))
    }
}

impl AsyncRead for Stream {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, room: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        self.get_mut().socket.watched()?.poll_read(cx, room)
    }
}

impl AsyncWrite for Stream {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Stream::poll_write(self.get_mut(), cx, &[IoSlice::new(bytes)])
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.get_mut().socket.watched()?.poll_shutdown(cx)
    }
}

impl Drop for Stream {
    /// An answer that is broken off must not look whole: where only the connection's end tells, it ends by a reset.
    /// A unix socket knows no such end; the program in front is told to speak HTTP/1.1, where an answer tells its own.
    fn drop(&mut self) {
        if self.is_unframed
            && let Some(socket) = self.socket.descriptor()
        {
            let _ = sockopt::set_socket_linger(socket, Some(Duration::ZERO));
        }
    }
}

impl Socket {
    fn descriptor(&self) -> Option<BorrowedFd<'_>> {
        match self {
            Self::Bare { socket, .. } => Some(socket.as_fd()),
            Self::Tcp(socket) => Some(socket.as_fd()),
            Self::Unix(socket) => Some(socket.as_fd()),
            Self::Gone => None,
        }
    }

    /// The socket, watched by this thread's runtime from now on.
    fn watched(&mut self) -> io::Result<Pin<&mut dyn Watched>> {
        if matches!(self, Self::Bare { .. }) {
            let Self::Bare { socket, .. } = std::mem::replace(self, Self::Gone) else {
                unreachable!("looked at above")
            };
            *self = match socket {
                Connection::Tcp(socket) => Self::Tcp(TcpStream::from_std(socket)?),
                Connection::Unix(socket) => Self::Unix(UnixStream::from_std(socket)?),
            };
        }
        match self {
            Self::Tcp(socket) => Ok(Pin::new(socket)),
            Self::Unix(socket) => Ok(Pin::new(socket)),
            Self::Bare { .. } | Self::Gone => Err(io::ErrorKind::NotConnected.into()),
        }
    }
}

/// A socket that the kernel tells this thread of.
trait Watched: AsyncRead + AsyncWrite + Unpin {}

impl Watched for TcpStream {}
impl Watched for UnixStream {}
