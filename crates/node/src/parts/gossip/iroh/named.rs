//! The addresses of iroh endpoints that the host has named.

use std::{collections::VecDeque, net::SocketAddr};

use gossip_net::Id;

use super::IrohPeer;

/// The most peers that are remembered. The oldest gives way.
const MAX_PEERS: usize = 256;
/// The most addresses of one peer. The oldest gives way.
const MAX_ADDRESSES: usize = 8;

/// The named peers with their addresses, oldest first.
#[derive(Debug, Default)]
pub(super) struct Named(VecDeque<(Id, Vec<SocketAddr>)>);

impl Named {
    pub(super) fn add(&mut self, peer: IrohPeer) {
        let known = self.0.iter().position(|(id, _)| *id == peer.id());
        let (id, mut addresses) = match known.and_then(|at| self.0.remove(at)) {
            Some(known) => known,
            None => (peer.id(), Vec::new()),
        };
        addresses.retain(|address| *address != peer.address());
        addresses.push(peer.address());
        if addresses.len() > MAX_ADDRESSES {
            addresses.remove(0);
        }
        if self.0.len() >= MAX_PEERS {
            self.0.pop_front();
        }
        self.0.push_back((id, addresses));
    }

    /// The named addresses of a peer.
    pub(super) fn of(&self, peer: &Id) -> Vec<SocketAddr> {
        let known = self.0.iter().find(|(id, _)| id == peer);
        known.map_or_else(Vec::new, |(_, addresses)| addresses.clone())
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a panic is a test's verdict")]

    use libp2p_identity::Keypair;

    use super::*;
    use crate::parts::gossip::id::key_of;

    fn id() -> Id {
        key_of(&Keypair::generate_ed25519().public().to_peer_id()).unwrap()
    }

    fn at(port: u16) -> SocketAddr {
        ([192, 0, 2, 1], port).into()
    }

    #[test]
    fn of_more_than_eight_addresses_and_256_peers_the_oldest_give_way() {
        let (mut named, peer) = (Named::default(), id());
        for port in 1..=9 {
            named.add(IrohPeer::new(peer, at(port)));
        }
        named.add(IrohPeer::new(peer, at(3)));
        assert_eq!(named.of(&peer), [2, 4, 5, 6, 7, 8, 9, 3].map(at));
        for _ in 0..255 {
            named.add(IrohPeer::new(id(), at(1)));
        }
        assert_eq!(named.of(&peer).len(), 8);
        named.add(IrohPeer::new(id(), at(1)));
        assert!(named.of(&peer).is_empty());
    }
}
