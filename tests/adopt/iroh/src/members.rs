//! The members of the topic.

use std::{
    hash::{BuildHasher, RandomState},
    sync::Arc,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, bail};
use futures::StreamExt;
use gossip_net::{Builder, Config, Event, Gossip, Id, LinkProtocol, Subscription, TopicId};
use iroh::{Endpoint, EndpointAddr, EndpointId, protocol::Router};
use iroh_gossip::{
    api::{Event as ForeignEvent, GossipTopic},
    net::GOSSIP_ALPN,
};
use serde_json::json;

use crate::{
    links::{IrohLinks, peer_info},
    name_of, say,
};

/// The name of the topic.
const TOPIC: &str = "lunch";

/// How long one call may take.
const SOON: Duration = Duration::from_secs(10);

/// A member on gossip-net.
pub(crate) struct Member {
    links: Arc<IrohLinks>,
    router: Router,
    gossip: Gossip,
    subscription: Subscription,
}

/// A member on iroh-gossip.
pub(crate) struct Foreign {
    router: Router,
    topic: GossipTopic,
}

impl Member {
    /// Subscribes to the topic. `known` are members with their addresses.
    pub(crate) async fn start(endpoint: Endpoint, known: &[EndpointAddr]) -> Result<Self> {
        let links = IrohLinks::new(endpoint)?;
        let router = links.router();
        // Each state is different, and so is its hash of nothing.
        let seed = RandomState::new().hash_one(());
        let own = links.own_info()?;
        let gossip = Builder::new(links.id(), seed, Config::default(), links.clone())
            .own_data(own.data.unwrap_or_default())
            .spawn();
        let known = known.iter().map(peer_info).collect::<Result<Vec<_>, _>>()?;
        let topic = TopicId::from_name(TOPIC);
        let subscription = gossip.subscribe(topic, &known)?;
        Ok(Self {
            links,
            router,
            gossip,
            subscription,
        })
    }

    fn name(&self) -> &'static str {
        name_of(self.links.id().as_bytes())
    }

    pub(crate) fn address(&self) -> EndpointAddr {
        self.router.endpoint().addr()
    }

    /// Waits until the member has so many neighbours.
    pub(crate) async fn wait_for_neighbours(&mut self, count: usize) -> Result<()> {
        while self.subscription.neighbors().len() < count {
            self.next().await?;
        }
        for peer in self.subscription.neighbors() {
            let (member, neighbour) = (self.name(), name_of(peer.as_bytes()));
            let protocol = self.protocol(&peer)?;
            say(
                &json!({"event": "neighbour", "member": member, "peer": neighbour, "protocol": protocol}),
            );
        }
        Ok(())
    }

    /// The protocol that the member and a neighbour speak.
    fn protocol(&self, peer: &Id) -> Result<&'static str> {
        let link = self.gossip.current_link(peer);
        let protocol = link.and_then(|link| self.links.protocol(link));
        Ok(match protocol.context("a neighbour has no link")? {
            LinkProtocol::Bowline => "/bowline/gossip/1",
            LinkProtocol::Iroh => "/iroh-gossip/1",
        })
    }

    pub(crate) async fn publish(&mut self, text: &'static str) -> Result<()> {
        let published = self.subscription.publish(text, soon()).await;
        published.map(drop).context("a message was not published")
    }

    /// Waits for so many messages.
    pub(crate) async fn receive(&mut self, count: usize) -> Result<()> {
        let mut received = 0;
        while received < count {
            if let Event::Received(message) = self.next().await? {
                print_message(self.name(), &message.content);
                received += 1;
            }
        }
        Ok(())
    }

    /// Waits until a neighbour has left the topic.
    pub(crate) async fn wait_for_departure(&mut self) -> Result<()> {
        loop {
            // The goodbye of the neighbour may arrive after the end of its link. The cause then names the link.
            if let Event::NeighborDown(peer, cause) = self.next().await? {
                let (member, peer, cause) =
                    (self.name(), name_of(peer.as_bytes()), cause.to_string());
                say(&json!({"event": "left", "member": member, "peer": peer, "cause": cause}));
                return Ok(());
            }
        }
    }

    async fn next(&mut self) -> Result<Event> {
        let event = self.subscription.recv().await;
        event.context("the node has shut down")
    }

    /// Shuts down. Returns whether the links have taken all messages.
    pub(crate) async fn leave(self) -> Result<bool> {
        let all_sent = self.gossip.shut_down(soon()).await;
        self.router.shutdown().await?;
        Ok(all_sent)
    }
}

impl Foreign {
    /// Subscribes to the topic. `known` are members.
    pub(crate) async fn start(endpoint: Endpoint, known: Vec<EndpointId>) -> Result<Self> {
        let gossip = iroh_gossip::net::Gossip::builder().spawn(endpoint.clone());
        let router = Router::builder(endpoint)
            .accept(GOSSIP_ALPN, gossip.clone())
            .spawn();
        let topic = TopicId::from_name(TOPIC);
        let topic = iroh_gossip::proto::TopicId::from_bytes(*topic.as_bytes());
        let topic = gossip.subscribe_and_join(topic, known).await?;
        Ok(Self { router, topic })
    }

    fn name(&self) -> &'static str {
        name_of(self.router.endpoint().id().as_bytes())
    }

    pub(crate) fn address(&self) -> EndpointAddr {
        self.router.endpoint().addr()
    }

    /// Waits until the member has so many neighbours.
    pub(crate) async fn wait_for_neighbours(&mut self, count: usize) -> Result<()> {
        while self.topic.neighbors().count() < count {
            self.next().await?;
        }
        for peer in self.topic.neighbors() {
            let (member, neighbour) = (self.name(), name_of(peer.as_bytes()));
            say(&json!({"event": "neighbour", "member": member, "peer": neighbour}));
        }
        Ok(())
    }

    pub(crate) async fn publish(&mut self, text: &'static str) -> Result<()> {
        Ok(self.topic.broadcast(text.into()).await?)
    }

    /// Waits for so many messages.
    pub(crate) async fn receive(&mut self, count: usize) -> Result<()> {
        let mut received = 0;
        while received < count {
            match self.next().await? {
                ForeignEvent::Received(message) => {
                    print_message(self.name(), &message.content);
                    received += 1;
                }
                ForeignEvent::Lagged => bail!("the subscription of iroh-gossip has missed events"),
                _ => {}
            }
        }
        Ok(())
    }

    async fn next(&mut self) -> Result<ForeignEvent> {
        let event = self.topic.next().await;
        Ok(event.context("the subscription of iroh-gossip has ended")??)
    }

    pub(crate) async fn leave(self) -> Result<()> {
        drop(self.topic);
        Ok(self.router.shutdown().await?)
    }
}

fn print_message(member: &str, content: &[u8]) {
    let text = String::from_utf8_lossy(content);
    say(&json!({"event": "message", "member": member, "text": text}));
}

fn soon() -> Instant {
    Instant::now() + SOON
}
