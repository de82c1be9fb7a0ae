//! The configuration of a client.

use std::time::Duration;

/// How many reservations are kept, and how often a relay is asked.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct ClientConfig {
    /// How many relays should hold a slot for this peer. Default 2, as in go-libp2p, so that one may fail.
    pub reservations: usize,
    /// How long a relay may take to be reached and to answer. Default 15 s.
    pub answer: Duration,
    /// How long a relay is left alone after a first failure. The time doubles with each further failure, and each time it is
    /// between half of that and all of it. Default 1 s.
    pub backoff: Duration,
    /// The longest time for which a relay is left alone. Default 1 min. A relay that restarts is back by then, and a full
    /// relay is asked again before others take its next slot.
    pub max_backoff: Duration,
    /// How long a reservation counts if its end makes no sense: it is in the past because a clock is wrong, or more than a
    /// day ahead. Default 5 min.
    pub fallback_ttl: Duration,
    /// The shortest reservation that the client accepts. Default 60 s, so that a relay can make the client ask, and announce
    /// addresses, at most once in 42 s. A shorter reservation counts as a failure.
    pub min_ttl: Duration,
    /// How many relays may be known at once. Further candidates are ignored. Default 256.
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
            min_ttl: Duration::from_secs(60),
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

    /// Sets [`Self::min_ttl`].
    pub fn with_min_ttl(mut self, ttl: Duration) -> Self {
        self.min_ttl = ttl;
        self
    }

    /// Sets [`Self::max_candidates`].
    pub fn with_max_candidates(mut self, relays: usize) -> Self {
        self.max_candidates = relays;
        self
    }
}
