//! Messages from other peers.

use std::time::Instant;

use super::{Core, Position};
use crate::{
    LinkId, TopicId,
    arbiter::LinkProtocol,
    membership::Membership,
    message::{Out, Swarm},
    peers::ME,
    topic::Topic,
    wire::{self, Message, PeerData, PeerInfo, Priority},
};

impl Core {
    /// Whether a frame of a link may be decoded. Membership messages beyond the rate are dropped, because they cost more than
    /// other messages. All links to a peer share the rate.
    pub fn admit(&mut self, now: Instant, link: LinkId, frame: &[u8]) -> bool {
        let is_ok = Message::is_gossip(frame) || self.arbiter.admit(now, link);
        self.counters.over_rate += u64::from(!is_ok);
        is_ok
    }

    /// A frame is not a message, or a stream has no header.
    pub fn handle_invalid(&mut self, now: Instant, link: LinkId) {
        self.counters.invalid += 1;
        let Some(entry) = self.arbiter.get_mut(link) else {
            return;
        };
        entry.invalid += 1;
        let peer = entry.peer;
        if entry.invalid == self.config.max_invalid {
            tracing::debug!(?link, "a link that sends invalid messages is closed");
            self.evict(now, peer, crate::DownCause::Invalid);
            self.close(now, link, "too many invalid messages");
        }
    }

    /// A message has arrived over a link. The pair contains the index of the stream on the link, and the number of the frame on
    /// the stream.
    pub fn handle_message(
        &mut self,
        now: Instant,
        link: LinkId,
        position: (u64, u64),
        topic: TopicId,
        message: Message,
    ) {
        let mut verdicts = Vec::new();
        if self.arbiter.handle_heard(now, link, &mut verdicts) {
            self.check_links_soon(now);
        }
        self.apply(now, verdicts);
        let Some(entry) = self.arbiter.get_mut(link) else {
            return;
        };
        entry.invalid = 0;
        let (peer, position) = (entry.peer, (entry.order(), position.0, position.1));
        if !self.topics.contains_key(&topic) {
            self.counters.unknown_topics += 1;
            return;
        }
        if !self
            .peers
            .id(peer)
            .is_some_and(|id| (self.gate)(&topic, &id))
        {
            self.counters.refused += 1;
            return;
        }
        match message {
            Message::Swarm(message) if self.is_barred(now, peer, &topic) => {
                self.on_barred(now, peer, topic, &message);
            }
            Message::Swarm(message) => self.on_swarm(now, peer, position, topic, message),
            Message::Gossip(message) => self.on_gossip(now, peer, topic, message),
        }
        self.sweep();
    }

    fn on_swarm(
        &mut self,
        now: Instant,
        peer: u32,
        position: Position,
        topic: TopicId,
        message: wire::Swarm,
    ) {
        let Some(entry) = self.topics.get_mut(&topic) else {
            return;
        };
        let message = match message {
            wire::Swarm::Join(data) => {
                entry.note_latest(peer, position);
                self.peers.learn(peer, data, true);
                Swarm::Join
            }
            wire::Swarm::Neighbor { priority, data } => {
                entry.note_latest(peer, position);
                self.peers.learn(peer, data, true);
                Swarm::Neighbor {
                    high: priority == Priority::High,
                }
            }
            wire::Swarm::Disconnect { alive, .. } => {
                if entry
                    .latest
                    .get(&peer)
                    .is_some_and(|latest| position < *latest)
                {
                    self.counters.stale += 1;
                    return;
                }
                entry.latest.remove(&peer);
                Swarm::Disconnect { alive }
            }
            wire::Swarm::ForwardJoin { peer: info, ttl } => {
                match self.nodes(now, &topic, vec![info]).first() {
                    Some(&joining) => Swarm::ForwardJoin { peer: joining, ttl },
                    None => return,
                }
            }
            wire::Swarm::Shuffle { origin, nodes, ttl } => {
                let nodes = self.nodes(now, &topic, nodes);
                let origin = PeerInfo {
                    id: origin,
                    data: None,
                };
                let Some(&origin) = self.nodes(now, &topic, vec![origin]).first() else {
                    return;
                };
                Swarm::Shuffle { origin, nodes, ttl }
            }
            wire::Swarm::ShuffleReply { nodes } => Swarm::ShuffleReply {
                nodes: self.nodes(now, &topic, nodes),
            },
        };
        self.with_topic(now, topic, |topic, out| {
            topic.handle_swarm(now, peer, message, out)
        });
    }

    /// Whether a peer may not become a neighbour. A node without a neighbour does not choose.
    fn is_barred(&self, now: Instant, peer: u32, topic: &TopicId) -> bool {
        let membership = self.topics.get(topic).map(|entry| entry.topic.membership());
        let has_others = membership.is_some_and(|membership| {
            !membership.is_neighbour(peer) && membership.neighbours().next().is_some()
        });
        has_others && self.barred.contains(now, peer)
    }

    fn on_barred(&mut self, now: Instant, peer: u32, topic: TopicId, message: &wire::Swarm) {
        self.counters.refused += 1;
        // The end of a conversation gets no answer.
        if !matches!(
            message,
            wire::Swarm::Disconnect { .. } | wire::Swarm::ShuffleReply { .. }
        ) {
            self.with_membership(now, topic, |membership, out| {
                membership.handle_barred(now, peer, out)
            });
        }
    }

