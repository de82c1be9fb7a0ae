//! Messages to other peers.

use std::time::Instant;

use bytes::Bytes;

use super::{Core, Output};
use crate::{
    DownCause, Event, LinkId, MessageId, Received, TopicId,
    message::{Goodbye, Gossip, Out, Swarm},
    outbox::{Outbox, Transmit},
    peers::ME,
    wire::{Message, Scope},
};

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
        let is_empty = outbox.is_empty();
        self.arbiter.handle_sent(now, link);
        self.note_room(now, peer);
        if is_empty {
            // No message for the peer keeps its links open any more.
            self.outboxes.remove(&peer);
            self.check_links_soon(now);
        }
        taken
    }

    pub(super) fn carry_out(&mut self, now: Instant, topic: TopicId, effect: Out) {
        match effect {
            Out::Swarm(to, message) => self.send_swarm(now, to, topic, message),
            Out::Gossip(to, message) => self.send_gossip(now, to, topic, message),
            Out::Goodbye(goodbye) => self.say_goodbye(now, topic, goodbye),
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
                    self.note_room(now, peer);
                }
                self.outputs.push_back(Output::Room);
                self.check_links_soon(now);
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

    /// Tells a peer that it is no neighbour. Nobody is dialed for that.
    fn say_goodbye(&mut self, now: Instant, topic: TopicId, goodbye: Goodbye) {
        let Goodbye { to, nodes, alive } = goodbye;
        if self.arbiter.current(to).is_some() || self.dials.contains_key(&to) {
            self.send_swarm(now, to, topic, Swarm::ShuffleReply { nodes });
            self.send_swarm(now, to, topic, Swarm::Disconnect { alive });
        }
    }

    fn send_swarm(&mut self, now: Instant, to: u32, topic: TopicId, message: Swarm) {
        let leaves = message == (Swarm::Disconnect { alive: false });
        let is_forwarded = match &message {
            Swarm::ForwardJoin { .. } => true,
            Swarm::Shuffle { origin, .. } => *origin != ME,
            _ => false,
        };
        if is_forwarded && !self.arbiter.may_forward(now, to) {
            self.counters.not_forwarded += 1;
            return;
        }
        let Some(message) = self.to_wire(to, message) else {
            return;
        };
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
}

fn encode(message: &Message) -> Bytes {
    let mut frame = Vec::new();
    message.encode(&mut frame);
    frame.into()
}
