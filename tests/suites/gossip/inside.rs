//! A Bowline node inside of the suite, so that the suite chooses the moment of its dial.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Instant;

use anyhow::{Context, Result};
use node::gossip_net::{Event, Receiver, Sender, TopicId};
use node::{IrohPeer, Keypair, Node};
use tokio::runtime::Handle;

use crate::member::{PATIENCE, TOPIC};

/// The suite takes events from time to time only.
const CAPACITY: usize = 1 << 17;

/// A member that has links to iroh peers only.
pub(crate) struct Inside {
    pub(crate) name: String,
    runtime: Handle,
    node: Node,
    sender: Sender,
    receiver: Receiver,
    /// `ENDPOINT_ID@IP:PORT`.
    pub(crate) address: String,
    /// How often each message was heard.
    pub(crate) heard: BTreeMap<String, usize>,
    /// How many neighbours have come and gone.
    pub(crate) ups: usize,
    pub(crate) downs: usize,
}

impl Inside {
    /// Starts a member that knows nobody.
    pub(crate) fn start(runtime: &Handle, name: &str) -> Result<Self> {
        let _within = runtime.enter();
        let node = Node::builder(Keypair::generate_ed25519()).build()?;
        node.listen_for_iroh(([127, 0, 0, 1], 0).into())?;
        let addresses = node.iroh_addresses();
        let address = addresses.first().context("the node has no iroh endpoint")?;
        let address = address.to_string();
        let topic = TopicId::from_name(TOPIC);
        let subscription = node.subscribe_with_capacity(topic, [], CAPACITY)?;
        let (sender, receiver) = subscription.split();
        Ok(Self {
            name: name.to_owned(),
            runtime: runtime.clone(),
            node,
            sender,
            receiver,
            address,
            heard: BTreeMap::new(),
            ups: 0,
            downs: 0,
        })
    }

    /// Joins by another member.
    pub(crate) fn join(&self, address: &str) -> Result<()> {
        let _within = self.runtime.enter();
        let peer: IrohPeer = address.parse()?;
        self.sender.join_peers(&self.node.name_iroh_peers([peer])?);
        Ok(())
    }

    /// Publishes a message.
    pub(crate) fn publish(&self, text: &str) -> Result<()> {
        let content = text.as_bytes().to_vec();
        let published = self.sender.publish(content, Instant::now() + PATIENCE);
        self.runtime.block_on(published)?;
        Ok(())
    }

    /// Publishes messages in a task. Each waits until it has room.
    pub(crate) fn publish_all(&self, texts: Vec<String>) {
        let sender = self.sender.clone();
        self.runtime.spawn(async move {
            for text in texts {
                let until = Instant::now() + PATIENCE;
                if let Err(error) = sender.publish(text, until).await {
                    println!("a message was not published: {error}");
                }
            }
        });
    }

    /// Takes what has happened so far.
    pub(crate) fn read(&mut self) {
        while let Some(event) = self.receiver.try_recv() {
            match event {
                Event::Received(message) => {
                    let text = String::from_utf8_lossy(&message.content).into_owned();
                    *self.heard.entry(text).or_default() += 1;
                }
                Event::NeighborUp(_) => self.ups += 1,
                Event::NeighborDown(..) => self.downs += 1,
                _ => {}
            }
        }
    }

    /// Whether the other end has dialed, too.
    pub(crate) fn was_dialed(&self) -> bool {
        let counters = self.node.gossip_counters();
        counters.opened > counters.dials.saturating_sub(counters.failed_dials)
    }

    /// The endpoint ids of its neighbours.
    pub(crate) fn neighbours(&self) -> BTreeSet<String> {
        let neighbours = self.sender.neighbors();
        neighbours.iter().map(ToString::to_string).collect()
    }

    /// How many links are open.
    pub(crate) fn links(&self) -> u64 {
        let counters = self.node.gossip_counters();
        counters.opened.saturating_sub(counters.closed)
    }
}

impl Drop for Inside {
    fn drop(&mut self) {
        self.runtime.block_on(self.node.shutdown());
    }
}
