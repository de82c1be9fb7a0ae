//! gossip-net's [`Links`] over an iroh [`Endpoint`].
//!
//! ```text
//!  Gossip ──► connect ──► Endpoint ──► Connection ──► Table::serve ──► next ──► Gossip
//!                         Router ────► Connection ──►      ▲ one task per connection
//! ```
//!
//! A QUIC connection is a link, and its unidirectional streams are the streams of the link. The ALPN of the connection decides
//! the protocol of the link.
//!
//! # Limitations
//!
//! - A host cannot ask an iroh connection for a sign of life, so [`Links::probe`] has its default.
//! - iroh moves its connections to a new network by itself and does not report the change, so the links report no
//!   [`LinkEvent::NetworkChanged`].

use std::{
    collections::BTreeMap,
    fmt, io,
    pin::Pin,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::Instant,
};

use futures::{Stream, StreamExt};
use gossip_net::{
    AsyncWrite, Bytes, Id, IdError, LinkError, LinkEvent, LinkId, LinkProtocol, Links, async_trait,
    wire::{AddrInfo, BOWLINE_ALPN, IROH_ALPN, PeerData, PeerInfo},
};
use iroh::{
    Endpoint, EndpointAddr, EndpointId, Watcher,
    endpoint::{ConnectOptions, Connection, VarInt},
    protocol::{AcceptError, ProtocolHandler, Router},
};
use tokio::sync::{Mutex as AsyncMutex, Semaphore, mpsc};

/// How many events wait for the node. A connection whose event does not fit waits.
const MAX_EVENTS: usize = 64;
/// How many connections of others are open at a time.
const MAX_INBOUND: usize = 256;

/// The links of one endpoint.
pub struct IrohLinks {
    me: Id,
    endpoint: Endpoint,
    table: Arc<Table>,
    events: AsyncMutex<Events>,
}

/// What [`Links::next`] reports.
struct Events {
    of_links: mpsc::Receiver<LinkEvent>,
    own_addresses: Pin<Box<dyn Stream<Item = EndpointAddr> + Send>>,
}

/// The open connections.
struct Table {
    connections: Mutex<BTreeMap<LinkId, Connection>>,
    next: AtomicU64,
    inbound: Semaphore,
    events: mpsc::Sender<LinkEvent>,
}

impl IrohLinks {
    /// The links of an endpoint. [`Self::router`] accepts connections for them.
    ///
    /// # Errors
    ///
    /// The endpoint id is not an id of gossip-net. This does not happen, because both are Ed25519 keys.
    pub fn new(endpoint: Endpoint) -> Result<Arc<Self>, IdError> {
        let (events, of_links) = mpsc::channel(MAX_EVENTS);
        let own_addresses = endpoint.watch_addr().stream_updates_only();
        Ok(Arc::new(Self {
            me: id_of(endpoint.id())?,
            endpoint,
            table: Arc::new(Table {
                connections: Mutex::default(),
                next: AtomicU64::new(0),
                inbound: Semaphore::new(MAX_INBOUND),
                events,
            }),
            events: AsyncMutex::new(Events {
                of_links,
                own_addresses: Box::pin(own_addresses),
            }),
        }))
    }

    /// The id of this node.
    pub fn id(&self) -> Id {
        self.me
    }

    /// This node's id and addresses, for [`gossip_net::Builder::own_data`] and for other nodes.
    ///
    /// # Errors
    ///
    /// As for [`Self::new`].
    pub fn own_info(&self) -> Result<PeerInfo, IdError> {
        peer_info(&self.endpoint.addr())
    }

    /// A router that accepts connections for the links. If you have a router, add its two lines with `accept` to yours.
    pub fn router(self: &Arc<Self>) -> Router {
        // The first ALPN of this list that the dialing end offers is used.
        Router::builder(self.endpoint.clone())
            .accept(BOWLINE_ALPN, self.clone())
            .accept(IROH_ALPN, self.clone())
            .spawn()
    }

    /// The protocol of an open link.
    pub fn protocol(&self, link: LinkId) -> Option<LinkProtocol> {
        self.table.get(link).map(|connection| protocol(&connection))
    }
}

#[async_trait]
impl Links for IrohLinks {
    async fn connect(&self, peer: &Id, data: &[u8], _: Instant) -> Result<LinkId, LinkError> {
        let address = endpoint_addr(peer, data)?;
        let options = ConnectOptions::new().with_additional_alpns(vec![IROH_ALPN.to_vec()]);
        let dialing = self
            .endpoint
            .connect_with_opts(address, BOWLINE_ALPN, options);
        let connecting = dialing.await.map_err(unreachable)?;
        let connection = connecting.await.map_err(unreachable)?;
        // Nothing is awaited from here on, so a connection is never lost when the node gives up the dial.
        let link = self.table.add(&connection);
        let (table, peer, me) = (self.table.clone(), *peer, self.me);
        tokio::spawn(async move { table.serve(link, connection, peer, me).await });
        Ok(link)
    }

