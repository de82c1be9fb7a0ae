//! yamux's frame header: version, type, flags (2), stream (4), length or code (4).

pub(crate) const LENGTH: usize = 12;

pub(crate) const DATA: u8 = 0;
pub(crate) const WINDOW_UPDATE: u8 = 1;
pub(crate) const GO_AWAY: u8 = 3;

pub(crate) const SYN: u8 = 1;
pub(crate) const FIN: u8 = 4;
pub(crate) const RST: u8 = 8;

/// The code of a go-away after a protocol error of the peer.
const PROTOCOL_ERROR: u32 = 1;

#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Header(pub(crate) [u8; LENGTH]);

impl Header {
    pub(crate) fn new(kind: u8, flags: u8, stream: u32, number: u32) -> Self {
        let mut header = Self::default();
        header.0[1] = kind;
        header.0[3] = flags;
        header.0[4..8].copy_from_slice(&stream.to_be_bytes());
        header.0[8..].copy_from_slice(&number.to_be_bytes());
        header
    }

    /// Tells the peer that it violated the protocol.
    pub(crate) fn protocol_error() -> Self {
        Self::new(GO_AWAY, 0, 0, PROTOCOL_ERROR)
    }

    pub(crate) fn kind(&self) -> u8 {
        self.0[1]
    }

    /// The flags that yamux defines: all are in the lower byte.
    pub(crate) fn flags(&self) -> u8 {
        self.0[3]
    }

    pub(crate) fn has(&self, flag: u8) -> bool {
        self.flags() & flag != 0
    }

    /// Whether the frame is about a stream.
    pub(crate) fn is_of_stream(&self) -> bool {
        matches!(self.kind(), DATA | WINDOW_UPDATE)
    }

    pub(crate) fn stream(&self) -> u32 {
        let [_, _, _, _, a, b, c, d, ..] = self.0;
        u32::from_be_bytes([a, b, c, d])
    }

    /// The length of the body, the credit, or the code.
    pub(crate) fn number(&self) -> u32 {
        let [.., a, b, c, d] = self.0;
        u32::from_be_bytes([a, b, c, d])
    }

    pub(crate) fn with_flags(mut self, flags: u8) -> Self {
        self.0[3] = flags;
        self
    }

    pub(crate) fn with_number(mut self, number: u32) -> Self {
        self.0[8..].copy_from_slice(&number.to_be_bytes());
        self
    }
}
