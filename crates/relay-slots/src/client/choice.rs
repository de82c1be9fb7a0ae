//! The choice of the relay that the client asks next, and of the time.

use std::time::{Duration, Instant};

use libp2p_identity::PeerId;
use rand::RngExt;

use super::{
    Client, ClientEvent,
    relay::{Relay, State, Subnet},
};

/// No pause is longer.
const DAY: Duration = Duration::from_secs(24 * 3600);

/// The relays that the client is busy with.
#[derive(Debug, Clone, Copy)]
pub(super) struct Counts {
    /// The relays that hold a slot or are asked for one.
    pub(super) kept: usize,
    /// The offered peers that the host examines.
    pub(super) examined: usize,
}

impl Client {
    pub(super) fn counts(&self) -> Counts {
        let mut counts = Counts {
            kept: 0,
            examined: 0,
        };
        for relay in self.relays.values() {
            match relay.state {
                State::Idle { .. } => {}
                State::Examining { .. } => counts.examined += 1,
                State::Asking { .. } | State::Held { .. } | State::Renewing { .. } => {
                    counts.kept += 1;
                }
            }
        }
        counts
    }

    /// Whether the client needs one more slot, at a relay of this kind.
    pub(super) fn lacks(&self, relay: &Relay, counts: &Counts) -> bool {
        let wanted = match relay.offer {
            None => self.config.reservations.max(self.config.auto),
            Some(_) => self.config.auto,
        };
        counts.kept < wanted
    }

    /// Asks the best relays until enough are held or asked, and looks for more of them.
    pub(super) fn fill(&mut self, now: Instant) {
        while let Some(id) = self.best(now) {
            self.ask(now, id);
        }
        self.try_offers(now);
        self.release();
        self.wish(now);
    }

    /// The best relay that may be asked now, of those that the host has chosen.
    fn best(&self, now: Instant) -> Option<PeerId> {
        let counts = self.counts();
        let taken = self.taken();
        let is_ready = |relay: &Relay| {
            relay.offer.is_none() && relay.is_ready(now) && self.lacks(relay, &counts)
        };
        let ready = self.relays.iter().filter(|(_, relay)| is_ready(relay));
        let best = ready.min_by_key(|(id, relay)| {
            let far = relay.rtt.unwrap_or(Duration::MAX);
            (relay.shares(&taken), relay.failures > 0, far, **id)
        });
        best.map(|(id, _)| *id)
    }

    /// The subnets of the relays that are held or asked.
    pub(super) fn taken(&self) -> Vec<&Subnet> {
        let busy = |relay: &&Relay| relay.is_asked() || relay.is_held();
        let busy = self.relays.values().filter(busy);
        busy.filter_map(|relay| relay.subnet.as_ref()).collect()
    }

    pub(super) fn ask(&mut self, now: Instant, id: PeerId) {
        if let Some(relay) = self.relays.get_mut(&id) {
            let until = now + self.config.answer;
            relay.state = State::Asking { until };
            self.events.push_back(ClientEvent::Ask {
                relay: id,
                addresses: relay.addresses.clone(),
            });
        }
    }

    /// Leaves a relay alone for a while.
    pub(super) fn rest(&mut self, now: Instant, relay: PeerId) -> Duration {
        let fraction = self.random.random::<f64>();
        let number = self.search.next_number();
        let Some(relay) = self.relays.get_mut(&relay) else {
            return Duration::ZERO;
        };
        if let Some(offer) = &mut relay.offer {
            offer.number = number;
        }
        if relay.excused.take().is_some_and(|until| now < until) {
            relay.state = State::Idle { until: now };
            return Duration::ZERO;
        }
        let doubled = self
            .config
            .backoff
            .saturating_mul(1 << relay.failures.min(16));
        let longest = match relay.is_stranger() {
            true => self.config.offer_pause.min(DAY),
            false => doubled.min(self.config.max_backoff),
        };
        let rest = longest.mul_f64(0.5 + fraction / 2.0);
        relay.failures = relay.failures.saturating_add(1);
        relay.state = State::Idle { until: now + rest };
        rest
    }
}
