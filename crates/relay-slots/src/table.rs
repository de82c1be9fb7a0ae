//! The slots and circuits of one relay.

mod buckets;
mod circuits;
mod counts;
mod peers;
mod scope;
mod slab;
mod slots;
mod view;
mod wheel;

use std::{
    collections::VecDeque,
    fmt,
    hash::Hash,
    net::IpAddr,
    time::{Duration, Instant},
};

use self::{
    buckets::Buckets,
    circuits::Circuit,
    counts::{Counts, Keyed},
    peers::{Connection, Peers},
    scope::{Place, PlaceKind},
    slab::{NONE, Slab},
    slots::{Slot, millis},
    wheel::{Timer, Wheel},
};
pub use self::{
    scope::{Origin, Scope, ScopeKind},
    view::{
        CircuitId, ConnectionId, EndCause, Event, FreeCause, Granted, Opening, SlotState, SlotView,
        Usage,
    },
};
use crate::{Admission, Caps, Refusal, ReleaseError, TableConfig};

type AsnLookup = dyn Fn(IpAddr) -> Option<u32> + Send + Sync;

/// Slots and circuits, by the rules of an [`Admission`].
///
/// The host names a connection once its other end is authenticated, and all that is asked over it is asked by that peer:
/// so only the owner of a slot renews or releases it. After each call it takes the events until there are none.
///
/// Times are those of the arguments, and never go back: an earlier `now` than one before counts as that one. They are
/// looked at in whole milliseconds.
pub struct Table<Id, A = Caps> {
    config: TableConfig,
    admission: A,
    asn: Option<Box<AsnLookup>>,
    start: Instant,
    /// Microseconds since the start.
    now: u64,
    seed: u64,
    serial: u32,
    peers: Peers<Id>,
    connections: Slab<Connection>,
    slots: Slab<Slot>,
    circuits: Slab<Circuit>,
    slots_at: Counts,
    pairs: Counts,
    buckets: Buckets,
    timers: Wheel,
    events: VecDeque<Event<Id>>,
}

