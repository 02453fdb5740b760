//! The data plane: connection → `client` → head checked (`http1`) → `forward` → `table` → `upstream` → `exchange` → answer.
//!
//! A flip is one call over the control socket, "for this app, this is the whole route now" ([`AppRoute`],
//! [`Control::put_route`]). It answers when the route is durable and in force; from then on no new request
//! reaches an old upstream, on no connection. [`Control::drain`] waits for those that were under way.
//!
//! The listening sockets belong to one control thread. The workers accept at them: a thread per core with a runtime, and
//! idle upstream connections, of its own. What a request costs is spent on its worker alone; what workers share is read,
//! but for the count of requests in flight.
//!
//! [`run`] serves until SIGTERM, or until a newer proxy takes over its sockets (`takeover`).

mod api;
mod buffer;
mod client;
mod closed;
mod connection;
mod control;
mod dial;
mod events;
mod exchange;
mod faults;
mod flow;
mod forward;
mod frames;
#[cfg(feature = "fuzzing")]
pub(crate) mod fuzzing;
mod hangup;
mod http1;
mod listen;
mod listener;
mod metrics;
mod notify;
mod page;
mod probe;
mod pulse;
mod reach;
mod server;
mod start;
mod stream;
mod succession;
mod table;
mod takeover;
mod tally;
mod tunnel;
mod upstream;
mod watch;
mod websocket;

pub use control::{Control, DoorSet, ProxyInfo};
pub(super) use server::ROUTES;
pub use start::{ServerOptions, nothing_to_do, run, serve};
pub use succession::Ended;
