//! The swarm, with its commands and what it prints.

use std::{fs, io::ErrorKind, path::Path, time::Duration};

use anyhow::{Context, Result, bail, ensure};
use bootstrap::{
    Candidate, Origin, PeerSource, RejoinConfig, Store, StoreConfig,
    sources::{List, parse_peer, saved},
};
use futures::StreamExt;
use libp2p::{
    Multiaddr, PeerId, Swarm, SwarmBuilder, gossipsub, identify,
    identity::Keypair,
    swarm::{NetworkBehaviour, SwarmEvent, behaviour::toggle::Toggle},
};
use serde_json::json;
use tokio::{
    io::{AsyncBufReadExt, BufReader, stdin},
    time::{MissedTickBehavior, interval},
};

use crate::{
    Options,
    behaviour::{Behaviour, Event},
    line,
};

/// The time between two attempts to publish.
const PAUSE: Duration = Duration::from_millis(20);

/// How long a connection is kept that nobody uses.
const IDLE: Duration = Duration::from_secs(600);

/// How long the last write of saved peers may take.
const GOODBYE: Duration = Duration::from_secs(1);

/// Stock behaviours, and the one that rejoins.
#[derive(NetworkBehaviour)]
struct Behaviours {
    gossipsub: gossipsub::Behaviour,
    identify: identify::Behaviour,
    rejoin: Toggle<Behaviour>,
}

struct Node {
    swarm: Swarm<Behaviours>,
    topic: gossipsub::IdentTopic,
    /// What is published again and again, and how often that was tried.
    text: Option<String>,
    attempts: u64,
    /// Whether the last attempt succeeded.
    heard: Option<bool>,
}

pub async fn run(options: Options) -> Result<()> {
    let key = keypair(&options.key)?;
    let rejoin = if options.bare {
        None
    } else {
        Some(rejoin(&key, &options)?)
    };
    let mut node = Node {
        swarm: swarm(key, rejoin)?,
        topic: gossipsub::IdentTopic::new("adopt"),
        text: None,
        attempts: 0,
        heard: None,
    };
    let topic = node.topic.clone();
    node.swarm.behaviour_mut().gossipsub.subscribe(&topic)?;
    node.swarm.listen_on(options.listen)?;
    for peer in options.peers.iter().filter(|_| options.bare) {
        node.swarm.dial(peer.clone())?;
    }
    let mut commands = BufReader::new(stdin()).lines();
    let mut due = interval(PAUSE);
    due.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            event = node.swarm.select_next_some() => node.handle(event),
            _ = due.tick() => node.publish(),
            command = commands.next_line() => {
                let Some(command) = command? else { break };
                if let Err(error) = node.obey(&command) {
                    line(json!({ "event": "failed", "command": command, "message": format!("{error:#}") }));
                }
            }
        }
    }
    if let Some(rejoin) = node.swarm.behaviour_mut().rejoin.as_mut() {
        ensure!(
            rejoin.close(GOODBYE).await,
            "the saved peers were not written"
        );
    }
    Ok(())
}

/// The identity in the file, or a new one.
fn keypair(path: &Path) -> Result<Keypair> {
    let named = || format!("the key file {}", path.display());
    match fs::read(path) {
        Ok(bytes) => Keypair::from_protobuf_encoding(&bytes).with_context(named),
        Err(error) if error.kind() == ErrorKind::NotFound => {
            let key = Keypair::generate_ed25519();
            fs::write(path, key.to_protobuf_encoding()?).with_context(named)?;
            Ok(key)
        }
        Err(error) => Err(error).with_context(named),
    }
}

/// The behaviour with its sources. The saved peers come before the list.
fn rejoin(key: &Keypair, options: &Options) -> Result<Behaviour> {
    let list = options
        .peers
        .iter()
        .map(|peer| parse_peer(&peer.to_string(), Origin::List))
        .collect::<Result<Vec<Candidate<PeerId, Multiaddr>>, _>>()?;
    let mut sources: Vec<Box<dyn PeerSource<PeerId, Multiaddr>>> = Vec::new();
    let store = options.saved.as_ref().map(|path| {
        let (store, loaded) = Store::open(path, StoreConfig::default());
        sources.push(Box::new(saved(loaded)));
        store
    });
    sources.push(Box::new(List::new(list)));
    let default = RejoinConfig::default();
    let settled = default.settled.min(options.lasted);
    let config = default.with_stays(settled, options.lasted);
    let local = key.public().to_peer_id();
    Ok(Behaviour::new(local, config, sources, store))
}

