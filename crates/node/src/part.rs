//! The seams: a part of the node, a transport, and what passes between them and the core.
#![allow(
    dead_code,
    reason = "parts to come read more of a change than today's; parts/tests.rs shows how"
)]

use std::{any::Any, fmt, io, net::IpAddr, sync::Arc, time::Instant};

use conn_state::Closing;
use futures::{future::BoxFuture, stream::BoxStream};
use libp2p_identity::PeerId;
use multiaddr::Multiaddr;
use serde_json::Value;
use tokio_util::sync::CancellationToken;

use crate::{
    address::Kind,
    connection::{Connection, Muxed, Path, Stream},
    error::AttemptCause,
    protocols::identify,
};

/// One leaf crate that runs inside a node.
///
/// A part translates, opens streams and sleeps; the leaf crate decides. A part holds a [`crate::context::Context`], never
/// the node, and no part imports another.
pub(crate) trait Part: Any + Send + Sync {
    /// The part's name, for log lines.
    fn name(&self) -> &'static str;

    /// The protocols that the part serves. Called once, when the node is built.
    fn services(self: Arc<Self>) -> Vec<Service> {
        Vec::new()
    }

    /// Reaches a kind of address that no transport reaches, such as circuits.
    fn connector(self: Arc<Self>) -> Option<Arc<dyn Connector>> {
        None
    }

    /// Receives a change: in order per peer, with no lock of the core held. It must neither block nor dial: it feeds the
    /// leaf's core and wakes [`Part::run`].
    fn handle(&self, _now: Instant, _change: &Change) {}

    /// The part's only task. When `stop` fires it says goodbye and returns within [`GOODBYE`].
    fn run(self: Arc<Self>, stop: CancellationToken) -> BoxFuture<'static, ()>;

    /// What the part answers at the admin endpoint.
    fn queries(self: Arc<Self>) -> Vec<Query> {
        Vec::new()
    }

    /// Adds the part's counters to the node's.
    #[cfg(feature = "metrics")]
    fn register_metrics(&self, _: &mut prometheus_client::registry::Registry) {}
}

/// How long parts may take to say goodbye when the node shuts down.
pub(crate) const GOODBYE: std::time::Duration = std::time::Duration::from_secs(1);

/// Protocols that are answered in the same way.
pub(crate) struct Service {
    /// The protocols' names, the best first.
    pub(crate) protocols: Vec<Arc<str>>,
    /// Whether the service also answers on connections that a relay limits.
    pub(crate) limited: bool,
    /// How many streams of one connection are served at once; those beyond are reset. `None`: only
    /// [`crate::Config::max_inbound_streams`] bounds them.
    pub(crate) per_connection: Option<usize>,
    /// Whether the service answers from the start. A part switches its protocols with `Context::enable`.
    pub(crate) enabled: bool,
    /// Serves one stream.
    pub(crate) serve: Serve,
}

/// Serves one stream. It runs in the stream's own task.
pub(crate) type Serve = Arc<dyn Fn(InboundStream) -> BoxFuture<'static, ()> + Send + Sync>;

/// A stream that a peer opened, its protocol agreed on.
pub(crate) struct InboundStream {
    pub(crate) connection: Connection,
    pub(crate) protocol: Arc<str>,
    /// The stream. It counts towards the connection's inbound streams until it is dropped.
    pub(crate) stream: Stream,
}

/// One question of the admin endpoint.
pub(crate) struct Query {
    /// Where it is asked, such as `/slots`.
    pub(crate) path: &'static str,
    /// Whether the question changes something. It is then a POST with a JSON body; otherwise a GET whose parameters are the
    /// fields of an object of strings.
    pub(crate) write: bool,
    pub(crate) answer: Arc<dyn Fn(Value) -> Answer + Send + Sync>,
}

