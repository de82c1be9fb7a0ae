//! Joining the network, and rejoining it after a loss.
//!
//! This crate will hold the state machine from isolated to joined, backoff with full jitter, the sources of candidate peers (a
//! static list, saved peers, `/dnsaddr`, Kademlia), and the store of known-good addresses that survives a restart. It holds no
//! code yet.
