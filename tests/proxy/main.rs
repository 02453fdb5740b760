//! The proxy, from outside: the real binary, real sockets, and clients that never retry.

mod attacks;
mod client;
mod flips;
mod front;
mod half;
mod http;
mod limits;
mod restart;
mod retry;
mod routes;
mod streams;
mod supervised;
mod support;
mod upgrade;
mod upstream;
