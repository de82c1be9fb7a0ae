//! The search for relays among the peers that the host offers.
//!
//! ```text
//!  Wanted ──► the host ──► handle_offered ──► idle ── Examine ──► examining ── it serves the hop protocol ──► Ask
//!                                              ▲                      │
//!                                              └──── after a pause ◄──┴── it does not, or there is no connection
//! ```
//!
//! Anyone may name candidates to the host, so all of this is bounded. The client knows at most 128 offered peers, and examines at
//! most 4 of them at a time. [`ClientConfig::offer_burst`](super::ClientConfig::offer_burst) and
//! [`ClientConfig::offer_interval`](super::ClientConfig::offer_interval) bound the number of tries: a try examines an offered peer,
//! asks it for a slot, or does one after the other. A peer that was tried in vain rests for
//! [`ClientConfig::offer_pause`](super::ClientConfig::offer_pause), even if it is offered again.

use std::time::{Duration, Instant};

use libp2p_identity::PeerId;
use multiaddr::Multiaddr;

use super::{
    Client, ClientEvent,
    choice::Counts,
    offer::Offer,
    relay::{Relay, State},
};

/// The most offered peers that the client knows.
const MAX_OFFERS: usize = 128;
/// The number of peers that the client wants the host to offer at a time.
const WANTED: usize = 16;
/// The most offered peers that are examined at the same time.
const MAX_EXAMINED: usize = 4;
/// How long the client waits before it has an offered peer examined. The host often connects to the peer on its own meanwhile, and
/// then the identify message of the peer tells whether the peer is a relay.
const PATIENCE: Duration = Duration::from_secs(1);
/// The shortest time between two requests for offers.
const WISH_GAP: Duration = Duration::from_secs(10);
/// The longest interval of the pace that counts.
const DAY: Duration = Duration::from_secs(24 * 3600);

/// The state of the search.
#[derive(Debug, Default)]
pub(super) struct Search {
    numbers: u64,
    /// When the whole burst of tries is allowed again.
    full: Option<Instant>,
    /// The offers that the host has not made yet.
    open: usize,
    /// The last request for offers.
    wished: Option<Instant>,
}

impl Search {
    pub(super) fn next_number(&mut self) -> u64 {
        self.numbers += 1;
        self.numbers
    }

    /// When the next try may begin. `None`: at any time.
    fn ready_at(&self, interval: Duration, burst: u32) -> Option<Instant> {
        let reserve = interval.min(DAY).saturating_mul(burst.max(1) - 1);
        self.full?.checked_sub(reserve)
    }

    fn take(&mut self, now: Instant, interval: Duration) {
        let full = self.full.map_or(now, |full| full.max(now));
        self.full = Some(full + interval.min(DAY));
    }
}

impl Client {
    /// The host offers a peer that may be a relay, at these addresses, the best address first. Report offers if
    /// [`ClientEvent::Wanted`] has asked for them. Ignored without [`super::ClientConfig::auto`], and for relays that
    /// [`Self::handle_candidate`] has named.
    pub fn handle_offered(&mut self, now: Instant, relay: PeerId, addresses: &[Multiaddr]) {
        if self.closed || self.config.auto == 0 {
            return;
        }
        self.search.open = self.search.open.saturating_sub(1);
        if !self.relays.contains_key(&relay) && self.make_room(now) {
            let mut new = Relay::new(now);
            new.offer = Some(Offer::new(self.search.next_number()));
            new.state = State::Idle {
                until: now + PATIENCE,
            };
            self.relays.insert(relay, new);
        }
        let known = self.relays.get_mut(&relay);
        if let Some(known) = known.filter(|known| known.offer.is_some()) {
            known.addresses.clear();
            // The latest address is the last one.
            addresses
                .iter()
                .rev()
                .for_each(|address| known.add_address(address));
        }
        self.fill(now);
    }

    /// A connected peer has told, in its identify message, whether it serves the hop protocol. Report each message. The client
    /// ignores peers that were not offered.
    pub fn handle_identified(&mut self, now: Instant, relay: &PeerId, serves: bool) {
        let Some(known) = self.relays.get_mut(relay) else {
            return;
        };
        let failures = known.failures;
        let Some(offer) = &mut known.offer else {
            return;
        };
        offer.serves = Some(serves);
        if let State::Idle { until } = &mut known.state {
            match serves {
                // A relay that has failed twice in a row rests, so that it cannot use up the pace of all offers.
                true if !offer.declined && failures < 2 => *until = now.min(*until),
                false if failures == 0 => {
                    self.rest(now, *relay);
                }
                _ => {}
            }
        }
        self.fill(now);
    }

    /// The outcome of [`ClientEvent::Examine`]: whether the peer serves the hop protocol. `None`: there is no connection, or the
    /// peer has not told.
    pub fn handle_examined(&mut self, now: Instant, relay: &PeerId, serves: Option<bool>) {
        self.examined(now, relay, serves);
        self.fill(now);
    }

    pub(super) fn examined(&mut self, now: Instant, relay: &PeerId, serves: Option<bool>) {
        let known = self.relays.get_mut(relay);
        let Some(known) = known.filter(|known| matches!(known.state, State::Examining { .. }))
        else {
            return;
        };
        if let Some(offer) = &mut known.offer {
            offer.serves = serves.or(offer.serves);
        }
        match serves {
            Some(true) => known.state = State::Idle { until: now },
            _ => {
                self.rest(now, *relay);
            }
        }
    }

