//! [`conn_state`] as a rust-libp2p [`NetworkBehaviour`].
//!
//! It tells a tracker of every connection of the swarm, from before its handshake until it is gone, and does what the
//! tracker wants done. Its events are the tracker's: ordered and numbered for each peer, each `from` the `to` before it.
//!
//! ```text
//! Swarm ─► handle_pending_*, FromSwarm ─► Behaviour ─► SharedTracker ─► Update ─► SwarmEvent::Behaviour
//!      ◄─ CloseConnection, probe      ◄─           ◄─ Action
//! ```
//!
//! # Limitations
//!
//! - A behaviour cannot end a dial or a handshake. One that takes too long is denied when it ends, if it ends well, and
//!   until then the swarm's own connection timeout is what ends it.
//! - A behaviour cannot count the streams of the others. Of two connections to one peer, the one that goes is therefore
//!   taken for busy, and closed when [`Policy::drain`] is over. Nor can it keep the others from opening streams on it: a
//!   policy that keeps both is the one for protocols that cannot bear that.
//! - Behaviours do not see each other's events: what a relay grants is known only if whoever owns the swarm passes the
//!   events of libp2p's relay client on to [`Behaviour::handle_relay_event`]. Otherwise the limit is some limit.

use std::{
    collections::HashMap,
    error::Error,
    io,
    sync::Arc,
    task::{Context, Poll},
    time::Instant,
};

use conn_state::{
    Action, Closing, Detail, Policy, SharedTracker, Subscription, TrackError, TrackerConfig, Update,
};
use futures::{
    StreamExt,
    stream::{self, BoxStream},
};
use libp2p::{
    Multiaddr, PeerId,
    core::{Endpoint, transport::PortUse},
    relay,
    swarm::{
        CloseConnection, ConnectionDenied, ConnectionError, ConnectionId, DialError, FromSwarm,
        ListenError, NetworkBehaviour, NotifyHandler, THandlerInEvent, THandlerOutEvent, ToSwarm,
        behaviour::{AddressChange, ConnectionClosed, ConnectionEstablished},
    },
};

use crate::{
    circuits::{self, Circuit, Grants},
    handler::{Alive, Handler, Probe},
};

/// Keeps a tracker up to date.
pub struct Behaviour {
    tracker: SharedTracker<PeerId>,
    /// What the tracker wants done. It sleeps until the tracker's next timeout by itself.
    actions: BoxStream<'static, Action>,
    updates: Subscription<PeerId>,
    connections: HashMap<ConnectionId, Tracked>,
    /// The swarm's name of each of the tracker's connections.
    names: HashMap<conn_state::ConnectionId, ConnectionId>,
    grants: Grants,
}

/// A connection that the tracker knows.
struct Tracked {
    id: conn_state::ConnectionId,
    /// Known once it is up.
    peer: Option<PeerId>,
    /// The tracker asked for its close.
    closing: Option<Closing>,
    /// It is up, through a relay of which it is not known what it grants.
    wants: Option<Circuit>,
}

impl Behaviour {
    /// A behaviour for the swarm of `local`.
    pub fn new(
        local: PeerId,
        policy: impl Policy<PeerId> + 'static,
        config: TrackerConfig,
    ) -> Self {
        let tracker = SharedTracker::new(Instant::now(), local, policy, config);
        let actions = stream::unfold(tracker.clone(), |tracker| async {
            Some((tracker.next_action().await, tracker))
        });
        let (_, updates) = tracker.subscribe();
        Self {
            tracker,
            actions: actions.boxed(),
            updates,
            connections: HashMap::new(),
            names: HashMap::new(),
            grants: Grants::default(),
        }
    }

    /// The tracker, to ask and to subscribe from anywhere.
    pub fn tracker(&self) -> &SharedTracker<PeerId> {
        &self.tracker
    }

