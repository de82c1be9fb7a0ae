//! The codes with which connections and streams are closed.

use quinn::VarInt;

/// The reason for closing a connection or a stream, which the peer receives (libp2p's connection
/// error codes).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct CloseCode(u32);

impl CloseCode {
    /// No reason.
    pub const NONE: Self = Self(0);
    /// A resource limit was reached.
    pub const RESOURCE_LIMIT: Self = Self(0x1001);
    /// The peer sent too many requests or connections in too short a time.
    pub const RATE: Self = Self(0x1002);
    /// The peer violated a protocol.
    pub const PROTOCOL_VIOLATION: Self = Self(0x1003);
    /// Another connection to the same peer replaces this one.
    pub const SUPPLANTED: Self = Self(0x1004);
    /// The connection was not used.
    pub const COLLECTED: Self = Self(0x1005);
    /// This node shuts down.
    pub const SHUTDOWN: Self = Self(0x1006);
    /// A policy forbids the peer.
    pub const GATED: Self = Self(0x1007);

    /// Any other code.
    #[must_use]
    pub const fn new(code: u32) -> Self {
        Self(code)
    }

    /// The number on the wire.
    #[must_use]
    pub const fn get(self) -> u32 {
        self.0
    }

    pub(crate) fn on_wire(self) -> VarInt {
        VarInt::from_u32(self.0)
    }
}
