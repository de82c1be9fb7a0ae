//! The host's calls: joining and leaving topics, publishing, and queries.

use std::time::Instant;

use bytes::Bytes;

use super::{Core, Entry, LinkCounters};
use crate::{
    Counters, DownCause, Event, Id, JoinError, LinkId, MessageId, PublishError, TopicId,
    peers::ME,
    topic::Topic,
    wire::{PeerData, PeerInfo},
};

/// The status of a topic.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct TopicStatus {
    /// The topic.
    pub topic: TopicId,
    /// Its neighbours.
    pub neighbors: Vec<Id>,
    /// How many neighbours get contents.
    pub eager: usize,
    /// How many neighbours get ids.
    pub lazy: usize,
    /// How many further members are remembered.
    pub remembered: usize,
    /// The counters of the topic.
    pub counters: Counters,
}

impl Core {
    /// The id of this node.
    pub fn id(&self) -> Id {
        self.me
    }

    /// Sets the addresses of this node, which other peers learn.
    pub fn handle_own_data(&mut self, data: PeerData) {
        self.peers.learn(ME, Some(data.clone()), true);
        self.data = Some(data);
    }

    /// Takes part in a topic, and asks these peers to become neighbours.
    ///
    /// # Errors
    ///
    /// The node already takes part in [`crate::Config::max_topics`] topics.
    pub fn subscribe(
        &mut self,
        now: Instant,
        topic: TopicId,
        peers: &[PeerInfo],
    ) -> Result<(), JoinError> {
        let limit = self.config.max_topics;
        if !self.topics.contains_key(&topic) {
            if self.topics.len() >= limit {
                return Err(JoinError::TooManyTopics { limit });
            }
            let entry = Entry {
                topic: Topic::new(now, ME, self.seeds.next(), &self.config),
                latest: Default::default(),
            };
            self.topics.insert(topic, entry);
        }
        self.join(now, topic, peers);
        Ok(())
    }

    /// Names peers of a topic. A node without a neighbour asks the peers at once. Any other node remembers the peers.
    pub fn join(&mut self, now: Instant, topic: TopicId, peers: &[PeerInfo]) {
        let mut handles = Vec::new();
        for info in peers.iter().filter(|info| (self.gate)(&topic, &info.id)) {
            let handle = self.peers.intern(info.id);
            self.peers.learn(handle, info.data.clone(), false);
            self.peers.note_named(handle);
            handles.push(handle);
        }
        self.with_membership(now, topic, |membership, out| {
            membership.handle_join(now, &handles, out)
        });
    }

    /// Names peers that may be members of a topic, such as peers that are connected. The node asks them when it needs a
    /// neighbour. Unlike the peers of [`Self::join`], these peers displace no known peer, and the node does not ask them again
    /// and again.
    pub fn offer(&mut self, now: Instant, topic: TopicId, peers: &[PeerInfo]) {
        let handles = self.nodes(now, &topic, peers.to_vec());
        handles.iter().for_each(|peer| self.peers.note_named(*peer));
        self.with_membership(now, topic, |membership, out| {
            membership.handle_offer(now, &handles, out)
        });
    }

    /// Like [`Self::offer`], for all topics.
    pub fn offer_to_all(&mut self, now: Instant, peers: &[PeerInfo]) {
        for topic in self.topics.keys().copied().collect::<Vec<_>>() {
            self.offer(now, topic, peers);
        }
    }

    /// Leaves a topic. The neighbours get the queued messages, and then a Disconnect.
    pub fn leave(&mut self, now: Instant, topic: TopicId) {
        let neighbours = self.topics.get(&topic).map_or(Vec::new(), |entry| {
            entry.topic.membership().neighbours().collect()
        });
        self.with_membership(now, topic, |membership, out| {
            membership.handle_leave(now, out)
        });
        if let Some(entry) = self.topics.remove(&topic) {
            self.left.add(&entry.topic.broadcast().counters());
        }
        for peer in neighbours {
            self.finish(now, peer, topic);
        }
    }

