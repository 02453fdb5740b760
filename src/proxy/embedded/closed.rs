//! Slot ports that could not be opened: they are told, and tried again until they are open. Nothing waits for them, since
//! the public port serves without.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use super::listen::{Inherited, Refused};
use super::listener::Listener;
use super::server::Server;
use super::table::Door;
use super::upstream::lock;
use crate::proxy::answers::ClosedPort;
use crate::proxy::error::ProxyError;
use crate::proxy::say;

/// How often they are tried again.
const TRY_AGAIN: Duration = Duration::from_secs(1);

/// At each how manieth time it is looked anew who has them, which takes longer than to try.
const LOOK_AGAIN: u64 = 15;

/// The slot ports that could not be opened.
#[derive(Debug, Default)]
pub(super) struct Closed(Mutex<Vec<ClosedPort>>);

impl Closed {
    /// Each, with why as it was looked at last.
    pub(super) fn all(&self) -> Vec<ClosedPort> {
        lock(&self.0).clone()
    }

    /// These are all that could not be had. Who has one is looked at where that is not known yet, or `anew` says so.
    pub(super) fn are(&self, refused: &[Refused], anew: impl Fn(u16) -> bool) {
        let before = self.all();
        let told = |refused: &Refused| {
            let known = before.iter().find(|closed| closed.port == refused.port);
            match known {
                Some(known) if !anew(refused.port) => known.clone(),
                _ => {
                    let closed = refused.told();
                    if known != Some(&closed) {
                        say!("{}; the slot is served without its own port", closed.reason);
                    }
                    closed
                }
            }
        };
        let all = refused.iter().map(told).collect();
        *lock(&self.0) = all;
    }
}

impl Server {
    /// Accepts at these doors.
    pub(super) fn open_doors(&self, sockets: Vec<(Door, Listener)>) -> Result<(), ProxyError> {
        for (door, socket) in sockets {
            let opened = self.doors.open(door, socket);
            opened.map_err(|error| ProxyError::failed(format!("cannot accept connections: {error}")))?;
        }
        Ok(())
    }

    /// Tries the ports that could not be opened again and again, until a newer proxy has taken over.
    pub(super) async fn open_closed(self: Arc<Self>) {
        for round in 1_u64.. {
            tokio::time::sleep(TRY_AGAIN).await;
            let _changing = self.changing.lock().await;
            if self.has_moved() {
                return;
            }
            if !self.closed.all().is_empty() {
                self.open_once_more(round);
            }
        }
    }

    fn open_once_more(&self, round: u64) {
        let ports = self.open_ports(&self.plane.switch.routes());
        let prepared = self.doors.prepare(&ports, &mut Inherited::default());
        for (door, _) in &prepared.sockets {
            if let Door::Slot(port) = door {
                say!("port {port} is free, and open from now on");
            }
        }
        if let Err(error) = self.open_doors(prepared.sockets) {
            say!("{error}");
        }
        self.closed
            .are(&prepared.refused, |_| round.is_multiple_of(LOOK_AGAIN));
    }
}
