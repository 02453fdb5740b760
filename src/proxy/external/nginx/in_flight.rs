//! What is in flight on a lane.
//!
//! nginx counts the requests of a key in memory that all its workers share, for limits; a limit that is only tried tells
//! whether the count has reached it. So deployer asks for 1, 2, 4 and so on, and where more than one is in flight the
//! number of connections tells where between two of them the count is. A key is a door and a lane: what the public port
//! had in flight is told apart from what came by the slot's own port.

use std::net::{SocketAddr, SocketAddrV4};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use http::HeaderValue;

use super::super::door::{self, CHECK};
use super::super::marks::Marks;
use super::super::view::{LaneView, VERSION_HOST, View};
use super::{connections, workers};
use crate::proxy::error::ProxyError;

/// The answer's header.
const STATUS: &str = "deployer-in-flight";

/// What stands there where the count has reached the limit, and where it has not.
const REACHED: &[u8] = b"REJECTED_DRY_RUN";
const BELOW: &[u8] = b"PASSED";

/// The highest limit that stands in the configuration.
const LIMIT_MAX: u64 = 1 << 15;

/// A request that is counted has its connection within this time. Where there is none for longer, it is the count of a
/// worker that was killed, which nobody takes back.
const CONNECTS: Duration = Duration::from_secs(2);

/// Between how many and how many there are, both included.
#[derive(Debug, Clone, Copy, Default)]
struct Bounds {
    least: u64,
    most: u64,
}

/// Since when requests are counted on instances that nothing is connected to.
#[derive(Debug, Default)]
struct Unconnected(Mutex<Option<Instant>>);

impl Unconnected {
    /// Notes whether it is so now; true where it has been so for longer than a request may take to be connected.
    fn is_lasting(&self, is_so: bool) -> bool {
        let mut since = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        match is_so {
            true => since.get_or_insert_with(Instant::now).elapsed() > CONNECTS,
            false => {
                *since = None;
                false
            }
        }
    }
}

/// Counts what is in flight.
#[derive(Debug)]
pub(super) struct Counter {
    /// The public port.
    listen: SocketAddr,
    marks: Marks,
    unconnected: Unconnected,
}

impl Counter {
    pub(super) fn new(listen: SocketAddr, marks: Marks) -> Self {
        Self {
            listen,
            marks,
            unconnected: Unconnected::default(),
        }
    }

    /// See [`Way::in_flight`](super::Way::in_flight).
    pub(super) async fn count(&self, view: &View, upstreams: &[SocketAddrV4]) -> Result<u64, ProxyError> {
        let mut counted = Bounds::default();
        for key in self.keys(view, upstreams) {
            let bounds = self.bounds(view, &key).await?;
            counted.least += bounds.least;
            counted.most += bounds.most;
        }
        let connected = match workers::any(self.listen, view).await {
            Some(pid) if counted.least > 0 => connections::to(upstreams, pid).ok(),
            _ => None,
        };
        let is_left_over = self.unconnected.is_lasting(connected == Some(0));
        Ok(match connected {
            _ if is_left_over => 0,
            Some(connected) => connected.clamp(counted.least, counted.most),
            None => counted.least,
        })
    }

    /// The keys of what is in flight on `upstreams` and was sent there by a route that is no more: what the lane's slot
    /// is asked for at its own port goes on, where the lane is still the slot's.
    fn keys(&self, view: &View, upstreams: &[SocketAddrV4]) -> Vec<String> {
        let mut keys = Vec::new();
        for app in &view.apps {
            let chosen = self.marks.chosen([&app.name].into_iter()).pop();
            let lane_of = |slot| chosen.as_ref().and_then(|chosen| chosen.lanes.get(&slot));
            for slot in &app.slots {
                for lane in slot.lanes.iter().filter(|lane| lane.has_any_of(upstreams)) {
                    keys.push(format!("live:{}", lane.name));
                    if lane_of(slot.slot) != Some(&lane.lane) {
                        keys.push(format!("slot:{}", lane.name));
                    }
                }
            }
        }
        keys
    }

    async fn bounds(&self, view: &View, key: &str) -> Result<Bounds, ProxyError> {
        let mut limit = 1;
        while limit <= LIMIT_MAX && self.has_reached(view, key, limit).await? {
            limit *= 2;
        }
        Ok(Bounds {
            least: limit / 2,
            most: limit - 1,
        })
    }

    /// Whether so many requests, or more, are in flight.
    async fn has_reached(&self, view: &View, key: &str, limit: u64) -> Result<bool, ProxyError> {
        let path = format!("/in-flight/{limit}?counted={key}");
        let headers = [(CHECK, view.check.as_str())];
        let asked = door::ask(view.door, self.listen, VERSION_HOST, &path, &headers).await;
        let (_, headers) = asked?;
        match headers.get(STATUS).map(HeaderValue::as_bytes) {
            Some(REACHED) => Ok(true),
            Some(BELOW) => Ok(false),
            _ => Err(ProxyError::failed(format!(
                "nginx does not tell what is in flight: {} is not served by deployer's part of its configuration",
                self.listen
            ))),
        }
    }
}

impl LaneView {
    fn has_any_of(&self, upstreams: &[SocketAddrV4]) -> bool {
        self.upstreams.iter().any(|upstream| upstreams.contains(upstream))
    }
}