impl<Id: Eq + Hash + Clone, A: Admission<Id>> Table<Id, A> {
    /// Nobody is connected yet. The seed is a secret: it keeps strangers from choosing addresses that collide, and spreads
    /// the probes.
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
            connections: Slab::default(),
            slots: Slab::default(),
            circuits: Slab::default(),
            slots_at: Counts::new(hasher),
            pairs: Counts::new(hasher),
            buckets: Buckets::new(hasher),
            timers: Wheel::new(),
            events: VecDeque::new(),
        }
    }

    /// Sets how an address' autonomous system is found. It is asked once a connection.
    pub fn with_asn(
        mut self,
        lookup: impl Fn(IpAddr) -> Option<u32> + Send + Sync + 'static,
    ) -> Self {
        self.asn = Some(Box::new(lookup));
        self
    }

    /// A connection is up, and `peer` is authenticated at its other end. A slot that waits for this peer is kept by this
    /// connection from now on.
    pub fn handle_connected(&mut self, now: Instant, peer: &Id, origin: Origin) -> ConnectionId {
        self.advance(now);
        let lookup = self.asn.as_deref();
        let place = Place::new(origin, lookup.map(|lookup| lookup as _));
        let peer = self.peers.find_or_insert(peer);
        let serial = self.next_serial();
        let next = self.peers[peer].connection;
        let connection = Connection::new(serial, peer, next, place);
        let connection = self.connections.insert(connection);
        self.peers[peer].connection = connection;
        let waiting = self.own_slot(connection);
        if let Some(slot) = waiting.filter(|_| place.kind != PlaceKind::Relayed) {
            self.attach(slot, connection);
            self.set_state(slot, SlotState::Active, self.millis());
        }
        self.connection_id(connection)
    }

    /// A connection is closed, and the circuits over it with it. Its slot passes to another connection of its peer, or the
    /// grace begins. An unknown one changes nothing.
    pub fn handle_disconnected(&mut self, now: Instant, connection: ConnectionId) {
        self.advance(now);
        let Some(at) = self.find(connection) else {
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

    /// Something came over a connection just now. May be said as often as one likes.
    pub fn handle_alive(&mut self, now: Instant, connection: ConnectionId) {
        self.advance(now);
        let slot = self.find(connection).map(|at| self.connections[at].slot);
        if let Some(slot) = slot.filter(|slot| *slot != NONE) {
            self.set_state(slot, SlotState::Active, self.millis());
        }
    }

    /// A connection is known to be dead, though not yet closed. The grace of its slot begins.
    pub fn handle_dead(&mut self, now: Instant, connection: ConnectionId) {
        self.advance(now);
        let Some(at) = self.find(connection) else {
            return;
        };
        let slot = self.connections[at].slot;
        if slot != NONE {
            self.bereave(slot, at);
        }
    }

    /// A RESERVE came over a connection. Renewed is the slot that this connection keeps, else one that waits for its
    /// peer; if there is none it is granted a new one, and where that is refused the slot of the peer that would end first
    /// is renewed and passes to this connection.
    ///
    /// # Errors
    ///
    /// Why not; nothing is changed then. Who holds a slot is only refused by [`Admission::may_renew`].
    pub fn handle_reserve(
        &mut self,
        now: Instant,
        connection: ConnectionId,
    ) -> Result<Granted, Refusal> {
        self.advance(now);
        let unknown = Refusal::UnknownConnection { id: connection };
        let at = self.find(connection).ok_or(unknown)?;
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
            let reason = "this peer may not hold a slot any longer";
            return Err(Refusal::Denied { reason });
        }
        self.attach(renewed, at);
        let now = self.millis();
        self.slots[renewed].expires = now.saturating_add(millis(self.config.ttl));
        self.set_state(renewed, SlotState::Active, now);
        Ok(self.granted(renewed, true))
    }

    /// The peer at the other end gives its slot back: the one that this connection keeps, else one that waits for it, else
    /// the one that would end first.
    ///
    /// # Errors
    ///
    /// It holds none.
    pub fn handle_release(
        &mut self,
        now: Instant,
        connection: ConnectionId,
    ) -> Result<(), ReleaseError> {
        self.advance(now);
        let unknown = ReleaseError::UnknownConnection { id: connection };
        let at = self.find(connection).ok_or(unknown)?;
        let peer = self.connections[at].peer;
        let slot = self.own_slot(at).or_else(|| self.first_to_expire(peer));
        self.free(slot.ok_or(ReleaseError::NoSlot { id: connection })?);
        Ok(())
    }

    /// A CONNECT came over a connection. What is admitted counts until it ends: [`Self::handle_circuit_closed`], or an
    /// event.
    ///
    /// # Errors
    ///
    /// Why not; nothing is changed then.
    pub fn handle_connect(
        &mut self,
        now: Instant,
        source: ConnectionId,
        destination: &Id,
    ) -> Result<Opening, Refusal> {
        self.advance(now);
        let unknown = Refusal::UnknownConnection { id: source };
        let at = self.find(source).ok_or(unknown)?;
        let (way, due) = self.admit_circuit(at, destination)?;
        self.take_tokens(due);
        let circuit = self.add_circuit([at, way]);
        Ok(Opening {
            circuit: self.circuit_id(circuit),
            connection: self.connection_id(way),
        })
    }

    /// The destination has accepted the circuit, which may last [`TableConfig::circuit_duration`] from now on. Says
    /// whether it is still there: if not, its end was told before.
    pub fn handle_opened(&mut self, now: Instant, circuit: CircuitId) -> bool {
        self.advance(now);
        let found = self.find_circuit(circuit);
        if let Some(at) = found.filter(|at| !self.circuits[*at].open) {
            self.open_circuit(at);
        }
        found.is_some()
    }

    /// A circuit ended, or came to nothing. One that is gone already changes nothing.
    pub fn handle_circuit_closed(&mut self, now: Instant, circuit: CircuitId) {
        self.advance(now);
        if let Some(at) = self.find_circuit(circuit) {
            self.end_circuit(at);
        }
    }

    /// Time has passed.
    pub fn handle_timeout(&mut self, now: Instant) {
        self.advance(now);
    }

    /// When to call [`Self::handle_timeout`] at the latest. Sometimes there is nothing to do then but to look further.
    pub fn poll_timeout(&self) -> Option<Instant> {
        self.instant(self.timers.next()?)
    }

    /// What is to be done or known next.
    pub fn poll_event(&mut self) -> Option<Event<Id>> {
        let event = self.events.pop_front();
        if event.is_none() {
            // An empty queue keeps no memory.
            self.events = VecDeque::new();
        }
        event
    }

    /// Who is at the other end of a connection.
    pub fn peer_of(&self, connection: ConnectionId) -> Option<&Id> {
        let at = self.find(connection)?;
        Some(&self.peers[self.connections[at].peer].id)
    }

    /// The rules.
    pub fn admission(&self) -> &A {
        &self.admission
    }

    /// The rules, to be changed. What is held stays.
    pub fn admission_mut(&mut self) -> &mut A {
        &mut self.admission
    }

    /// The numbers.
    pub fn config(&self) -> &TableConfig {
        &self.config
    }

    /// Other numbers from now on. What was granted or is under way keeps its time.
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

    fn find(&self, id: ConnectionId) -> Option<u32> {
        let (at, serial) = (id.0 as u32, (id.0 >> 32) as u32);
        let connection = self.connections.get(at)?;
        (connection.serial == serial).then_some(at)
    }

    fn find_circuit(&self, id: CircuitId) -> Option<u32> {
        let (at, serial) = (id.0 as u32, (id.0 >> 32) as u32);
        let circuit = self.circuits.get(at)?;
        (circuit.serial == serial).then_some(at)
    }

    fn connection_id(&self, at: u32) -> ConnectionId {
        ConnectionId(u64::from(self.connections[at].serial) << 32 | u64::from(at))
    }

    fn circuit_id(&self, at: u32) -> CircuitId {
        CircuitId(u64::from(self.circuits[at].serial) << 32 | u64::from(at))
    }

    fn next_serial(&mut self) -> u32 {
        self.serial = self.serial.wrapping_add(1);
        self.serial
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
