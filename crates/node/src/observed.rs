//! The addresses at which peers see this node, and the choice of those that the node announces.
//!
//! A sighting is a peer's report of the address at which it sees this node. The report of one peer proves nothing, and one
//! machine can pretend to be many peers. The node announces an address when [`QUORUM`] peers in as many different networks report
//! it for the same listener. A report counts only from a connection that uses the socket of the listener. A network is an IPv4
//! /24 or an IPv6 /48, as in conn-state's limits. The report of a peer at a private address counts for private addresses only,
//! and the report of a public peer for public addresses only.
//!
//! A sighting counts while its connection is open, and for [`KEPT`] afterwards. The core reads no clock.
//!
//! | bound | value | beyond the bound |
//! | --- | --- | --- |
//! | sightings per peer and listener | 1, from its latest connection | the older sighting is forgotten |
//! | sightings per network and listener | [`PER_NETWORK`] | the new sighting replaces one whose connection has ended, or is ignored |
//! | sightings in all | [`MAX_SIGHTINGS`] | the new sighting replaces one whose connection has ended, or is ignored |
//! | announced addresses per listener | [`PER_LISTENER`] | the node leaves out the addresses that the fewest networks report |

use std::{
    collections::{BTreeMap, BTreeSet},
    net::IpAddr,
    time::{Duration, Instant},
};

use conn_state::{ConnectionId, Prefix};
use libp2p_identity::PeerId;
use multiaddr::Multiaddr;

use crate::{
    address::audience::Reach,
    address::{self, Kind},
};

/// The number of networks that must see an address. go-libp2p requires the same number of observers.
pub(crate) const QUORUM: usize = 4;
/// How long a sighting counts after its connection has ended.
pub(crate) const KEPT: Duration = Duration::from_secs(600);
const PER_NETWORK: usize = 4;
const MAX_SIGHTINGS: usize = 1_024;
const PER_LISTENER: usize = 3;

/// What one peer sees of this node.
#[derive(Debug, Clone)]
pub(crate) struct Sighting {
    /// The listener whose socket the connection uses.
    pub(crate) listener: u64,
    pub(crate) peer: PeerId,
    pub(crate) connection: ConnectionId,
    /// The peer's own address.
    pub(crate) from: Multiaddr,
    /// This node's address as the peer sees it.
    pub(crate) seen: Multiaddr,
}

/// The sightings of all listeners.
#[derive(Debug, Default)]
pub(crate) struct Observed {
    sightings: BTreeMap<(u64, PeerId), Kept>,
}

#[derive(Debug)]
struct Kept {
    seen: Multiaddr,
    network: Prefix,
    connection: ConnectionId,
    /// When the connection ended. `None`: it is open.
    ended: Option<Instant>,
}

impl Observed {
    /// A peer has reported where it sees this node. Its earlier report about the same listener no longer counts.
    pub(crate) fn handle_seen(&mut self, now: Instant, sighting: Sighting) {
        self.handle_timeout(now);
        let key = (sighting.listener, sighting.peer);
        self.sightings.remove(&key);
        let Some(network) = witness(&sighting.from, &sighting.seen) else {
            return;
        };
        let of_network = |key: &(u64, PeerId), kept: &Kept| {
            key.0 == sighting.listener && kept.network == network
        };
        if self.make_room(PER_NETWORK, of_network) && self.make_room(MAX_SIGHTINGS, |_, _| true) {
            let kept = Kept {
                seen: sighting.seen,
                network,
                connection: sighting.connection,
                ended: None,
            };
            self.sightings.insert(key, kept);
        }
    }

    pub(crate) fn handle_disconnected(&mut self, now: Instant, connection: ConnectionId) {
        for kept in self.sightings.values_mut() {
            if kept.connection == connection {
                kept.ended.get_or_insert(now);
            }
        }
    }

    /// Forgets the sightings that have expired.
    pub(crate) fn handle_timeout(&mut self, now: Instant) {
        let counts = |kept: &Kept| kept.ended.is_none_or(|ended| now < ended + KEPT);
        self.sightings.retain(|_, kept| counts(kept));
    }

    /// When to call [`Self::handle_timeout`].
    pub(crate) fn poll_timeout(&self) -> Option<Instant> {
        let ended = self.sightings.values().filter_map(|kept| kept.ended);
        ended.min().map(|ended| ended + KEPT)
    }

    /// The addresses to announce.
    pub(crate) fn addresses(&self) -> Vec<Multiaddr> {
        let mut networks: BTreeMap<(u64, &Multiaddr), BTreeSet<Prefix>> = BTreeMap::new();
        for ((listener, _), kept) in &self.sightings {
            let of_address = networks.entry((*listener, &kept.seen)).or_default();
            of_address.insert(kept.network);
        }
        let mut agreed: Vec<(u64, usize, &Multiaddr)> = networks
            .into_iter()
            .map(|((listener, seen), networks)| (listener, networks.len(), seen))
            .filter(|(_, networks, _)| *networks >= QUORUM)
            .collect();
        agreed.sort_by_key(|(listener, networks, _)| (*listener, usize::MAX - networks));
        let mut chosen = Vec::new();
        for of_listener in agreed.chunk_by(|a, b| a.0 == b.0) {
            let best = of_listener.iter().take(PER_LISTENER);
            chosen.extend(best.map(|(_, _, seen)| (*seen).clone()));
        }
        chosen
    }

    /// Whether there is room for a new one among the sightings that `counts` selects, of which at most `most` may exist. Forgets
    /// the sighting whose connection ended first if that makes room.
    fn make_room(&mut self, most: usize, counts: impl Fn(&(u64, PeerId), &Kept) -> bool) -> bool {
        let counted = self
            .sightings
            .iter()
            .filter(|(key, kept)| counts(key, kept));
        if counted.clone().count() < most {
            return true;
        }
        let ended = counted.filter_map(|(key, kept)| Some((kept.ended?, *key)));
        match ended.min() {
            Some((_, key)) => self.sightings.remove(&key).is_some(),
            None => false,
        }
    }
}

/// The network of a peer at `from` that reports to see this node at `seen`. `None`: the report does not count.
fn witness(from: &Multiaddr, seen: &Multiaddr) -> Option<Prefix> {
    let (observer, ip): (IpAddr, IpAddr) = (address::ip(from)?, address::ip(seen)?);
    let reach = Reach::of_ip(ip);
    let is_listener = matches!(address::kind(seen), Kind::Tcp | Kind::Quic);
    let is_plain = address::peer(seen).is_none();
    let has_port = address::socket(seen).is_some_and(|socket| socket.port() != 0);
    let is_witness = reach != Reach::Machine
        && reach == Reach::of_ip(observer)
        && ip.is_ipv4() == observer.is_ipv4();
    (is_listener && is_plain && has_port && is_witness).then(|| Prefix::subnet(observer))
}

#[cfg(test)]
mod tests;
