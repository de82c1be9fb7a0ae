//! The public events about the neighbours of the node.

use std::{
    collections::VecDeque,
    fmt,
    sync::{Mutex, PoisonError},
};

use gossip_net::{DownCause, Event, TopicId};
use libp2p_identity::PeerId;
use serde_json::{Value, json};

use super::id::peer_of;
use crate::event::PartEvent;

/// A neighbour of the node in a topic has come or gone. Messages are not among these events: a
/// [`gossip_net::Subscription`] receives them.
///
/// ```
/// use node::{Event, GossipEvent};
///
/// fn has_neighbour(event: &Event) -> bool {
///     let Event::Part(event) = event else { return false };
///     matches!(event.downcast_ref(), Some(GossipEvent { cause: None, .. }))
/// }
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct GossipEvent {
    /// The topic.
    pub topic: TopicId,
    /// The peer.
    pub peer: PeerId,
    /// The reason for which the peer is no longer a neighbour. `None`: the peer is a neighbour now.
    pub cause: Option<DownCause>,
}

impl GossipEvent {
    /// The public event about an event of gossip-net, if there is one.
    pub(super) fn of(topic: &TopicId, event: &Event) -> Option<Self> {
        let (id, cause) = match event {
            Event::NeighborUp(id) => (id, None),
            Event::NeighborDown(id, cause) => (id, Some(*cause)),
            _ => return None,
        };
        Some(Self {
            topic: *topic,
            peer: peer_of(id)?,
            cause,
        })
    }
}

impl fmt::Display for GossipEvent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { topic, peer, cause } = self;
        match cause {
            None => write!(f, "{peer} is a neighbour in topic {topic}"),
            Some(cause) => write!(
                f,
                "{peer} is no longer a neighbour in topic {topic}: {cause}"
            ),
        }
    }
}

impl PartEvent for GossipEvent {
    fn name(&self) -> &'static str {
        match self.cause {
            None => "neighbour_up",
            Some(_) => "neighbour_down",
        }
    }

    fn to_json(&self) -> Value {
        let mut object = json!({
            "topic": self.topic.to_string(),
            "peer_id": self.peer.to_string(),
        });
        if let Some(cause) = &self.cause {
            object["cause"] = cause.to_string().into();
        }
        object
    }
}

/// The most events that wait for the task of the part. The oldest give way: a host that must miss nothing asks for the topics.
const MAX_WAITING: usize = 1024;

/// Events that wait for the task of the part, because nothing may be sent to the host while gossip-net works.
#[derive(Debug, Default)]
pub(super) struct Waiting(Mutex<VecDeque<GossipEvent>>);

impl Waiting {
    pub(super) fn push(&self, event: GossipEvent) {
        let mut waiting = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if waiting.len() >= MAX_WAITING {
            waiting.pop_front();
        }
        waiting.push_back(event);
    }

    pub(super) fn pop(&self) -> Option<GossipEvent> {
        let mut waiting = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        waiting.pop_front()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_more_than_1024_waiting_events_the_oldest_give_way() {
        let waiting = Waiting::default();
        let peers = (0..1030).map(|_| PeerId::random()).collect::<Vec<_>>();
        for peer in &peers {
            waiting.push(GossipEvent {
                topic: TopicId::from_name("a"),
                peer: *peer,
                cause: None,
            });
        }
        let left = std::iter::from_fn(|| waiting.pop()).map(|event| event.peer);
        assert_eq!(left.collect::<Vec<_>>(), peers[6..]);
    }
}
