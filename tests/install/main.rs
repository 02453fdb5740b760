//! Installing on a server and taking it away again, for real, in a root folder that is thrown away.

mod collection;
mod door;
mod durable;
#[path = "../durable/mod.rs"]
#[allow(dead_code, reason = "not every part of it is used by both")]
mod durable_calls;
mod engine;
mod install;
mod kill;
mod owner;
mod package;
mod planted;
mod program;
mod reserved;
mod root;
mod uninstall;
mod units;
