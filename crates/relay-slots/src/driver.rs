//! Hop and stop over tokio streams: reads, writes, deadlines and sleeps. [`crate::Server`] and [`crate::Client`] decide.
//!
//! The host shares one [`RelayServer`] or one [`RelayClient`] between its tasks:
//!
//! ```text
//!  hop stream  ──► RelayServer::serve  ──► Served          task per stream
//!                  RelayServer::next   ──► Event           one loop: probe, close a silent connection
//!
//!  stop stream ──► RelayClient::accept ──► Circuit         task per stream
//!                  RelayClient::next   ──► ClientEvent     one loop: ask a relay, announce addresses
//!                  RelayClient::ask                        task per question
//!
//!  hop stream  ──► connect             ──► Circuit
//! ```
//!
//! Each function takes a stream on which its protocol has been negotiated. It reads no byte past its message, and each message
//! has a deadline. A function that owns its stream ends the stream or drops it. The host's streams must reset an unfinished
//! stream when it is dropped.
//!
//! **Backpressure.** A circuit holds two buffers, and a slow receiver slows its sender down. `next` has no queue: events that the
//! host does not take stay in the core, at most a few per slot.
//!
//! **Cancel safety.** Dropping the future of `next` loses no event. Any other future may be dropped at any time. It then drops
//! its streams, and reports to the table that the circuit has ended.

mod client;
mod exchange;
mod server;

use std::{io, time::Duration};

pub use self::{
    client::{Circuit, RelayClient, connect},
    exchange::reserve,
    server::{RelayServer, Served},
};
use crate::{error::Status, wire::WireError};

/// Why an exchange of messages failed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum DriveError {
    /// The stream broke.
    #[error("the stream broke")]
    Io(#[from] io::Error),
    /// The bytes are not a message, or the message to send is too long.
    #[error("not a valid message")]
    Wire(#[from] WireError),
    /// The other end took too long.
    #[error("no message within {0:?}")]
    TimedOut(Duration),
    /// The message was not expected at this point.
    #[error("an unexpected message")]
    Unexpected,
    /// The circuit was refused, by the other end or by this one.
    #[error("refused: {0}")]
    Refused(Status),
}

#[cfg(test)]
mod tests;
