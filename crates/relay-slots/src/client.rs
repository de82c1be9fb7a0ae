//! The client's side. It keeps a number of reservations at the best of its known relays.
//!
//! ```text
//!            handle_candidate          Ask                     Granted
//!  unknown ─────────────────► idle ─────────► asking ────────────────────► held ⟲ Renewed (after ¾ of its time)
//!                              ▲  after a      │ Refused, Failed            │
//!                              └── backoff ◄───┴────────────────────────────┘ Lost
//! ```
//!
//! The best relay has the shortest round trip among the relays that share no subnet with a relay at which the client already
//! holds a slot. When a reservation is lost, the client asks another candidate at once. While the client has too few
//! reservations, it also asks the lost relay again after a pause of up to one second. The next pauses are up to two seconds, four
//! seconds and so on, and at most one minute. The client never gives up a reservation for a better relay.
//!
//! With [`ClientConfig::auto`], the client also looks for relays by itself, among the peers that its host offers. See
//! [`Client::handle_offered`].
//!
//! The client limits the effects of a hostile relay. A relay cannot choose how often the client asks it. The client refuses a
//! reservation that is shorter than [`ClientConfig::min_ttl`], and renews a slot after 0.7 of that time at the earliest. Only a
//! slot that lasted for at least this minimum resets the pauses between requests. A relay cannot choose which addresses the
//! client announces. The client announces at most 8 addresses of a relay: first the address at which it reached the relay, then
//! addresses with the same IP address, and then addresses that a probe has confirmed.

mod choice;
mod config;
mod event;
mod network;
mod offer;
mod offers;
mod probing;
mod relay;
mod vetting;

#[cfg(test)]
mod tests;

use std::{
    collections::{BTreeMap, VecDeque},
    time::{Duration, Instant},
};

use libp2p_identity::PeerId;
use multiaddr::Multiaddr;
use rand::{RngExt, SeedableRng, rngs::SmallRng};

#[cfg(test)]
use self::relay::Subnet;
pub use self::{
    config::ClientConfig,
    event::{Answer, AskError, ClientEvent, LostCause},
};
use self::{
    offers::Search,
    probing::Probe,
    relay::{Relay, State},
};
use crate::{
    error::Status,
    wire::{Limit, Reservation},
};
#[cfg(any(fuzzing, test))]
pub(crate) use vetting::check as check_vetting;

/// A reservation that claims to last longer makes no sense.
const MAX_TTL: Duration = Duration::from_secs(24 * 3600);

/// Keeps reservations at relays, without I/O. A peer has one client for all its relays.
#[derive(Debug)]
pub struct Client {
    config: ClientConfig,
    relays: BTreeMap<PeerId, Relay>,
    /// Relays that were lost and not yet replaced, the oldest first.
    vacant: VecDeque<PeerId>,
    probing: Option<Probe>,
    /// The relay that was probed last.
    probed: Option<PeerId>,
    search: Search,
    events: VecDeque<ClientEvent>,
    random: SmallRng,
    closed: bool,
}

impl Client {
    /// A client without known relays. The seed spreads renewals and retries over time.
    pub fn new(seed: u64, config: ClientConfig) -> Self {
        Self {
            config,
            relays: BTreeMap::new(),
            vacant: VecDeque::new(),
            probing: None,
            probed: None,
            search: Search::default(),
            events: VecDeque::new(),
            random: SmallRng::seed_from_u64(seed),
            closed: false,
        }
    }

    /// A relay that may be asked for a slot, with an address and, if measured, its round trip. The client keeps the latest 8
    /// addresses of a relay.
    pub fn handle_candidate(
        &mut self,
        now: Instant,
        relay: PeerId,
        address: &Multiaddr,
        rtt: Option<Duration>,
    ) {
        let of_host = |relay: &&Relay| relay.offer.is_none();
        let is_full = self.relays.values().filter(of_host).count() >= self.config.max_candidates;
        let is_known = self.relays.get(&relay).as_ref().is_some_and(of_host);
        if self.closed || is_full && !is_known {
            return;
        }
        let known = self.relays.entry(relay).or_insert_with(|| Relay::new(now));
        known.offer = None;
        known.add_address(address);
        known.rtt = rtt.or(known.rtt);
        self.fill(now);
    }

    /// A relay's measured round trip.
    pub fn handle_rtt(&mut self, relay: &PeerId, rtt: Duration) {
        if let Some(relay) = self.relays.get_mut(relay) {
            relay.rtt = Some(rtt);
        }
    }

    /// The client must not ask a relay any more. It gives up its reservation at this relay.
    pub fn handle_removed(&mut self, now: Instant, relay: &PeerId) {
        let Some(removed) = self.relays.remove(relay) else {
            return;
        };
        if removed.is_held() {
            self.lose(now, *relay, LostCause::Removed);
        }
        self.fill(now);
    }

    /// The last connection to a relay was closed.
    pub fn handle_disconnected(&mut self, now: Instant, relay: &PeerId) {
        if self.relays.get(relay).is_some_and(Relay::is_held) {
            self.lose(now, *relay, LostCause::Disconnected);
            self.rest(now, *relay);
        }
        self.fill(now);
    }

