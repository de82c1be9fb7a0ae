//! The slots and circuits of one relay.

mod buckets;
mod circuits;
mod connections;
mod counts;
mod look;
mod peers;
mod slab;
mod slots;
mod view;
mod wheel;

use std::{
    collections::VecDeque,
    fmt,
    hash::Hash,
    net::IpAddr,
    sync::Arc,
    time::{Duration, Instant},
};

pub use self::view::{EndCause, Event, FreeCause, Granted, Opening, SlotState, SlotView, Usage};
use self::{
    buckets::Buckets,
    circuits::Circuit,
    connections::{Connection, Connections},
    counts::{Counts, Keyed},
    peers::Peers,
    slab::{NONE, Slab},
    slots::{Slot, millis},
    wheel::{Timer, Wheel},
};
use crate::{
    Admission,
    admission::Caps,
    config::TableConfig,
    error::{Refusal, ReleaseError},
    id::{CircuitId, ConnectionId},
    scope::{Origin, Place, PlaceKind},
};

type AsnLookup = dyn Fn(IpAddr) -> Option<u32> + Send + Sync;

/// The slots and circuits of one relay, by the rules of an [`Admission`].
///
/// The host reports a connection when the peer at its other end is authenticated. The table attributes every request over the
/// connection to this peer, so only the holder of a slot can renew or release it. After each call the host takes events with
/// [`Table::poll_event`] until there are none.
///
/// The table learns the time only from the arguments `now`, in whole milliseconds. A `now` that is earlier than the previous one
/// counts as the previous one.
pub struct Table<Id, A = Caps> {
    config: TableConfig,
    admission: A,
    asn: Option<Box<AsnLookup>>,
    start: Instant,
    /// Microseconds since the start.
    now: u64,
    seed: u64,
    /// Circuits so far, modulo 2³².
    serial: u32,
    peers: Peers<Id>,
    connections: Connections,
    slots: Slab<Slot>,
    circuits: Slab<Circuit>,
    slots_at: Counts,
    pairs: Counts,
    buckets: Buckets,
    timers: Wheel,
    events: VecDeque<Event<Id>>,
}

impl<Id: Eq + Hash + Clone, A: Admission<Id>> Table<Id, A> {
    /// An empty table. Keep the seed secret, so that strangers cannot choose addresses that collide in the hash tables. The seed
    /// also spreads the probes over time.
    pub fn new(now: Instant, seed: u64, admission: A, config: TableConfig) -> Self {
        let hasher = Keyed(seed);
        Self {
            config,
            admission,
            asn: None,
            start: now,
            now: 0,
            seed,
            serial: 0,
            peers: Peers::new(hasher),
            connections: Connections::new(hasher),
            slots: Slab::default(),
            circuits: Slab::default(),
            slots_at: Counts::new(hasher),
            pairs: Counts::new(hasher),
            buckets: Buckets::new(hasher),
            timers: Wheel::new(),
            events: VecDeque::new(),
        }
    }

    /// Sets the lookup of an address' autonomous system. The table calls it once per connection.
    pub fn with_asn(
        mut self,
        lookup: impl Fn(IpAddr) -> Option<u32> + Send + Sync + 'static,
    ) -> Self {
        self.asn = Some(Box::new(lookup));
        self
    }

    /// A connection was opened, and `peer` is authenticated at its other end. If a slot of this peer waits in its grace, this
    /// connection keeps the slot from now on.
    ///
    /// The host chooses the number `connection`. If a connection with the same number is still open, it first counts as closed.
    pub fn handle_connected(
        &mut self,
        now: Instant,
        connection: ConnectionId,
        peer: &Id,
        origin: Origin,
    ) {
        self.handle_disconnected(now, connection);
        let lookup = self.asn.as_deref();
        let place = Place::new(origin, lookup.map(|lookup| lookup as _));
        let peer = self.peers.find_or_insert(peer);
        let next = self.peers[peer].connection;
        let at = Connection::new(connection, peer, next, place);
        let at = self.connections.insert(at);
        self.peers[peer].connection = at;
        let waiting = self.own_slot(at);
        if let Some(slot) = waiting.filter(|_| place.kind != PlaceKind::Relayed) {
            self.attach(slot, at);
            self.set_state(slot, SlotState::Active, self.millis());
        }
    }

