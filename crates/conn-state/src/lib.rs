//! Who is connected, how well, and in what order that came about.
//!
//! What is here today is the part every host needs before it can count anything: [`Limits`], which decides whether one
//! more connection is admitted, from the moment its first packet arrives until it is gone.
//!
//! ```text
//! first packet ── handle_inbound ──► handshaking ── handle_authenticated ──► established
//!                      │ Refused                          │ Refused              │
//!                      ▼                                  ▼                      ▼
//!                   turned away                        closed ◄──────────── handle_closed
//! ```
//!
//! # Invariants
//!
//! - It reads no clock and opens no socket: `now` comes in as an argument.
//! - Everything is checked before anything is counted, so a refusal changes nothing but the spent rate token.
//! - What it remembers about addresses is bounded by [`LimitsConfig::max_tracked_addresses`].
//!
//! # Limitations
//!
//! States, events and queries about peers are not here yet.
//!
//! ```
//! use std::{net::IpAddr, time::Instant};
//! use conn_state::{Limits, LimitsConfig, Refused};
//!
//! let mut limits: Limits<u64, &str> = Limits::new(LimitsConfig::default().with_max_handshaking(1));
//! let now = Instant::now();
//! let address: IpAddr = "192.0.2.1".parse().unwrap();
//! limits.handle_inbound(now, 1, address).unwrap();
//! assert_eq!(limits.handle_inbound(now, 2, address), Err(Refused::TooManyHandshakes { limit: 1 }));
//! limits.handle_authenticated(1, "alice").unwrap();
//! assert!(limits.handle_inbound(now, 2, address).is_ok());
//! ```

mod config;
mod error;
mod limits;
mod prefix;
#[cfg(test)]
mod tests;

pub use config::LimitsConfig;
pub use error::Refused;
pub use limits::Limits;
pub use prefix::Prefix;
