//! The client's side: keeps so many reservations, on the best of the relays it knows.
//!
//! ```text
//!            handle_candidate          Ask                     Granted
//!  unknown ─────────────────► idle ─────────► asking ────────────────────► held ⟲ Renewed (at ¾ of its time)
//!                              ▲  after a      │ Refused, Failed            │
//!                              └── backoff ◄───┴────────────────────────────┘ Lost
//! ```
//!
//! Best is who shares no subnet with a relay that is held already, then who is nearest. A lost reservation is replaced at
//! once by another candidate's; its own relay is tried again after a second, then after two, four and so on up to a minute,
//! for as long as too few are held. What is held is not given up for something better.

mod config;
mod relay;

#[cfg(test)]
mod tests;

use std::{
    collections::{BTreeMap, VecDeque},
    time::{Duration, Instant},
};

use libp2p_identity::PeerId;
use multiaddr::Multiaddr;
use rand::{RngExt, SeedableRng, rngs::SmallRng};

pub use self::config::{Answer, ClientConfig, ClientEvent, LostCause};
use self::relay::{Relay, State, Subnet};
use crate::{
    Status,
    wire::{Limit, Reservation},
};

/// A reservation's end is believed up to here.
const MAX_TTL: Duration = Duration::from_secs(24 * 3600);

/// Keeps reservations. One for all relays.
#[derive(Debug)]
pub struct Client {
    config: ClientConfig,
    relays: BTreeMap<PeerId, Relay>,
    /// Relays that were lost and not yet replaced, the first first.
    vacant: VecDeque<PeerId>,
    events: VecDeque<ClientEvent>,
    random: SmallRng,
}

impl Client {
    /// Knows no relay yet. The seed spreads what it does over time.
    pub fn new(seed: u64, config: ClientConfig) -> Self {
        Self {
            config,
            relays: BTreeMap::new(),
            vacant: VecDeque::new(),
            events: VecDeque::new(),
            random: SmallRng::seed_from_u64(seed),
        }
    }

    /// A relay that may be asked, where it is and how far. Known already, its address and distance are brought up to date.
    pub fn handle_candidate(
        &mut self,
        now: Instant,
        relay: PeerId,
        address: &Multiaddr,
        rtt: Option<Duration>,
    ) {
        let is_full = self.relays.len() >= self.config.max_candidates;
        if is_full && !self.relays.contains_key(&relay) {
            return;
        }
        let subnet = Subnet::of(address);
        let known = self.relays.entry(relay).or_insert_with(|| Relay::new(now));
        known.subnet = subnet;
        known.rtt = rtt.or(known.rtt);
        self.fill(now);
    }

    /// A relay's measured round trip.
    pub fn handle_rtt(&mut self, relay: &PeerId, rtt: Duration) {
        if let Some(relay) = self.relays.get_mut(relay) {
            relay.rtt = Some(rtt);
        }
    }

    /// A relay is not to be asked any longer.
    pub fn handle_removed(&mut self, now: Instant, relay: &PeerId) {
        let Some(removed) = self.relays.remove(relay) else {
            return;
        };
        if removed.is_held() {
            self.lose(*relay, LostCause::Removed);
        }
        self.fill(now);
    }

    /// The last connection to a relay is closed.
    pub fn handle_disconnected(&mut self, now: Instant, relay: &PeerId) {
        if self.relays.get(relay).is_some_and(Relay::is_held) {
            self.lose(*relay, LostCause::Disconnected);
            self.rest(now, *relay);
        }
        self.fill(now);
    }

    /// What came of [`ClientEvent::Ask`]. `unix` is `now` in seconds since 1970. Who was not asked has no say.
    pub fn handle_answer(&mut self, now: Instant, unix: u64, relay: &PeerId, answer: Answer) {
        let Some(asked) = self.relays.get_mut(relay).filter(|relay| relay.is_asked()) else {
            return;
        };
        let was_held = asked.is_held();
        match answer {
            Answer::Granted { reservation, limit } => {
                self.granted(now, unix, *relay, reservation, limit);
            }
            Answer::Refused(status) => {
                if was_held {
                    self.lose(*relay, LostCause::Refused(status));
                }
                let retry_in = self.rest(now, *relay);
                self.events.push_back(ClientEvent::Refused {
                    relay: *relay,
                    status,
                    reason: reason(status).to_owned(),
                    retry_in,
                });
            }
            Answer::Failed(reason) => self.failed(now, *relay, reason),
        }
        self.fill(now);
    }

    /// Time has passed.
    pub fn handle_timeout(&mut self, now: Instant) {
        let due = |(id, relay): (&PeerId, &Relay)| (relay.due()? <= now).then_some(*id);
        let due: Vec<PeerId> = self.relays.iter().filter_map(due).collect();
        for id in due {
            let Some(relay) = self.relays.get_mut(&id) else {
                continue;
            };
            match relay.state {
                State::Idle { .. } => {}
                State::Held { expires, .. } | State::Renewing { expires, .. } if expires <= now => {
                    self.lose(id, LostCause::Expired);
                    self.rest(now, id);
                }
                State::Held { expires, .. } => {
                    let until = now + self.config.answer;
                    relay.state = State::Renewing { until, expires };
                    self.events.push_back(ClientEvent::Ask { relay: id });
                }
                State::Asking { .. } | State::Renewing { .. } => {
                    let waited = self.config.answer;
                    self.failed(now, id, format!("no answer within {waited:?}"));
                }
            }
        }
        self.fill(now);
    }