    async fn open(&self, link: LinkId) -> Result<Box<dyn AsyncWrite + Send + Unpin>, LinkError> {
        let connection = self.table.get(link).ok_or(LinkError::Closed)?;
        let stream = connection.open_uni().await.map_err(io::Error::other)?;
        Ok(Box::new(stream))
    }

    async fn next(&self) -> LinkEvent {
        let mut events = self.events.lock().await;
        let Events {
            of_links,
            own_addresses,
        } = &mut *events;
        tokio::select! {
            Some(event) = of_links.recv() => event,
            Some(address) = own_addresses.next() => LinkEvent::OwnData(peer_data(&address)),
            else => std::future::pending().await,
        }
    }

    fn close(&self, link: LinkId, reason: &str) {
        // The task of the connection then reports the end.
        if let Some(connection) = self.table.get(link) {
            connection.close(VarInt::from_u32(0), reason.as_bytes());
        }
    }
}

impl ProtocolHandler for IrohLinks {
    async fn accept(&self, connection: Connection) -> Result<(), AcceptError> {
        let Ok(_permit) = self.table.inbound.try_acquire() else {
            connection.close(VarInt::from_u32(1), b"too many connections");
            return Ok(());
        };
        let peer = id_of(connection.remote_id()).map_err(AcceptError::from_err)?;
        let link = self.table.add(&connection);
        self.table.serve(link, connection, peer, peer).await;
        Ok(())
    }
}

impl fmt::Debug for IrohLinks {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("IrohLinks").finish_non_exhaustive()
    }
}

impl Table {
    fn connections(&self) -> MutexGuard<'_, BTreeMap<LinkId, Connection>> {
        let connections = self.connections.lock();
        connections.unwrap_or_else(PoisonError::into_inner)
    }

    fn get(&self, link: LinkId) -> Option<Connection> {
        self.connections().get(&link).cloned()
    }

    fn add(&self, connection: &Connection) -> LinkId {
        let link = LinkId(self.next.fetch_add(1, Ordering::Relaxed));
        self.connections().insert(link, connection.clone());
        link
    }

    /// Reports a link, its streams and its end.
    async fn serve(&self, link: LinkId, connection: Connection, peer: Id, dialed_by: Id) {
        let protocol = protocol(&connection);
        self.report(LinkEvent::Up {
            peer,
            link,
            dialed_by,
            protocol,
        })
        .await;
        let cause = loop {
            match connection.accept_uni().await {
                Ok(stream) => {
                    let index = stream.id().index();
                    let reader = Box::new(stream);
                    self.report(LinkEvent::Stream {
                        link,
                        index,
                        reader,
                    })
                    .await;
                }
                Err(error) => break error.to_string(),
            }
        };
        self.connections().remove(&link);
        self.report(LinkEvent::Closed { link, cause }).await;
    }

    async fn report(&self, event: LinkEvent) {
        // The node is gone if nobody takes the event.
        let _ = self.events.send(event).await;
    }
}

/// A peer with the addresses of its endpoint, for a subscription.
///
/// # Errors
///
/// As for [`IrohLinks::new`].
pub fn peer_info(address: &EndpointAddr) -> Result<PeerInfo, IdError> {
    Ok(PeerInfo {
        id: id_of(address.id)?,
        data: Some(peer_data(address)),
    })
}

/// The id of an endpoint.
///
/// # Errors
///
/// As for [`IrohLinks::new`].
pub fn id_of(endpoint: EndpointId) -> Result<Id, IdError> {
    Id::from_bytes(*endpoint.as_bytes())
}

fn peer_data(address: &EndpointAddr) -> PeerData {
    let info = AddrInfo {
        relay: address.relay_urls().next().map(ToString::to_string),
        direct: address.ip_addrs().copied().collect(),
        multiaddrs: Vec::new(),
    };
    info.encode()
}

/// The address to dial. iroh looks up a peer whose addresses are not known.
fn endpoint_addr(peer: &Id, data: &[u8]) -> Result<EndpointAddr, LinkError> {
    let id = EndpointId::from_bytes(peer.as_bytes()).map_err(unreachable)?;
    let info = AddrInfo::decode(&PeerData(Bytes::copy_from_slice(data)));
    let mut address = EndpointAddr::new(id);
    for socket in info.direct {
        address = address.with_ip_addr(socket);
    }
    match info.relay.and_then(|relay| relay.parse().ok()) {
        Some(relay) => Ok(address.with_relay_url(relay)),
        None => Ok(address),
    }
}

fn protocol(connection: &Connection) -> LinkProtocol {
    if connection.alpn() == BOWLINE_ALPN {
        LinkProtocol::Bowline
    } else {
        LinkProtocol::Iroh
    }
}

fn unreachable(error: impl fmt::Display) -> LinkError {
    // With `#`, the errors of iroh add their causes.
    LinkError::Unreachable {
        reason: format!("{error:#}"),
    }
}
