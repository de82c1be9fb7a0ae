//! The peers that the topics and links know, each with a handle.

use std::collections::{BTreeMap, BTreeSet};

use crate::{
    Id,
    wire::{AddrInfo, MAX_DATA, PeerData, PeerInfo},
};

/// The handle of this node.
pub(crate) const ME: u32 = 0;

#[derive(Debug)]
pub(crate) struct Peer {
    pub(crate) id: Id,
    data: Option<PeerData>,
    /// Whether the peer itself told its data.
    told: bool,
    /// Whether iroh peers can dial the peer, as far as is known.
    pub(crate) for_iroh: bool,
    /// Whether the host has named the peer.
    named: bool,
}

#[derive(Debug)]
pub(crate) struct Peers {
    handles: BTreeMap<Id, u32>,
    peers: Vec<Option<Peer>>,
    free: Vec<u32>,
    /// The number of peers at which unused ones are removed.
    limit: usize,
}

impl Peers {
    /// A table with this node.
    pub(crate) fn new(me: Id) -> Self {
        let mut peers = Self {
            handles: BTreeMap::new(),
            peers: Vec::new(),
            free: Vec::new(),
            limit: 256,
        };
        peers.intern(me);
        peers
    }

    pub(crate) fn find(&self, id: &Id) -> Option<u32> {
        self.handles.get(id).copied()
    }

    pub(crate) fn get(&self, handle: u32) -> Option<&Peer> {
        self.peers.get(handle as usize)?.as_ref()
    }

    pub(crate) fn id(&self, handle: u32) -> Option<Id> {
        self.get(handle).map(|peer| peer.id)
    }

    /// The peer with its addresses, for a message.
    pub(crate) fn info(&self, handle: u32) -> Option<PeerInfo> {
        let peer = self.get(handle)?;
        let data = peer.data.clone();
        Some(PeerInfo { id: peer.id, data })
    }

    pub(crate) fn data(&self, handle: u32) -> Option<PeerData> {
        self.get(handle)?.data.clone()
    }

    /// The handle of a peer. It stays valid until a [`Self::sweep`] that does not name it.
    pub(crate) fn intern(&mut self, id: Id) -> u32 {
        if let Some(handle) = self.find(&id) {
            return handle;
        }
        let peer = Some(Peer {
            id,
            data: None,
            told: false,
            for_iroh: false,
            named: false,
        });
        let handle = match self.free.pop() {
            Some(handle) => {
                self.peers[handle as usize] = peer;
                handle
            }
            None => {
                self.peers.push(peer);
                u32::try_from(self.peers.len() - 1).unwrap_or(u32::MAX)
            }
        };
        self.handles.insert(id, handle);
        handle
    }

    /// Notes the addresses of a peer. What others say never replaces what the peer itself has told.
    pub(crate) fn learn(&mut self, handle: u32, data: Option<PeerData>, told: bool) {
        let Some(data) = data.filter(|data| !data.0.is_empty() && data.0.len() <= MAX_DATA) else {
            return;
        };
        if let Some(Some(peer)) = self.peers.get_mut(handle as usize)
            && (told || !peer.told)
        {
            peer.for_iroh |= AddrInfo::decode(&data).is_dialable_by_iroh();
            (peer.data, peer.told) = (Some(data), told);
        }
    }

    pub(crate) fn speaks_iroh(&mut self, handle: u32) {
        if let Some(Some(peer)) = self.peers.get_mut(handle as usize) {
            peer.for_iroh = true;
        }
    }

    /// The host has named the peer, so it goes before peers that only other peers have named.
    pub(crate) fn note_named(&mut self, handle: u32) {
        if let Some(Some(peer)) = self.peers.get_mut(handle as usize) {
            peer.named = true;
        }
    }

    pub(crate) fn is_named(&self, handle: u32) -> bool {
        self.get(handle).is_some_and(|peer| peer.named)
    }

    /// Whether unused peers should be removed.
    pub(crate) fn wants_sweep(&self) -> bool {
        self.handles.len() >= self.limit
    }

    /// Removes all peers that are not used.
    pub(crate) fn sweep(&mut self, used: &BTreeSet<u32>) {
        for (handle, slot) in (0..).zip(&mut self.peers) {
            if handle != ME
                && !used.contains(&handle)
                && let Some(peer) = slot.take()
            {
                self.handles.remove(&peer.id);
                self.free.push(handle);
            }
        }
        self.limit = (2 * self.handles.len()).max(256);
    }
}
