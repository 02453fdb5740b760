//! Connections to upstreams.

use std::io::{self, IoSlice};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use rustix::net::{RecvFlags, recv};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;

use super::listen::keep_alive;
use super::reach::reach;
use super::upstream::Upstream;
use super::watch;

/// One connection to an upstream.
#[derive(Debug)]
pub(super) struct Link {
    pub(super) stream: TcpStream,
    upstream: Arc<Upstream>,
    /// When its first exchange was over, in milliseconds of the proxy's clock.
    first_kept: Option<u64>,
}

/// What was heard of a connection on which nothing is asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Heard {
    Nothing,
    /// Bytes that nobody has asked for.
    More,
    /// Its end, or a failure.
    End,
}

impl Link {
    /// Connects to `upstream`.
    pub(super) async fn open(upstream: &Arc<Upstream>) -> io::Result<Self> {
        let stream = reach(upstream.address).await?;
        stream.set_nodelay(true)?;
        keep_alive(&stream)?;
        Ok(Self {
            stream,
            upstream: Arc::clone(upstream),
            first_kept: None,
        })
    }

    /// For how many milliseconds it has been used again and again, at `now`.
    pub(super) fn age(&mut self, now: u64) -> u64 {
        now.saturating_sub(*self.first_kept.get_or_insert(now))
    }

    /// Reads into `room` what has come, 0 bytes at the end. The upstream is looked at when it ends the stream.
    pub(super) fn poll_read(&mut self, cx: &mut Context<'_>, room: &mut [u8]) -> Poll<io::Result<usize>> {
        let mut room = ReadBuf::new(room);
        let read = ready!(Pin::new(&mut self.stream).poll_read(cx, &mut room));
        let came = room.filled().len();
        if came == 0 {
            watch::look(&self.upstream);
        }
        Poll::Ready(read.map(|()| came))
    }

    /// Writes of `bytes` what the kernel takes.
    pub(super) fn poll_write(
        &mut self,
        cx: &mut Context<'_>,
        bytes: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write_vectored(cx, bytes)
    }

    /// What was heard of it since its last exchange, as far as this thread was told. Whoever calls is woken when there
    /// is more.
    pub(super) fn heard(&self, cx: &mut Context<'_>) -> Heard {
        while self.stream.poll_read_ready(cx).is_ready() {
            // A read that took all there was, and as much as it could, leaves it to the next one to find that out.
            match self.stream.try_read(&mut [0; 1]) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                Ok(1..) => return Heard::More,
                _ => return Heard::End,
            }
        }
        Heard::Nothing
    }

    /// The same, as the kernel knows it at this moment.
    pub(super) fn heard_now(&self) -> Heard {
        let heard = recv(
            &self.stream,
            &mut [0; 1][..],
            RecvFlags::PEEK | RecvFlags::DONTWAIT,
        );
        match heard {
            Err(rustix::io::Errno::AGAIN) => Heard::Nothing,
            Ok((1.., _)) => Heard::More,
            _ => Heard::End,
        }
    }
}
