//! gossip-net's links over the connections of the node.
//!
//! A link is the use of a connection for gossip. Its streams use the protocol [`PROTOCOL`]. Messages go one way, so the receiver
//! ends its half of each stream at once. The tracker of the node decides which of two connections to a peer stays, and closes the
//! other one.
//!
//! With the feature `iroh`, a link may also have a connection of its own to the peer's iroh endpoint. The node tries its
//! libp2p connections first, because other protocols use them, too.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError, Weak},
    time::Instant,
};

use conn_state::{ConnectionId, Direction};
use gossip_net::{
    AsyncWrite, Event, Id, LinkError, LinkEvent, LinkId, LinkProtocol, Links, Probe, TopicId,
    async_trait, wire::PeerData,
};
use libp2p_identity::PeerId;
use multiaddr::Multiaddr;
use tokio::sync::Notify;
#[cfg(feature = "iroh")]
use tokio::time::timeout_at;

#[cfg(feature = "iroh")]
use super::iroh::IrohLinks;
use super::{
    addresses,
    carrier::{Carrying, PROTOCOL},
    event::{GossipEvent, Waiting},
    id::{key_of, peer_of},
    reach::Reaches,
    reader::{OneWay, Reader},
    table::{BoxedReader, Ends, Table},
};
use crate::{
    config::AllowPeer,
    connection::Connection,
    connections::Protection,
    context::Context,
    dial_budget::DialBudget,
    error::error_chain,
    part::{Circuits, DialRequest, Existing, InboundStream, Origin},
};

/// The links of the node.
pub(super) struct NodeLinks {
    pub(super) context: Context,
    /// The links themselves, for the tasks of connections.
    pub(super) this: Weak<Self>,
    /// This node's id.
    pub(super) me: Id,
    allow: Option<AllowPeer>,
    pub(super) table: Table<Carrying>,
    /// The endpoints for iroh. The builder sets them.
    #[cfg(feature = "iroh")]
    pub(super) iroh: std::sync::OnceLock<IrohLinks>,
    /// The neighbours of each topic. Their connections stay open for gossip.
    neighbours: Mutex<BTreeMap<(TopicId, Id), Protection>>,
    reach: Mutex<Told>,
    /// The budget of dials of peers that only members of topics have named.
    of_members: DialBudget,
    pub(super) waiting: Waiting,
    /// Notified when an event for the host waits.
    pub(super) happened: Notify,
}

/// The reach of peers with links, and the data that depends on it.
#[derive(Default)]
pub(super) struct Told {
    /// The reach of peers that have or had links.
    pub(super) reaches: Reaches,
    /// The data that gossip-net has got last.
    data: Option<PeerData>,
}

impl NodeLinks {
    pub(super) fn new(context: Context, me: Id, allow: Option<AllowPeer>) -> Arc<Self> {
        Arc::new_cyclic(|this| Self {
            context,
            this: this.clone(),
            me,
            allow,
            table: Table::new(),
            #[cfg(feature = "iroh")]
            iroh: std::sync::OnceLock::new(),
            neighbours: Mutex::default(),
            reach: Mutex::default(),
            of_members: DialBudget::default(),
            waiting: Waiting::default(),
            happened: Notify::new(),
        })
    }

    pub(super) fn reach(&self) -> MutexGuard<'_, Told> {
        self.reach.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn ends(&self, connection: &Connection) -> Result<Ends, LinkError> {
        let refused = |error: gossip_net::IdError| LinkError::Refused {
            reason: error.to_string(),
        };
        let peer = key_of(&connection.peer()).map_err(refused)?;
        let dialed_by = match connection.direction() {
            Direction::Outbound => self.me,
            Direction::Inbound => peer,
        };
        Ok(Ends {
            peer,
            dialed_by,
            protocol: LinkProtocol::Bowline,
        })
    }

    /// A peer has opened a gossip stream.
    pub(super) fn accept(&self, inbound: InboundStream) {
        let InboundStream {
            connection,
            stream,
            number,
            ..
        } = inbound;
        match self.ends(&connection) {
            Ok(ends) => {
                let wrap =
                    |closed| -> BoxedReader { Box::new(Reader::new(OneWay::new(stream), closed)) };
                let carrying = Carrying::Node(connection.clone());
                let begins = self.table.add_stream(&carrying, ends, number, wrap);
                self.note(&connection, begins);
            }
            // The stream is dropped, which resets it.
            Err(error) => {
                let error = error_chain(&error);
                tracing::debug!(peer = %connection.peer(), error, "a gossip stream is refused");
            }
        }
    }

