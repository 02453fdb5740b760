//! What a proxy answers, whichever it is.

use std::net::{SocketAddr, SocketAddrV4};
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use crate::ground::told::Told;
use crate::model::{AppName, Program, ReleaseId, Slot};

/// A slot port that the proxy routes and does not listen on.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ClosedPort {
    /// The port.
    pub port: u16,
    /// Why, as a sentence.
    pub reason: String,
}

/// A route is durable and in force.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Applied {
    /// The token for [`Backend::check`](super::Backend::check).
    pub check: String,
    /// Slot ports of the route that could not be opened. They are tried again, and nothing else waits for them.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub closed: Vec<ClosedPort>,
}

/// How a drain ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Drained {
    /// Requests that were in flight and ended by themselves.
    pub finished: u64,
    /// Requests that did not end by themselves until the deadline.
    pub cut: u64,
    /// Those of `cut` that were event streams and WebSockets, and ended in form: with their last event whole, and with
    /// a close frame.
    #[serde(default)]
    pub closed: u64,
}

/// An instance that the proxy has put out: it could not be reached, and gets no request until a probe finds it ready.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct OutInstance {
    /// Its app.
    pub app: AppName,
    /// Its slot.
    pub slot: Slot,
    /// Its number within the release, from 0.
    pub index: usize,
    /// Its address.
    pub address: SocketAddrV4,
    /// Since when.
    pub since: jiff::Timestamp,
    /// Why, in the kernel's words or the proxy's.
    pub why: String,
}

/// What answered a check.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Checked {
    /// The answer's status.
    pub status: u16,
    /// The slot and release that it came from; none where the proxy answered itself.
    pub release: Option<(Slot, ReleaseId)>,
}

/// What is not as it should be of a program's configuration.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Mismatch {
    /// deployer's part of it is another one.
    File {
        /// Whose configuration.
        program: Program,
        /// deployer's part.
        file: PathBuf,
    },
    /// The program serves by another one.
    Version {
        /// The program.
        program: Program,
        /// Where it serves.
        listen: SocketAddr,
    },
    /// It does not tell by which one it serves.
    Silent {
        /// Why not.
        reason: Told,
    },
}
