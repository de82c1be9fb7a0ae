//! The interfaces of parts and transports, and the types that pass between them and the core.
#![allow(
    dead_code,
    reason = "the current parts do not read every field of a change; parts/tests.rs does"
)]

mod figure;
mod query;

use std::{
    any::Any,
    fmt, io,
    net::{IpAddr, SocketAddr},
    sync::Arc,
    time::{Duration, Instant},
};

use conn_state::{Closing, Detail, Prefix};
use futures::future::BoxFuture;
use libp2p_identity::PeerId;
use multiaddr::Multiaddr;
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

pub(crate) use self::{
    figure::Figure,
    query::{Answer, Query, QueryError},
};
use crate::{
    address::Kind,
    connection::{Connection, Muxed, Path, Stream},
    dial_budget::DialBudget,
    error::AttemptCause,
    event::Event,
    protocols::identify,
};

/// A part of the node. It runs one leaf crate or one small protocol.
///
/// A part translates, opens streams and sleeps; the leaf crate decides. A part holds a [`crate::context::Context`]
/// instead of the node. No part imports another part.
pub(crate) trait Part: Any + Send + Sync {
    /// The part's name, for log lines.
    fn name(&self) -> &'static str;

    /// The protocols that the part serves. Called once, when the node is built.
    fn services(self: Arc<Self>) -> Vec<Service> {
        Vec::new()
    }

    /// The part's connector, if the part dials a kind of address that no transport dials, such as circuits.
    fn connector(self: Arc<Self>) -> Option<Arc<dyn Connector>> {
        None
    }

    /// Receives a change. All parts receive all changes in the same order, and no lock of the core is held. The method
    /// must neither block nor dial. It passes the change to the leaf crate and wakes [`Part::run`].
    fn handle(&self, _now: Instant, _change: &Change) {}

    /// The part's only task. When `stop` fires, the task says goodbye to peers and returns within [`GOODBYE`].
    fn run(self: Arc<Self>, stop: CancellationToken) -> BoxFuture<'static, ()>;

    /// The queries that the part answers at the admin endpoint.
    fn queries(self: Arc<Self>) -> Vec<Query> {
        Vec::new()
    }

    /// The part's figures, for the node's metrics. Called for each reader of the metrics.
    fn figures(&self) -> Vec<Figure> {
        Vec::new()
    }
}

/// The time limit for each part at shutdown.
pub(crate) const GOODBYE: std::time::Duration = std::time::Duration::from_secs(1);

/// One or more protocols that the same function serves.
pub(crate) struct Service {
    /// The names of the protocols, best first.
    pub(crate) protocols: Vec<Arc<str>>,
    /// Whether the service also answers on connections that a relay limits.
    pub(crate) limited: bool,
    /// The number of streams that the service holds at the same time on one connection. Further streams are reset.
    /// `None`: only [`crate::Config::max_inbound_streams`] limits them.
    pub(crate) per_connection: Option<usize>,
    /// Whether a stream of the service shows that its connection is in use, from the stream's first byte on. The node may close an
    /// unused connection for a newcomer. The answer for ping is no, because peers keep streams of ping open without a need. The
    /// answer for relays is no, because only a circuit is a use.
    pub(crate) keeps_open: bool,
    /// Whether the service is on at the start. `Context::enable` switches a protocol on and off.
    pub(crate) enabled: bool,
    /// Serves one stream.
    pub(crate) serve: Serve,
}

/// Serves one stream. It runs in the stream's own task.
pub(crate) type Serve = Arc<dyn Fn(InboundStream) -> BoxFuture<'static, ()> + Send + Sync>;

/// A stream that a peer opened, after the negotiation of its protocol.
pub(crate) struct InboundStream {
    pub(crate) connection: Connection,
    pub(crate) protocol: Arc<str>,
    /// The stream. It counts towards the connection's inbound streams until it is dropped.
    pub(crate) stream: Stream,
    /// The position of the stream among the streams that the peer has opened on the connection.
    pub(crate) number: u64,
}

