//! What is wrong with a body, to whoever follows it.

/// Bytes that are no body of the kind that was announced.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::proxy::embedded) struct Malformed;
