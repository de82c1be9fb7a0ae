//! Subscriptions to topics.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use tokio::time::{sleep_until, timeout_at};

use super::{
    actor::{Actor, State, now},
    queue::Queue,
};
use crate::{Bytes, Event, Id, JoinError, MessageId, PublishError, TopicId, wire::PeerInfo};

/// How often a waiting publisher tries again, because a neighbour that takes nothing delays it only for a short time.
const RETRY_INTERVAL: Duration = Duration::from_millis(50);

/// Leaves the topic when the last handle is dropped.
pub(super) struct TopicGuard {
    actor: Arc<Actor>,
    topic: TopicId,
}

impl TopicGuard {
    /// The guard of a handle that the state has counted.
    pub(super) fn new(actor: Arc<Actor>, topic: TopicId) -> Self {
        Self { actor, topic }
    }

    fn neighbors(&self) -> Vec<Id> {
        self.actor
            .with(|state, _| state.core.neighbors(&self.topic))
    }
}

impl Clone for TopicGuard {
    fn clone(&self) -> Self {
        let topic = self.topic;
        self.actor.with(|state, _| {
            if let Some(subscribers) = state.topics.get_mut(&topic) {
                subscribers.handles += 1;
            }
        });
        Self::new(self.actor.clone(), topic)
    }
}

impl Drop for TopicGuard {
    fn drop(&mut self) {
        let topic = self.topic;
        self.actor.with(|state, now| {
            let Some(subscribers) = state.topics.get_mut(&topic) else {
                return;
            };
            subscribers.handles -= 1;
            if subscribers.handles == 0 {
                state.topics.remove(&topic);
                state.core.leave(now, topic);
            }
        });
    }
}

/// A subscription to a topic: a [`Sender`] and a [`Receiver`]. The node leaves the topic when the last of all senders and
/// receivers of the topic is dropped.
pub struct Subscription {
    sender: Sender,
    receiver: Receiver,
}

/// Publishes messages to a topic.
#[derive(Clone)]
pub struct Sender {
    guard: TopicGuard,
}

/// Receives the events of a topic.
pub struct Receiver {
    guard: TopicGuard,
    queue: Arc<Queue>,
}

impl Subscription {
    pub(super) fn new(sending: TopicGuard, receiving: TopicGuard, queue: Arc<Queue>) -> Self {
        let sender = Sender { guard: sending };
        let guard = receiving;
        let receiver = Receiver { guard, queue };
        Self { sender, receiver }
    }

    /// The two halves.
    pub fn split(self) -> (Sender, Receiver) {
        (self.sender, self.receiver)
    }

    /// The half that publishes.
    pub fn sender(&self) -> &Sender {
        &self.sender
    }

    /// See [`Receiver::recv`].
    pub async fn recv(&mut self) -> Option<Event> {
        self.receiver.recv().await
    }

    /// See [`Receiver::joined`].
    pub async fn joined(&self, deadline: Instant) -> Result<(), JoinError> {
        self.receiver.joined(deadline).await
    }

    /// See [`Sender::publish`].
    pub async fn publish(
        &self,
        content: impl Into<Bytes>,
        deadline: Instant,
    ) -> Result<usize, PublishError> {
        self.sender.publish(content, deadline).await
    }

    /// See [`Sender::neighbors`].
    pub fn neighbors(&self) -> Vec<Id> {
        self.sender.neighbors()
    }
}

impl Sender {
    /// The topic.
    pub fn topic(&self) -> TopicId {
        self.guard.topic
    }

    /// Publishes a message to all members of the topic. Waits for a neighbour, and for room, until the deadline. Returns the
    /// number of neighbours to which the message or its id goes.
    ///
    /// # Errors
    ///
    /// The message is too long or was seen a short time ago, or the deadline has passed. A dropped future has published nothing.
    pub async fn publish(
        &self,
        content: impl Into<Bytes>,
        deadline: Instant,
    ) -> Result<usize, PublishError> {
        self.send(content.into(), deadline, true).await
    }

