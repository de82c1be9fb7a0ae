//! [`bootstrap`] as a rust-libp2p [`NetworkBehaviour`].
//!
//! The behaviour reports all connections of the swarm to the core of `bootstrap`, and carries out the core's dials.
//!
//! ```text
//! Swarm ─► ConnectionEstablished, ConnectionClosed, DialFailure ─► Behaviour ─► Rejoin ◄─ PeerSource
//!       ◄─ ToSwarm::Dial, ToSwarm::CloseConnection              ◄─           ◄─ Driver
//! ```
//!
//! A peer that was killed and restarted connects again while its dead connection still counts as open. gossipsub announces its
//! topics only on the first connection of a peer, so the restarted peer can publish to nobody. The behaviour therefore closes
//! all connections of a peer that connects again, and dials the peer at once. The next connection is a first connection.
//!
//! # Limitations
//!
//! - A behaviour cannot end a dial. An abandoned dial of the core lives until libp2p's own timeout.
//! - Two connections that are opened within [`CROSSING`] of each other both stay, because the two ends may have dialed each other
//!   at once. A peer that restarts so soon after it has connected is heard again when its dead connection has timed out and the
//!   peer has connected again.
//! - A program that opens two connections to a peer on purpose loses both.
//! - Behaviours do not see each other's events. Pass the events of identify to [`Behaviour::handle_identify_event`]. Otherwise
//!   peers that have dialed this node have no known address, and are not dialed when they are lost.

use std::{
    collections::{HashMap, HashSet, VecDeque},
    convert::Infallible,
    hash::{BuildHasher, RandomState},
    net::IpAddr,
    task::{Context, Poll},
    time::{Duration, Instant},
};

use bootstrap::{
    AttemptId, Driver, DriverEvent, Handle, PeerSource, Rejoin, RejoinConfig, RejoinEvent,
    SourceError, State, Status, Store, announced,
};
use futures::{
    StreamExt,
    stream::{self, BoxStream},
};
use libp2p::{
    Multiaddr, PeerId,
    core::{ConnectedPoint, Endpoint, transport::PortUse},
    identify,
    multiaddr::Protocol,
    swarm::{
        CloseConnection, ConnectionDenied, ConnectionId, FromSwarm, NetworkBehaviour, ToSwarm,
        behaviour::{ConnectionClosed, ConnectionEstablished},
        dial_opts::{DialOpts, PeerCondition},
        dummy,
    },
};

/// The two connections of two ends that dial each other are opened within this time. A peer that restarts takes longer.
const CROSSING: Duration = Duration::from_secs(1);

/// The addresses of a new listener are known within this time. Later ones are a change of the network.
const START: Duration = Duration::from_secs(1);

/// What the owner of the swarm learns.
#[derive(Debug)]
pub enum Event {
    /// The state has changed.
    State {
        /// The state before.
        from: State,
        /// The state now, with its reason.
        status: Status,
    },
    /// The connection of a peer has lasted, and the peer is saved.
    Saved(PeerId),
    /// A peer connected again, so its connections are closed and it is dialed.
    Replaced(PeerId),
    /// A source has a problem.
    Problem(SourceError),
}

type Command = ToSwarm<Event, Infallible>;

/// Dials peers until the swarm has joined its network, and after each loss.
pub struct Behaviour {
    handle: Handle<PeerId, Multiaddr>,
    events: BoxStream<'static, DriverEvent<PeerId, Multiaddr>>,
    store: Option<Store>,
    /// The dials of the core. A dial of several addresses without a peer id is several dials of the swarm.
    dials: HashMap<ConnectionId, AttemptId>,
    /// When the last connection of each peer was opened.
    opened: HashMap<PeerId, Instant>,
    /// The IP address of each peer that is connected without a relay.
    at: HashMap<PeerId, IpAddr>,
    /// The peers whose connections are being closed because they have connected again.
    replaced: HashSet<PeerId>,
    commands: VecDeque<Command>,
    /// When the last listener was started.
    listening: Instant,
}

