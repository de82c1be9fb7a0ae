//! A slot of a libp2p peer, for a listing.

use std::{net::IpAddr, time::Duration};

use libp2p_identity::PeerId;

use crate::table::SlotState;

/// A slot of a libp2p peer. With the feature `serde`, its JSON is
/// `{"peer_id": "12D3…", "address": "192.0.2.1", "state": "active", "expires_s": 3599, "circuits": 1, "bytes": 2048}`.
#[derive(Debug, Clone, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[non_exhaustive]
pub struct Slot {
    /// The peer that holds the slot.
    #[cfg_attr(feature = "serde", serde(rename = "peer_id", with = "text"))]
    pub peer: PeerId,
    /// The address at which the slot is counted, if it has one. The last 64 bits of an IPv6 address are zero.
    pub address: Option<IpAddr>,
    /// Its state.
    pub state: SlotState,
    /// The time until the slot expires, unless it is renewed. In JSON, whole seconds.
    #[cfg_attr(feature = "serde", serde(rename = "expires_s", with = "seconds"))]
    pub expires_in: Duration,
    /// The number of circuits to its peer.
    pub circuits: usize,
    /// Bytes that circuits to its peer have carried, in both directions, since the peer's first slot was granted.
    pub bytes: u64,
}

#[cfg(feature = "serde")]
mod text {
    use libp2p_identity::PeerId;
    use serde::{Deserialize, Deserializer, Serializer, de::Error};

    pub(super) fn serialize<S: Serializer>(peer: &PeerId, to: S) -> Result<S::Ok, S::Error> {
        to.collect_str(peer)
    }

    pub(super) fn deserialize<'a, D: Deserializer<'a>>(from: D) -> Result<PeerId, D::Error> {
        String::deserialize(from)?.parse().map_err(D::Error::custom)
    }
}

#[cfg(feature = "serde")]
mod seconds {
    use std::time::Duration;

    use serde::{Deserialize, Deserializer, Serializer};

    pub(super) fn serialize<S: Serializer>(time: &Duration, to: S) -> Result<S::Ok, S::Error> {
        to.serialize_u64(time.as_secs())
    }

    pub(super) fn deserialize<'a, D: Deserializer<'a>>(from: D) -> Result<Duration, D::Error> {
        u64::deserialize(from).map(Duration::from_secs)
    }
}