    /// Publishes a message only to the neighbours, which do not forward it.
    ///
    /// # Errors
    ///
    /// As for [`Self::publish`].
    pub async fn broadcast_neighbors(
        &self,
        content: impl Into<Bytes>,
        deadline: Instant,
    ) -> Result<usize, PublishError> {
        self.send(content.into(), deadline, false).await
    }

    /// Publishes without waiting.
    ///
    /// # Errors
    ///
    /// As for [`Self::publish`].
    pub fn try_publish(&self, content: impl Into<Bytes>) -> Result<usize, PublishError> {
        let content = content.into();
        self.attempt(MessageId::of(&content), content, true)
    }

    fn attempt(
        &self,
        id: MessageId,
        content: Bytes,
        everywhere: bool,
    ) -> Result<usize, PublishError> {
        let topic = self.guard.topic;
        self.guard
            .actor
            .with(|state, now| state.core.publish(now, topic, id, content, everywhere))
    }

    async fn send(
        &self,
        content: Bytes,
        deadline: Instant,
        everywhere: bool,
    ) -> Result<usize, PublishError> {
        tokio::task::coop::consume_budget().await;
        let id = MessageId::of(&content);
        loop {
            let room = self.guard.actor.room.notified();
            tokio::pin!(room);
            room.as_mut().enable();
            let outcome = self.attempt(id, content.clone(), everywhere);
            if !matches!(outcome, Err(PublishError::Busy | PublishError::NoNeighbour))
                || now() >= deadline
            {
                return outcome;
            }
            let again = deadline.min(now() + RETRY_INTERVAL);
            let _ = timeout_at(again.into(), room).await;
        }
    }

    /// Waits until the host has taken all messages that wait for the neighbours. Returns false if some of them still wait at the
    /// deadline, or if all neighbours were lost with messages that waited for them. Use this method before a shutdown, and do not
    /// publish at the same time.
    pub async fn flush(&self, deadline: Instant) -> bool {
        let actor = &self.guard.actor;
        let unsent = |state: &mut State, _: Instant| state.core.link_counters().unsent;
        let before = actor.with(unsent);
        let in_time = actor.drained(deadline).await;
        let is_lost = actor.with(unsent) > before && self.neighbors().is_empty();
        in_time && !is_lost
    }

    /// Names further peers of the topic.
    pub fn join_peers(&self, peers: &[PeerInfo]) {
        let topic = self.guard.topic;
        self.guard
            .actor
            .with(|state, now| state.core.join(now, topic, peers));
    }

    /// The neighbours.
    pub fn neighbors(&self) -> Vec<Id> {
        self.guard.neighbors()
    }
}

impl Receiver {
    /// The next event. `None` if the node has shut down. A dropped future loses no event.
    pub async fn recv(&mut self) -> Option<Event> {
        loop {
            if let Some(event) = self.queue.pop() {
                return Some(event);
            }
            if self.queue.is_closed() {
                return None;
            }
            self.queue.arrived.notified().await;
        }
    }

    /// The next event, if there is one.
    pub fn try_recv(&mut self) -> Option<Event> {
        self.queue.pop()
    }

    /// Waits until the node has a neighbour in the topic.
    ///
    /// # Errors
    ///
    /// There is no neighbour at the deadline, or the node has shut down.
    pub async fn joined(&self, deadline: Instant) -> Result<(), JoinError> {
        loop {
            let room = self.guard.actor.room.notified();
            tokio::pin!(room);
            room.as_mut().enable();
            if !self.neighbors().is_empty() {
                return Ok(());
            }
            if self.queue.is_closed() {
                return Err(JoinError::Left);
            }
            tokio::select! {
                () = room => {}
                () = sleep_until(deadline.into()) => return Err(JoinError::TimedOut),
            }
        }
    }

    /// The neighbours.
    pub fn neighbors(&self) -> Vec<Id> {
        self.guard.neighbors()
    }
}
