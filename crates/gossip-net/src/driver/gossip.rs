//! The handle of a running node.

use std::{
    collections::HashMap,
    sync::Arc,
    time::{Duration, Instant},
};

use tokio::{
    sync::Notify,
    time::{sleep, sleep_until, timeout_at},
};

use super::{
    LinkEvent,
    actor::{Actor, State, now},
    queue::Queue,
    reader::{self, Held},
    subscription::{Subscription, TopicGuard},
    writer,
};
use crate::{
    Config, Core, Counters, Id, JoinError, LinkCounters, LinkId, Links, TopicId, TopicStatus,
    wire::{PeerData, PeerInfo},
};

/// How many events wait for a subscriber by default.
const DEFAULT_CAPACITY: usize = 2048;
/// How long a shutdown waits before it closes the links, because a host may lose the bytes that are on their way.
const LINGER: Duration = Duration::from_millis(20);
/// How many streams of one link are read at a time, or two per topic if those are more.
const MIN_STREAMS: usize = 512;

/// Takes part in topics over the links of a host. A clone is a handle to the same node. Dropping all handles does not end the
/// node: [`Self::shut_down`] does.
#[derive(Clone)]
pub struct Gossip {
    actor: Arc<Actor>,
}

/// Starts a node.
pub struct Builder {
    core: Core,
    links: Arc<dyn Links>,
    config: Config,
}

impl Builder {
    /// A node with this id over these links. The seed decides the random choices, and should be random itself.
    pub fn new(me: Id, seed: u64, config: Config, links: Arc<dyn Links>) -> Self {
        let gate = links.clone();
        let core = Core::new(me, seed, config.clone())
            .with_gate(move |topic, peer| gate.allows(topic, peer));
        Self {
            core,
            links,
            config,
        }
    }

    /// Sets the function that decides which new messages are delivered and forwarded. The function gets the topic, the
    /// neighbour and the content. A message for which it returns false is dropped. The function must be fast.
    pub fn validate(
        mut self,
        validation: impl Fn(&TopicId, &Id, &[u8]) -> bool + Send + Sync + 'static,
    ) -> Self {
        self.core = self.core.with_validation(validation);
        self
    }

    /// Sets the addresses of this node, so that its first messages already contain them. [`LinkEvent::OwnData`] changes them.
    pub fn own_data(mut self, data: PeerData) -> Self {
        self.core.handle_own_data(data);
        self
    }

    /// Starts the tasks. Call this within a tokio runtime.
    pub fn spawn(self) -> Gossip {
        let actor = Actor::new(self.core, self.links);
        actor.spawn(serve(actor.clone(), self.config));
        actor.spawn(tick(actor.clone()));
        Gossip { actor }
    }
}

impl Gossip {
    /// Takes part in a topic, and asks these peers to become neighbours.
    ///
    /// # Errors
    ///
    /// The node already takes part in [`Config::max_topics`] topics, or has shut down.
    pub fn subscribe(&self, topic: TopicId, peers: &[PeerInfo]) -> Result<Subscription, JoinError> {
        self.subscribe_with_capacity(topic, peers, DEFAULT_CAPACITY)
    }

    /// Like [`Self::subscribe`]. A subscriber that falls behind by more than `capacity` events loses the oldest ones.
    ///
    /// # Errors
    ///
    /// As for [`Self::subscribe`].
    pub fn subscribe_with_capacity(
        &self,
        topic: TopicId,
        peers: &[PeerInfo],
        capacity: usize,
    ) -> Result<Subscription, JoinError> {
        let queue = Arc::new(Queue::new(capacity));
        let actor = self.actor.clone();
        self.actor.with(|state, now| {
            if state.is_down() {
                return Err(JoinError::Left);
            }
            state.core.subscribe(now, topic, peers)?;
            let subscribers = state.topics.entry(topic).or_default();
            subscribers.handles += 2;
            subscribers.queues.push(Arc::downgrade(&queue));
            let guard = || TopicGuard::new(actor.clone(), topic);
            Ok(Subscription::new(guard(), guard(), queue))
        })
    }

    /// Takes part in a topic, and waits until the node has a neighbour.
    ///
    /// # Errors
    ///
    /// There is no neighbour at the deadline, or [`Self::subscribe`] fails. The node then leaves the topic.
    pub async fn subscribe_and_join(
        &self,
        topic: TopicId,
        peers: &[PeerInfo],
        deadline: Instant,
    ) -> Result<Subscription, JoinError> {
        let subscription = self.subscribe(topic, peers)?;
        subscription.joined(deadline).await?;
        Ok(subscription)
    }