    /// What a relay grants a circuit. The event comes before or after the connection over the circuit is up.
    pub fn handle_relay_event(&mut self, event: &relay::client::Event) {
        let now = Instant::now();
        let Some((circuit, route)) = circuits::granted(now, event) else {
            return;
        };
        let mut connections = self.connections.values_mut();
        match connections.find(|tracked| tracked.wants == Some(circuit)) {
            Some(tracked) => {
                tracked.wants = None;
                expect(self.tracker.handle_path(now, tracked.id, route));
            }
            None => self.grants.insert(circuit, route),
        }
    }

    fn track(&mut self, name: ConnectionId, id: conn_state::ConnectionId) {
        let tracked = Tracked {
            id,
            peer: None,
            closing: None,
            wants: None,
        };
        self.connections.insert(name, tracked);
        self.names.insert(id, name);
    }

    /// Not before every behaviour has agreed to the connection, or the tracker would see one that never was.
    fn established(&mut self, event: ConnectionEstablished<'_>) {
        let ConnectionEstablished {
            peer_id, endpoint, ..
        } = event;
        let (route, wants) = self.grants.route(peer_id, endpoint);
        let Some(tracked) = self.connections.get_mut(&event.connection_id) else {
            return;
        };
        (tracked.peer, tracked.wants) = (Some(peer_id), wants);
        let (now, id) = (Instant::now(), tracked.id);
        expect(self.tracker.handle_authenticated(now, id, &peer_id, route));
        // For all that is known. One stream is as good as many.
        if let Some(streams) = self.tracker.stream_count(id) {
            streams.handle_opened(now);
        }
    }

    fn gone(&mut self, name: ConnectionId, closing: Closing, error: Option<&dyn Error>) {
        // What was denied before it was tracked is reported, too.
        let Some(tracked) = self.connections.remove(&name) else {
            return;
        };
        self.names.remove(&tracked.id);
        let closing = tracked.closing.unwrap_or(closing);
        let detail = error.map(Detail::new);
        expect(
            self.tracker
                .handle_closed(Instant::now(), tracked.id, closing, detail),
        );
    }

    /// What the tracker wants, as what the swarm can do.
    fn carry_out(&mut self, action: Action) -> Option<ToSwarm<Update<PeerId>, Probe>> {
        match action {
            Action::Probe(id) => {
                let name = *self.names.get(&id)?;
                Some(ToSwarm::NotifyHandler {
                    peer_id: self.connections.get(&name)?.peer?,
                    handler: NotifyHandler::One(name),
                    event: Probe,
                })
            }
            Action::Close(id, closing) => {
                let name = *self.names.get(&id)?;
                let tracked = self.connections.get_mut(&name)?;
                tracked.closing = Some(closing);
                Some(ToSwarm::CloseConnection {
                    // If it is not up yet it is denied when it is.
                    peer_id: tracked.peer?,
                    connection: CloseConnection::One(name),
                })
            }
            // The streams on it are the business of the other behaviours.
            _ => None,
        }
    }

    fn handler(&self, name: ConnectionId) -> Result<Handler, ConnectionDenied> {
        let closing = self.connections.get(&name).and_then(|known| known.closing);
        match closing {
            Some(closing) => Err(ConnectionDenied::new(closing.to_string())),
            None => Ok(Handler::default()),
        }
    }
}

impl NetworkBehaviour for Behaviour {
    type ConnectionHandler = Handler;
    type ToSwarm = Update<PeerId>;

    /// Nobody knows yet who it is.
    fn handle_pending_inbound_connection(
        &mut self,
        name: ConnectionId,
        _: &Multiaddr,
        _: &Multiaddr,
    ) -> Result<(), ConnectionDenied> {
        let id = self.tracker.handle_inbound(Instant::now());
        self.track(name, id.map_err(ConnectionDenied::new)?);
        Ok(())
    }

    fn handle_established_inbound_connection(
        &mut self,
        name: ConnectionId,
        _: PeerId,
        _: &Multiaddr,
        _: &Multiaddr,
    ) -> Result<Handler, ConnectionDenied> {
        self.handler(name)
    }

