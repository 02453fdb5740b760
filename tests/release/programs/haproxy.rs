//! What is HAProxy's own.
