//! The numbers a client may set, and what it tells.

use std::time::Duration;

use libp2p_identity::PeerId;

use crate::{
    Status,
    wire::{Limit, Reservation},
};

/// How many reservations are kept, and how insistently.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct ClientConfig {
    /// How many relays are to hold a slot for us. Default 2, as go-libp2p keeps: one may go.
    pub reservations: usize,
    /// How long a relay may take to be reached and to answer. Default 15 s.
    pub answer: Duration,
    /// How long a relay is left alone after a first failure; twice as long after each further one, and each time between
    /// half of that and all of it. Default 1 s.
    pub backoff: Duration,
    /// How long it is left alone at the most. Default 1 min: a relay that restarts is back by then, and one that is full
    /// is asked again before its next slot is taken by others.
    pub max_backoff: Duration,
    /// How long a reservation is taken to last whose end makes no sense: in the past, by a clock that is wrong, or more
    /// than a day ahead. Default 5 min.
    pub fallback_ttl: Duration,
    /// How many relays are known at once; a further one is not taken in. Default 256.
    pub max_candidates: usize,
}

impl Default for ClientConfig {
    fn default() -> Self {
        Self {
            reservations: 2,
            answer: Duration::from_secs(15),
            backoff: Duration::from_secs(1),
            max_backoff: Duration::from_secs(60),
            fallback_ttl: Duration::from_secs(300),
            max_candidates: 256,
        }
    }
}

impl ClientConfig {
    /// Sets [`Self::reservations`].
    pub fn with_reservations(mut self, reservations: usize) -> Self {
        self.reservations = reservations;
        self
    }

    /// Sets [`Self::answer`].
    pub fn with_answer(mut self, answer: Duration) -> Self {
        self.answer = answer;
        self
    }

    /// Sets [`Self::backoff`] and [`Self::max_backoff`].
    pub fn with_backoff(mut self, first: Duration, at_most: Duration) -> Self {
        (self.backoff, self.max_backoff) = (first, at_most);
        self
    }

    /// Sets [`Self::fallback_ttl`].
    pub fn with_fallback_ttl(mut self, ttl: Duration) -> Self {
        self.fallback_ttl = ttl;
        self
    }

    /// Sets [`Self::max_candidates`].
    pub fn with_max_candidates(mut self, relays: usize) -> Self {
        self.max_candidates = relays;
        self
    }
}

/// What came of asking a relay.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Answer {
    /// It keeps a slot for us.
    Granted {
        /// Its word.
        reservation: Reservation,
        /// What circuits may carry.
        limit: Option<Limit>,
    },
    /// It does not.
    Refused(Status),
    /// It could not be reached, or did not answer sensibly.
    Failed(String),
}

/// What the host is to do, or to know.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum ClientEvent {
    /// Connect to this relay if there is no connection, send it a RESERVE, and say what came of it:
    /// [`crate::Client::handle_answer`].
    Ask {
        /// The relay.
        relay: PeerId,
    },
    /// A relay keeps a slot for us: it can be announced.
    Granted {
        /// The relay.
        relay: PeerId,
        /// What it granted.
        reservation: Reservation,
        /// What circuits may carry. If its duration was cut, the relay confuses its units.
        limit: Option<Limit>,
    },
    /// It goes on doing so.
    Renewed {
        /// The relay.
        relay: PeerId,
        /// What it granted.
        reservation: Reservation,
        /// What circuits may carry.
        limit: Option<Limit>,
    },
    /// A relay said no.
    Refused {
        /// The relay.
        relay: PeerId,
        /// Its word.
        status: Status,
        /// What that means.
        reason: String,
        /// When it is asked again at the earliest.
        retry_in: Duration,
    },
    /// A relay that was asked did not answer.
    Failed {
        /// The relay.
        relay: PeerId,
        /// What happened.
        reason: String,
        /// When it is asked again at the earliest.
        retry_in: Duration,
    },
    /// A slot is gone: it must no longer be announced.
    Lost {
        /// The relay.
        relay: PeerId,
        /// What happened.
        cause: LostCause,
    },
    /// Another relay is in the place of one that was lost.
    Replaced {
        /// What was lost.
        old: PeerId,
        /// Whose slot was granted in its place. The old one itself, if it is back.
        new: PeerId,
    },
}

/// Why a reservation is gone.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum LostCause {
    /// The connection to the relay is closed.
    Disconnected,
    /// The relay would not renew it.
    Refused(Status),
    /// It could not be renewed before it expired.
    Expired,
    /// The host does not want this relay any longer.
    Removed,
}
