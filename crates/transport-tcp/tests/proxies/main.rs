//! Dialers against proxies of our own, in memory where the clock is paused and on loopback where sockets matter.
#![allow(clippy::unwrap_used)]

#[path = "../support/mod.rs"]
mod support;

mod balance;
mod bound;
mod chain;
mod deadline;
mod direct;
mod fallback;
mod http_connect;
mod link;
mod metered;
mod retry;
mod seam;
mod socks5;
mod stale;
mod tls;
mod warm;