fn swarm(key: Keypair, rejoin: Option<Behaviour>) -> Result<Swarm<Behaviours>> {
    let behaviours = |key: &Keypair| {
        let signed = gossipsub::MessageAuthenticity::Signed(key.clone());
        let identify = identify::Config::new("/adopt/1".to_owned(), key.public());
        Ok(Behaviours {
            gossipsub: gossipsub::Behaviour::new(signed, gossipsub::Config::default())?,
            identify: identify::Behaviour::new(identify),
            rejoin: rejoin.into(),
        })
    };
    Ok(SwarmBuilder::with_existing_identity(key)
        .with_tokio()
        .with_quic()
        .with_behaviour(behaviours)?
        .with_swarm_config(|config| config.with_idle_connection_timeout(IDLE))
        .build())
}

impl Node {
    fn obey(&mut self, command: &str) -> Result<()> {
        match command.split_once(' ') {
            Some(("publish", text)) => {
                (self.text, self.attempts, self.heard) = (Some(text.to_owned()), 0, None);
            }
            Some(("dial", address)) => self.swarm.dial(address.parse::<Multiaddr>()?)?,
            None if command == "quiet" => self.text = None,
            _ => bail!("no such command"),
        }
        Ok(())
    }

    /// One attempt to publish. The first one is reported, and then each change from failure to success or back.
    fn publish(&mut self) {
        let Some(text) = &self.text else { return };
        self.attempts += 1;
        // gossipsub sends a message only once, so each attempt is another message.
        let message = format!("{text} {}", self.attempts);
        let gossipsub = &mut self.swarm.behaviour_mut().gossipsub;
        let outcome = gossipsub.publish(self.topic.clone(), message);
        if self.heard.replace(outcome.is_ok()) != Some(outcome.is_ok()) {
            line(match outcome {
                Ok(_) => json!({ "event": "published", "attempt": self.attempts }),
                Err(error) => json!({ "event": "unheard", "message": format!("{error:#}") }),
            });
        }
    }

    fn handle(&mut self, event: SwarmEvent<BehavioursEvent>) {
        match event {
            SwarmEvent::Behaviour(BehavioursEvent::Gossipsub(gossipsub::Event::Message {
                message,
                ..
            })) => {
                let text = String::from_utf8_lossy(&message.data);
                let text = text.rsplit_once(' ').map_or("", |(text, _)| text);
                line(json!({ "event": "message", "text": text }));
            }
            SwarmEvent::Behaviour(BehavioursEvent::Identify(event)) => {
                if let Some(rejoin) = self.swarm.behaviour_mut().rejoin.as_mut() {
                    rejoin.handle_identify_event(&event);
                }
            }
            SwarmEvent::Behaviour(BehavioursEvent::Rejoin(event)) => told(event),
            SwarmEvent::NewListenAddr { address, .. } => {
                let local = *self.swarm.local_peer_id();
                let address = address.with_p2p(local).unwrap_or_else(|address| address);
                line(json!({ "event": "ready", "address": address.to_string() }));
            }
            SwarmEvent::ConnectionEstablished {
                peer_id,
                num_established,
                ..
            } => line(json!({
                "event": "up",
                "peer": peer_id.to_string(),
                "connections": num_established.get(),
            })),
            SwarmEvent::ConnectionClosed {
                peer_id,
                num_established,
                ..
            } => line(json!({
                "event": "down",
                "peer": peer_id.to_string(),
                "connections": num_established,
            })),
            _ => {}
        }
    }
}

fn told(event: Event) {
    line(match event {
        Event::State { from, status } => json!({
            "event": "network",
            "from": from.to_string(),
            "to": status.state.to_string(),
            "reason": status.to_string(),
        }),
        Event::Saved(peer) => json!({ "event": "saved", "peer": peer.to_string() }),
        Event::Replaced(peer) => json!({ "event": "replaced", "peer": peer.to_string() }),
        Event::Problem(problem) => json!({ "event": "problem", "message": problem.to_string() }),
    });
}
