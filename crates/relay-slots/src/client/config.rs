//! The configuration of a client.

use std::time::Duration;

/// The number of reservations that a client keeps, and the pace of its requests.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct ClientConfig {
    /// How many relays should hold a slot for this peer. Default 2, as in go-libp2p, so that one may fail.
    pub reservations: usize,
    /// How long a relay may take to be reached and to answer. Default 15 s.
    pub answer: Duration,
    /// The pause before a relay is asked again after its first failure. Default 1 s. The pause doubles with each further failure.
    /// Each pause is a random time between half of this value and the whole value.
    pub backoff: Duration,
    /// The longest pause before a relay is asked again. Default 1 min. A relay that restarts is back after this time, and a full
    /// relay is asked again before other peers take its next free slot.
    pub max_backoff: Duration,
    /// The assumed duration of a reservation whose end is implausible: it is in the past because a clock is wrong, or more than a
    /// day ahead. Default 5 min.
    pub fallback_ttl: Duration,
    /// The shortest reservation that the client accepts. Default 60 s, so that a relay can cause a request and a new announcement
    /// of addresses at most once in 42 s. A shorter reservation counts as a failure.
    pub min_ttl: Duration,
    /// How many relays may be known at once. Further candidates are ignored. Default 256. Offered peers do not count.
    pub max_candidates: usize,
    /// How many slots the client keeps at relays that it finds by itself, among the peers that the host offers
    /// ([`crate::Client::handle_offered`]). The slots at the relays of [`crate::Client::handle_candidate`] count, and these relays
    /// are asked first. Default 0: the client looks for no relay.
    pub auto: usize,
    /// The longest pause before an offered peer is tried again: one that could not be reached, is no relay, or gave no slot. The
    /// pause is between half of that and all of it, and at most a day. Default 5 min, because a stranger owes this peer nothing. A
    /// relay whose slot has lasted for [`Self::min_ttl`] is asked again after [`Self::backoff`], as one that the host has chosen.
    pub offer_pause: Duration,
    /// How many offered peers may be tried without a wait. Default 8.
    pub offer_burst: u32,
    /// The time after which one more offered peer may be tried. Default 10 s. Those who name thousands of candidates thus cause a
    /// burst of dials, and then 6 dials per minute.
    pub offer_interval: Duration,
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
            auto: 0,
            offer_pause: Duration::from_secs(300),
            offer_burst: 8,
            offer_interval: Duration::from_secs(10),
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

    /// Sets [`Self::auto`].
    pub fn with_auto(mut self, slots: usize) -> Self {
        self.auto = slots;
        self
    }

    /// Sets [`Self::offer_pause`], [`Self::offer_burst`] and [`Self::offer_interval`].
    pub fn with_offers(mut self, pause: Duration, burst: u32, interval: Duration) -> Self {
        (self.offer_pause, self.offer_burst, self.offer_interval) = (pause, burst, interval);
        self
    }
}
