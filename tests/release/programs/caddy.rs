//! What is Caddy's own.
