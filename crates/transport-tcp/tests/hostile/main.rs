//! Input that must not hurt, layer by layer.

#[path = "../support/mod.rs"]
mod support;

mod muxer;
mod negotiation;
mod noise;
mod tls;
