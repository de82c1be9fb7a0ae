//! Circuit relay v2 reservations and circuits that never leak and never exceed their caps.
//!
//! This crate is where relaying will live: a slot table that reclaims what a vanished peer held (after a grace
//! period), never refuses the renewal of a held slot for lack of room, and checks everything before it changes
//! anything; the hop and stop protocols of the [circuit relay v2 spec]; and the byte pump between two streams.
//! It holds no code yet.
//!
//! [circuit relay v2 spec]: https://github.com/libp2p/specs/blob/master/relay/circuit-v2.md
