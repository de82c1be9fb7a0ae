//! Broadcast to everyone on a topic, wire-compatible with iroh-gossip.
//!
//! This crate is where gossip will live: membership after HyParView, broadcast trees after Plumtree, and the arbiter
//! that leaves exactly one connection after both ends dialed at once. Its queues are bounded and a neighbour that
//! does not read slows nobody. It holds no code yet.
