//! The messages that the host has refused.

use std::collections::{BTreeSet, VecDeque};

use super::Broadcast;
use crate::MessageId;

/// How many refused messages are remembered per topic. The oldest is forgotten first.
const MAX_REFUSED: usize = 1024;

/// The messages that the host has refused, each with the neighbour that sent it. The host may accept a message from another
/// neighbour.
#[derive(Debug, Default)]
pub(super) struct Refused {
    messages: BTreeSet<(u32, MessageId)>,
    order: VecDeque<(u32, MessageId)>,
}

impl Refused {
    pub(super) fn contains(&self, from: u32, id: &MessageId) -> bool {
        self.messages.contains(&(from, *id))
    }

    fn insert(&mut self, from: u32, id: MessageId) {
        if !self.messages.insert((from, id)) {
            return;
        }
        self.order.push_back((from, id));
        if self.order.len() > MAX_REFUSED
            && let Some(oldest) = self.order.pop_front()
        {
            self.messages.remove(&oldest);
        }
    }

    /// A neighbour is gone.
    pub(super) fn forget_source(&mut self, peer: u32) {
        self.order.retain(|(from, _)| *from != peer);
        self.messages.retain(|(from, _)| *from != peer);
        if self.order.is_empty() {
            // An empty set keeps its last node.
            *self = Self::default();
        }
    }
}

impl Broadcast {
    /// Whether the host has already refused this message of this neighbour.
    pub(crate) fn has_refused(&self, from: u32, id: &MessageId) -> bool {
        self.refused.contains(from, id)
    }

    /// The host has refused a message of a neighbour. The neighbour is not asked for it any more.
    pub(crate) fn refuse(&mut self, from: u32, id: MessageId) {
        // The last messages of a former neighbour count for a few seconds, which nobody would note here.
        if self.neighbour(from).is_none() {
            return;
        }
        self.refused.insert(from, id);
        if self.missing.forget(&id, from) {
            self.missing_ended(from);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_latest_1024_refused_messages_of_present_neighbours_are_remembered() {
        let id = |number: u32| MessageId::of(&number.to_le_bytes());
        let mut refused = Refused::default();
        for number in 0..1025 {
            refused.insert(1, id(number));
            refused.insert(1, id(number));
        }
        assert!(!refused.contains(1, &id(0)) && refused.contains(1, &id(1)));
        assert!(!refused.contains(2, &id(1)), "another neighbour");
        refused.insert(2, id(1));
        refused.forget_source(1);
        assert!(!refused.contains(1, &id(1024)) && refused.contains(2, &id(1)));
        assert_eq!(refused.order.len(), 1);
    }
}
