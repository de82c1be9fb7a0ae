//! Honest peers: upgrades, the life of a connection, deadlines, dials.
#![allow(clippy::unwrap_used)]

#[path = "../support/mod.rs"]
mod support;

mod close;
mod deadlines;
mod dial;
mod dnsaddr;
mod ends;
mod fan_out;
mod life;
mod upgrade;
