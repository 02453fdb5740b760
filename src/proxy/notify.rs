//! systemd, where it is there: its sockets, and its wish to know when we are ready.

use std::io;
use std::net::TcpListener;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{SocketAddr, UnixDatagram};

use rustix::process::{PidfdFlags, PidfdGetfdFlags, getpid, pidfd_getfd, pidfd_open};

/// The first descriptor of socket activation.
const FIRST: i32 = 3;

/// Says that the proxy accepts; also which process is the main one, since an upgrade changes it.
pub(super) fn ready() -> io::Result<()> {
    let Some(name) = std::env::var_os("NOTIFY_SOCKET") else {
        return Ok(());
    };
    let name = name.as_encoded_bytes();
    let address = match name.strip_prefix(b"@") {
        Some(name) => SocketAddr::from_abstract_name(name)?,
        None => SocketAddr::from_pathname(std::str::from_utf8(name).map_err(io::Error::other)?)?,
    };
    let text = format!("READY=1\nMAINPID={}", std::process::id());
    UnixDatagram::unbound()?.send_to_addr(text.as_bytes(), &address)?;
    Ok(())
}

/// The listening sockets that systemd has opened for this process.
pub(super) fn sockets() -> Vec<TcpListener> {
    let number = |name| std::env::var(name).ok()?.parse::<i32>().ok();
    if number("LISTEN_PID") != Some(getpid().as_raw_nonzero().get()) {
        return Vec::new();
    }
    // Copies, because a descriptor known only by its number is nobody's to own.
    let Ok(this) = pidfd_open(getpid(), PidfdFlags::empty()) else {
        return Vec::new();
    };
    (FIRST..FIRST.saturating_add(number("LISTEN_FDS").unwrap_or(0).clamp(0, 64)))
        .filter_map(|fd| pidfd_getfd(&this, fd, PidfdGetfdFlags::empty()).ok())
        .map(TcpListener::from)
        .collect()
}
