//! The links of the node, and the events about them that wait for gossip-net.
//!
//! A link begins when gossip-net connects to a peer, when a peer opens a gossip stream on a connection, or when an iroh peer
//! connects. It ends with its connection, or when gossip-net closes it. A closed link leaves a connection of the node open, because
//! other protocols use it. Such a connection therefore has one link at a time, and may have several one after another.
//!
//! The number of waiting events is bounded by other limits: each stream holds its place among the streams of its connection
//! until gossip-net has ended it, and each link has two further events.

use std::{
    collections::{BTreeMap, VecDeque},
    sync::{Mutex, MutexGuard, PoisonError},
};

use conn_state::ConnectionId;
use gossip_net::{AsyncRead, Id, LinkEvent, LinkId, LinkProtocol, wire::PeerData};
use tokio::sync::Notify;
use tokio_util::sync::{CancellationToken, WaitForCancellationFutureOwned};

/// Reads a stream for gossip-net.
pub(super) type BoxedReader = Box<dyn AsyncRead + Send + Unpin>;

/// A connection, as the table sees it.
pub(super) trait Carrier: Clone + Send {
    fn id(&self) -> ConnectionId;
}

/// The two ends of a connection, for the event about a new link.
#[derive(Debug, Clone, Copy)]
pub(super) struct Ends {
    pub(super) peer: Id,
    pub(super) dialed_by: Id,
    /// The protocol on which the ends have agreed.
    pub(super) protocol: LinkProtocol,
}

pub(super) struct Table<C> {
    state: Mutex<State<C>>,
    arrived: Notify,
}

struct State<C> {
    links: BTreeMap<LinkId, Link<C>>,
    by_connection: BTreeMap<ConnectionId, LinkId>,
    events: VecDeque<LinkEvent>,
    next: u64,
}

struct Link<C> {
    connection: C,
    /// Fires when the link is closed. Its readers then end.
    closed: CancellationToken,
}

impl<C: Carrier> Table<C> {
    pub(super) fn new() -> Self {
        Self {
            state: Mutex::new(State {
                links: BTreeMap::new(),
                by_connection: BTreeMap::new(),
                events: VecDeque::new(),
                next: 0,
            }),
            arrived: Notify::new(),
        }
    }

    fn state(&self) -> MutexGuard<'_, State<C>> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The link on a connection, and whether it begins now.
    pub(super) fn begin(&self, connection: &C, ends: Ends) -> (LinkId, bool) {
        let begun = self.state().begin(connection, ends);
        self.arrived.notify_one();
        begun
    }

    /// A peer has opened its stream with this number on a connection. `wrap` makes the reader, which ends with the link. Returns
    /// whether the link begins now.
    pub(super) fn add_stream(
        &self,
        connection: &C,
        ends: Ends,
        index: u64,
        wrap: impl FnOnce(WaitForCancellationFutureOwned) -> BoxedReader,
    ) -> bool {
        let mut state = self.state();
        let (link, begins) = state.begin(connection, ends);
        if let Some(entry) = state.links.get(&link) {
            let reader = wrap(entry.closed.clone().cancelled_owned());
            let event = LinkEvent::Stream {
                link,
                index,
                reader,
            };
            state.events.push_back(event);
        }
        drop(state);
        self.arrived.notify_one();
        begins
    }

    /// Ends a link. Returns its connection, if the link was open.
    pub(super) fn end(&self, link: LinkId, cause: &str) -> Option<C> {
        let ended = self.state().end(link, cause);
        self.arrived.notify_one();
        ended
    }

    /// Ends the link on a connection. Returns whether there was one.
    pub(super) fn end_on(&self, connection: ConnectionId, cause: &str) -> bool {
        let mut state = self.state();
        let link = state.by_connection.get(&connection).copied();
        let ended = link.and_then(|link| state.end(link, cause)).is_some();
        drop(state);
        self.arrived.notify_one();
        ended
    }

    /// Ends all links. Returns their connections.
    pub(super) fn end_all(&self, cause: &str) -> Vec<C> {
        let links = self.state().links.keys().copied().collect::<Vec<_>>();
        let ended = links.into_iter().filter_map(|link| self.end(link, cause));
        ended.collect()
    }

    /// Adds an event about a change of the network. The event replaces a waiting one.
    pub(super) fn tell_network_change(&self) {
        let is_same = |event: &LinkEvent| matches!(event, LinkEvent::NetworkChanged);
        self.tell(LinkEvent::NetworkChanged, is_same);
    }

    /// Adds an event with the addresses of this node. The event replaces a waiting one.
    pub(super) fn tell_own_data(&self, data: PeerData) {
        let is_same = |event: &LinkEvent| matches!(event, LinkEvent::OwnData(_));
        self.tell(LinkEvent::OwnData(data), is_same);
    }

    /// Adds an event, and removes the waiting events for which `is_same` returns true.
    fn tell(&self, event: LinkEvent, is_same: impl Fn(&LinkEvent) -> bool) {
        let mut state = self.state();
        state.events.retain(|event| !is_same(event));
        state.events.push_back(event);
        drop(state);
        self.arrived.notify_one();
    }

    /// The connection of a link.
    pub(super) fn connection(&self, link: LinkId) -> Option<C> {
        let state = self.state();
        Some(state.links.get(&link)?.connection.clone())
    }