    /// A connection was closed. Its circuits end. Its slot passes to another connection of the same peer; if there is none,
    /// the grace begins. An unknown connection changes nothing.
    pub fn handle_disconnected(&mut self, now: Instant, connection: ConnectionId) {
        self.advance(now);
        let Some(at) = self.connections.find(connection) else {
            return;
        };
        self.end_circuits_over(at);
        let (peer, slot) = (self.connections[at].peer, self.connections[at].slot);
        if slot != NONE {
            self.bereave(slot, at);
            let kept_by = &mut self.slots[slot].connection;
            if *kept_by == at {
                *kept_by = NONE;
            }
        }
        let next = self.connections[at].next;
        let newest = &mut self.peers[peer].connection;
        if *newest == at {
            *newest = next;
        } else {
            let mut before = *newest;
            while self.connections[before].next != at {
                before = self.connections[before].next;
            }
            self.connections[before].next = next;
        }
        self.connections.remove(at);
        self.peers.forget_if_gone(peer);
    }

    /// Something was received over a connection. The host may call this as often as it likes.
    pub fn handle_alive(&mut self, now: Instant, connection: ConnectionId) {
        self.advance(now);
        let found = self.connections.find(connection);
        let slot = found.map(|at| self.connections[at].slot);
        if let Some(slot) = slot.filter(|slot| *slot != NONE) {
            self.set_state(slot, SlotState::Active, self.millis());
        }
    }

    /// A connection did not answer a probe and is not closed yet. Its slot passes to another connection of the same peer; if
    /// there is none, the grace begins.
    pub fn handle_dead(&mut self, now: Instant, connection: ConnectionId) {
        self.advance(now);
        let Some(at) = self.connections.find(connection) else {
            return;
        };
        let slot = self.connections[at].slot;
        if slot != NONE {
            self.bereave(slot, at);
        }
    }

    /// A RESERVE was received over a connection.
    ///
    /// The table renews the slot that this connection keeps, or else one of the peer's slots in their grace. If there is no such
    /// slot, the table grants a new slot. If the rules refuse a new slot, the table takes the peer's slot that expires first,
    /// renews it, and passes it to this connection.
    ///
    /// # Errors
    ///
    /// The slot was refused, and nothing has changed. A peer that holds a slot is refused only by [`Admission::may_renew`] or if
    /// it renews too often ([`crate::Rates::renew_of_peer`]), and keeps its slot.
    pub fn handle_reserve(
        &mut self,
        now: Instant,
        connection: ConnectionId,
    ) -> Result<Granted, Refusal> {
        self.advance(now);
        let unknown = Refusal::UnknownConnection { id: connection };
        let at = self.connections.find(connection).ok_or(unknown)?;
        let (peer, place) = (self.connections[at].peer, self.connections[at].place());
        if place.kind == PlaceKind::Relayed {
            return Err(Refusal::Relayed);
        }
        let renewed = match self.own_slot(at) {
            Some(slot) => slot,
            None => match self.admit_slot(at) {
                Ok(due) => {
                    self.take_tokens(due);
                    let slot = self.add_slot(at);
                    return Ok(self.granted(slot, false));
                }
                Err(refusal) => self.first_to_expire(peer).ok_or(refusal)?,
            },
        };
        if !self.admission.may_renew(&self.peers[peer].id) {
            return Err(Refusal::MayNotRenew);
        }
        self.take_renewal(renewed, at)?;
        self.attach(renewed, at);
        let now = self.millis();
        self.slots[renewed].expires = now.saturating_add(millis(self.config.ttl));
        self.set_state(renewed, SlotState::Active, now);
        Ok(self.granted(renewed, true))
    }

    /// The peer at the other end gives a slot back: the slot that this connection keeps, or else a slot in its grace, or else the
    /// slot that expires first.
    ///
    /// # Errors
    ///
    /// The connection is unknown, or its peer holds no slot.
    pub fn handle_release(
        &mut self,
        now: Instant,
        connection: ConnectionId,
    ) -> Result<(), ReleaseError> {
        self.advance(now);
        let unknown = ReleaseError::UnknownConnection { id: connection };
        let at = self.connections.find(connection).ok_or(unknown)?;
        let peer = self.connections[at].peer;
        let slot = self.own_slot(at).or_else(|| self.first_to_expire(peer));
        self.free(slot.ok_or(ReleaseError::NoSlot { id: connection })?);
        Ok(())
    }