    /// The outcome of [`ClientEvent::Ask`]. `unix` is `now` in seconds since 1970. The client ignores the answer of a relay that
    /// it has not asked.
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
                    self.lose(now, *relay, LostCause::Refused(status));
                }
                let retry_in = self.rest(now, *relay);
                self.note_declined(relay);
                self.events.push_back(ClientEvent::Refused {
                    relay: *relay,
                    status,
                    retry_in,
                });
            }
            Answer::Failed(error) => self.failed(now, *relay, error),
        }
        self.probe_next(now);
        self.fill(now);
    }

    /// Does what is due at `now`.
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
                    self.lose(now, id, LostCause::Expired);
                    self.rest(now, id);
                }
                State::Held { expires, .. } => {
                    let until = now + self.config.answer;
                    relay.state = State::Renewing { until, expires };
                    let addresses = relay.addresses.clone();
                    self.events.push_back(ClientEvent::Ask {
                        relay: id,
                        addresses,
                    });
                }
                State::Asking { .. } | State::Renewing { .. } => {
                    let within = self.config.answer;
                    self.failed(now, id, AskError::NoAnswer { within });
                }
                State::Examining { .. } => self.examined(now, &id, None),
            }
        }
        self.probe_next(now);
        self.fill(now);
    }

    /// When to call [`Self::handle_timeout`].
    pub fn poll_timeout(&self) -> Option<Instant> {
        let counts = self.counts();
        let relays = self.relays.values().filter_map(|relay| match relay.state {
            State::Idle { until } => self.next_try(relay, until, &counts),
            _ => relay.due(),
        });
        let probed = self.probing.as_ref().map(|probe| probe.until);
        relays.chain(probed).chain(self.next_wish(&counts)).min()
    }

    /// The next action or notice for the host.
    pub fn poll_event(&mut self) -> Option<ClientEvent> {
        self.events.pop_front()
    }

    /// The relays that hold a slot for this peer.
    pub fn held(&self) -> impl Iterator<Item = PeerId> {
        let held = self.relays.iter().filter(|(_, relay)| relay.is_held());
        held.map(|(id, _)| *id)
    }

    /// The circuit addresses to announce at this moment, without this peer's own id.
    pub fn addresses(&self) -> impl Iterator<Item = &Multiaddr> {
        let held = self.relays.values().filter(|relay| relay.is_held());
        held.flat_map(|relay| &relay.circuits)
    }

    /// The configuration.
    pub fn config(&self) -> &ClientConfig {
        &self.config
    }

    /// Shuts the client down: it gives up all reservations, asks no more relays, and accepts no more circuits. The protocol has
    /// no message that gives a slot back; the relay frees the slot after the connection is closed.
    pub fn close(&mut self) {
        self.closed = true;
        self.probing = None;
        for (relay, removed) in std::mem::take(&mut self.relays) {
            if removed.is_held() {
                let cause = LostCause::Closing;
                self.events.push_back(ClientEvent::Lost { relay, cause });
            }
        }
    }

    /// Whether to accept a circuit from this relay: only if the relay was asked for a slot or holds one.
    ///
    /// # Errors
    ///
    /// The status for the answer to the relay.
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
        let least = self.config.min_ttl;
        let makes_sense = !told.is_zero() && told <= MAX_TTL;
        if makes_sense && told < least {
            return self.failed(now, relay, AskError::ShortTtl { ttl: told, least });
        }
        let ttl = if makes_sense {
            told
        } else {
            self.config.fallback_ttl.max(least)
        };
        // Between 0.7 and 0.8 of it, so that those who came together do not renew together.
        let renew = now + ttl.mul_f64(0.7 + 0.1 * self.random.random::<f64>());
        let Some(known) = self.relays.get_mut(&relay) else {
            return;
        };
        let was_held = known.is_held();
        let expires = now + ttl;
        known.state = State::Held { renew, expires };
        if was_held {
            known.failures = 0;
        } else {
            known.granted = Some(now);
        }
        known.announce(now, relay, &reservation);
        let addresses = known.circuits.clone();
        if was_held {
            self.events.push_back(ClientEvent::Renewed {
                relay,
                addresses,
                limit,
            });
            return;
        }
        self.events.push_back(ClientEvent::Granted {
            relay,
            addresses,
            limit,
        });
        if let Some(old) = self.vacant.pop_front() {
            let new = relay;
            self.events.push_back(ClientEvent::Replaced { old, new });
        }
    }

    /// A relay did not answer. A slot that it holds stays until it expires.
    fn failed(&mut self, now: Instant, relay: PeerId, error: AskError) {
        let held_until = self.relays.get(&relay).and_then(Relay::held_until);
        let retry_in = self.rest(now, relay);
        match held_until.zip(self.relays.get_mut(&relay)) {
            Some((expires, known)) => {
                let renew = (now + retry_in).min(expires);
                known.state = State::Held { renew, expires };
            }
            None => self.note_declined(&relay),
        }
        self.events.push_back(ClientEvent::Failed {
            relay,
            error,
            retry_in,
        });
    }

    fn lose(&mut self, now: Instant, relay: PeerId, cause: LostCause) {
        let least = self.config.min_ttl;
        if let Some(known) = self.relays.get_mut(&relay) {
            let lasted = known.granted.is_some_and(|granted| now >= granted + least);
            if lasted {
                known.failures = 0;
            }
            if let Some(offer) = &mut known.offer {
                offer.lasted = lasted;
            }
            known.forget_slot();
        }
        self.events.push_back(ClientEvent::Lost { relay, cause });
        self.vacant.push_back(relay);
        while self.vacant.len() > self.config.reservations.max(self.config.auto) {
            self.vacant.pop_front();
        }
    }
}
