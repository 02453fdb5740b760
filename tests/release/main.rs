//! Releases from the push to the answer, through the front door: a real git, Docker Engine, registry and proxy.

mod harness;
mod push;
#[allow(dead_code, reason = "not every part of the harness is used by a test yet")]
mod support;