/// An internal message about an event in the node.
///
/// Changes are queued under the lock of the connection map, and all parts receive them in that order. No change is
/// lost. The queue holds only the changes that happen during one delivery, because the caller that reports a change
/// also delivers it.
#[derive(Debug, Clone)]
pub(crate) enum Change {
    /// A connection is authenticated. Delivered before its session starts.
    Connected { connection: Connection },
    /// A connection has ended.
    Disconnected {
        connection: Connection,
        closing: Closing,
        detail: Option<Detail>,
        /// The number of remaining connections to the peer.
        remaining: usize,
    },
    /// A connection is drained: new streams use its successor.
    Draining {
        connection: Connection,
        successor: Option<Connection>,
    },
    /// A drained connection stays after all.
    Resumed { connection: Connection },
    /// A new or changed identify message of a peer arrived.
    Identified {
        connection: Connection,
        info: Arc<identify::Info>,
    },
    /// One attempt of a dial ended.
    Attempted {
        peer: Option<PeerId>,
        address: Multiaddr,
        origin: Origin,
        /// Whether the attempt opened a connection.
        succeeded: bool,
    },
    /// The peer answered a ping.
    Pong {
        connection: Connection,
        rtt: Duration,
    },
    /// Inbound connections were refused, or their handshakes failed. The address and the cause belong to the latest connection.
    InboundFailed {
        address: Multiaddr,
        cause: Arc<AttemptCause>,
        count: u64,
        /// The subnet of all of the connections. `None`: they may come from several subnets, or the address contains no IP
        /// address.
        subnet: Option<Prefix>,
    },
    /// The announced addresses or protocols of this node changed.
    Local,
    /// An event for the host only. It takes its place among the other changes, so the host receives all events in their order.
    Public(Event),
    /// The addresses of this machine's network interfaces, or the system's DNS configuration, changed.
    Network,
    /// The peer owes an answer on a connection, and nothing comes in. The connection does not survive a change of its path.
    Quiet { connection: Connection },
    /// A quiet connection has received something.
    Heard { connection: Connection },
    /// This machine or this process was asleep. Connections may be dead although no transport has reported it.
    Woke,
    /// A part looks for peers. A part that knows candidates answers with [`Change::Offered`], now and as it learns of them.
    Wanted {
        purpose: Purpose,
        /// The number of peers that are wanted from now on. Zero: no more.
        count: usize,
    },
    /// A candidate for a purpose.
    Offered {
        purpose: Purpose,
        peer: PeerId,
        /// The known addresses of the peer, the best one first.
        addresses: Vec<Multiaddr>,
    },
}

/// What a part looks for peers for.
pub(crate) type Purpose = &'static str;

/// Peers that may be relays.
pub(crate) const RELAYS: Purpose = "relays";

/// Peers that may serve the DHT.
pub(crate) const DHT_SERVERS: Purpose = "DHT servers";

/// The code that requested a dial.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Origin {
    /// The host. Backoff never delays such a dial.
    User,
    /// One of the node's parts.
    Part,
}

/// The use of existing connections by a dial.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Existing {
    /// Return the best existing connection, limited or not.
    Use,
    /// Return an unlimited connection. Return a limited connection only if no address is direct.
    PreferUnlimited,
    /// Open a new connection in any case.
    Ignore,
}

/// Whether a dial may go through relays.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Circuits {
    /// Circuits are tried after direct addresses.
    Allowed,
    /// Circuits fail. A dial of a relay uses this, because two peers may each claim to be behind the other.
    Refused,
}

/// The parameters of a dial.
#[derive(Debug, Clone)]
pub(crate) struct DialRequest {
    pub(crate) addresses: Vec<Multiaddr>,
    /// The expected peer, if the addresses do not name it.
    pub(crate) expected: Option<PeerId>,
    pub(crate) origin: Origin,
    pub(crate) existing: Existing,
    pub(crate) circuits: Circuits,
    /// The end of the whole dial. `None`: [`crate::Config::whole_dial_timeout`] limits the dial.
    pub(crate) until: Option<tokio::time::Instant>,
    /// The rest of the dial's budget. The dial of a relay shares the budget of the dial that needs the relay.
    pub(crate) budget: DialBudget,
}

/// One attempt of a dial, as a connector sees it.
#[derive(Debug, Clone)]
pub(crate) struct Attempt {
    pub(crate) address: Multiaddr,
    /// The expected peer: the peer that the address names, or else the peer that the dial names.
    pub(crate) expected: Option<PeerId>,
    /// The deadline of the attempt. The caller enforces it.
    pub(crate) deadline: tokio::time::Instant,
    /// The rest of the dial's budget.
    pub(crate) budget: DialBudget,
}

