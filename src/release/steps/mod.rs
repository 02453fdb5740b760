//! The steps of the way, a file each. What they work with is [`super::work`]; none of them knows the loop.

pub(super) mod build;
pub(super) mod checkout;
pub(super) mod drain;
pub(super) mod flip;
pub(super) mod probe;
pub(super) mod pull;
pub(super) mod push;
pub(super) mod record;
pub(super) mod retire;
pub(super) mod start;
