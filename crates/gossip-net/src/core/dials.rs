//! Dials of peers without a link.
//!
//! Members of a topic name other peers, which may not exist. A part of the dials is therefore reserved for the peers that the host
//! has named, and these peers go first.

use std::time::Instant;

use bytes::Bytes;

use super::{Core, Output};

/// How many peers wait for a dial.
const MAX_WAITING: usize = 64;
/// How many of these places are for peers that the host has named.
const RESERVED_WAITING: usize = 16;
/// How many of the dials in flight are for peers that the host has named.
const RESERVED_DIALS: usize = 2;

impl Core {
    /// Makes sure that the peer is being dialed or waits for a dial.
    pub(super) fn dial(&mut self, now: Instant, peer: u32) -> bool {
        if self.dials.contains_key(&peer) || self.waiting.contains(&peer) {
            return true;
        }
        if self.may_dial(peer) {
            self.start_dial(now, peer);
            return true;
        }
        let reserved = match self.peers.is_named(peer) {
            true => 0,
            false => RESERVED_WAITING,
        };
        let has_room = self.waiting.len() < MAX_WAITING - reserved;
        if has_room {
            self.waiting.push_back(peer);
        }
        has_room
    }

    /// Starts waiting dials.
    pub(super) fn dial_next(&mut self, now: Instant) {
        while let Some(at) = self.next_waiting()
            && let Some(peer) = self.waiting.remove(at)
        {
            if self.arbiter.current(peer).is_none() {
                self.start_dial(now, peer);
            }
        }
    }

    /// The waiting peer that may be dialed now.
    fn next_waiting(&self) -> Option<usize> {
        let mut waiting = self.waiting.iter();
        let named = waiting.position(|peer| self.peers.is_named(*peer));
        let next = named.unwrap_or(0);
        self.waiting
            .get(next)
            .is_some_and(|peer| self.may_dial(*peer))
            .then_some(next)
    }

    fn may_dial(&self, peer: u32) -> bool {
        let limit = self.config.max_dials;
        let limit = match self.peers.is_named(peer) {
            true => limit,
            false => limit.saturating_sub(RESERVED_DIALS).max(1).min(limit),
        };
        self.dials.len() < limit
    }

    fn start_dial(&mut self, now: Instant, peer: u32) {
        let Some(id) = self.peers.id(peer) else {
            return;
        };
        let deadline = now + self.config.dial_timeout;
        self.dials.insert(peer, deadline);
        self.counters.dials += 1;
        let data = self.peers.data(peer).map_or_else(Bytes::new, |data| data.0);
        tracing::debug!(%id, "a peer is dialed");
        self.outputs.push_back(Output::Dial {
            peer: id,
            data,
            deadline,
        });
    }
}