/// Dials some kinds of addresses.
pub(crate) trait Connector: Send + Sync {
    /// Whether this connector dials addresses of this kind.
    fn handles(&self, kind: Kind) -> bool;

    /// Opens an authenticated, multiplexed connection. Dropping the future cancels the attempt.
    fn connect(
        self: Arc<Self>,
        attempt: Attempt,
    ) -> BoxFuture<'static, Result<Reached, AttemptCause>>;

    /// Looks up the addresses that the address stands for. `None`: the address needs no look-up. Dropping the future
    /// cancels the look-up.
    fn expand(
        &self,
        _attempt: &Attempt,
    ) -> Option<BoxFuture<'static, Result<Vec<Multiaddr>, AttemptCause>>> {
        None
    }

    /// Whether the connector dials another peer first. Such an attempt must not occupy one of the node's places for
    /// attempts.
    fn dials_through(&self) -> bool {
        false
    }
}

/// Builds transports with a new identity. They dial like the transports of the node, with the same dialer and sockets. A part
/// uses them for one dial in which the other end must not recognise this node.
pub(crate) type Stranger = Box<dyn Fn() -> Vec<Arc<dyn Transport>> + Send + Sync>;

/// A connector that can also listen.
pub(crate) trait Transport: Connector {
    /// Binds the socket of a listener.
    fn bind(self: Arc<Self>, address: &Multiaddr) -> io::Result<Arc<dyn Listener>>;

    /// The network has changed: moves the sockets to the new network and keeps the connections, if the transport can do that.
    fn follow_network(&self) {}

    /// Closes every socket. The node has closed all connections before.
    fn close(self: Arc<Self>) -> BoxFuture<'static, ()>;
}

/// A bound socket. Dropping it frees the port.
pub(crate) trait Listener: Send + Sync {
    /// The address of the socket, which may be a wildcard.
    fn bound(&self) -> io::Result<SocketAddr>;

    /// A socket address of this transport as a multiaddr.
    fn multiaddr(&self, address: SocketAddr) -> Multiaddr;

    /// Tells the transport that the node starts to accept. Dials may then start from this socket.
    fn start(&self) {}

    /// Waits for the next connection. Cancel-safe. An error is final.
    fn accept(&self) -> BoxFuture<'_, io::Result<Incoming>>;
}

/// An inbound connection before its handshake. Dropping it closes the connection.
pub(crate) struct Incoming {
    /// The address of the other end, without the peer's id.
    pub(crate) address: Multiaddr,
    /// The address under which the limits count the connection, and the time at which they do.
    pub(crate) source: Source,
    /// Notified when the other end has sent something that advanced the handshake. `None`: the transport cannot tell.
    pub(crate) advanced: Option<Arc<Notify>>,
    /// Authenticates and multiplexes the connection.
    pub(crate) handshake: BoxFuture<'static, Result<Reached, AttemptCause>>,
    /// Tells the other end that the node refuses the connection. `None`: dropping the connection is enough.
    pub(crate) refuse: Option<Box<dyn FnOnce() + Send>>,
}

/// The address or the relay under which the limits count an inbound connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Source {
    /// The other end has proved that it receives at this address. The limits count the connection from its first packet
    /// on.
    Validated(IpAddr),
    /// The address may be forged. The limits count the connection when the handshake has proved the address. Until then
    /// the transport limits the number of such handshakes.
    Claimed(IpAddr),
    /// The connection is a circuit of this relay. The relay's address gives no information about the peer, so the limits count
    /// the connection under the relay.
    Relayed(PeerId),
}

/// A multiplexed connection and its path to the other end.
pub(crate) struct Reached {
    pub(crate) muxed: Muxed,
    pub(crate) path: Path,
}

impl fmt::Debug for Reached {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Reached")
            .field("path", &self.path)
            .finish_non_exhaustive()
    }
}

/// A part for tests, which passes each change to a function.
#[cfg(test)]
pub(crate) struct Observer<F>(pub(crate) F);

#[cfg(test)]
impl<F: Fn(&Change) + Send + Sync + 'static> Part for Observer<F> {
    fn name(&self) -> &'static str {
        "observer"
    }

    fn handle(&self, _: Instant, change: &Change) {
        (self.0)(change);
    }

    fn run(self: Arc<Self>, stop: CancellationToken) -> BoxFuture<'static, ()> {
        Box::pin(stop.cancelled_owned())
    }
}
