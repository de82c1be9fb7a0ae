//! All topics and links of one node, without I/O.
//!
//! The host reports events with `handle_*` and then takes [`Output`]s until there are none. The writer of each link takes the
//! bytes to send with [`Core::poll_transmit`].

mod api;
mod barred;
mod dials;
mod input;
mod links;
mod output;
mod room;
#[cfg(test)]
mod tests;

pub use api::TopicStatus;

use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    time::Instant,
};

use bytes::Bytes;

use self::barred::Barred;
use crate::{
    Config, Event, Id, LinkId, MessageId, TopicId,
    arbiter::Arbiter,
    outbox::Outbox,
    peers::Peers,
    topic::Topic,
    wire::{PeerData, Scope},
};

/// An action for the host.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Output {
    /// Open a link to a peer before the deadline. `data` holds the peer's addresses, which [`crate::wire::AddrInfo`] decodes.
    Dial {
        /// The peer.
        peer: Id,
        /// Its addresses, or nothing.
        data: Bytes,
        /// When the dial must be over.
        deadline: Instant,
    },
    /// The link has something to send.
    Transmit(LinkId),
    /// Check whether a link works, before the deadline.
    Probe(LinkId, Instant),
    /// Close a link.
    Close(LinkId, &'static str),
    /// Tell the subscribers of a topic.
    Event(TopicId, Event),
    /// Publishing may be possible again.
    Room,
}

/// The counters of a node's links.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct LinkCounters {
    /// Links that were opened, by either end.
    pub opened: u64,
    /// Links that were closed, by either end.
    pub closed: u64,
    /// Links that another link to the same peer replaced.
    pub replaced: u64,
    /// Links that were in use when they closed.
    pub lost: u64,
    /// The total duration of the closed links, in milliseconds.
    pub lasted_ms: u64,
    /// Dials that were begun.
    pub dials: u64,
    /// Dials that failed.
    pub failed_dials: u64,
    /// Messages to peers without a link that were dropped because too many dials waited.
    pub undialed: u64,
    /// Frames that are no messages.
    pub invalid: u64,
    /// Membership messages that were dropped because a peer sent too many.
    pub over_rate: u64,
    /// Disconnects that were older than the peer's latest Neighbor or Join.
    pub stale: u64,
    /// Messages about topics that the node does not take part in.
    pub unknown_topics: u64,
    /// Messages that the validation refused.
    pub refused: u64,
    /// Neighbours that were evicted because they did not read.
    pub stalled: u64,
    /// Membership messages of others that were not forwarded, because the receiver would not accept so many.
    pub not_forwarded: u64,
    /// Queues of peers that were dropped with messages in them.
    pub unsent: u64,
}

/// The position of a message among those of its sender: the order of the link, the stream and the frame.
type Position = (u64, u64, u64);

/// Decides whether a peer may take part in a topic.
type Gate = Box<dyn Fn(&TopicId, &Id) -> bool + Send + Sync>;
/// Decides whether a message is valid.
type Validation = Box<dyn Fn(&TopicId, &Id, &[u8]) -> bool + Send + Sync>;

struct Entry {
    topic: Topic,
    /// The latest Neighbor or Join of each peer.
    latest: BTreeMap<u32, Position>,
}

impl Entry {
    /// A peer has sent a Neighbor or a Join. Messages of different streams may arrive in another order than they were sent in.
    fn note_latest(&mut self, peer: u32, position: Position) {
        let latest = self.latest.entry(peer).or_insert(position);
        *latest = position.max(*latest);
    }
}

/// The content that was encoded last. It usually goes to several neighbours.
type Encoded = Option<(MessageId, Scope, Bytes)>;

/// All topics and links of one node.
pub struct Core {
    me: Id,
    data: Option<PeerData>,
    config: Config,
    seeds: crate::rng::Rng,
    peers: Peers,
    topics: BTreeMap<TopicId, Entry>,
    arbiter: Arbiter,
    outboxes: BTreeMap<u32, Outbox>,
    /// Dials in flight, with their deadlines.
    dials: BTreeMap<u32, Instant>,
    /// Peers that wait for a dial.
    waiting: VecDeque<u32>,
    /// When the links are checked for those to close.
    links_due: Option<Instant>,
    /// Peers that may not be neighbours for some time.
    barred: Barred,
    outputs: VecDeque<Output>,
    encoded: Encoded,
    counters: LinkCounters,
    /// The counters of the topics that the node has left.
    left: crate::Counters,
    gate: Gate,
    validation: Option<Validation>,
    /// Whether a publisher waits for room.
    wants_room: bool,
}