    fn handle_pending_outbound_connection(
        &mut self,
        name: ConnectionId,
        peer: Option<PeerId>,
        _: &[Multiaddr],
        role: Endpoint,
    ) -> Result<Vec<Multiaddr>, ConnectionDenied> {
        let now = Instant::now();
        let id = match role {
            Endpoint::Dialer => self.tracker.handle_dialing(now, peer.as_ref()),
            // Where both ends dial to punch a hole, they must agree on whose dial it is.
            Endpoint::Listener => self.tracker.handle_inbound(now),
        };
        self.track(name, id.map_err(ConnectionDenied::new)?);
        Ok(Vec::new())
    }

    fn handle_established_outbound_connection(
        &mut self,
        name: ConnectionId,
        _: PeerId,
        _: &Multiaddr,
        _: Endpoint,
        _: PortUse,
    ) -> Result<Handler, ConnectionDenied> {
        self.handler(name)
    }

    fn on_swarm_event(&mut self, event: FromSwarm<'_>) {
        match event {
            FromSwarm::ConnectionEstablished(established) => self.established(established),
            FromSwarm::ConnectionClosed(ConnectionClosed {
                connection_id,
                cause,
                ..
            }) => self.gone(connection_id, closing(cause), cause.map(|cause| cause as _)),
            FromSwarm::AddressChange(AddressChange {
                peer_id,
                connection_id,
                new,
                ..
            }) => {
                let (route, wants) = self.grants.route(peer_id, new);
                if let Some(tracked) = self.connections.get_mut(&connection_id) {
                    tracked.wants = wants;
                    let now = Instant::now();
                    expect(self.tracker.handle_path(now, tracked.id, route));
                }
            }
            FromSwarm::DialFailure(failure) => {
                let closing = match failure.error {
                    DialError::Denied { .. } => Closing::Refused,
                    DialError::Aborted => Closing::Local,
                    _ => Closing::Handshake,
                };
                self.gone(failure.connection_id, closing, Some(failure.error));
            }
            FromSwarm::ListenFailure(failure) => {
                let closing = match failure.error {
                    ListenError::Denied { .. } => Closing::Refused,
                    ListenError::Aborted => Closing::Local,
                    _ => Closing::Handshake,
                };
                self.gone(failure.connection_id, closing, Some(failure.error));
            }
            _ => {}
        }
    }

    fn on_connection_handler_event(
        &mut self,
        _: PeerId,
        name: ConnectionId,
        Alive: THandlerOutEvent<Self>,
    ) {
        if let Some(tracked) = self.connections.get(&name) {
            self.tracker.handle_alive(Instant::now(), tracked.id);
        }
    }

    /// A swarm that is not polled for long misses updates and is told so: nothing piles up here.
    fn poll(
        &mut self,
        cx: &mut Context<'_>,
    ) -> Poll<ToSwarm<Self::ToSwarm, THandlerInEvent<Self>>> {
        while let Poll::Ready(Some(action)) = self.actions.poll_next_unpin(cx) {
            if let Some(command) = self.carry_out(action) {
                return Poll::Ready(command);
            }
        }
        self.updates.poll_next(cx).map(ToSwarm::GenerateEvent)
    }
}

/// libp2p does not tell a close by the other end from a broken connection, other than by the error's kind. Without an
/// error it was closed here.
fn closing(cause: Option<&ConnectionError>) -> Closing {
    use io::ErrorKind::{BrokenPipe, ConnectionAborted, ConnectionReset, TimedOut};
    match cause {
        None | Some(ConnectionError::KeepAliveTimeout) => Closing::Local,
        Some(ConnectionError::IO(error)) => match error.kind() {
            BrokenPipe | ConnectionAborted | ConnectionReset | TimedOut => Closing::Lost,
            _ => Closing::Remote { code: None },
        },
    }
}

/// The tracker refuses what cannot be; the swarm's reports can. But a connection may come up just when the tracker asks for
/// its close: the action that says so is on its way.
fn expect(told: Result<(), TrackError>) {
    let is_expected = matches!(told, Ok(()) | Err(TrackError::Closing { .. }));
    debug_assert!(is_expected, "{told:?}");
}
