//! Being in the network, and getting back in after a drop or a crash.
//!
//! This crate is where joining will live: the state machine from isolated to joined, backoff with full jitter, the
//! sources of candidates (a static list, saved peers, `/dnsaddr`, Kademlia) and the store of known-good addresses
//! that survives a restart. It holds no code yet.