impl Core {
    /// A node without topics and links. The seed decides all random choices.
    pub fn new(me: Id, seed: u64, config: Config) -> Self {
        Self {
            me,
            data: None,
            config,
            seeds: crate::rng::Rng::new(seed),
            peers: Peers::new(me),
            topics: BTreeMap::new(),
            arbiter: Arbiter::new(),
            outboxes: BTreeMap::new(),
            dials: BTreeMap::new(),
            waiting: VecDeque::new(),
            links_due: None,
            barred: Barred::default(),
            outputs: VecDeque::new(),
            encoded: None,
            counters: LinkCounters::default(),
            left: crate::Counters::default(),
            gate: Box::new(|_, _| true),
            validation: None,
            wants_room: false,
        }
    }

    /// Sets the function that decides which peers may take part in a topic. The node ignores messages of other peers, and does
    /// not contact them.
    pub fn with_gate(
        mut self,
        gate: impl Fn(&TopicId, &Id) -> bool + Send + Sync + 'static,
    ) -> Self {
        self.gate = Box::new(gate);
        self
    }

    /// Sets the function that decides which messages are delivered and forwarded. The function gets the topic, the neighbour and
    /// the content. It must be fast, because it delays all topics of the node.
    pub fn with_validation(
        mut self,
        validation: impl Fn(&TopicId, &Id, &[u8]) -> bool + Send + Sync + 'static,
    ) -> Self {
        self.validation = Some(Box::new(validation));
        self
    }

    /// The next output.
    pub fn poll_output(&mut self) -> Option<Output> {
        self.outputs.pop_front()
    }

    /// When [`Self::handle_timeout`] must be called.
    pub fn poll_timeout(&self) -> Option<Instant> {
        let topics = self
            .topics
            .values()
            .filter_map(|entry| entry.topic.poll_timeout());
        let stalls = self
            .outboxes
            .iter()
            .filter(|(_, outbox)| !outbox.is_empty());
        let stalls = stalls.map(|(_, outbox)| outbox.last_progress + self.config.stall_timeout);
        topics
            .chain(stalls)
            .chain(self.dials.values().copied())
            .chain(self.links_due)
            .min()
    }

    /// Carries out what is due.
    pub fn handle_timeout(&mut self, now: Instant) {
        let topics = self.topics.iter();
        let due =
            topics.filter(|(_, entry)| entry.topic.poll_timeout().is_some_and(|due| now >= due));
        for id in due.map(|(id, _)| *id).collect::<Vec<_>>() {
            self.with_topic(now, id, |topic, out| topic.handle_timeout(now, out));
        }
        self.evict_stalled(now);
        let late = self.dials.iter().filter(|(_, deadline)| now >= **deadline);
        for peer in late.map(|(peer, _)| *peer).collect::<Vec<_>>() {
            self.dial_failed(now, peer);
        }
        if self.links_due.is_some_and(|due| now >= due) {
            self.check_links(now);
        }
        self.sweep();
    }

    fn has_messages_for(&self, peer: u32) -> bool {
        let outbox = self.outboxes.get(&peer);
        outbox.is_some_and(|outbox| !outbox.is_empty())
    }

    /// Forgets peers that nothing refers to.
    fn sweep(&mut self) {
        if !self.peers.wants_sweep() {
            return;
        }
        let mut used = BTreeSet::new();
        for entry in self.topics.values_mut() {
            let held = entry.topic.membership().handles().collect::<BTreeSet<_>>();
            entry.latest.retain(|peer, _| held.contains(peer));
            used.extend(held);
        }
        used.extend(self.arbiter.handles());
        used.extend(self.barred.handles());
        used.extend(
            self.outboxes
                .keys()
                .chain(self.dials.keys())
                .chain(&self.waiting),
        );
        self.peers.sweep(&used);
    }
}

impl std::fmt::Debug for Core {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Core")
            .field("me", &self.me)
            .field("topics", &self.topics.len())
            .field("links", &self.arbiter.len())
            .finish_non_exhaustive()
    }
}
