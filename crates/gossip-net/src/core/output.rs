//! Messages to other peers.

use std::time::Instant;

use bytes::Bytes;

use super::{Core, Output};
use crate::{
    DownCause, Event, LinkId, MessageId, Received, TopicId,
    message::{Gossip, Out, Swarm},
    outbox::{Outbox, Transmit},
    wire::{Message, Scope},
};

/// How many peers wait for a dial.
const MAX_WAITING: usize = 64;

impl Core {
    /// Takes about `bytes` of the queued messages of a link. A link that another link has replaced has no messages.
    pub fn poll_transmit(&mut self, now: Instant, link: LinkId, bytes: usize) -> Vec<Transmit> {
        let Some(peer) = self.arbiter.get(link).map(|link| link.peer) else {
            return Vec::new();
        };
        if self.arbiter.current(peer) != Some(link) {
            return Vec::new();
        }
        let Some(outbox) = self.outboxes.get_mut(&peer) else {
            return Vec::new();
        };
        let taken = outbox.take(now, bytes);
        if taken.is_empty() {
            return taken;
        }
        self.arbiter.handle_sent(now, link);
        let left = outbox.bytes();
        if outbox.congested && left <= self.config.max_queue_bytes / 2 {
            outbox.congested = false;
            self.set_congested(now, peer, false);
        }
        if self.wants_room && left < self.config.max_queue_bytes / 4 {
            self.wants_room = false;
            self.outputs.push_back(Output::Room);
        }
        taken
    }

    pub(super) fn carry_out(&mut self, now: Instant, topic: TopicId, effect: Out) {
        match effect {
            Out::Swarm(to, message) => self.send_swarm(now, to, topic, message),
            Out::Gossip(to, message) => self.send_gossip(now, to, topic, message),
            Out::Up(peer) => {
                let count = self
                    .topics
                    .get(&topic)
                    .map_or(0, |entry| entry.topic.membership().neighbours().count());
                let Some(id) = self.peers.id(peer) else {
                    return;
                };
                self.event(topic, Event::NeighborUp(id));
                if count == 1 {
                    self.event(topic, Event::Joined);
                    self.outputs.push_back(Output::Room);
                }
                // The peer may already be too slow for another topic.
                if self
                    .outboxes
                    .get(&peer)
                    .is_some_and(|outbox| outbox.congested)
                {
                    self.set_congested(now, peer, true);
                }
            }
            Out::Down(peer, cause) => {
                if cause != DownCause::Left
                    && let Some(outbox) = self.outboxes.get_mut(&peer)
                {
                    outbox.forget(&topic);
                }
                self.outputs.push_back(Output::Room);
                let Some(id) = self.peers.id(peer) else {
                    return;
                };
                tracing::debug!(%id, %cause, "a neighbour is down");
                self.event(topic, Event::NeighborDown(id, cause));
            }
            Out::Received {
                from,
                content,
                scope,
            } => {
                let Some(via) = self.peers.id(from) else {
                    return;
                };
                self.event(
                    topic,
                    Event::Received(Received {
                        content,
                        via,
                        scope,
                    }),
                );
            }
        }
    }

    fn send_swarm(&mut self, now: Instant, to: u32, topic: TopicId, message: Swarm) {
        let leaves = message == (Swarm::Disconnect { alive: false });
        let says_goodbye = matches!(message, Swarm::Disconnect { .. });
        let Some(message) = self.to_wire(to, message) else {
            return;
        };
        // Nobody is dialed for a goodbye.
        if says_goodbye && self.arbiter.current(to).is_none() && !self.dials.contains_key(&to) {
            return;
        }
        let frame = encode(&Message::Swarm(message));
        self.enqueue(now, to, Transmit::Frame(topic, frame), leaves);
    }

    fn send_gossip(&mut self, now: Instant, to: u32, topic: TopicId, message: Gossip) {
        let (frame, is_data) = match message {
            Gossip::Content { id, content, scope } => {
                (self.encode_content(id, content, scope), true)
            }
            message => (encode(&Message::Gossip(message)), false),
        };
        self.enqueue(now, to, Transmit::Frame(topic, frame), is_data);
    }

