//! The relay's side of the hop and stop protocols, without I/O: it receives requests and returns answers.
//!
//! ```text
//!  hop stream ──► handle_hop ─┬─► Reply: write it, done
//!                             ├─► Grant: sign the answer, handle_signed, write it, done
//!                             └─► Open: open a stop stream, write the request, read the answer
//!                                   │
//!                   handle_stop ◄───┘
//!                       ├─► Reply: write it to the hop stream, done
//!                       └─► Splice: write it to the hop stream, then pump; handle_closed
//! ```

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use libp2p_identity::{Keypair, PeerId};
use multiaddr::{Multiaddr, Protocol};

use self::grant::Vouchers;
pub use self::grant::{Grant, Granting};
use crate::{
    Admission,
    admission::Caps,
    error::{Refusal, Status},
    id::{CircuitId, ConnectionId},
    meter::Meter,
    slot::Slot,
    table::Table,
    terms::{Terms, TermsError},
    wire::{HopMessage, Limit, StopMessage, Voucher, WireError},
};

mod grant;

#[cfg(test)]
mod tests;

/// A relay without I/O: its slots and circuits, and its answers to requests.
#[derive(Debug)]
pub struct Server<A = Caps> {
    table: Table<PeerId, A>,
    keypair: Arc<Keypair>,
    vouchers: Vouchers,
    local: PeerId,
    addresses: Vec<Multiaddr>,
    closing: bool,
}

/// The host's next step for a request.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub enum HopAnswer {
    /// Write this to the hop stream and close the stream.
    Reply {
        /// The message.
        message: HopMessage,
        /// Why the table refused the request, if it did. Use it only for the log, because the protocol has no field for it.
        refusal: Option<Refusal>,
    },
    /// A slot was granted or renewed. Call [`Grant::answer`] outside of the lock of this server, pass the result to
    /// [`Server::handle_signed`], write its message to the hop stream, and close the stream.
    Grant(Box<Grant>),
    /// Open a stop stream, write the request to it, and pass the destination's answer to [`Server::handle_stop`].
    Open {
        /// The circuit. It counts against the caps from now on.
        circuit: CircuitId,
        /// The connection to the destination.
        connection: ConnectionId,
        /// The message.
        request: StopMessage,
        /// How long the destination may take.
        within: Duration,
        /// Counts the bytes that the circuit carries.
        meter: Arc<Meter>,
    },
}

/// The host's next step after the destination's answer.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum StopAnswer {
    /// Write this to the source, and close both streams. The circuit has ended.
    Reply(HopMessage),
    /// Write this to the source, then pump between the two streams up to the limits, then call [`Server::handle_closed`].
    Splice {
        /// The message.
        message: HopMessage,
        /// How long the circuit may last.
        duration: Option<Duration>,
        /// Bytes in each direction.
        data: Option<u64>,
    },
}

impl Server<Caps> {
    /// All terms at this moment.
    pub fn terms(&self) -> Terms {
        Terms::of(self.table.admission(), self.table.config())
    }

    /// Changes the given terms, and returns all terms. Existing slots and circuits stay.
    ///
    /// # Errors
    ///
    /// A term is out of its bounds. In this case nothing changes.
    pub fn set_terms(&mut self, terms: &Terms) -> Result<Terms, TermsError> {
        let mut config = self.table.config().clone();
        terms.apply(self.table.admission_mut(), &mut config)?;
        self.table.set_config(config);
        Ok(self.terms())
    }
}

impl<A: Admission<PeerId>> Server<A> {
    /// A relay with this key. It tells its addresses to the peers that reserve: see [`Self::set_addresses`].
    pub fn new(table: Table<PeerId, A>, keypair: Keypair, addresses: Vec<Multiaddr>) -> Self {
        let local = keypair.public().to_peer_id();
        let mut server = Self {
            table,
            keypair: Arc::new(keypair),
            vouchers: Vouchers::default(),
            local,
            addresses: Vec::new(),
            closing: false,
        };
        server.set_addresses(addresses);
        server
    }

    /// Sets the addresses where the relay can be reached. Each gets the relay's peer id appended. Circuit addresses are left out,
    /// because a relay that is itself behind a relay cannot serve.
    pub fn set_addresses(&mut self, addresses: Vec<Multiaddr>) {
        self.addresses = with_id(addresses, self.local);
    }

    /// The table of slots and circuits.
    pub fn table(&self) -> &Table<PeerId, A> {
        &self.table
    }

    /// The table. The host reports connections to it, and takes timeouts and events from it.
    pub fn table_mut(&mut self) -> &mut Table<PeerId, A> {
        &mut self.table
    }

    /// The slots, in an arbitrary order that is the same in every run.
    pub fn slots(&self, now: Instant) -> Vec<Slot> {
        let slots = self.table.slots().map(|slot| Slot {
            peer: *slot.peer,
            address: slot.address(),
            state: slot.state,
            expires_in: slot.expires.saturating_duration_since(now),
            circuits: slot.circuits,
            bytes: slot.bytes,
        });
        slots.collect()
    }

