//! The room for messages in the queues of the neighbours.

use std::time::Instant;

use super::{Core, Output};
use crate::{TopicId, broadcast::MAX_PUBLISH_DELAY};

impl Core {
    /// Whether an own message may be queued now. Own messages fill at most a quarter of a queue.
    ///
    /// A neighbour whose queue is fuller delays publishers as long as it takes something every 250 ms. A slower neighbour delays
    /// nobody, but at least one neighbour must have room: a message that nobody gets would be lost.
    pub(super) fn has_room(&mut self, now: Instant, topic: &TopicId) -> bool {
        let Some(entry) = self.topics.get_mut(topic) else {
            return false;
        };
        if entry.topic.broadcast_mut().delays_publishers(now) {
            return false;
        }
        let limit = self.config.max_queue_bytes / 4;
        let mut has_room = false;
        for peer in entry.topic.membership().neighbours() {
            match self.outboxes.get(&peer) {
                Some(outbox) if outbox.bytes() >= limit => {
                    if now < outbox.last_progress + MAX_PUBLISH_DELAY {
                        return false;
                    }
                }
                _ => has_room = true,
            }
        }
        has_room
    }

    /// The queue of a peer holds fewer bytes than before.
    pub(super) fn note_room(&mut self, now: Instant, peer: u32) {
        let Some(outbox) = self.outboxes.get_mut(&peer) else {
            return;
        };
        let (left, limit) = (outbox.bytes(), self.config.max_queue_bytes);
        if outbox.congested && left <= limit / 2 {
            outbox.congested = false;
            self.set_congested(now, peer, false);
        }
        if self.wants_room && left < limit / 4 {
            self.wants_room = false;
            self.outputs.push_back(Output::Room);
        }
    }

    pub(super) fn set_congested(&mut self, now: Instant, peer: u32, congested: bool) {
        for entry in self.topics.values_mut() {
            entry
                .topic
                .broadcast_mut()
                .handle_congestion(now, peer, congested);
        }
    }
}
