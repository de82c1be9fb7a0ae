//! The configuration of gossip.

use std::{fmt, sync::Arc};

use gossip_net::{Config, TopicId};
use libp2p_identity::PeerId;

/// How the node takes part in the topics to which its host subscribes.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct GossipConfig {
    /// The settings of all topics: their number, the size of messages, the neighbours and the broadcasts. The node replaces the
    /// default of [`Config::max_topics`], which is 256, by 64: a peer may open two streams per topic, and all of them must fit
    /// into [`crate::Config::max_inbound_streams`].
    pub core: Config,
    /// Decides which peers may take part in a topic. Default `None`: every peer may.
    pub allow: Option<AllowPeer>,
    /// Decides which messages are delivered and forwarded. Default `None`: all messages.
    pub validate: Option<ValidateMessage>,
}

/// Decides whether a peer may take part in a topic. The node calls the function for each message, and the function must not
/// block.
#[derive(Clone)]
pub struct AllowPeer(Arc<Allow>);

/// Decides whether a message is delivered and forwarded. The function gets the topic, the neighbour that sent the message, and
/// the content. The node calls it for each new message of a neighbour, and not again for a message that it has accepted, or that it has
/// refused from the same neighbour. The function must not block, and must be fast, because it delays all topics.
#[derive(Clone)]
pub struct ValidateMessage(Arc<Validate>);

type Allow = dyn Fn(&TopicId, &PeerId) -> bool + Send + Sync;
type Validate = dyn Fn(&TopicId, &PeerId, &[u8]) -> bool + Send + Sync;

impl Default for GossipConfig {
    fn default() -> Self {
        Self {
            core: Config::default().with_max_topics(64),
            allow: None,
            validate: None,
        }
    }
}

impl GossipConfig {
    /// Sets [`Self::core`].
    pub fn with_core(mut self, core: Config) -> Self {
        self.core = core;
        self
    }

    /// Sets [`Self::allow`].
    pub fn with_allow(
        mut self,
        allow: impl Fn(&TopicId, &PeerId) -> bool + Send + Sync + 'static,
    ) -> Self {
        self.allow = Some(AllowPeer(Arc::new(allow)));
        self
    }

    /// Sets [`Self::validate`].
    pub fn with_validate(
        mut self,
        validate: impl Fn(&TopicId, &PeerId, &[u8]) -> bool + Send + Sync + 'static,
    ) -> Self {
        self.validate = Some(ValidateMessage(Arc::new(validate)));
        self
    }

    /// The number of gossip streams that a peer may have open on one connection: one per topic, and one that ends while its
    /// successor has begun.
    pub(crate) fn max_streams(&self) -> usize {
        self.core.max_topics.saturating_mul(2)
    }
}

impl AllowPeer {
    pub(crate) fn allows(&self, topic: &TopicId, peer: &PeerId) -> bool {
        (self.0)(topic, peer)
    }
}

impl ValidateMessage {
    pub(crate) fn accepts(&self, topic: &TopicId, via: &PeerId, content: &[u8]) -> bool {
        (self.0)(topic, via, content)
    }
}

impl fmt::Debug for AllowPeer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("AllowPeer")
    }
}

impl fmt::Debug for ValidateMessage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ValidateMessage")
    }
}