/// What a query answers.
pub(crate) enum Answer {
    /// One JSON document.
    Document(BoxFuture<'static, Result<Value, QueryError>>),
    /// JSON documents, one per line, until the stream or the node ends.
    Lines(BoxStream<'static, Value>),
}

/// Why a query has no answer.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum QueryError {
    /// The question makes no sense.
    #[error("{0}")]
    Malformed(String),
    /// A value in the question is out of its bounds.
    #[error("{0}")]
    Invalid(String),
    /// This node has nothing like it.
    #[error("{0}")]
    NotFound(String),
}

/// What happened in the node.
///
/// Changes are queued under the lock of the connection map and delivered to every part in that order. None is lost. The
/// queue is as long as the changes that happen during one delivery, because the caller that reports a change also delivers.
#[derive(Debug, Clone)]
pub(crate) enum Change {
    /// A connection is authenticated. Delivered before its session starts.
    Connected { connection: Connection },
    /// A connection is gone.
    Disconnected {
        connection: Connection,
        closing: Closing,
        detail: Option<Arc<str>>,
        /// How many other connections to the peer remain.
        remaining: usize,
    },
    /// No more streams are opened on a connection; its successor takes them.
    Draining {
        connection: Connection,
        successor: Option<Connection>,
    },
    /// A drained connection is kept after all.
    Resumed { connection: Connection },
    /// A peer described itself anew.
    Identified {
        connection: Connection,
        info: Arc<identify::Info>,
    },
    /// One attempt of a dial ended.
    Attempted {
        peer: Option<PeerId>,
        address: Multiaddr,
        origin: Origin,
        /// Whether the attempt gave a connection.
        succeeded: bool,
    },
    /// An inbound connection was refused, or its handshake failed.
    InboundFailed {
        address: Multiaddr,
        peer: Option<PeerId>,
        cause: Arc<AttemptCause>,
    },
    /// What this node announces has changed: its addresses or its protocols.
    Local,
}

/// Who asked for a dial.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Origin {
    /// The node's host. Backoff never delays such a dial.
    User,
    /// One of the node's parts.
    Part,
}

/// What to do about connections that exist already.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Existing {
    /// Give the best one, limited or not.
    Use,
    /// Give an unlimited one. A limited one only if no address is direct.
    PreferUnlimited,
}

/// A dial.
#[derive(Debug, Clone)]
pub(crate) struct DialRequest {
    pub(crate) addresses: Vec<Multiaddr>,
    /// The peer that must answer, where the addresses do not say.
    pub(crate) expected: Option<PeerId>,
    pub(crate) origin: Origin,
    pub(crate) existing: Existing,
}

/// One attempt of a dial, as a connector sees it.
#[derive(Debug, Clone)]
pub(crate) struct Attempt {
    pub(crate) address: Multiaddr,
    /// The peer that must answer: the one that the address names, else the one that the dial names.
    pub(crate) expected: Option<PeerId>,
    /// When the attempt has failed. The caller enforces it.
    pub(crate) deadline: tokio::time::Instant,
}

/// Reaches some kinds of addresses.
pub(crate) trait Connector: Send + Sync {
    /// Whether this connector reaches such addresses.
    fn handles(&self, kind: Kind) -> bool;

    /// Connects, secures and multiplexes. Dropping the future gives everything up.
    fn connect(
        self: Arc<Self>,
        attempt: Attempt,
    ) -> BoxFuture<'static, Result<Reached, AttemptCause>>;

    /// What an address stands for, if it is only a name for others. Dropping the future stops the look-up.
    fn expand(
        &self,
        _attempt: &Attempt,
    ) -> Option<BoxFuture<'static, Result<Vec<Multiaddr>, AttemptCause>>> {
        None
    }

    /// Whether connecting dials another peer first, and therefore must not hold one of the node's dial permits.
    fn dials_through(&self) -> bool {
        false
    }
}

/// A connector that can also be listened on.
pub(crate) trait Transport: Connector {
    /// Binds the socket of a listener.
    fn bind(self: Arc<Self>, address: &Multiaddr) -> io::Result<Arc<dyn Listener>>;

    /// Closes every socket. Connections have been closed before.
    fn close(self: Arc<Self>) -> BoxFuture<'static, ()>;
}

/// A bound socket. Dropping it gives its port back.
pub(crate) trait Listener: Send + Sync {
    /// The addresses under which others reach the socket: its own, or one per interface.
    fn addresses(&self) -> io::Result<Vec<Multiaddr>>;

    /// Whether the socket is bound to every interface.
    fn port(&self) -> io::Result<u16>;

    /// Announces that the socket accepts from now on: dials may start from it.
    fn start(&self) {}

    /// The next connection. Cancel-safe. An error is final.
    fn accept(&self) -> BoxFuture<'_, io::Result<Incoming>>;
}

/// An inbound connection before its handshake. Dropping it closes the connection.
pub(crate) struct Incoming {
    /// Where it comes from, without the peer's id.
    pub(crate) address: Multiaddr,
    /// What the node's limits count it under, and when.
    pub(crate) source: Source,
    /// Authenticates and multiplexes.
    pub(crate) handshake: BoxFuture<'static, Result<Reached, AttemptCause>>,
    /// Tells the other end that it was refused. `None`: dropping does.
    pub(crate) refuse: Option<Box<dyn FnOnce() + Send>>,
}

/// What the limits on inbound connections count a connection under.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Source {
    /// The other end has proved that it receives at this address: counted from the first packet on.
    Validated(IpAddr),
    /// Anyone can have written this address: counted once the handshake has proved it. Until then the transport bounds
    /// such handshakes.
    Claimed(IpAddr),
    /// The connection comes through a relay, whose address says nothing about the peer.
    Relayed,
}

/// A multiplexed connection and how it reaches the other end.
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
