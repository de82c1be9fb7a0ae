//! Joining the network, and rejoining it after a loss.
//!
//! This crate contains no code yet. It will contain the state machine that joins the network, a backoff with full
//! jitter, and a store of working addresses that survives a restart. The candidate peers will come from a static list,
//! saved peers, `/dnsaddr` and Kademlia.
