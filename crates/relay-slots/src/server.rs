//! The relay's side of hop and stop: what came in, what to answer, and to whom to open a stream. It does neither itself.
//!
//! ```text
//!  hop stream ──► handle_hop ─┬─► Reply: write it, done
//!                             └─► Open: a stop stream, send the request, wait for the answer
//!                                   │
//!                   handle_stop ◄───┘
//!                       ├─► Reply: write it to the hop stream, done
//!                       └─► Splice: write it to the hop stream, then pump; handle_closed
//! ```

use std::time::{Duration, Instant};

use libp2p_identity::{Keypair, PeerId};
use multiaddr::{Multiaddr, Protocol};

use crate::{
    Admission, Caps, CircuitId, ConnectionId, Refusal, Status, Table,
    wire::{HopMessage, Limit, MAX_MESSAGE, Reservation, StopMessage, Voucher, WireError},
};

#[cfg(test)]
mod tests;

/// A relay: its slots and circuits, and how it speaks of them.
#[derive(Debug)]
pub struct Server<A = Caps> {
    table: Table<PeerId, A>,
    keypair: Keypair,
    local: PeerId,
    addresses: Vec<Multiaddr>,
}

/// What comes of a request.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum HopAnswer {
    /// Write this, and close the stream.
    Reply {
        /// The message.
        message: HopMessage,
        /// Why, if it is a refusal by the table. For the log: the wire has no place for it.
        refusal: Option<Refusal>,
    },
    /// Open a stop stream, write the request, and say what came of it: [`Server::handle_stop`].
    Open {
        /// The circuit, which counts from now on.
        circuit: CircuitId,
        /// Over this connection.
        connection: ConnectionId,
        /// The message.
        request: StopMessage,
        /// How long the destination may take.
        within: Duration,
    },
}

/// What comes of the destination's answer.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum StopAnswer {
    /// Write this to the source, and close both streams. The circuit is gone.
    Reply(HopMessage),
    /// Write this to the source, then pump between the two streams until the limit, and say [`Server::handle_closed`].
    Splice {
        /// The message.
        message: HopMessage,
        /// How long the circuit may last.
        duration: Option<Duration>,
        /// Bytes in each direction.
        data: Option<u64>,
    },
}

impl<A: Admission<PeerId>> Server<A> {
    /// A relay with this key. It tells its peers the addresses, to each of which its id is added.
    pub fn new(table: Table<PeerId, A>, keypair: Keypair, addresses: Vec<Multiaddr>) -> Self {
        let local = keypair.public().to_peer_id();
        let mut server = Self {
            table,
            keypair,
            local,
            addresses: Vec::new(),
        };
        server.set_addresses(addresses);
        server
    }

    /// Where the relay can be reached, from now on.
    pub fn set_addresses(&mut self, addresses: Vec<Multiaddr>) {
        let with_id = |address: Multiaddr| address.with_p2p(self.local);
        self.addresses = addresses
            .into_iter()
            .filter_map(|address| with_id(address).ok())
            .filter(|address| !address.iter().any(|part| part == Protocol::P2pCircuit))
            .collect();
    }

    /// The table, which is told of connections, and tells of time and events.
    pub fn table(&self) -> &Table<PeerId, A> {
        &self.table
    }

    /// The table, which is told of connections, and tells of time and events.
    pub fn table_mut(&mut self) -> &mut Table<PeerId, A> {
        &mut self.table
    }

    /// A message, or what is none, came over a hop stream of a connection. `unix` is `now` in seconds since 1970.
    pub fn handle_hop(
        &mut self,
        now: Instant,
        unix: u64,
        connection: ConnectionId,
        message: Result<HopMessage, WireError>,
    ) -> HopAnswer {
        let answer = match message {
            Ok(HopMessage::Reserve) => self.reserve(now, unix, connection),
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

    /// The destination answered; or did not, for whatever reason: `None`.
    pub fn handle_stop(
        &mut self,
        now: Instant,
        circuit: CircuitId,
        answer: Option<StopMessage>,
    ) -> StopAnswer {
        let accepted = answer == Some(StopMessage::Status(Status::Ok));
        // It may have ended meanwhile.
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

    /// A circuit is over, however it ended.
    pub fn handle_closed(&mut self, now: Instant, circuit: CircuitId) {
        self.table.handle_circuit_closed(now, circuit);
    }

    fn reserve(
        &mut self,
        now: Instant,
        unix: u64,
        connection: ConnectionId,
    ) -> Result<HopMessage, Refusal> {
        let granted = self.table.handle_reserve(now, connection)?;
        let lasts = granted.expires.saturating_duration_since(now);
        let expire = unix.saturating_add(lasts.as_secs());
        let voucher = self.table.peer_of(connection).and_then(|peer| {
            let voucher = Voucher {
                relay: self.local,
                peer: *peer,
                expiration: expire,
            };
            // It is advisory: a key that cannot sign keeps nobody from the slot.
            voucher.seal(&self.keypair).ok()
        });
        let mut addresses = self.addresses.clone();
        loop {
            let reservation = Reservation::new(expire, addresses.clone(), voucher.clone());
            let message = HopMessage::Status {
                status: Status::Ok,
                reservation: Some(reservation),
                limit: self.limit(),
            };
            // As many addresses as fit.
            if message
                .encode()
                .is_ok_and(|bytes| bytes.len() <= MAX_MESSAGE)
                || addresses.pop().is_none()
            {
                return Ok(message);
            }
        }
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
        })
    }

    /// What is said of the limits. That it is said at all makes a circuit a limited one.
    fn limit(&self) -> Option<Limit> {
        let config = self.table.config();
        let (duration, data) = (config.circuit_duration, config.circuit_data);
        (duration.is_some() || data.is_some()).then(|| Limit::new(duration, data))
    }
}