    fn on_gossip(&mut self, now: Instant, peer: u32, topic: TopicId, message: wire::Gossip) {
        if let wire::Gossip::Content { id, content, .. } = &message
            && !self.is_valid(now, peer, &topic, id, content)
        {
            self.counters.refused += 1;
            let id = *id;
            self.with_topic(now, topic, |topic, _| {
                topic.broadcast_mut().refuse(peer, id)
            });
            return;
        }
        self.with_topic(now, topic, |topic, out| {
            topic.handle_gossip(now, peer, message, out)
        });
    }

    /// Asks the host about a message of a neighbour that was not seen before. Messages of strangers do not count in any case, so the
    /// host is not asked about them.
    fn is_valid(
        &self,
        now: Instant,
        peer: u32,
        topic: &TopicId,
        id: &crate::MessageId,
        content: &[u8],
    ) -> bool {
        let (Some(entry), Some(via)) = (self.topics.get(topic), self.peers.id(peer)) else {
            return true;
        };
        let broadcast = entry.topic.broadcast();
        if broadcast.has_seen(id) || !entry.topic.accepts_contents(now, peer) {
            return true;
        }
        if content.len() > self.config.max_message_size || broadcast.has_refused(peer, id) {
            return false;
        }
        let validation = self.validation.as_ref();
        validation.is_none_or(|validation| validation(topic, &via, content))
    }

    /// The handles of peers that a message names, without this node, those that the host does not allow and those that are barred.
    pub(super) fn nodes(
        &mut self,
        now: Instant,
        topic: &TopicId,
        nodes: Vec<PeerInfo>,
    ) -> Vec<u32> {
        let mut handles = Vec::new();
        for info in nodes {
            if info.id == self.me || !(self.gate)(topic, &info.id) {
                continue;
            }
            let handle = self.peers.intern(info.id);
            self.peers.learn(handle, info.data, false);
            if !self.barred.contains(now, handle) {
                handles.push(handle);
            }
        }
        handles
    }

    /// Calls a topic and carries out its effects.
    pub(super) fn with_topic(
        &mut self,
        now: Instant,
        id: TopicId,
        call: impl FnOnce(&mut Topic, &mut Vec<Out>),
    ) {
        let Some(entry) = self.topics.get_mut(&id) else {
            return;
        };
        let mut out = Vec::new();
        call(&mut entry.topic, &mut out);
        for effect in out {
            self.carry_out(now, id, effect);
        }
    }

    pub(super) fn with_membership(
        &mut self,
        now: Instant,
        id: TopicId,
        call: impl FnOnce(&mut Membership, &mut Vec<Out>),
    ) {
        self.with_topic(now, id, |topic, out| topic.with_membership(now, out, call));
    }

    pub(super) fn with_all_memberships(
        &mut self,
        now: Instant,
        call: impl Fn(&mut Membership, &mut Vec<Out>),
    ) {
        for topic in self.topics.keys().copied().collect::<Vec<_>>() {
            self.with_membership(now, topic, &call);
        }
    }

    /// The message with ids and addresses, or nothing if it has no use for the receiver.
    pub(super) fn to_wire(&self, to: u32, message: Swarm) -> Option<wire::Swarm> {
        let data = || self.data.clone();
        Some(match message {
            Swarm::Join => wire::Swarm::Join(data()),
            Swarm::ForwardJoin { peer, ttl } => {
                let peer = self.named(to, &[peer]).pop()?;
                wire::Swarm::ForwardJoin { peer, ttl }
            }
            Swarm::Shuffle { origin, nodes, ttl } => {
                // The last peer on the path answers the origin, so it must be able to dial the origin.
                let origin = self.named(to, &[origin]).pop()?.id;
                let nodes = self.named(to, &nodes);
                wire::Swarm::Shuffle { origin, nodes, ttl }
            }
            Swarm::ShuffleReply { nodes } => wire::Swarm::ShuffleReply {
                nodes: self.named(to, &nodes),
            },
            Swarm::Neighbor { high } => {
                let priority = if high { Priority::High } else { Priority::Low };
                wire::Swarm::Neighbor {
                    priority,
                    data: data(),
                }
            }
            Swarm::Disconnect { alive } => wire::Swarm::Disconnect {
                alive,
                respond: false,
            },
        })
    }

    /// Peers for a message. iroh is told only about peers that it can dial, and frames stay below its limit.
    fn named(&self, to: u32, nodes: &[u32]) -> Vec<PeerInfo> {
        let link = self
            .arbiter
            .current(to)
            .and_then(|link| self.arbiter.get(link));
        let to_iroh = link.is_some_and(|link| link.protocol == LinkProtocol::Iroh);
        let mut room = wire::MAX_IROH_FRAME - 64;
        let mut named = Vec::new();
        for &node in nodes {
            let is_told =
                node == ME || !to_iroh || self.peers.get(node).is_some_and(|peer| peer.for_iroh);
            let Some(info) = self.peers.info(node).filter(|_| is_told) else {
                continue;
            };
            let size = 36 + info.data.as_ref().map_or(0, |PeerData(bytes)| bytes.len());
            if size <= room {
                room -= size;
                named.push(info);
            }
        }
        named
    }
}
