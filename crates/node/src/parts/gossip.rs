//! The part that takes part in topics: it runs gossip-net over the connections of the node.
//!
//! gossip-net chooses the neighbours and passes messages on. This file names the connected peers that support gossip to
//! gossip-net, ends links with their connections, and reports new and lost neighbours to the host.

mod addresses;
mod carrier;
mod event;
mod figures;
mod host;
mod id;
#[cfg(feature = "iroh")]
mod iroh;
mod links;
mod nearest;
mod queries;
mod reach;
mod reader;
mod table;
#[cfg(all(test, feature = "tcp"))]
mod tests;

use std::{
    collections::{BTreeSet, VecDeque},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use conn_state::Source;
use futures::{FutureExt, future::BoxFuture};
use gossip_net::{Builder, IdError, JoinError, Links, Subscription, TopicId, wire::PeerInfo};
use libp2p_identity::PeerId;
use multiaddr::Multiaddr;
use tokio::{runtime::Handle, time::sleep_until};
use tokio_util::sync::CancellationToken;

#[cfg(feature = "iroh")]
pub use self::iroh::{IrohListenError, IrohPeer, IrohPeerError};
use self::{
    carrier::PROTOCOL,
    id::{key_of, peer_of},
    links::NodeLinks,
};
pub use self::{event::GossipEvent, host::SubscribeError, queries::describe_gossip};
use crate::{
    address,
    config::GossipConfig,
    connection::Connection,
    context::Context,
    part::{Change, Figure, InboundStream, Part, Query, Service},
};

/// The time in which gossip-net sends its last messages at shutdown. The rest of the goodbye's second is in reserve.
const LAST_MESSAGES: Duration = Duration::from_millis(800);

/// The time that a link on a drained connection has to end by itself. gossip-net moves to the other connection within 2 s.
const DRAIN_TIME: Duration = Duration::from_secs(5);

/// The most connected peers that wait to be offered to gossip-net.
const MAX_OFFERED: usize = 1024;

/// The part. It exists in every node with the feature, and does nothing before the first subscription.
pub(crate) struct Gossip {
    context: Context,
    config: GossipConfig,
    /// The links, or the reason for which this node's identity cannot take part in gossip.
    links: Result<Arc<NodeLinks>, IdError>,
    engine: Engine,
    inbox: Mutex<Inbox>,
    /// The subscriber may be outside of the runtime.
    runtime: Handle,
}

/// gossip-net, which starts with the first subscription.
#[derive(Default)]
struct Engine(Mutex<State>);

#[derive(Default)]
enum State {
    #[default]
    Off,
    On(gossip_net::Gossip),
    Down,
}

/// Changes that wait for the part's task.
#[derive(Default)]
struct Inbox {
    /// Connected peers that support gossip.
    offered: BTreeSet<PeerId>,
    /// Drained connections with links, and when the links end.
    drained: VecDeque<(Instant, Connection)>,
}

impl Engine {
    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn running(&self) -> Option<gossip_net::Gossip> {
        match &*self.state() {
            State::On(gossip) => Some(gossip.clone()),
            State::Off | State::Down => None,
        }
    }

    /// Returns the running gossip-net, if it ran. It cannot start again.
    fn stop(&self) -> Option<gossip_net::Gossip> {
        match std::mem::replace(&mut *self.state(), State::Down) {
            State::On(gossip) => Some(gossip),
            State::Off | State::Down => None,
        }
    }
}

impl Gossip {
    /// Call this within a tokio runtime. `local` is this node's id.
    pub(crate) fn new(context: Context, local: &PeerId, config: &GossipConfig) -> Self {
        let links = |me| NodeLinks::new(context.clone(), me, config.allow.clone());
        Self {
            links: key_of(local).map(links),
            context,
            config: config.clone(),
            engine: Engine::default(),
            inbox: Mutex::default(),
            runtime: Handle::current(),
        }
    }

    /// Adds the links to iroh. `make` makes endpoints with these settings, on sockets like those of the node.
    #[cfg(feature = "iroh")]
    pub(crate) fn with_iroh(
        self,
        make: impl FnOnce(transport_quic::Config) -> transport_quic::Endpoints,
    ) -> Self {
        if let Ok(links) = &self.links {
            let endpoints = make(iroh::config(&self.config));
            // There is one builder, which calls this method once.
            let _ = links
                .iroh
                .set(iroh::IrohLinks::new(self.context.clone(), endpoints));
        }
        self
    }

    /// The links.
    fn links(&self) -> Result<&Arc<NodeLinks>, SubscribeError> {
        let links = self.links.as_ref();
        links.map_err(|error| SubscribeError::Identity(*error))
    }

    fn inbox(&self) -> MutexGuard<'_, Inbox> {
        self.inbox.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Wakes the part's task.
    fn wake(&self) {
        if let Ok(links) = &self.links {
            links.happened.notify_one();
        }
    }

    /// Returns gossip-net, and starts it if it does not run yet.
    fn start(&self) -> Result<gossip_net::Gossip, SubscribeError> {
        let links = self.links()?;
        let mut state = self.engine.state();
        let gossip = match &*state {
            State::On(gossip) => return Ok(gossip.clone()),
            State::Down => return Err(JoinError::Left.into()),
            State::Off => self.spawn(links),
        };
        *state = State::On(gossip.clone());
        drop(state);
        links.tell_own_addresses();
        self.context.enable(PROTOCOL, true);
        Ok(gossip)
    }

    fn spawn(&self, links: &Arc<NodeLinks>) -> gossip_net::Gossip {
        let (core, links) = (self.config.core.clone(), Arc::clone(links));
        let me = links.me;
        let data = links.own_data();
        let builder = Builder::new(me, rand::random(), core, links as Arc<dyn Links>);
        let mut builder = builder.own_data(data);
        if let Some(validate) = self.config.validate.clone() {
            builder = builder.validate(move |topic, via, content| {
                peer_of(via).is_some_and(|via| validate.accepts(topic, &via, content))
            });
        }
        let _within = self.runtime.enter();
        builder.spawn()
    }

    fn subscribe(
        &self,
        topic: TopicId,
        peers: &[Multiaddr],
        capacity: Option<usize>,
    ) -> Result<Subscription, SubscribeError> {
        let peers = peers.iter().map(|address| self.named(address));
        let peers = peers.collect::<Result<Vec<_>, _>>()?;
        let gossip = self.start()?;
        let subscription = match capacity {
            Some(capacity) => gossip.subscribe_with_capacity(topic, &peers, capacity)?,
            None => gossip.subscribe(topic, &peers)?,
        };
        gossip.offer(topic, &self.connected());
        Ok(subscription)
    }

    /// The peer in an address that the host has named. The address book remembers the address.
    fn named(&self, address: &Multiaddr) -> Result<PeerInfo, SubscribeError> {
        let peer = address::peer(address).ok_or_else(|| SubscribeError::NoPeer {
            address: address.clone(),
        })?;
        let id = key_of(&peer).map_err(|source| SubscribeError::Peer { peer, source })?;
        let addresses = std::slice::from_ref(address);
        self.context.learn(&peer, Source::Config, addresses);
        Ok(PeerInfo { id, data: None })
    }

    /// The connected peers that support gossip.
    fn connected(&self) -> Vec<PeerInfo> {
        let connections = self.context.connections().into_iter();
        let supporting = connections.filter(|connection| {
            let info = connection.identified();
            info.is_some_and(|info| info.supports(PROTOCOL)) && !connection.is_limited()
        });
        let peers = supporting.map(|connection| connection.peer());
        infos(peers.collect::<BTreeSet<_>>())
    }

    /// A connection is drained. If it carries a link, the successor carries another link from now on.
    fn note_draining(&self, now: Instant, old: &Connection, successor: Option<&Connection>) {
        let Ok(links) = &self.links else { return };
        if !links.table.carries(old.id()) {
            return;
        }
        if let Some(successor) = successor.filter(|successor| !successor.is_limited())
            && let Err(error) = links.begin(successor)
        {
            tracing::debug!(%error, "gossip does not follow a drained connection");
        }
        let end = (now + DRAIN_TIME, old.clone());
        self.inbox().drained.push_back(end);
        self.wake();
    }

    /// Ends the links of connections that were drained some time ago. Returns when the next of them is due.
    fn end_drained(&self, links: &NodeLinks, now: Instant) -> Option<Instant> {
        loop {
            let mut inbox = self.inbox();
            let due = inbox.drained.front()?.0;
            if due > now {
                return Some(due);
            }
            let (_, connection) = inbox.drained.pop_front()?;
            drop(inbox);
            // A connection that was drained may have been needed after all.
            if connection.is_draining() {
                links.ended(connection.id());
            }
        }
    }

    async fn work(&self, links: &NodeLinks, stop: &CancellationToken) {
        loop {
            let offered = std::mem::take(&mut self.inbox().offered);
            if let Some(gossip) = self.engine.running().filter(|_| !offered.is_empty()) {
                gossip.offer_to_all(&infos(offered));
            }
            self.emit(links);
            let next = self.end_drained(links, Instant::now());
            let due = async {
                match next {
                    Some(at) => sleep_until(at.into()).await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                () = links.happened.notified() => {}
                () = due => {}
                () = stop.cancelled() => return,
            }
        }
    }

    /// Sends the waiting events to the host.
    fn emit(&self, links: &NodeLinks) {
        while let Some(event) = links.waiting.pop() {
            self.context.emit_part(event);
        }
    }

    async fn say_goodbye(&self, links: &NodeLinks) {
        if let Some(gossip) = self.engine.stop() {
            let until = tokio::time::Instant::now() + LAST_MESSAGES;
            if !gossip.shut_down(until.into_std()).await {
                tracing::debug!("a neighbour was too slow to take the last gossip messages");
            }
        }
        links.end_all();
        #[cfg(feature = "iroh")]
        if let Some(iroh) = links.iroh.get() {
            iroh.stop();
        }
        self.emit(links);
    }

    fn serve(&self, inbound: InboundStream) {
        // A stream that comes before the start or after the end is dropped, which resets it.
        if let (Ok(links), Some(_)) = (&self.links, self.engine.running()) {
            links.accept(inbound);
        }
    }
}

/// The peers as gossip-net names them. Peers without an Ed25519 key are left out.
fn infos(peers: impl IntoIterator<Item = PeerId>) -> Vec<PeerInfo> {
    let ids = peers.into_iter().filter_map(|peer| key_of(&peer).ok());
    ids.map(|id| PeerInfo { id, data: None }).collect()
}

impl Part for Gossip {
    fn name(&self) -> &'static str {
        "gossip"
    }

    fn services(self: Arc<Self>) -> Vec<Service> {
        if self.links.is_err() {
            return Vec::new();
        }
        vec![Service {
            protocols: vec![PROTOCOL.into()],
            limited: false,
            per_connection: Some(self.config.max_streams()),
            // Only a neighbour keeps its connection open. Anyone can open a stream.
            keeps_open: false,
            enabled: false,
            serve: Arc::new(move |inbound| {
                let part = Arc::clone(&self);
                async move { part.serve(inbound) }.boxed()
            }),
        }]
    }

    fn handle(&self, now: Instant, change: &Change) {
        let Ok(links) = &self.links else { return };
        match change {
            Change::Identified { connection, info }
                if info.supports(PROTOCOL) && !connection.is_limited() =>
            {
                let mut inbox = self.inbox();
                if inbox.offered.len() < MAX_OFFERED {
                    inbox.offered.insert(connection.peer());
                }
                drop(inbox);
                self.wake();
            }
            Change::Disconnected { connection, .. } => links.ended(connection.id()),
            Change::Draining {
                connection,
                successor,
            } => self.note_draining(now, connection, successor.as_ref()),
            Change::Local => links.tell_own_addresses(),
            Change::Network | Change::Woke => {
                #[cfg(feature = "iroh")]
                if let (Change::Network, Some(iroh)) = (change, links.iroh.get()) {
                    iroh.follow_network();
                    links.tell_own_addresses();
                }
                links.table.tell_network_change();
            }
            _ => {}
        }
    }

    fn run(self: Arc<Self>, stop: CancellationToken) -> BoxFuture<'static, ()> {
        async move {
            let Ok(links) = &self.links else { return };
            self.work(links, &stop).await;
            self.say_goodbye(links).await;
        }
        .boxed()
    }

    fn queries(self: Arc<Self>) -> Vec<Query> {
        queries::all(&self)
    }

    fn figures(&self) -> Vec<Figure> {
        figures::of(self)
    }
}