    fn encode_content(&mut self, id: MessageId, content: Bytes, scope: Scope) -> Bytes {
        if let Some((of, with, frame)) = &self.encoded
            && (*of, *with) == (id, scope)
        {
            return frame.clone();
        }
        let frame = encode(&Message::Gossip(Gossip::Content { id, content, scope }));
        self.encoded = Some((id, scope, frame.clone()));
        frame
    }

    /// Marks the stream of a topic for its end.
    pub(super) fn finish(&mut self, now: Instant, peer: u32, topic: TopicId) {
        if self.outboxes.contains_key(&peer) {
            self.enqueue(now, peer, Transmit::Finish(topic), true);
        }
    }

    fn enqueue(&mut self, now: Instant, to: u32, item: Transmit, is_data: bool) {
        let link = self.arbiter.current(to);
        if link.is_none() && !self.dial(now, to) {
            self.counters.undialed += 1;
            return;
        }
        let outbox = self.outboxes.entry(to).or_insert_with(|| Outbox::new(now));
        let was_empty = outbox.is_empty();
        if is_data {
            outbox.push_data(now, item);
        } else if !outbox.push_control(now, item) {
            self.counters.undialed += u64::from(link.is_none());
            return;
        }
        let is_full = outbox.bytes() >= self.config.max_queue_bytes / 4 * 3;
        if is_full && !outbox.congested {
            outbox.congested = true;
            self.set_congested(now, to, true);
        }
        if let Some(link) = link.filter(|_| was_empty) {
            self.outputs.push_back(Output::Transmit(link));
        }
    }

    fn set_congested(&mut self, now: Instant, peer: u32, congested: bool) {
        for entry in self.topics.values_mut() {
            entry
                .topic
                .broadcast_mut()
                .handle_congestion(now, peer, congested);
        }
    }

    /// Evicts peers that take nothing.
    pub(super) fn evict_stalled(&mut self, now: Instant) {
        let stalled = self.outboxes.iter().filter(|(_, outbox)| {
            !outbox.is_empty() && now >= outbox.last_progress + self.config.stall_timeout
        });
        for peer in stalled.map(|(peer, _)| *peer).collect::<Vec<_>>() {
            let Some(link) = self.arbiter.current(peer) else {
                // The dial has its own deadline.
                self.outboxes
                    .entry(peer)
                    .and_modify(|outbox| outbox.last_progress = now);
                continue;
            };
            self.stalled(now, peer, link);
        }
    }

    /// Makes sure that the peer is being dialed or waits for a dial.
    fn dial(&mut self, now: Instant, peer: u32) -> bool {
        if self.dials.contains_key(&peer) || self.waiting.contains(&peer) {
            return true;
        }
        if self.dials.len() < self.config.max_dials {
            self.start_dial(now, peer);
            return true;
        }
        let has_room = self.waiting.len() < MAX_WAITING;
        if has_room {
            self.waiting.push_back(peer);
        }
        has_room
    }

    fn start_dial(&mut self, now: Instant, peer: u32) {
        let Some(id) = self.peers.id(peer) else {
            return;
        };
        let deadline = now + self.config.dial_timeout;
        self.dials.insert(peer, deadline);
        self.counters.dials += 1;
        let data = self.peers.data(peer).map_or_else(Bytes::new, |data| data.0);
        tracing::debug!(%id, "a peer is dialed");
        self.outputs.push_back(Output::Dial {
            peer: id,
            data,
            deadline,
        });
    }

    /// Starts waiting dials.
    pub(super) fn dial_next(&mut self, now: Instant) {
        while self.dials.len() < self.config.max_dials
            && let Some(peer) = self.waiting.pop_front()
        {
            if self.arbiter.current(peer).is_none() {
                self.start_dial(now, peer);
            }
        }
    }
}

fn encode(message: &Message) -> Bytes {
    let mut frame = Vec::new();
    message.encode(&mut frame);
    frame.into()
}
