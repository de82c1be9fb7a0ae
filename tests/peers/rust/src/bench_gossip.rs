//! `bench-gossip-members`: the counterpart of what `bench-gossip` does with Bowline, on gossipsub.
//!
//! gossipsub finds no members by itself, so each member is connected to all others. Messages are not signed, as those of Bowline
//! and of iroh-gossip. Everything else has its default.

use std::{
    error::Error,
    hash::{DefaultHasher, Hash, Hasher},
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering::Relaxed},
    },
    time::{Duration, Instant},
};

use anyhow::{Context, Result, anyhow, ensure};
use futures::StreamExt;
use libp2p::{
    Multiaddr, PeerId, Swarm, SwarmBuilder, gossipsub, identify,
    identity::Keypair,
    ping,
    swarm::{self, NetworkBehaviour, SwarmEvent},
    tcp, tls, yamux,
};
use tokio::{
    sync::mpsc,
    time::{interval, sleep},
};

use self::load::Tally;

#[path = "../../../src/bin/bench-gossip/load.rs"]
mod load;

/// Longer than a benchmark takes.
const LONG: Duration = Duration::from_secs(60 * 60);

/// How often the mesh is looked at.
const POLL: Duration = Duration::from_millis(250);

/// How long the mesh may take to form.
const PATIENCE: Duration = Duration::from_secs(60);

/// How many neighbours each member needs in the mesh, unless there are fewer members: the stack's own lower bound.
const LEAST: usize = 5;

/// How many messages wait for the swarm's task. More of them make publishers wait.
const WAITING: usize = 64;

#[derive(NetworkBehaviour)]
struct Behaviour {
    ping: ping::Behaviour,
    identify: identify::Behaviour,
    gossip: gossipsub::Behaviour,
}

/// A member, whose swarm has a task of its own.
struct Member(mpsc::Sender<Vec<u8>>);

impl load::Member for Member {
    async fn publish(&self, content: Vec<u8>) -> Result<()> {
        Ok(self.0.send(content).await?)
    }
}

/// Runs members that are connected to each other and to the peers at `join`, until standard input closes.
pub async fn members(count: usize, join: Vec<Multiaddr>) -> Result<()> {
    // A runtime's main future lives on a thread of its own, to which every wake-up is a long way.
    tokio::spawn(run(count, join))
        .await
        .context("it panicked")?
}

async fn run(count: usize, join: Vec<Multiaddr>) -> Result<()> {
    let tally = Tally::new(count);
    let (mut members, mut meshes) = (Vec::new(), Vec::new());
    let (mut addresses, mut known) = (Vec::new(), join);
    for number in 0..count {
        let mut swarm = node()?;
        swarm.behaviour_mut().gossip.subscribe(&topic())?;
        swarm.listen_on("/ip4/127.0.0.1/tcp/0".parse()?)?;
        let address = loop {
            if let SwarmEvent::NewListenAddr { address, .. } = swarm.select_next_some().await {
                break address;
            }
        };
        for other in &known {
            swarm.dial(other.clone())?;
        }
        let address = address.with_p2p(*swarm.local_peer_id());
        let address = address.map_err(|address| anyhow!("{address} names another peer"))?;
        addresses.push(address.to_string());
        known.push(address);
        let (commands, orders) = mpsc::channel(WAITING);
        let mesh = Arc::new(AtomicUsize::new(0));
        meshes.push(Arc::clone(&mesh));
        members.push(Member(commands));
        tokio::spawn(drive(swarm, orders, number, Arc::clone(&tally), mesh));
    }
    until_meshed(&meshes, LEAST.min(known.len() - 1)).await?;
    load::say_ready(&addresses);
    load::obey(&members, &tally).await
}

fn topic() -> gossipsub::IdentTopic {
    gossipsub::IdentTopic::new("bench")
}

fn node() -> Result<Swarm<Behaviour>> {
    let lasting = |config: swarm::Config| config.with_idle_connection_timeout(LONG);
    Ok(SwarmBuilder::with_new_identity()
        .with_tokio()
        .with_tcp(
            tcp::Config::default().nodelay(true),
            tls::Config::new,
            yamux::Config::default,
        )?
        .with_behaviour(behaviour)?
        .with_swarm_config(lasting)
        .build())
}

fn behaviour(key: &Keypair) -> Result<Behaviour, Box<dyn Error + Send + Sync>> {
    // Without an author, the default id of a message is always the same.
    let by_content = |message: &gossipsub::Message| {
        let mut hasher = DefaultHasher::new();
        message.data.hash(&mut hasher);
        gossipsub::MessageId::from(hasher.finish().to_be_bytes().to_vec())
    };
    let config = gossipsub::ConfigBuilder::default()
        .validation_mode(gossipsub::ValidationMode::Anonymous)
        .message_id_fn(by_content)
        .build()?;
    let identity = identify::Config::new("/rust-peer/0.1.0".to_owned(), key.public());
    let anonymous = gossipsub::MessageAuthenticity::Anonymous;
    Ok(Behaviour {
        ping: ping::Behaviour::default(),
        identify: identify::Behaviour::new(identity),
        gossip: gossipsub::Behaviour::new(anonymous, config)?,
    })
}

async fn drive(
    mut swarm: Swarm<Behaviour>,
    mut orders: mpsc::Receiver<Vec<u8>>,
    member: usize,
    tally: Arc<Tally>,
    mesh: Arc<AtomicUsize>,
) {
    let (topic, mut ticks) = (topic(), interval(POLL));
    loop {
        tokio::select! {
            // What has arrived goes before the next message of this member.
            biased;
            event = swarm.select_next_some() => note(&event, member, &tally),
            _ = ticks.tick() => {
                let peers = swarm.behaviour().gossip.mesh_peers(&topic.hash()).count();
                mesh.store(peers, Relaxed);
            }
            Some(content) = orders.recv() => {
                // An error means that all queues are full. The message counts as published, and does not arrive.
                let _ = swarm.behaviour_mut().gossip.publish(topic.clone(), content);
            }
        }
    }
}

fn note(event: &SwarmEvent<BehaviourEvent>, member: usize, tally: &Tally) {
    let tell = |peer: &PeerId, is_up| load::say_neighbour(member, &peer.to_string(), is_up);
    match event {
        SwarmEvent::Behaviour(BehaviourEvent::Gossip(event)) => match event {
            gossipsub::Event::Message { message, .. } => tally.receive(member, &message.data),
            gossipsub::Event::Subscribed { peer_id, .. } => tell(peer_id, true),
            _ => {}
        },
        // gossipsub itself tells of no loss.
        SwarmEvent::ConnectionClosed {
            peer_id,
            num_established: 0,
            ..
        } => tell(peer_id, false),
        _ => {}
    }
}

async fn until_meshed(meshes: &[Arc<AtomicUsize>], least: usize) -> Result<()> {
    let begun = Instant::now();
    loop {
        let sizes = meshes.iter().map(|mesh| mesh.load(Relaxed));
        if sizes.min().is_none_or(|size| size >= least) {
            return Ok(());
        }
        ensure!(
            begun.elapsed() < PATIENCE,
            "a member has fewer than {least} neighbours after {PATIENCE:?}"
        );
        sleep(POLL).await;
    }
}
