//! Broadcast to all subscribers of a topic, wire-compatible with iroh-gossip.
//!
//! This crate contains no code yet. It will contain HyParView's membership, Plumtree's broadcast trees, and the rule
//! that keeps exactly one connection when both ends dial at the same time.
