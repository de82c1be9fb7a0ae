//! Faults that a connection manager is prone to, each shown not to happen.

#![cfg(all(feature = "tcp", feature = "quic"))]
#![allow(clippy::unwrap_used, reason = "a panic is a test's verdict")]

#[path = "../common/mod.rs"]
mod common;
mod crossing;
mod dialing;
mod ending;
mod fan_out;
mod flooding;
mod floods;
mod keeping;
mod limits;
mod names;
mod racing;
#[cfg(feature = "bootstrap")]
mod rejoining;
mod serving;
