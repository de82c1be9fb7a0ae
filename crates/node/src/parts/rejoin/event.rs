//! The public events about the node's state in its network.

use std::fmt;

use bootstrap::State;
use serde_json::{Value, json};

use crate::event::PartEvent;

/// The node's state in its network has changed.
///
/// ```
/// use node::{Event, NetworkEvent, bootstrap::State};
///
/// fn is_joined(event: &Event) -> bool {
///     let Event::Part(event) = event else { return false };
///     matches!(event.downcast_ref(), Some(NetworkEvent { to: State::Joined, .. }))
/// }
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct NetworkEvent {
    /// The state before.
    pub from: State,
    /// The state now.
    pub to: State,
    /// The reason for the state.
    pub reason: String,
}

impl fmt::Display for NetworkEvent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "network: {}: {}", self.to, self.reason)
    }
}

impl PartEvent for NetworkEvent {
    fn name(&self) -> &'static str {
        "network"
    }

    fn to_json(&self) -> Value {
        json!({
            "from": self.from.to_string(),
            "to": self.to.to_string(),
            "reason": self.reason,
        })
    }
}

/// A bootstrap address, or an address of a peer to keep, does not answer. The event is sent once per address, and again only
/// after the address has answered. The node reports at most 1,024 addresses that the user has named, and 128 addresses of
/// `/dnsaddr` records.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct BootstrapFailed {
    /// What failed: `"bootstrap peer"`, `"peer to keep"`, or `"bootstrap list"` for a `/dnsaddr` name without peers.
    pub what: &'static str,
    /// The failed addresses with their causes.
    pub error: String,
}

impl fmt::Display for BootstrapFailed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.what, self.error)
    }
}

impl PartEvent for BootstrapFailed {
    fn name(&self) -> &'static str {
        "dial_failed"
    }

    fn to_json(&self) -> Value {
        json!({"error": self.error})
    }
}