    /// Leaves all topics.
    pub fn leave_all(&mut self, now: Instant) {
        for topic in self.topics.keys().copied().collect::<Vec<_>>() {
            self.leave(now, topic);
        }
    }

    /// Whether messages of this node still wait for a link.
    pub fn has_waiting(&self) -> bool {
        let linked = |peer: &u32| self.arbiter.current(*peer).is_some();
        self.outboxes
            .iter()
            .any(|(peer, outbox)| linked(peer) && !outbox.is_empty())
    }

    /// Publishes a message to the topic, or only to the neighbours. Returns the number of neighbours to which the message or its
    /// id goes. A neighbour with a full queue is not counted.
    ///
    /// # Errors
    ///
    /// The message is too long or was seen before, there is no neighbour, or a neighbour has no room for the message.
    pub fn publish(
        &mut self,
        now: Instant,
        topic: TopicId,
        id: MessageId,
        content: Bytes,
        everywhere: bool,
    ) -> Result<usize, PublishError> {
        let (length, limit) = (content.len(), self.config.max_message_size);
        if length > limit {
            return Err(PublishError::TooLarge { length, limit });
        }
        let entry = self.topics.get(&topic).ok_or(PublishError::Left)?;
        if entry.topic.broadcast().has_seen(&id) {
            return Err(PublishError::Duplicate);
        }
        if entry.topic.membership().neighbours().next().is_none() {
            return Err(PublishError::NoNeighbour);
        }
        if !self.has_room(now, &topic) {
            self.wants_room = true;
            return Err(PublishError::Busy);
        }
        let mut count = None;
        self.with_topic(now, topic, |topic, out| {
            count = topic
                .broadcast_mut()
                .publish(now, id, content, everywhere, out)
        });
        count.ok_or(PublishError::Duplicate)
    }

    /// The neighbours in a topic.
    pub fn neighbors(&self, topic: &TopicId) -> Vec<Id> {
        let entry = self.topics.get(topic);
        let handles = entry.map_or(Vec::new(), |entry| {
            entry.topic.membership().neighbours().collect()
        });
        handles
            .into_iter()
            .filter_map(|peer| self.peers.id(peer))
            .collect()
    }

    /// The status of all topics.
    pub fn topics(&self) -> Vec<TopicStatus> {
        let statuses = self.topics.iter().map(|(id, entry)| {
            let (eager, lazy) = entry.topic.broadcast().eager_and_lazy();
            TopicStatus {
                topic: *id,
                neighbors: self.neighbors(id),
                eager,
                lazy,
                remembered: entry.topic.membership().remembered(),
                counters: entry.topic.broadcast().counters(),
            }
        });
        statuses.collect()
    }

    /// The counters of all topics together, including the topics that the node has left.
    pub fn counters(&self) -> Counters {
        let mut all = self.left;
        for entry in self.topics.values() {
            all.add(&entry.topic.broadcast().counters());
        }
        all
    }

    /// The counters of all links.
    pub fn link_counters(&self) -> LinkCounters {
        self.counters
    }

    /// The link over which messages to a peer are sent.
    pub fn current_link(&self, peer: &Id) -> Option<LinkId> {
        self.arbiter.current(self.peers.find(peer)?)
    }

    /// The network of this host has changed: neighbours are probed, and other peers are contacted.
    pub fn handle_network_change(&mut self, now: Instant) {
        self.with_all_memberships(now, |membership, out| {
            membership.handle_network_change(now, out)
        });
    }

    /// Drops a neighbour in all topics, and bars it for some time.
    pub(super) fn evict(&mut self, now: Instant, peer: u32, cause: DownCause) {
        self.barred.insert(now, peer);
        self.with_all_memberships(now, |membership, out| {
            membership.handle_evicted(now, peer, cause, out)
        });
    }

    pub(super) fn event(&mut self, topic: TopicId, event: Event) {
        self.outputs.push_back(super::Output::Event(topic, event));
    }
}
