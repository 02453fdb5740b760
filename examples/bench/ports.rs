//! Ports for what the measurements start.

use std::net::{Ipv4Addr, TcpListener};

use anyhow::{Result, ensure};

/// Below the kernel's own choice for outgoing connections, so that no client's port is in the way.
const RANGE: std::ops::Range<u16> = 20_000..32_000;

/// `count` ports of 127.0.0.1 that nothing listens on.
pub(crate) fn free(count: usize) -> Result<Vec<u16>> {
    let bound = RANGE.filter_map(|port| {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, port)).ok()?;
        Some((port, listener))
    });
    // All of them stay bound until the last is found: no port is found twice.
    let bound: Vec<_> = bound.take(count).collect();
    ensure!(
        bound.len() == count,
        "there are no {count} free ports in {RANGE:?}"
    );
    Ok(bound.into_iter().map(|(port, _)| port).collect())
}
