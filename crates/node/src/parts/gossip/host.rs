//! Topics, for hosts.

use std::time::Instant;

use gossip_net::{IdError, JoinError, LinkCounters, Subscription, TopicId, TopicStatus};
use libp2p_identity::PeerId;
use multiaddr::Multiaddr;

use super::Gossip;
use crate::Node;

/// An error of [`Node::subscribe`].
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum SubscribeError {
    /// This node has an identity of another type. Gossip needs an Ed25519 key.
    #[error("the identity of this node cannot take part in gossip")]
    Identity(#[source] IdError),
    /// A named peer has an identity of another type.
    #[error("the peer {peer} cannot take part in gossip")]
    Peer {
        /// The peer.
        peer: PeerId,
        /// What is wrong with its id.
        source: IdError,
    },
    /// An address names no peer.
    #[error("'{address}' names no peer: it must end with the peer's /p2p/ID")]
    NoPeer {
        /// The address.
        address: Multiaddr,
    },
    /// The topic cannot be joined.
    #[error(transparent)]
    Join(#[from] JoinError),
}

/// Topics.
impl Node {
    /// Takes part in a topic. The node asks the peers at `peers`, and all connected peers that support gossip, to become
    /// neighbours. Each address must end with its peer's `/p2p/ID`. The node remembers the addresses. `/p2p/ID` alone stands for
    /// the addresses that the node knows.
    ///
    /// The node leaves the topic when all subscriptions to it, and their senders and receivers, are dropped.
    ///
    /// # Errors
    ///
    /// An address names no peer, this node or the peer has no Ed25519 identity, the node takes part in too many topics, or the
    /// node is shut down.
    pub fn subscribe(
        &self,
        topic: TopicId,
        peers: impl IntoIterator<Item = Multiaddr>,
    ) -> Result<Subscription, SubscribeError> {
        let peers = peers.into_iter().collect::<Vec<_>>();
        self.gossip()?.subscribe(topic, &peers, None)
    }

    /// Like [`Self::subscribe`]. A subscriber that falls behind by more than `capacity` events loses the oldest events. Default:
    /// 2,048.
    ///
    /// # Errors
    ///
    /// As [`Self::subscribe`].
    pub fn subscribe_with_capacity(
        &self,
        topic: TopicId,
        peers: impl IntoIterator<Item = Multiaddr>,
        capacity: usize,
    ) -> Result<Subscription, SubscribeError> {
        let peers = peers.into_iter().collect::<Vec<_>>();
        self.gossip()?.subscribe(topic, &peers, Some(capacity))
    }

    /// Like [`Self::subscribe`], but waits until the node has a neighbour in the topic.
    ///
    /// # Errors
    ///
    /// There is no neighbour at the deadline, or an error of [`Self::subscribe`]. The node then leaves the topic.
    pub async fn subscribe_and_join(
        &self,
        topic: TopicId,
        peers: impl IntoIterator<Item = Multiaddr>,
        deadline: Instant,
    ) -> Result<Subscription, SubscribeError> {
        let subscription = self.subscribe(topic, peers)?;
        subscription.joined(deadline).await?;
        Ok(subscription)
    }

    /// The status of each topic in which the node takes part.
    pub fn topics(&self) -> Vec<TopicStatus> {
        let running = self.gossip().ok().and_then(|part| part.engine.running());
        running.map_or_else(Vec::new, |gossip| gossip.topics())
    }

    /// The counters of the node's gossip links.
    pub fn gossip_counters(&self) -> LinkCounters {
        let running = self.gossip().ok().and_then(|part| part.engine.running());
        running.map_or_else(LinkCounters::default, |gossip| gossip.link_counters())
    }

    pub(super) fn gossip(&self) -> Result<std::sync::Arc<Gossip>, SubscribeError> {
        // Every node with this feature has the part.
        self.part::<Gossip>().ok_or(JoinError::Left.into())
    }
}