impl Behaviour {
    /// A behaviour for the swarm of `local`. Must be called in a tokio runtime.
    pub fn new(
        local: PeerId,
        config: RejoinConfig,
        sources: Vec<Box<dyn PeerSource<PeerId, Multiaddr>>>,
        store: Option<Store>,
    ) -> Self {
        let seed = RandomState::new().hash_one(local);
        let (driver, handle) = Driver::new(Rejoin::new(Some(local), seed, config), sources);
        let events = stream::unfold(driver, |mut driver| async {
            Some((driver.next().await, driver))
        });
        Self {
            handle,
            events: events.boxed(),
            store,
            dials: HashMap::new(),
            opened: HashMap::new(),
            at: HashMap::new(),
            replaced: HashSet::new(),
            commands: VecDeque::new(),
            listening: Instant::now(),
        }
    }

    /// A peer has told its addresses. Those at its own IP address are dialed at the quick pace after a loss, and saved. The
    /// others may belong to somebody else.
    pub fn handle_identify_event(&mut self, event: &identify::Event) {
        if let identify::Event::Received { peer_id, info, .. } = event {
            let told: Vec<_> = info
                .listen_addrs
                .iter()
                .cloned()
                .map(without_peer)
                .collect();
            let at = self.at.get(peer_id).copied();
            for candidate in announced(*peer_id, at, &told, |_| None) {
                self.handle
                    .with(|core, now| core.handle_candidate(now, candidate));
            }
        }
    }

    /// Writes the saved peers that are not on the disk yet, within this time.
    pub async fn close(&mut self, within: Duration) -> bool {
        match self.store.take() {
            Some(store) => store.close(within).await,
            None => true,
        }
    }

    fn established(&mut self, event: ConnectionEstablished<'_>) {
        let peer = event.peer_id;
        if let Some(attempt) = self.dials.remove(&event.connection_id) {
            self.handle
                .with(|core, now| core.handle_answered(now, attempt, &peer));
        }
        let now = Instant::now();
        let before = self.opened.insert(peer, now);
        if let Some(ip) =
            ip(event.endpoint.get_remote_address()).filter(|_| !event.endpoint.is_relayed())
        {
            self.at.insert(peer, ip);
        }
        if event.other_established == 0 {
            let reached = match event.endpoint {
                ConnectedPoint::Dialer { address, .. } => Some(without_peer(address.clone())),
                ConnectedPoint::Listener { .. } => None,
            };
            self.handle
                .with(|core, now| core.handle_connected(now, &peer, reached));
        } else if self.replaced.contains(&peer)
            || before.is_some_and(|before| now.duration_since(before) > CROSSING)
        {
            self.commands.push_back(ToSwarm::CloseConnection {
                peer_id: peer,
                connection: CloseConnection::All,
            });
            if self.replaced.insert(peer) {
                self.tell(Event::Replaced(peer));
            }
        }
    }

    fn closed(&mut self, event: ConnectionClosed<'_>) {
        let peer = event.peer_id;
        if event.remaining_established > 0 {
            return;
        }
        self.opened.remove(&peer);
        self.at.remove(&peer);
        let again = self.replaced.remove(&peer);
        self.handle.with(|core, now| {
            core.handle_disconnected(now, &peer);
            if again {
                core.handle_user_dial(now, &peer);
            }
        });
    }

    /// A dial of the swarm has failed. The dial of the core has failed with the last one of its dials of the swarm.
    fn failed(&mut self, dial: ConnectionId) {
        if let Some(attempt) = self.dials.remove(&dial)
            && self.dials.values().all(|other| *other != attempt)
        {
            self.handle
                .with(|core, now| core.handle_failed(now, attempt));
        }
    }

