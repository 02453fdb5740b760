//! The proxy: what stands between clients and instances, and is flipped.
//!
//! A flip is one call: "for this app, this is the whole route now" ([`AppRoute`], [`Proxy::put_route`]). Behind it:
//!
//! - `embedded/`: the data plane of deployer's own, and the client of its control socket.
//! - `selected.rs`: which of the kinds is in use; `backend/`: what takes routes, one kind at one public address.
//! - `external/`: nginx, HAProxy and Caddy, with both slots and both lanes in their configuration beforehand.

mod answers;
mod backend;
mod claims;
pub(crate) mod embedded;
mod error;
mod exchange;
mod external;
mod file;
mod holder;
mod in_use;
pub mod local_ports;
mod route;
mod selected;
mod visit;

pub use answers::{Applied, Checked, ClosedPort, Drained, Mismatch, OutInstance};
pub use backend::{Answer, Backend};
pub use embedded::{Control, DoorSet, Ended, ProxyInfo, ServerOptions, nothing_to_do, run, serve};
pub use error::ProxyError;
pub use external::External;
pub use in_use::Place;
pub use route::{AppRoute, HttpProbe, SlotRoute, Target};
pub use selected::{KindDiffers, Proxy};
pub use visit::{AnsweredBy, Served, Visit, serves_a_client};

/// Says one line on stderr. A reader that has gone is no reason to stop.
macro_rules! say {
    ($($text:tt)*) => {
        let _ = std::io::Write::write_fmt(&mut std::io::stderr(), format_args!("proxy: {}\n", format_args!($($text)*)));
    };
}
use say;
