//! Connections to upstreams.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::task::{Context, Poll};

use http::{Request, Response};
use hyper::body::Incoming;
use hyper::client::conn::http1::SendRequest;
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;

use super::body::Upload;
use super::listen::keep_alive;
use super::reach::reach;
use super::upstream::Upstream;
use super::watch;

/// One connection to an upstream.
#[derive(Debug)]
pub(super) struct Link {
    sender: SendRequest<Upload>,
    heard: Arc<AtomicBool>,
}

/// Why there is no answer.
#[derive(Debug)]
pub(super) enum Unanswered {
    /// Nothing of the request was written; here it is again.
    Unsent(Box<Request<Upload>>),
    /// The request may have been seen.
    Broken {
        /// Whether any byte came back.
        heard: bool,
    },
}

impl Link {
    /// Connects to `upstream`.
    pub(super) async fn open(upstream: &Arc<Upstream>) -> io::Result<Self> {
        let stream = reach(upstream.address).await?;
        stream.set_nodelay(true)?;
        keep_alive(&stream)?;
        let heard = Arc::new(AtomicBool::new(false));
        let ear = Ear {
            stream,
            heard: Arc::clone(&heard),
            upstream: Arc::clone(upstream),
        };
        let (sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(ear))
            .await
            .map_err(io::Error::other)?;
        tokio::spawn(connection.with_upgrades());
        Ok(Self { sender, heard })
    }

    /// Sends `request` and waits for the answer's head.
    pub(super) async fn ask(&mut self, request: Request<Upload>) -> Result<Response<Incoming>, Unanswered> {
        self.heard.store(false, Relaxed);
        self.sender
            .try_send_request(request)
            .await
            .map_err(|mut error| match error.take_message() {
                Some(request) => Unanswered::Unsent(Box::new(request)),
                None => Unanswered::Broken {
                    heard: self.heard.load(Relaxed),
                },
            })
    }

    /// Whether the last exchange is over and the next can begin.
    pub(super) fn is_ready(&self) -> bool {
        self.sender.is_ready()
    }

    /// Whether the other side, or this one, has closed it.
    pub(super) fn is_closed(&self) -> bool {
        self.sender.is_closed()
    }
}

/// A stream that notes that something was read, and has the upstream looked at when the other side ends it.
struct Ear {
    stream: TcpStream,
    heard: Arc<AtomicBool>,
    upstream: Arc<Upstream>,
}

impl AsyncRead for Ear {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        let before = buf.filled().len();
        let polled = Pin::new(&mut this.stream).poll_read(cx, buf);
        if buf.filled().len() > before {
            this.heard.store(true, Relaxed);
        } else if polled.is_ready() {
            watch::look(&this.upstream);
        }
        polled
    }
}

impl AsyncWrite for Ear {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.get_mut().stream).poll_write(cx, buf)
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.get_mut().stream).poll_write_vectored(cx, bufs)
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().stream).poll_flush(cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().stream).poll_shutdown(cx)
    }
}
