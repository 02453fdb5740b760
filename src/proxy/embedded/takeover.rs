//! How a newer proxy takes over from a running one.
//!
//! ```text
//! new                                old
//! connects to takeover.sock ───────→ lets no route change begin
//!                           ←─────── offer, the lock, every listening socket
//! reads the routes, accepts beside the old one
//! commit ──────────────────────────→ stops accepting, follows the new one's routes over a private socket
//!                           ←─────── done
//! renames its own sockets into place
//! ```
//!
//! Until the commit the old proxy goes on as before if the new one dies. The connection between the two stays
//! open, so that each learns of the other's end.

use std::io::{self, IoSlice, IoSliceMut, Read, Write};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use rustix::net::{
    RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer, SendAncillaryMessage,
    SendFlags, recvmsg, sendmsg,
};
use serde::{Deserialize, Serialize};

use super::listener::Listener;
use crate::proxy::error::ProxyError;

/// The conversation above; another number is another conversation.
const PROTOCOL: u32 = 1;

/// How long either side waits for the other.
const PATIENCE: Duration = Duration::from_secs(10);

/// Descriptors per message; the kernel takes 253.
const BATCH: usize = 64;

/// Largest offer that is read.
const OFFER_MAX: usize = 64 << 10;

const COMMIT: u8 = b'C';
const DONE: u8 = b'D';

/// What the old proxy says of itself.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Offer {
    protocol: u32,
    /// The old proxy's process.
    pub(super) pid: u32,
    /// The socket that it can be told routes over, from the commit on.
    pub(super) control: PathBuf,
    sockets: usize,
}

/// A takeover that waits for its commit.
#[derive(Debug)]
pub(super) struct Handover {
    pub(super) offer: Offer,
    pub(super) lock: OwnedFd,
    pub(super) sockets: Vec<Listener>,
    stream: UnixStream,
}

/// The path at which a running proxy can be taken over.
pub(super) fn path(folder: &Path) -> PathBuf {
    folder.join("takeover.sock")
}

/// Asks the running proxy for what it has; none where no proxy runs.
///
/// # Errors
/// When one runs and does not give it.
pub(super) fn request(folder: &Path) -> Result<Option<Handover>, ProxyError> {
    let stream = match UnixStream::connect(path(folder)) {
        Ok(stream) => stream,
        Err(error)
            if matches!(
                error.kind(),
                io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused
            ) =>
        {
            return Ok(None);
        }
        Err(error) => return Err(failed(&error)),
    };
    receive(stream).map(Some).map_err(|error| failed(&error))
}

fn failed(error: &io::Error) -> ProxyError {
    ProxyError::failed(format!("the running proxy did not hand over: {error}"))
}

fn receive(mut stream: UnixStream) -> io::Result<Handover> {
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.set_write_timeout(Some(PATIENCE))?;
    let mut length = [0; 4];
    stream.read_exact(&mut length)?;
    let length = u32::from_be_bytes(length) as usize;
    if length > OFFER_MAX {
        return Err(io::Error::other("its offer is too long"));
    }
    let mut text = vec![0; length];
    stream.read_exact(&mut text)?;
    let offer: Offer = serde_json::from_slice(&text)?;
    if offer.protocol != PROTOCOL {
        return Err(io::Error::other(format!(
            "it speaks version {} of the takeover",
            offer.protocol
        )));
    }
    let mut descriptors = Vec::new();
    while descriptors.len() < offer.sockets + 1 {
        receive_batch(&stream, &mut descriptors)?;
    }
    let lock = descriptors.remove(0);
    let sockets: io::Result<_> = descriptors.into_iter().map(Listener::try_from).collect();
    Ok(Handover {
        offer,
        lock,
        sockets: sockets?,
        stream,
    })
}

fn receive_batch(stream: &UnixStream, to: &mut Vec<OwnedFd>) -> io::Result<()> {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(BATCH))];
    let mut control = RecvAncillaryBuffer::new(&mut space);
    let mut byte = [0];
    let received = recvmsg(
        stream,
        &mut [IoSliceMut::new(&mut byte)],
        &mut control,
        RecvFlags::CMSG_CLOEXEC,
    )?;
    if received.bytes == 0 {
        return Err(io::ErrorKind::UnexpectedEof.into());
    }
    for message in control.drain() {
        if let RecvAncillaryMessage::ScmRights(descriptors) = message {
            to.extend(descriptors);
        }
    }
    Ok(())
}

impl Handover {
    /// Tells the old proxy to stop accepting; gives the connection to it, which ends when it does.
    pub(super) fn commit(mut self) -> Result<UnixStream, ProxyError> {
        let mut done = [0];
        self.stream
            .write_all(&[COMMIT])
            .and_then(|()| self.stream.read_exact(&mut done))
            .map_err(|error| failed(&error))?;
        Ok(self.stream)
    }
}

/// The old proxy's side: offers all, and gives the connection back once the new one has committed.
pub(super) fn give(
    mut stream: UnixStream,
    control: PathBuf,
    lock: &OwnedFd,
    sockets: &[Arc<Listener>],
) -> io::Result<UnixStream> {
    stream.set_nonblocking(false)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.set_write_timeout(Some(PATIENCE))?;
    let offer = serde_json::to_vec(&Offer {
        protocol: PROTOCOL,
        pid: std::process::id(),
        control,
        sockets: sockets.len(),
    })?;
    stream.write_all(
        &u32::try_from(offer.len())
            .map_err(io::Error::other)?
            .to_be_bytes(),
    )?;
    stream.write_all(&offer)?;
    let descriptors: Vec<BorrowedFd<'_>> = std::iter::once(lock.as_fd())
        .chain(sockets.iter().map(|socket| socket.as_fd()))
        .collect();
    for batch in descriptors.chunks(BATCH) {
        send_batch(&stream, batch)?;
    }
    let mut commit = [0];
    stream.read_exact(&mut commit)?;
    Ok(stream)
}

fn send_batch(stream: &UnixStream, batch: &[BorrowedFd<'_>]) -> io::Result<()> {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(BATCH))];
    let mut control = SendAncillaryBuffer::new(&mut space);
    if !control.push(SendAncillaryMessage::ScmRights(batch)) {
        return Err(io::Error::other("too many sockets for one message"));
    }
    sendmsg(stream, &[IoSlice::new(&[0])], &mut control, SendFlags::empty())?;
    Ok(())
}

/// The old proxy's last word.
pub(super) fn done(stream: &mut UnixStream) -> io::Result<()> {
    stream.write_all(&[DONE])
}
