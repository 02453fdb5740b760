//! Whether a peer that sends nothing more has gone altogether.
//!
//! A client that closes its sending side may still read: some close it as soon as the request is out. The kernel tells
//! the end of both directions apart from that only as a hang-up: after a reset, or when a unix socket's peer has closed.

use std::fmt;
use std::io;
use std::os::fd::BorrowedFd;
use std::pin::Pin;
use std::task::Context;

use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

/// Waits for the hang-up of one peer.
pub(super) struct HangUp(Option<Pin<Box<dyn Future<Output = ()> + Send>>>);

impl HangUp {
    /// Of the peer of `socket`.
    ///
    /// # Errors
    /// When the kernel does not watch another descriptor.
    pub(super) fn of(socket: BorrowedFd<'_>) -> io::Result<Self> {
        // A descriptor of its own: the socket itself is watched for what can be read, and its end stays readable.
        #[expect(
            deprecated,
            reason = "the newer form is unsafe; this descriptor is the same one as long as it is watched"
        )]
        let socket = AsyncFd::with_interest(socket.try_clone_to_owned()?, Interest::PRIORITY)?;
        Ok(Self(Some(Box::pin(async move {
            let _ = socket.ready(Interest::PRIORITY | Interest::ERROR).await;
        }))))
    }

    /// Whether the peer has hung up. If it has not, the task is woken when it does.
    pub(super) fn has_come(&mut self, cx: &mut Context<'_>) -> bool {
        if let Some(waiting) = &mut self.0
            && waiting.as_mut().poll(cx).is_ready()
        {
            self.0 = None;
        }
        self.0.is_none()
    }
}

impl fmt::Debug for HangUp {
    fn fmt(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
        to.write_str("HangUp")
    }
}
