//! A client's stream: over TCP, or through a unix socket from the program in front.
//!
//! Having the kernel tell of a socket costs more than reading from it. Many connections that bring a single request bring
//! it at once and end with its answer, and nothing of theirs is ever waited for: a socket is watched from when there is.

use std::io::{self, IoSlice};
use std::os::fd::{AsFd, BorrowedFd};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use rustix::net::{SendFlags, send, sockopt};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpStream, UnixStream};

use super::framing::Framing;
use super::listener::Connection;
use super::pulse::{Phase, Pulse};

/// Most that is read before a socket is watched, in bytes: the heads of most requests.
const FIRST_READ: usize = 2048;

const LATE: &[u8] = b"HTTP/1.1 408 Request Timeout\r\nconnection: close\r\ncontent-length: 0\r\n\r\n";

/// A client's stream that keeps its connection's pulse, and follows the framing of what comes.
pub(super) struct Stream {
    socket: Socket,
    pulse: Arc<Pulse>,
    framing: Framing,
}

/// A socket, and whether the kernel tells this thread of it.
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
    pub(super) fn new(socket: Connection, pulse: Arc<Pulse>) -> Self {
        Self {
            socket: Socket::Bare { socket, tried: false },
            pulse,
            framing: Framing::new(),
        }
    }

    /// Whether all that there is to read for now is the client's next request, or its going away, while the answer to
    /// the one before it is likely to be there soon.
    fn can_wait(&self) -> bool {
        matches!(self.socket, Socket::Bare { tried: true, .. })
            && self.framing.is_between()
            && self.pulse.is_brief()
    }

    fn note(&self, polled: &Poll<io::Result<usize>>) {
        match polled {
            Poll::Ready(Ok(_)) => self.pulse.wrote(true),
            Poll::Pending => self.pulse.wrote(false),
            Poll::Ready(Err(_)) => {}
        }
    }
}

impl AsyncRead for Stream {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        if this.pulse.is_late() {
            if let Some(socket) = this.socket.descriptor() {
                let _ = send(socket, LATE, SendFlags::DONTWAIT | SendFlags::NOSIGNAL);
            }
            return Poll::Ready(Err(io::ErrorKind::TimedOut.into()));
        }
        if this.can_wait() {
            this.pulse.goes_unwatched(true);
            return Poll::Pending;
        }
        this.pulse.goes_unwatched(false);
        let before = buf.filled().len();
        let polled = this.socket.poll_read(cx, buf);
        let new = &buf.filled()[before..];
        if !new.is_empty() && this.pulse.phase() != Phase::Tunnel {
            let conflicting = this.framing.follow(new);
            this.pulse.heard(this.framing.begun());
            if let Some(number) = conflicting {
                this.pulse.conflicting(number);
            }
        }
        polled
    }
}

impl AsyncWrite for Stream {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        self.poll_write_vectored(cx, &[IoSlice::new(buf)])
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        let polled = this.socket.poll_write(cx, bufs);
        this.note(&polled);
        polled
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    /// Half a tunnel may end before the other. Everything else is closed at once after this, which says the same.
    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        match this.pulse.phase() {
            Phase::Tunnel => this.socket.watched()?.poll_shutdown(cx),
            _ => Poll::Ready(Ok(())),
        }
    }
}

impl Drop for Stream {
    /// An answer that is broken off must not look whole: where only the connection's end tells, it ends by a reset.
    /// A unix socket knows no such end; the program in front is told to speak HTTP/1.1, where an answer tells its own.
    fn drop(&mut self) {
        if self.pulse.would_look_whole()
            && let Some(socket) = self.socket.descriptor()
        {
            let _ = sockopt::set_socket_linger(socket, Some(Duration::ZERO));
        }
    }
}

impl Socket {
    fn poll_read(&mut self, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        if let Self::Bare { socket, tried } = self
            && !std::mem::replace(tried, true)
        {
            let room = buf.remaining().min(FIRST_READ);
            match socket.read(buf.initialize_unfilled_to(room)) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                read => return Poll::Ready(read.map(|read| buf.advance(read))),
            }
        }
        self.watched()?.poll_read(cx, buf)
    }

    fn poll_write(&mut self, cx: &mut Context<'_>, bufs: &[IoSlice<'_>]) -> Poll<io::Result<usize>> {
        if let Self::Bare { socket, .. } = self {
            match socket.write_vectored(bufs) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                written => return Poll::Ready(written),
            }
        }
        self.watched()?.poll_write_vectored(cx, bufs)
    }

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
