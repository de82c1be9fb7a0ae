//! Queries about the state of the core.

use std::time::Instant;

use super::{
    Rejoin,
    entry::Entry,
    state::{Reason, State, Status},
    view::CandidateView,
};
use crate::{Need, RejoinConfig};

impl<Id: Clone + Ord, A: Clone + PartialEq> Rejoin<Id, A> {
    /// The state.
    pub fn state(&self) -> State {
        self.state
    }

    /// The state with its reason.
    pub fn status(&self) -> Status {
        let reason = if self.peers.len() > 0 {
            Reason::Connected {
                settled: self.peers.settled(),
                wanted: self.config.wanted,
            }
        } else if !self.attempts.is_empty() {
            Reason::Dialing {
                dials: self.attempts.len(),
            }
        } else if self.book.len() == 0 {
            Reason::NoCandidates
        } else {
            let next = self.next_dial().map(|next| next.at);
            Reason::Waiting {
                candidates: self.book.len(),
                next,
            }
        };
        Status {
            state: self.state,
            reason,
        }
    }

    /// How many further peers the node needs.
    pub fn need(&self) -> Need {
        let heard = self.peers.heard();
        Need {
            peers: self.config.target.saturating_sub(heard),
            isolated: heard == 0,
        }
    }

    /// The connected peers.
    pub fn connected(&self) -> impl Iterator<Item = &Id> {
        self.peers.ids()
    }

    /// Whether a peer is connected.
    pub fn is_connected(&self, peer: &Id) -> bool {
        self.peers.contains(peer)
    }

    /// All candidates with their history: at most [`RejoinConfig::max_candidates`].
    pub fn candidates(&self, now: Instant) -> Vec<CandidateView<Id, A>> {
        let view = |(key, entry): (u64, &Entry<Id, A>)| CandidateView {
            peer: entry.identity().cloned(),
            addresses: entry.all(),
            origins: entry.origins(),
            connected: entry
                .identity()
                .is_some_and(|peer| self.peers.contains(peer)),
            lost: entry.is_lost(now),
            in_flight: self
                .attempts
                .values()
                .filter(|attempt| attempt.key == key)
                .count(),
            dials: entry.dials,
            failures: entry.failures,
            next: entry.due,
            last_connected: entry.last_connected,
            longest: entry.longest,
        };
        self.book.iter().map(view).collect()
    }

    /// The configuration.
    pub fn config(&self) -> &RejoinConfig {
        &self.config
    }
}