    /// Whether a connection carries a link.
    pub(super) fn carries(&self, connection: ConnectionId) -> bool {
        self.state().by_connection.contains_key(&connection)
    }

    /// The connections of all links.
    pub(super) fn connections(&self) -> Vec<C> {
        let state = self.state();
        let links = state.links.values();
        links.map(|link| link.connection.clone()).collect()
    }

    /// The next event. Cancel-safe.
    pub(super) async fn next(&self) -> LinkEvent {
        loop {
            if let Some(event) = self.try_next() {
                return event;
            }
            self.arrived.notified().await;
        }
    }

    fn try_next(&self) -> Option<LinkEvent> {
        self.state().events.pop_front()
    }
}

impl<C: Carrier> State<C> {
    fn begin(&mut self, connection: &C, ends: Ends) -> (LinkId, bool) {
        if let Some(link) = self.by_connection.get(&connection.id()) {
            return (*link, false);
        }
        self.next += 1;
        let link = LinkId(self.next);
        let entry = Link {
            connection: connection.clone(),
            closed: CancellationToken::new(),
        };
        self.links.insert(link, entry);
        self.by_connection.insert(connection.id(), link);
        self.events.push_back(LinkEvent::Up {
            peer: ends.peer,
            link,
            dialed_by: ends.dialed_by,
            protocol: ends.protocol,
        });
        (link, true)
    }

    fn end(&mut self, link: LinkId, cause: &str) -> Option<C> {
        let entry = self.links.remove(&link)?;
        self.by_connection.remove(&entry.connection.id());
        entry.closed.cancel();
        // The streams of the link that gossip-net has not taken yet are of no use any more.
        self.events
            .retain(|event| !matches!(event, LinkEvent::Stream { link: of, .. } if *of == link));
        let cause = cause.to_owned();
        self.events.push_back(LinkEvent::Closed { link, cause });
        Some(entry.connection)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a panic is a test's verdict")]

    use libp2p_identity::Keypair;
    use tokio::io::empty;

    use super::*;
    use crate::parts::gossip::id::key_of;

    impl Carrier for u64 {
        fn id(&self) -> ConnectionId {
            ConnectionId::from_u64(*self)
        }
    }

    fn ends() -> Ends {
        let peer = Keypair::generate_ed25519().public().to_peer_id();
        let peer = key_of(&peer).unwrap();
        Ends {
            peer,
            dialed_by: peer,
            protocol: LinkProtocol::Bowline,
        }
    }

    /// The waiting events in short form.
    fn events(table: &Table<u64>) -> Vec<String> {
        let events = std::iter::from_fn(|| table.try_next());
        let short = events.map(|event| match event {
            LinkEvent::Up { link, .. } => format!("up {}", link.0),
            LinkEvent::Stream { link, index, .. } => format!("stream {index} of {}", link.0),
            LinkEvent::Closed { link, cause } => format!("{} closed: {cause}", link.0),
            LinkEvent::OwnData(data) => format!("own data of {} bytes", data.0.len()),
            LinkEvent::NetworkChanged => "the network has changed".to_owned(),
            _ => "other".to_owned(),
        });
        short.collect()
    }

    fn stream(table: &Table<u64>, connection: u64, index: u64) -> bool {
        table.add_stream(&connection, ends(), index, |_| Box::new(empty()))
    }

    #[test]
    fn a_connection_has_one_link_which_comes_up_before_its_streams() {
        let table = Table::new();
        assert!(stream(&table, 7, 3), "the link begins");
        assert_eq!(table.begin(&7, ends()), (LinkId(1), false));
        assert!(!stream(&table, 7, 4));
        assert_eq!(table.begin(&8, ends()), (LinkId(2), true));
        assert_eq!(
            events(&table),
            ["up 1", "stream 3 of 1", "stream 4 of 1", "up 2"]
        );
    }

    #[test]
    fn a_closed_link_is_told_once_and_its_connection_can_carry_another_link() {
        let table = Table::new();
        let (link, _) = table.begin(&7, ends());
        assert_eq!(table.end(link, "done"), Some(7));
        assert_eq!(table.end(link, "again"), None);
        assert!(!table.end_on(ConnectionId::from_u64(7), "again"));
        assert_eq!(table.begin(&7, ends()), (LinkId(2), true));
        assert!(table.end_on(ConnectionId::from_u64(7), "lost"));
        assert_eq!(
            events(&table),
            ["up 1", "1 closed: done", "up 2", "2 closed: lost"]
        );
        assert!(table.connections().is_empty());
    }

    #[tokio::test]
    async fn the_readers_of_a_closed_link_end_and_its_waiting_streams_are_dropped() {
        let table = Table::new();
        let mut closed = None;
        table.add_stream(&7, ends(), 0, |token| {
            closed = Some(token);
            Box::new(empty())
        });
        table.end(LinkId(1), "done");
        closed.unwrap().await;
        assert_eq!(events(&table), ["up 1", "1 closed: done"]);
    }

    #[test]
    fn of_several_changes_of_the_network_or_of_the_own_addresses_only_the_latest_waits() {
        let table: Table<u64> = Table::new();
        for length in [1, 2, 3] {
            table.tell_network_change();
            table.tell_own_data(PeerData(vec![0; length].into()));
        }
        assert_eq!(
            events(&table),
            ["the network has changed", "own data of 3 bytes"]
        );
    }
}
