//! Input that must not hurt, layer by layer.
#![allow(clippy::unwrap_used)]

#[path = "../support/mod.rs"]
mod support;

mod forge;
mod muxer;
mod negotiation;
mod noise;
mod proxies;
mod tls;