    /// The link on a connection, which begins now if there is none.
    pub(super) fn begin(&self, connection: &Connection) -> Result<LinkId, LinkError> {
        let carrying = Carrying::Node(connection.clone());
        let (link, begins) = self.table.begin(&carrying, self.ends(connection)?);
        self.note(connection, begins);
        Ok(link)
    }

    /// Notes a new link.
    fn note(&self, connection: &Connection, begins: bool) {
        if !begins {
            return;
        }
        if self.context.connection_by_id(connection.id()).is_none() {
            // The connection ended before the link began, so no change will tell about its end.
            self.table
                .end_on(connection.id(), "the connection has ended");
            return;
        }
        self.note_reach(connection.audience());
    }

    /// The data with this node's addresses.
    pub(super) fn own_data(&self) -> PeerData {
        let connections = self.table.connections();
        let farthest = connections.iter().map(Carrying::audience).max();
        #[cfg(feature = "iroh")]
        let iroh = self.iroh.get();
        #[cfg(feature = "iroh")]
        let sockets = iroh.map_or_else(Vec::new, IrohLinks::own_addresses);
        #[cfg(not(feature = "iroh"))]
        let sockets: [std::net::SocketAddr; 0] = [];
        addresses::own(&self.context.announced(), &sockets, farthest)
    }

    /// Tells gossip-net this node's addresses, if they have changed.
    pub(super) fn tell_own_addresses(&self) {
        // The lock is held throughout, so that the latest addresses are told last.
        let mut told = self.reach();
        let data = self.own_data();
        if told.data.as_ref() != Some(&data) {
            told.data = Some(data.clone());
            self.table.tell_own_data(data);
        }
    }

    /// A connection has ended.
    pub(super) fn ended(&self, connection: ConnectionId) {
        if !self.table.carries(connection) {
            return;
        }
        self.note_present();
        if self.table.end_on(connection, "the connection has ended") {
            self.tell_own_addresses();
        }
    }

    /// Ends all links and the protection of their connections.
    pub(super) fn end_all(&self) {
        for carrying in self.table.end_all("the node shuts down") {
            carrying.release("the node shuts down");
        }
        self.neighbours().clear();
    }

    fn neighbours(&self) -> MutexGuard<'_, BTreeMap<(TopicId, Id), Protection>> {
        let neighbours = self.neighbours.lock();
        neighbours.unwrap_or_else(PoisonError::into_inner)
    }

    /// An unlimited connection to the peer: the best one, or a new one.
    async fn reach_peer(
        &self,
        peer: PeerId,
        data: &[u8],
        until: Instant,
    ) -> Result<Connection, LinkError> {
        if let Some(connection) = self.context.unlimited(&peer) {
            return Ok(connection);
        }
        let mut addresses = self.context.addresses(&peer);
        // Members can name any number of peers and addresses, so the dials of peers that only members have named share a budget.
        let budget = match addresses.is_empty() {
            true => {
                self.of_members.renew(now());
                self.of_members.clone()
            }
            false => DialBudget::default(),
        };
        for address in addresses::of_member(&peer, data, self.nearest()) {
            if !addresses.contains(&address) {
                addresses.push(address);
            }
        }
        let connection = self.dial(peer, addresses, until, budget).await?;
        match connection.is_limited() {
            true => Err(LinkError::Refused {
                reason: "a relay limits the only connection to the peer".to_owned(),
            }),
            false => Ok(connection),
        }
    }

    /// A link over a libp2p connection.
    async fn connect_by_node(
        &self,
        peer: PeerId,
        data: &[u8],
        until: Instant,
    ) -> Result<LinkId, LinkError> {
        let connection = self.reach_peer(peer, data, until).await?;
        check_support(&connection).await?;
        self.begin(&connection)
    }

    async fn dial(
        &self,
        peer: PeerId,
        addresses: Vec<Multiaddr>,
        until: Instant,
        budget: DialBudget,
    ) -> Result<Connection, LinkError> {
        if addresses.is_empty() {
            let reason = "no address of the peer is known".to_owned();
            return Err(LinkError::Unreachable { reason });
        }
        let request = DialRequest {
            addresses,
            expected: Some(peer),
            origin: Origin::Part,
            existing: Existing::PreferUnlimited,
            circuits: Circuits::Allowed,
            until: Some(until.into()),
            budget,
        };
        let dialed = self.context.dial(request).await;
        dialed.map_err(|error| LinkError::Unreachable {
            reason: error_chain(&error),
        })
    }
}

