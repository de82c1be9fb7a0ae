//! The public events about the DHT.

use std::fmt;

use libp2p_identity::PeerId;
use serde_json::{Value, json};

use crate::event::PartEvent;

/// The routing table has changed, or the node has started or stopped serving the DHT.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum DhtEvent {
    /// The node has started or stopped serving the DHT.
    Serving {
        /// Whether the node serves.
        serves: bool,
    },
    /// A peer has entered the routing table.
    Entered {
        /// The peer.
        peer: PeerId,
    },
    /// A peer has left the routing table.
    Left {
        /// The peer.
        peer: PeerId,
    },
}

impl fmt::Display for DhtEvent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Serving { serves: true } => f.write_str("this node serves the DHT"),
            Self::Serving { serves: false } => f.write_str("this node no longer serves the DHT"),
            Self::Entered { peer } => write!(f, "{peer} is in the routing table"),
            Self::Left { peer } => write!(f, "{peer} is no longer in the routing table"),
        }
    }
}

impl PartEvent for DhtEvent {
    fn name(&self) -> &'static str {
        match self {
            Self::Serving { .. } => "dht_serving",
            Self::Entered { .. } => "dht_entered",
            Self::Left { .. } => "dht_left",
        }
    }

    fn to_json(&self) -> Value {
        match self {
            Self::Serving { serves } => json!({"serves": serves}),
            Self::Entered { peer } | Self::Left { peer } => json!({"peer_id": peer.to_string()}),
        }
    }

    fn is_notable(&self) -> bool {
        matches!(self, Self::Serving { .. })
    }
}