    /// Whether there is room for one more offered peer. A peer that is no relay, or may be tried again, makes place.
    fn make_room(&mut self, now: Instant) -> bool {
        let offers = |(_, relay): &(&PeerId, &Relay)| relay.offer.is_some();
        if self.relays.iter().filter(offers).count() < MAX_OFFERS {
            return true;
        }
        let may_go = |(_, relay): &(&PeerId, &Relay)| {
            let Some(offer) = &relay.offer else {
                return false;
            };
            let State::Idle { until } = relay.state else {
                return false;
            };
            offer.is_no_relay() || relay.failures > 0 && until <= now
        };
        let victims = self.relays.iter().filter(may_go);
        let oldest =
            victims.min_by_key(|(_, relay)| relay.offer.as_ref().map(|offer| offer.number));
        let Some(oldest) = oldest.map(|(id, _)| *id) else {
            return false;
        };
        self.relays.remove(&oldest);
        true
    }

    /// The relay gave no slot.
    pub(super) fn note_declined(&mut self, relay: &PeerId) {
        let known = self.relays.get_mut(relay);
        if let Some(offer) = known.and_then(|known| known.offer.as_mut()) {
            offer.declined = true;
        }
    }

    /// When a resting relay is tried next: not before the end of its pause at `until`, and an offered peer at the pace of all
    /// offers. `None`: not while the counts stay the same.
    pub(super) fn next_try(
        &self,
        relay: &Relay,
        until: Instant,
        counts: &Counts,
    ) -> Option<Instant> {
        if !self.lacks(relay, counts) {
            return None;
        }
        let Some(offer) = &relay.offer else {
            return Some(until);
        };
        if !offer.serves() && counts.examined >= MAX_EXAMINED {
            return None;
        }
        let (interval, burst) = (self.config.offer_interval, self.config.offer_burst);
        let ready = self.search.ready_at(interval, burst);
        let ready = ready.filter(|_| !offer.trying);
        Some(ready.map_or(until, |ready| ready.max(until)))
    }

    /// Tries offered peers: asks those that serve the hop protocol for a slot, and has the host examine the others.
    pub(super) fn try_offers(&mut self, now: Instant) {
        while let Some(id) = self.next_offer(now) {
            let Some(relay) = self.relays.get_mut(&id) else {
                return;
            };
            let Some(offer) = &mut relay.offer else {
                return;
            };
            offer.declined = false;
            if !std::mem::replace(&mut offer.trying, true) {
                self.search.take(now, self.config.offer_interval);
            }
            if offer.serves() {
                self.ask(now, id);
                continue;
            }
            let until = now + self.config.answer;
            relay.state = State::Examining { until };
            self.events.push_back(ClientEvent::Examine {
                relay: id,
                addresses: relay.addresses.clone(),
            });
        }
    }

    /// The offered peer that is tried now: first the best one that was never tried in vain, then the others in turn.
    fn next_offer(&self, now: Instant) -> Option<PeerId> {
        let (counts, taken) = (self.counts(), self.taken());
        let is_due = |relay: &Relay| match relay.state {
            State::Idle { until } => {
                let next = self.next_try(relay, until, &counts);
                next.is_some_and(|next| next <= now)
            }
            _ => false,
        };
        let due = self.relays.iter().filter(|(_, relay)| is_due(relay));
        let due = due.filter_map(|(id, relay)| {
            let offer = relay.offer.as_ref()?;
            let rank = match relay.failures {
                0 => {
                    let far = relay.rtt.unwrap_or(Duration::MAX);
                    (false, !offer.serves(), relay.shares(&taken), far)
                }
                _ => (true, false, false, Duration::ZERO),
            };
            Some((rank, offer.number, *id))
        });
        due.min().map(|(.., id)| id)
    }

    /// The tries that have ended without a slot: the host may close the connections that it opened for them.
    pub(super) fn release(&mut self) {
        for (id, relay) in &mut self.relays {
            let is_idle = matches!(relay.state, State::Idle { .. });
            if let Some(offer) = relay.offer.as_mut().filter(|_| is_idle)
                && std::mem::take(&mut offer.trying)
            {
                self.events.push_back(ClientEvent::Released { relay: *id });
            }
        }
    }

    /// Asks the host for offers while slots are missing, and tells it when no more are missing.
    pub(super) fn wish(&mut self, now: Instant) {
        if self.closed || self.config.auto == 0 {
            return;
        }
        let counts = self.counts();
        // A relay that is only asked may refuse.
        if self.held().count() >= self.config.auto {
            if std::mem::take(&mut self.search.open) > 0 {
                self.events.push_back(ClientEvent::Wanted { count: 0 });
            }
            return;
        }
        let is_first = self.search.wished.is_none();
        if is_first || self.next_wish(&counts).is_some_and(|next| next <= now) {
            (self.search.open, self.search.wished) = (WANTED, Some(now));
            self.events.push_back(ClientEvent::Wanted { count: WANTED });
        }
    }

    /// When the client asks the host for offers again. `None`: not while the known offers have not been tried.
    pub(super) fn next_wish(&self, counts: &Counts) -> Option<Instant> {
        let is_untried =
            |relay: &Relay| relay.offer.is_some() && relay.failures == 0 && !relay.is_held();
        let is_satisfied = counts.kept >= self.config.auto;
        if self.closed || is_satisfied || self.relays.values().any(is_untried) {
            return None;
        }
        let gap = match self.search.open {
            0 => WISH_GAP,
            // The host still offers peers as it learns of them. A new request also brings the new addresses of known peers.
            _ => self.config.offer_pause.clamp(WISH_GAP, DAY),
        };
        Some(self.search.wished? + gap)
    }
}