    /// A CONNECT was received over a connection. The circuit counts against the caps until
    /// [`Self::handle_circuit_closed`] or [`Event::CircuitEnded`].
    ///
    /// # Errors
    ///
    /// The circuit was refused, and nothing has changed.
    pub fn handle_connect(
        &mut self,
        now: Instant,
        source: ConnectionId,
        destination: &Id,
    ) -> Result<Opening, Refusal> {
        self.advance(now);
        let unknown = Refusal::UnknownConnection { id: source };
        let at = self.connections.find(source).ok_or(unknown)?;
        let (to, due) = self.admit_circuit(at, destination)?;
        self.take_tokens(due);
        let circuit = self.add_circuit([at, to]);
        Ok(Opening {
            circuit: self.circuit_id(circuit),
            connection: self.connections[to].id,
            meter: Arc::clone(&self.circuits[circuit].meter),
        })
    }

    /// The destination accepted the circuit, which may be open for [`TableConfig::circuit_duration`] from now on. Returns whether
    /// the circuit still exists. If not, an event has reported its end.
    pub fn handle_opened(&mut self, now: Instant, circuit: CircuitId) -> bool {
        self.advance(now);
        let found = self.find_circuit(circuit);
        if let Some(at) = found.filter(|at| !self.circuits[*at].open) {
            self.open_circuit(at);
        }
        found.is_some()
    }

    /// A circuit ended, or failed to open. An unknown circuit changes nothing.
    pub fn handle_circuit_closed(&mut self, now: Instant, circuit: CircuitId) {
        self.advance(now);
        if let Some(at) = self.find_circuit(circuit) {
            self.end_circuit(at);
        }
    }

    /// Does what is due at `now`.
    pub fn handle_timeout(&mut self, now: Instant) {
        self.advance(now);
    }

    /// When to call [`Self::handle_timeout`] at the latest. Such a call may find nothing to do.
    pub fn poll_timeout(&self) -> Option<Instant> {
        self.instant(self.timers.next()?)
    }

    /// The next action or notice for the host.
    pub fn poll_event(&mut self) -> Option<Event<Id>> {
        let event = self.events.pop_front();
        if event.is_none() {
            // An empty queue keeps no memory.
            self.events = VecDeque::new();
        }
        event
    }

    /// The peer at the other end of a connection.
    pub fn peer_of(&self, connection: ConnectionId) -> Option<&Id> {
        let at = self.connections.find(connection)?;
        Some(&self.peers[self.connections[at].peer].id)
    }

    /// The rules of admission.
    pub fn admission(&self) -> &A {
        &self.admission
    }

    /// The rules of admission, for a change at run time. Existing slots and circuits stay.
    pub fn admission_mut(&mut self) -> &mut A {
        &mut self.admission
    }

    /// The configuration.
    pub fn config(&self) -> &TableConfig {
        &self.config
    }

    /// Changes the configuration. Existing slots and circuits keep their times.
    pub fn set_config(&mut self, config: TableConfig) {
        self.config = config;
    }

    fn advance(&mut self, now: Instant) {
        let passed = now.saturating_duration_since(self.start).as_micros();
        self.now = u64::try_from(passed).unwrap_or(u64::MAX).max(self.now);
        while let Some(timer) = self.timers.pop(self.millis()) {
            match timer {
                Timer::Slot(slot) => self.handle_slot_due(slot),
                Timer::Circuit(circuit) => self.handle_circuit_due(circuit),
                Timer::Bucket(bucket) => {
                    let timers = &mut self.timers;
                    self.buckets.handle_due(self.now, bucket, timers);
                }
            }
        }
    }

    fn granted(&self, slot: u32, renewed: bool) -> Granted {
        let expires = self.instant(self.slots[slot].expires);
        Granted {
            expires: expires.unwrap_or(self.start),
            renewed,
        }
    }

    fn connections_of(&self, peer: u32) -> impl Iterator<Item = u32> {
        let some = |at: u32| Some(at).filter(|at| *at != NONE);
        let newest = some(self.peers[peer].connection);
        std::iter::successors(newest, move |at| some(self.connections[*at].next))
    }

    fn find_circuit(&self, id: CircuitId) -> Option<u32> {
        let (at, serial) = (id.0 as u32, (id.0 >> 32) as u32);
        let circuit = self.circuits.get(at)?;
        (circuit.serial == serial).then_some(at)
    }

    fn circuit_id(&self, at: u32) -> CircuitId {
        CircuitId(u64::from(self.circuits[at].serial) << 32 | u64::from(at))
    }

    fn millis(&self) -> u64 {
        self.now / 1000
    }

    fn instant(&self, millis: u64) -> Option<Instant> {
        self.start.checked_add(Duration::from_millis(millis))
    }
}

impl<Id, A: fmt::Debug> fmt::Debug for Table<Id, A> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Table")
            .field("config", &self.config)
            .field("admission", &self.admission)
            .finish_non_exhaustive()
    }
}