    fn carry_out(&mut self, event: DriverEvent<PeerId, Multiaddr>) {
        match event {
            DriverEvent::Rejoin(RejoinEvent::Dial {
                attempt,
                peer,
                addresses,
                ..
            }) => self.dial(attempt, peer, addresses),
            DriverEvent::Rejoin(RejoinEvent::State { from, .. }) => {
                let status = self.handle.status();
                self.tell(Event::State { from, status });
            }
            DriverEvent::Rejoin(RejoinEvent::Lasted {
                peer,
                address,
                addresses,
                stayed,
                ..
            }) => self.save(peer, address.into_iter().chain(addresses).collect(), stayed),
            DriverEvent::Rejoin(RejoinEvent::Lost { peer, stayed }) => {
                self.save(peer, Vec::new(), stayed);
            }
            DriverEvent::Problem(problem) => self.tell(Event::Problem(problem)),
            // The swarm ends the dials that the core has abandoned at its own timeout.
            _ => {}
        }
    }

    fn dial(&mut self, attempt: AttemptId, peer: Option<PeerId>, addresses: Vec<Multiaddr>) {
        let dials = match peer {
            Some(peer) => {
                let dial = DialOpts::peer_id(peer)
                    // The dials in flight do not hinder another one.
                    .condition(PeerCondition::Disconnected)
                    .addresses(addresses);
                vec![dial.build()]
            }
            None => {
                let dial = |address| DialOpts::unknown_peer_id().address(address).build();
                addresses.into_iter().map(dial).collect()
            }
        };
        for opts in dials {
            self.dials.insert(opts.connection_id(), attempt);
            self.commands.push_back(ToSwarm::Dial { opts });
        }
    }

    fn save(&mut self, peer: PeerId, addresses: Vec<Multiaddr>, stayed: Duration) {
        if let Some(store) = &self.store {
            store.save(peer, addresses, stayed);
            self.tell(Event::Saved(peer));
        }
    }

    fn tell(&mut self, event: Event) {
        self.commands.push_back(ToSwarm::GenerateEvent(event));
    }
}

/// The IP address at the start of the address.
fn ip(address: &Multiaddr) -> Option<IpAddr> {
    match address.iter().next()? {
        Protocol::Ip4(v4) => Some(v4.into()),
        Protocol::Ip6(v6) => Some(v6.into()),
        _ => None,
    }
}

/// The address without the peer at its end. The core keeps the peer apart.
fn without_peer(mut address: Multiaddr) -> Multiaddr {
    if let Some(Protocol::P2p(_)) = address.iter().last() {
        address.pop();
    }
    address
}

impl NetworkBehaviour for Behaviour {
    type ConnectionHandler = dummy::ConnectionHandler;
    type ToSwarm = Event;

    fn handle_established_inbound_connection(
        &mut self,
        _: ConnectionId,
        _: PeerId,
        _: &Multiaddr,
        _: &Multiaddr,
    ) -> Result<dummy::ConnectionHandler, ConnectionDenied> {
        Ok(dummy::ConnectionHandler)
    }

    fn handle_established_outbound_connection(
        &mut self,
        _: ConnectionId,
        _: PeerId,
        _: &Multiaddr,
        _: Endpoint,
        _: PortUse,
    ) -> Result<dummy::ConnectionHandler, ConnectionDenied> {
        Ok(dummy::ConnectionHandler)
    }

    fn on_swarm_event(&mut self, event: FromSwarm<'_>) {
        match event {
            FromSwarm::ConnectionEstablished(event) => self.established(event),
            FromSwarm::ConnectionClosed(event) => self.closed(event),
            FromSwarm::DialFailure(event) => self.failed(event.connection_id),
            FromSwarm::NewListener(_) => self.listening = Instant::now(),
            // The swarm listens at other addresses, so the network of this host has changed.
            FromSwarm::NewListenAddr(_) if self.listening.elapsed() > START => {
                self.handle.changed();
            }
            FromSwarm::ExpiredListenAddr(_) => self.handle.changed(),
            _ => {}
        }
    }

    fn on_connection_handler_event(&mut self, _: PeerId, _: ConnectionId, event: Infallible) {
        match event {}
    }

    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Command> {
        loop {
            if let Some(command) = self.commands.pop_front() {
                return Poll::Ready(command);
            }
            match self.events.poll_next_unpin(cx) {
                Poll::Ready(Some(event)) => self.carry_out(event),
                Poll::Ready(None) | Poll::Pending => return Poll::Pending,
            }
        }
    }
}