    /// When to call [`Self::handle_timeout`].
    pub fn poll_timeout(&self) -> Option<Instant> {
        let lacking = self.kept() < self.config.reservations;
        let counts = |relay: &&Relay| lacking || !matches!(relay.state, State::Idle { .. });
        let relays = self.relays.values().filter(counts);
        relays.filter_map(Relay::due).min()
    }

    /// What is to be done or known next.
    pub fn poll_event(&mut self) -> Option<ClientEvent> {
        self.events.pop_front()
    }

    /// Whose slots we hold.
    pub fn held(&self) -> impl Iterator<Item = PeerId> {
        let held = self.relays.iter().filter(|(_, relay)| relay.is_held());
        held.map(|(id, _)| *id)
    }

    /// Whether a circuit from this relay is to be accepted: only from one that was asked for a slot.
    ///
    /// # Errors
    ///
    /// What to answer instead.
    pub fn accept(&self, relay: &PeerId) -> Result<(), Status> {
        match self.relays.get(relay) {
            Some(relay) if relay.is_held() || relay.is_asked() => Ok(()),
            _ => Err(Status::PermissionDenied),
        }
    }

    fn granted(
        &mut self,
        now: Instant,
        unix: u64,
        relay: PeerId,
        reservation: Reservation,
        limit: Option<Limit>,
    ) {
        let told = Duration::from_secs(reservation.expire.saturating_sub(unix));
        let makes_sense = !told.is_zero() && told <= MAX_TTL;
        let ttl = if makes_sense {
            told
        } else {
            self.config.fallback_ttl
        };
        // Between 0.7 and 0.8 of it, so that those who came together do not renew together.
        let renew = now + ttl.mul_f64(0.7 + 0.1 * self.random.random::<f64>());
        let Some(known) = self.relays.get_mut(&relay) else {
            return;
        };
        let was_held = known.is_held();
        let expires = now + ttl;
        known.state = State::Held { renew, expires };
        known.failures = 0;
        if was_held {
            self.events.push_back(ClientEvent::Renewed {
                relay,
                reservation,
                limit,
            });
            return;
        }
        self.events.push_back(ClientEvent::Granted {
            relay,
            reservation,
            limit,
        });
        if let Some(old) = self.vacant.pop_front() {
            let new = relay;
            self.events.push_back(ClientEvent::Replaced { old, new });
        }
    }

    /// A relay did not answer. One that holds a slot goes on doing so until that expires.
    fn failed(&mut self, now: Instant, relay: PeerId, reason: String) {
        let held_until = self.relays.get(&relay).and_then(Relay::held_until);
        let retry_in = self.rest(now, relay);
        if let Some((expires, known)) = held_until.zip(self.relays.get_mut(&relay)) {
            let renew = (now + retry_in).min(expires);
            known.state = State::Held { renew, expires };
        }
        self.events.push_back(ClientEvent::Failed {
            relay,
            reason,
            retry_in,
        });
    }

    fn lose(&mut self, relay: PeerId, cause: LostCause) {
        self.events.push_back(ClientEvent::Lost { relay, cause });
        self.vacant.push_back(relay);
        while self.vacant.len() > self.config.reservations {
            self.vacant.pop_front();
        }
    }

    /// Leaves a relay alone for a while.
    fn rest(&mut self, now: Instant, relay: PeerId) -> Duration {
        let fraction = self.random.random::<f64>();
        let Some(relay) = self.relays.get_mut(&relay) else {
            return Duration::ZERO;
        };
        let doubled = self
            .config
            .backoff
            .saturating_mul(1 << relay.failures.min(16));
        let rest = doubled
            .min(self.config.max_backoff)
            .mul_f64(0.5 + fraction / 2.0);
        relay.failures = relay.failures.saturating_add(1);
        relay.state = State::Idle { until: now + rest };
        rest
    }

    /// Relays that are held, or asked.
    fn kept(&self) -> usize {
        let kept = |relay: &&Relay| !matches!(relay.state, State::Idle { .. });
        self.relays.values().filter(kept).count()
    }

    /// Asks the best until there are enough.
    fn fill(&mut self, now: Instant) {
        while self.kept() < self.config.reservations {
            let taken: Vec<Subnet> = (self.relays.values())
                .filter(|relay| !matches!(relay.state, State::Idle { .. }))
                .filter_map(|relay| relay.subnet.clone())
                .collect();
            let shares = |relay: &Relay| relay.subnet.as_ref().is_some_and(|s| taken.contains(s));
            let ready = self
                .relays
                .iter_mut()
                .filter(|(_, relay)| relay.is_ready(now));
            let best = ready.min_by_key(|(id, relay)| {
                let far = relay.rtt.unwrap_or(Duration::MAX);
                (shares(relay), relay.failures > 0, far, **id)
            });
            let Some((id, relay)) = best else {
                return;
            };
            let until = now + self.config.answer;
            relay.state = State::Asking { until };
            self.events.push_back(ClientEvent::Ask { relay: *id });
        }
    }
}

fn reason(status: Status) -> &'static str {
    match status {
        Status::ReservationRefused => "it refuses: asked too often, or too many reservations",
        Status::ResourceLimitExceeded => "it has no room",
        Status::PermissionDenied => "it does not serve us",
        Status::MalformedMessage => "it could not read the request",
        Status::UnexpectedMessage => "it did not expect the request",
        Status::Unknown(_) => "it says something that the spec does not know",
        Status::Ok | Status::ConnectionFailed | Status::NoReservation => {
            "it says something that is no answer to a reservation"
        }
    }
}
