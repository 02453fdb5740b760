//! nginx, HAProxy and Caddy as the proxy: what all of them must do, and what is each one's own.

mod caddy;
mod front;
mod haproxy;
mod kinds;
mod nginx;
mod rules;
mod switch;
