//! A node that takes part in one topic for one command, with a new identity.

use std::time::Duration;

use node::{
    BootstrapConfig, BootstrapFailed, Config, Event, Events, Keypair, Multiaddr, Node,
    describe_gossip,
    gossip_net::{PublishError, Subscription, TopicId},
    multiaddr::Protocol,
};
use serde_json::Value;
use tokio::signal::ctrl_c;

use crate::{
    failure::{self, Failure},
    iroh::{self, IrohPeer},
};

/// The time that a message waits for a neighbour and for room.
const PUBLISH_TIMEOUT: Duration = Duration::from_secs(30);

/// The time in which the neighbours must take the last messages.
const FLUSH_TIMEOUT: Duration = Duration::from_secs(30);

/// The node with its only topic.
pub(super) struct Alone {
    node: Node,
    topic: TopicId,
    subscription: Subscription,
}

impl Alone {
    /// Joins the topic through `peers` and `iroh_peers`.
    pub(super) fn start(
        topic: &str,
        peers: Vec<Multiaddr>,
        iroh_peers: &[IrohPeer],
    ) -> Result<Self, Failure> {
        let topic = TopicId::from_name(topic);
        let named = peers.iter().filter(|address| {
            let last = address.iter().last();
            matches!(last, Some(Protocol::P2p(_)))
        });
        let named = named.cloned().collect::<Vec<_>>();
        let bootstrap = BootstrapConfig::default().with_list(peers);
        let config = Config::default().with_bootstrap(bootstrap);
        let node = Node::builder(Keypair::generate_ed25519()).config(config);
        let (node, events) = node.build_with_events().map_err(Failure::job_error)?;
        tokio::spawn(warn(events));
        let subscribed = node.subscribe(topic, named);
        let subscription = subscribed.map_err(Failure::usage_error)?;
        iroh::join(&node, iroh_peers, &subscription)?;
        Ok(Self {
            subscription,
            node,
            topic,
        })
    }

    /// Passes on the events of the topic until the user ends the command.
    pub(super) async fn receive(
        &mut self,
        mut each: impl FnMut(&Value) -> Result<(), Failure>,
    ) -> Result<(), Failure> {
        loop {
            let event = tokio::select! {
                event = self.subscription.recv() => event,
                _ = ctrl_c() => None,
            };
            let Some(event) = event else { return Ok(()) };
            if let Some(line) = describe_gossip(&self.topic, &event) {
                each(&line)?;
            }
        }
    }

    /// Publishes a message. Returns the number of neighbours to which it goes. `None`: the topic has seen it before.
    pub(super) async fn publish(&self, content: Vec<u8>) -> Result<Option<u64>, Failure> {
        let until = tokio::time::Instant::now() + PUBLISH_TIMEOUT;
        match self.subscription.publish(content, until.into_std()).await {
            Ok(neighbours) => Ok(Some(neighbours as u64)),
            Err(PublishError::Duplicate) => Ok(None),
            Err(error @ PublishError::NoNeighbour) => {
                let seconds = PUBLISH_TIMEOUT.as_secs();
                let problem = format!("{error}: no member has answered within {seconds} s");
                Err(Failure::job(problem))
            }
            Err(error) => Err(Failure::job_error(error)),
        }
    }

    /// Waits until all messages are sent to the neighbours.
    pub(super) async fn flush(&self) -> Result<(), Failure> {
        let until = tokio::time::Instant::now() + FLUSH_TIMEOUT;
        match self.subscription.sender().flush(until.into_std()).await {
            true => Ok(()),
            false => {
                let seconds = FLUSH_TIMEOUT.as_secs();
                let problem = format!(
                    "not all messages were sent: a neighbour was lost, or did not take them within {seconds} s"
                );
                Err(Failure::job(problem))
            }
        }
    }

    /// Leaves the topic and ends the node.
    pub(super) async fn finish(self) {
        self.node.shutdown().await;
    }
}

/// Tells the user which of the named members do not answer.
async fn warn(mut events: Events) {
    loop {
        match events.next().await {
            Ok(Event::Part(event)) if event.downcast_ref::<BootstrapFailed>().is_some() => {
                failure::warn(&event.to_string());
            }
            Ok(_) | Err(node::EventsError::Lagged { .. }) => {}
            Err(_) => return,
        }
    }
}
