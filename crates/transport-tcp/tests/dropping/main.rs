//! A dial or an upgrade that is dropped, wherever it stands, leaves no descriptor and no task.
//!
//! Each future is polled k times and dropped, for every k until it is done. The descriptors of the
//! process are counted, so this binary has one test at a time.
#![allow(clippy::unwrap_used)]

#[path = "../support/mod.rs"]
mod support;

mod cut;
mod halting;
mod plain;
mod proxies;
mod stacks;