    /// Names peers that may be members of a topic. See [`Core::offer`].
    pub fn offer(&self, topic: TopicId, peers: &[PeerInfo]) {
        self.actor
            .with(|state, now| state.core.offer(now, topic, peers));
    }

    /// Like [`Self::offer`], for all topics.
    pub fn offer_to_all(&self, peers: &[PeerInfo]) {
        self.actor
            .with(|state, now| state.core.offer_to_all(now, peers));
    }

    /// The status of all topics.
    pub fn topics(&self) -> Vec<TopicStatus> {
        self.actor.with(|state, _| state.core.topics())
    }

    /// The counters of all topics together, including the topics that the node has left.
    pub fn counters(&self) -> Counters {
        self.actor.with(|state, _| state.core.counters())
    }

    /// The counters of all links.
    pub fn link_counters(&self) -> LinkCounters {
        self.actor.with(|state, _| state.core.link_counters())
    }

    /// The link over which messages to a peer are sent.
    pub fn current_link(&self, peer: &Id) -> Option<LinkId> {
        self.actor.with(|state, _| state.core.current_link(peer))
    }

    /// All links.
    pub fn links(&self) -> Vec<LinkId> {
        self.actor.with(|state, _| state.core.links())
    }

    /// Leaves all topics, sends the queued messages until the deadline, and closes all links. Returns whether the host has taken
    /// all messages in time.
    pub async fn shut_down(&self, deadline: Instant) -> bool {
        let unsent = |state: &mut State, _: Instant| state.core.link_counters().unsent;
        let before = self.actor.with(unsent);
        self.actor.with(|state, now| state.core.leave_all(now));
        let in_time = self.actor.drained(deadline).await;
        if in_time {
            sleep(LINGER).await;
        }
        let all_sent = in_time && self.actor.with(unsent) == before;
        let (links, mut tasks) = self.actor.shut_down();
        for link in links {
            self.actor.links.close(link, "shut down");
        }
        // A task that does not end, because a function of the host does not return, must not delay the shutdown.
        let ended = async { while tasks.join_next().await.is_some() {} };
        let _ = timeout_at(deadline.into(), ended).await;
        all_sent
    }
}

/// Takes the events of the links.
async fn serve(actor: Arc<Actor>, config: Config) {
    let max_streams = MIN_STREAMS.max(2 * config.max_topics);
    // Each reader holds the counter of its link.
    let mut streams = HashMap::<LinkId, Arc<Held>>::new();
    loop {
        match actor.links.next().await {
            LinkEvent::Up {
                peer,
                link,
                dialed_by,
                protocol,
            } => {
                streams.insert(link, Arc::default());
                let notify = Arc::new(Notify::new());
                let writer = writer::run(Arc::downgrade(&actor), link, notify.clone());
                actor.add_link(link, notify, writer);
                actor.with(|state, now| {
                    state
                        .core
                        .handle_link_up(now, link, peer, dialed_by, protocol)
                });
            }
            LinkEvent::Stream {
                link,
                index,
                reader,
            } => {
                let Some(held) = streams
                    .get(&link)
                    .filter(|held| Arc::strong_count(held) <= max_streams)
                else {
                    actor.with(|state, now| state.core.handle_invalid(now, link));
                    continue;
                };
                let stream = reader::Stream {
                    link,
                    index,
                    reader,
                    held: held.clone(),
                };
                actor.spawn(reader::run(actor.clone(), stream, config.max_frame()));
            }
            LinkEvent::Closed { link, cause } => {
                tracing::debug!(?link, cause, "the host reports the end of a link");
                streams.remove(&link);
                actor.remove_link(link);
                actor.with(|state, now| state.core.handle_link_closed(now, link));
            }
            LinkEvent::OwnData(data) => actor.with(|state, _| state.core.handle_own_data(data)),
            LinkEvent::NetworkChanged => {
                actor.with(|state, now| state.core.handle_network_change(now))
            }
        }
    }
}

/// Sleeps until the core's next timeout.
async fn tick(actor: Arc<Actor>) {
    loop {
        match actor.arm() {
            Some(due) if due <= now() => {
                actor.with(|state, now| state.core.handle_timeout(now));
                // A core that always has something to do must not starve other tasks.
                tokio::task::yield_now().await;
            }
            Some(due) => tokio::select! {
                () = sleep_until(due.into()) => {}
                () = actor.timer.notified() => {}
            },
            None => actor.timer.notified().await,
        }
    }
}