/// The time of tokio's clock, which tests can pause.
pub(super) fn now() -> Instant {
    tokio::time::Instant::now().into_std()
}

/// The middle of the time until the deadline.
#[cfg(feature = "iroh")]
fn half_way(now: Instant, deadline: Instant) -> Instant {
    now + deadline.saturating_duration_since(now) / 2
}

/// Finds out whether the peer supports gossip. The peer may have started to support gossip a moment ago, so only a new identify
/// message can show that it does not.
async fn check_support(connection: &Connection) -> Result<(), LinkError> {
    let known = connection.identified();
    if known.is_some_and(|info| info.supports(PROTOCOL)) {
        return Ok(());
    }
    match connection.identify().await {
        Ok(info) if info.supports(PROTOCOL) => Ok(()),
        Ok(_) => Err(LinkError::Refused {
            reason: format!("the peer does not support {PROTOCOL}"),
        }),
        Err(error) => Err(LinkError::Unreachable {
            reason: error_chain(&error),
        }),
    }
}

#[async_trait]
impl Links for NodeLinks {
    async fn connect(
        &self,
        peer: &Id,
        data: &[u8],
        deadline: Instant,
    ) -> Result<LinkId, LinkError> {
        let to = peer_of(peer).ok_or(LinkError::Closed)?;
        #[cfg(feature = "iroh")]
        {
            let addresses = self.iroh_addresses_of(peer, data);
            if !addresses.is_empty() {
                // The peer may have both kinds of addresses, and each kind has its share of the time.
                let until = half_way(now(), deadline);
                let by_node = self.connect_by_node(to, data, until);
                match timeout_at(until.into(), by_node).await {
                    Ok(Ok(link)) => return Ok(link),
                    Ok(Err(error)) => tracing::trace!(peer = %to, %error, "no libp2p link"),
                    Err(_) => tracing::trace!(peer = %to, "no libp2p link in time"),
                }
                return self.connect_to_iroh(to, addresses, deadline).await;
            }
        }
        self.connect_by_node(to, data, deadline).await
    }

    async fn open(&self, link: LinkId) -> Result<Box<dyn AsyncWrite + Send + Unpin>, LinkError> {
        let carrying = self.table.connection(link).ok_or(LinkError::Closed)?;
        carrying.open().await
    }

    async fn next(&self) -> LinkEvent {
        self.table.next().await
    }

    fn close(&self, link: LinkId, reason: &str) {
        self.note_present();
        if let Some(carrying) = self.table.end(link, reason) {
            tracing::debug!(peer = %carrying.peer(), reason, "a gossip link is closed");
            carrying.release(reason);
        }
    }

    async fn probe(&self, link: LinkId, deadline: Instant) -> Probe {
        let Some(carrying) = self.table.connection(link) else {
            return Probe::Dead;
        };
        match carrying
            .answers(deadline.saturating_duration_since(now()))
            .await
        {
            true => Probe::Alive,
            false => Probe::Dead,
        }
    }

    fn handle_event(&self, topic: &TopicId, event: &Event) {
        match event {
            Event::NeighborUp(id) => {
                let protection = peer_of(id).and_then(|peer| self.context.protect(peer));
                if let Some(protection) = protection {
                    self.neighbours().insert((*topic, *id), protection);
                }
            }
            Event::NeighborDown(id, _) => {
                let ended = self.neighbours().remove(&(*topic, *id));
                drop(ended);
            }
            _ => {}
        }
        if let Some(event) = GossipEvent::of(topic, event) {
            self.waiting.push(event);
            self.happened.notify_one();
        }
    }

    fn allows(&self, topic: &TopicId, peer: &Id) -> bool {
        let Some(allow) = &self.allow else {
            return true;
        };
        peer_of(peer).is_some_and(|peer| allow.allows(topic, &peer))
    }
}
