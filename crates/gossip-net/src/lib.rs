//! Broadcast to all subscribers of a topic, wire-compatible with iroh-gossip.
//!
//! This crate will hold HyParView's membership, Plumtree's broadcast trees, and the arbiter that keeps exactly one connection
//! after both ends have dialed at once. It holds no code yet.
