//! systemd, where it is there: its sockets, those that it keeps for us, and its wish to know when we are ready.

use std::io::{self, IoSlice};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd};
use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{SocketAddr, UnixDatagram};

use listenfd::ListenFd;
use rustix::net::{SendAncillaryBuffer, SendAncillaryMessage, SendFlags, sendmsg};
use rustix::process::Pid;

use super::listener::Listener;
use crate::proxy::say;

/// Says that the proxy accepts; also which process is the main one, since an upgrade changes it.
pub(super) fn ready() -> io::Result<()> {
    tell(&format!("READY=1\nMAINPID={}", std::process::id()), &[])
}

/// Says that the process `pid` is the main one from now on, so that this one can end without the service ending.
pub(super) fn successor(pid: Pid) -> io::Result<()> {
    tell(&format!("MAINPID={pid}"), &[])
}

/// Leaves a copy of `socket` with systemd, which gives it to the next process: while none runs, connections wait in
/// the socket's queue, and none is refused.
pub(super) fn keep(socket: &Listener) {
    let kept = name_of(socket).and_then(|name| tell(&format!("FDSTORE=1\nFDNAME={name}"), &[socket.as_fd()]));
    if let Err(error) = kept {
        say!("systemd cannot be given a listening socket for the next process: {error}");
    }
}

/// Takes the copy of `socket` back, which else would stay open without anybody who accepts.
pub(super) fn forget(socket: &Listener) {
    let forgot = name_of(socket).and_then(|name| tell(&format!("FDSTOREREMOVE=1\nFDNAME={name}"), &[]));
    if let Err(error) = forgot {
        say!("systemd cannot be told that a listening socket is no longer wanted: {error}");
    }
}

/// What a socket is called in systemd's store: its address or path, without what no name there may have.
fn name_of(socket: &Listener) -> io::Result<String> {
    let may_stand = |letter: &char| letter.is_ascii_graphic() && *letter != ':';
    let letters = socket.place()?.to_string();
    let letters = letters
        .chars()
        .map(|letter| Some(letter).filter(may_stand).unwrap_or('_'));
    Ok(letters.collect())
}

/// Tells systemd, where it is there, with copies of `descriptors`.
fn tell(text: &str, descriptors: &[BorrowedFd<'_>]) -> io::Result<()> {
    let Some(name) = std::env::var_os("NOTIFY_SOCKET") else {
        return Ok(());
    };
    let name = name.as_encoded_bytes();
    let address = match name.strip_prefix(b"@") {
        Some(name) => SocketAddr::from_abstract_name(name)?,
        None => SocketAddr::from_pathname(std::str::from_utf8(name).map_err(io::Error::other)?)?,
    };
    let socket = UnixDatagram::unbound()?;
    socket.connect_addr(&address)?;
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut control = SendAncillaryBuffer::new(&mut space);
    if !descriptors.is_empty() && !control.push(SendAncillaryMessage::ScmRights(descriptors)) {
        return Err(io::Error::other("too many descriptors for one message"));
    }
    sendmsg(
        &socket,
        &[IoSlice::new(text.as_bytes())],
        &mut control,
        SendFlags::empty(),
    )?;
    Ok(())
}

/// The listening sockets that systemd has opened for this process, or has kept since the last one.
pub(super) fn sockets() -> Vec<Listener> {
    // Without it the descriptors could be anybody's.
    if std::env::var_os("LISTEN_PID").is_none() {
        return Vec::new();
    }
    let mut kept = ListenFd::from_env();
    let taken = (0..kept.len()).map(|index| match kept.take_unix_listener(index) {
        Ok(socket) => Ok(socket.map(Listener::Unix)),
        Err(_) => kept
            .take_tcp_listener(index)
            .map(|socket| socket.map(Listener::Tcp)),
    });
    let (sockets, failed): (Vec<_>, Vec<_>) = taken.partition(Result::is_ok);
    for error in failed.into_iter().filter_map(Result::err) {
        say!("a socket that systemd has kept cannot be used: {error}");
    }
    sockets.into_iter().flatten().flatten().collect()
}