    /// Shuts the relay down: from now on every request is refused with [`Refusal::Closing`]. Existing circuits stay.
    pub fn close(&mut self) {
        self.closing = true;
    }

    /// The host has read a message from a hop stream, or bytes that are not a message. `unix` is `now` in seconds since 1970.
    pub fn handle_hop(
        &mut self,
        now: Instant,
        unix: u64,
        connection: ConnectionId,
        message: Result<HopMessage, WireError>,
    ) -> HopAnswer {
        let answer = match message {
            Ok(HopMessage::Reserve | HopMessage::Connect(_)) if self.closing => {
                Err(Refusal::Closing)
            }
            Ok(HopMessage::Reserve) => match self.reserve(now, unix, connection) {
                Ok(grant) => return HopAnswer::Grant(Box::new(grant)),
                Err(refusal) => Err(refusal),
            },
            Ok(HopMessage::Connect(destination)) => {
                match self.connect(now, connection, destination) {
                    Ok(open) => return open,
                    Err(refusal) => Err(refusal),
                }
            }
            Ok(HopMessage::Status { .. }) => Ok(HopMessage::refusal(Status::UnexpectedMessage)),
            Err(_) => Ok(HopMessage::refusal(Status::MalformedMessage)),
        };
        match answer {
            Ok(message) => HopAnswer::Reply {
                message,
                refusal: None,
            },
            Err(refusal) => HopAnswer::Reply {
                message: HopMessage::refusal(refusal.status()),
                refusal: Some(refusal),
            },
        }
    }

    /// A grant was signed. The server keeps its voucher, so that a renewal soon afterwards needs no signature.
    pub fn handle_signed(&mut self, granting: &Granting) {
        if let Some((voucher, sealed)) = &granting.signed {
            let table = &self.table;
            let (slots, holds) = (table.usage().slots, |peer: &PeerId| table.held_by(peer) > 0);
            self.vouchers.keep(voucher, sealed.clone(), slots, holds);
        }
    }

    /// The destination answered. `None`: it did not answer, or could not be reached.
    pub fn handle_stop(
        &mut self,
        now: Instant,
        circuit: CircuitId,
        answer: Option<StopMessage>,
    ) -> StopAnswer {
        let accepted = answer == Some(StopMessage::Status(Status::Ok));
        // The circuit may have ended meanwhile.
        if accepted && self.table.handle_opened(now, circuit) {
            let config = self.table.config();
            return StopAnswer::Splice {
                message: HopMessage::Status {
                    status: Status::Ok,
                    reservation: None,
                    limit: self.limit(),
                },
                duration: config.circuit_duration,
                data: config.circuit_data,
            };
        }
        self.table.handle_circuit_closed(now, circuit);
        StopAnswer::Reply(HopMessage::refusal(Status::ConnectionFailed))
    }

    /// A circuit has ended, for any reason.
    pub fn handle_closed(&mut self, now: Instant, circuit: CircuitId) {
        self.table.handle_circuit_closed(now, circuit);
    }

    fn reserve(
        &mut self,
        now: Instant,
        unix: u64,
        connection: ConnectionId,
    ) -> Result<Grant, Refusal> {
        let granted = self.table.handle_reserve(now, connection)?;
        let lasts = granted.expires.saturating_duration_since(now);
        let expire = unix.saturating_add(lasts.as_secs());
        let voucher = self.table.peer_of(connection).map(|peer| Voucher {
            relay: self.local,
            peer: *peer,
            expiration: expire,
        });
        let ttl = self.table.config().ttl;
        let sealed = voucher.and_then(|voucher| self.vouchers.find(&voucher.peer, expire, ttl));
        Ok(Grant {
            keypair: Arc::clone(&self.keypair),
            voucher,
            sealed,
            expire,
            addresses: self.addresses.clone(),
            limit: self.limit(),
        })
    }

    fn connect(
        &mut self,
        now: Instant,
        source: ConnectionId,
        destination: PeerId,
    ) -> Result<HopAnswer, Refusal> {
        let unknown = Refusal::UnknownConnection { id: source };
        let peer = *self.table.peer_of(source).ok_or(unknown)?;
        let opening = self.table.handle_connect(now, source, &destination)?;
        Ok(HopAnswer::Open {
            circuit: opening.circuit,
            connection: opening.connection,
            request: StopMessage::Connect {
                peer,
                limit: self.limit(),
            },
            within: self.table.config().opening,
            meter: opening.meter,
        })
    }

    /// The limits that both ends are told. A circuit counts as limited if its ends are told any limit.
    fn limit(&self) -> Option<Limit> {
        let config = self.table.config();
        let (duration, data) = (config.circuit_duration, config.circuit_data);
        (duration.is_some() || data.is_some()).then(|| Limit::new(duration, data))
    }
}

/// The addresses with the relay's id, without circuit addresses.
fn with_id(addresses: Vec<Multiaddr>, relay: PeerId) -> Vec<Multiaddr> {
    let named = addresses
        .into_iter()
        .filter_map(|at| at.with_p2p(relay).ok());
    named
        .filter(|address| !address.iter().any(|part| part == Protocol::P2pCircuit))
        .collect()
}
