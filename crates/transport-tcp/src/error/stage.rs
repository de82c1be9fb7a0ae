//! The stages of a dial.

use std::fmt;

/// The stage that a dial has reached.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum DialStage {
    /// Choosing the route.
    Choose,
    /// Resolving the name.
    Resolve,
    /// Connecting to the target itself.
    Connect,
    /// Connecting to a proxy.
    Reach,
    /// The TLS handshake with a proxy.
    Secure,
    /// A proxy's greeting and authentication.
    Greet,
    /// Waiting for a proxy's answer to the request for the target.
    Request,
    /// Waiting before the next attempt.
    Pause,
    /// A stage of a dialer that is not part of this crate.
    Other,
}

impl DialStage {
    /// One lower-case word, for a metric's label.
    pub fn name(self) -> &'static str {
        match self {
            Self::Choose => "choose",
            Self::Resolve => "resolve",
            Self::Connect => "connect",
            Self::Reach => "reach",
            Self::Secure => "secure",
            Self::Greet => "greet",
            Self::Request => "request",
            Self::Pause => "pause",
            Self::Other => "other",
        }
    }
}

impl fmt::Display for DialStage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Choose => "choosing the route",
            Self::Resolve => "resolving",
            Self::Connect => "connecting",
            Self::Reach => "connecting to the proxy",
            Self::Secure => "the tls handshake with the proxy",
            Self::Greet => "the proxy's greeting",
            Self::Request => "waiting for the proxy to connect",
            Self::Pause => "waiting to try again",
            Self::Other => "dialing",
        })
    }
}
