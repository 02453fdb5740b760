//! The upstream of all proxies: nginx with answers from memory, at as many addresses as there are apps.

use std::fmt::Write as _;
use std::fs;
use std::net::{Ipv4Addr, SocketAddrV4};
use std::path::Path;

use anyhow::Result;

use super::nginx;
use crate::ports;
use crate::process::{Daemon, wait_for};

/// An answer of 1 KiB.
pub(super) const SMALL: &str = "/small";
/// An answer of 100 KiB, from the page cache.
pub(super) const LARGE: &str = "/large";

pub(super) struct Upstream {
    addresses: Vec<SocketAddrV4>,
    /// Runs until this is dropped.
    _nginx: Daemon,
}

impl Upstream {
    pub(super) fn start(folder: &Path, apps: usize) -> Result<Self> {
        let port = ports::free(1)?[0];
        // Each app has an address of its own, as instances have: no two apps share connections by chance.
        let address = |app: usize| {
            let (high, low) = ((app / 250) as u8, (app % 250) as u8 + 1);
            SocketAddrV4::new(Ipv4Addr::new(127, 1, high, low), port)
        };
        let addresses: Vec<_> = (0..apps).map(address).collect();
        fs::write(folder.join("large"), "0123456789abcdef".repeat(6_400))?;
        let mut server = "server {\n".to_owned();
        for address in &addresses {
            let _ = writeln!(server, "listen {address} backlog=4096;");
        }
        let small = "0123456789abcdef".repeat(64);
        let folder_told = folder.display();
        let _ = writeln!(
            server,
            "keepalive_timeout 600s; sendfile on; open_file_cache max=16 inactive=600s; open_file_cache_valid 600s;
             location = {SMALL} {{ return 200 \"{small}\"; }}
             location = {LARGE} {{ root {folder_told}; }}
             }}"
        );
        let (nginx, log) = nginx::run(folder, "upstream", &server)?;
        wait_for("the upstream did not start", &log, || {
            addresses
                .last()
                .is_some_and(|last| std::net::TcpStream::connect(last).is_ok())
        })?;
        Ok(Self {
            addresses,
            _nginx: nginx,
        })
    }

    /// Where each app is.
    pub(super) fn addresses(&self) -> &[SocketAddrV4] {
        &self.addresses
    }
}
