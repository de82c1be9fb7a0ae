//! A peer that does as it is told, and tells what it learns of its connections.

use std::{collections::HashMap, io, time::Duration};

use anyhow::{Context, Result, bail};
use clap::Args;
use conn_state::{Recommended, SharedTracker, Subscription, TrackerConfig};
use futures::StreamExt;
use libp2p::{
    Multiaddr, PeerId, Swarm, SwarmBuilder, allow_block_list,
    identity::Keypair,
    multiaddr::Protocol,
    noise, ping, relay,
    swarm::{
        ConnectionId, NetworkBehaviour, SwarmEvent,
        dial_opts::{DialOpts, PeerCondition},
    },
    tcp, yamux,
};
use serde_json::json;

use crate::{behaviour::Behaviour, report};

/// Events of one peer that are kept, at most.
const HISTORY: usize = 64;

#[derive(Args)]
pub struct Options {
    /// Listen there, besides where commands say
    #[arg(long, value_name = "MULTIADDR")]
    listen: Option<Multiaddr>,
    /// Refuse this peer, in a behaviour after the one that tracks connections
    #[arg(long, value_name = "PEER")]
    block: Option<PeerId>,
    /// How long a handshake may take
    #[arg(long, value_name = "SECONDS", default_value = "30", value_parser = seconds)]
    max_handshake: Duration,
    /// How long a limited connection may last [default: as long as its relay allows]
    #[arg(long, value_name = "SECONDS", value_parser = seconds)]
    max_limited: Option<Duration>,
    /// How many connections may be transient at once
    #[arg(long, value_name = "NUMBER", default_value_t = 1024)]
    max_transient: usize,
    /// How long an old connection may take to answer when there is a new one
    #[arg(long, value_name = "SECONDS", default_value = "0.5", value_parser = seconds)]
    probe: Duration,
    /// How long a connection is kept whose place was taken by another one
    #[arg(long, value_name = "SECONDS", default_value = "30", value_parser = seconds)]
    drain: Duration,
    /// How many events a reader may be behind
    #[arg(long, value_name = "EVENTS", default_value_t = 65_536)]
    history: usize,
}

fn seconds(text: &str) -> Result<Duration> {
    Ok(Duration::try_from_secs_f64(text.parse()?)?)
}

/// Stock behaviours, and one that tells how well each peer is connected.
#[derive(NetworkBehaviour)]
struct Behaviours {
    state: Behaviour,
    relay: relay::client::Behaviour,
    ping: ping::Behaviour,
    blocked: allow_block_list::Behaviour<allow_block_list::BlockedPeers>,
}

struct Peer {
    swarm: Swarm<Behaviours>,
    tracker: SharedTracker<PeerId>,
    /// Readers that do not read yet.
    held: HashMap<String, Subscription<PeerId>>,
}

pub async fn run(options: Options) -> Result<()> {
    let mut swarm = SwarmBuilder::with_new_identity()
        .with_tokio()
        .with_tcp(
            tcp::Config::default(),
            noise::Config::new,
            yamux::Config::default,
        )?
        .with_relay_client(noise::Config::new, yamux::Config::default)?
        .with_behaviour(|key, relay| behaviours(key, relay, &options))?
        .with_swarm_config(|config| config.with_idle_connection_timeout(report::PATIENCE))
        .build();
    let local = swarm.local_peer_id().to_string();
    match &options.listen {
        Some(address) => drop(swarm.listen_on(address.clone())?),
        None => report::line(json!({ "event": "ready", "peer_id": local, "addresses": [] })),
    }
    let mut peer = Peer {
        tracker: swarm.behaviour().state.tracker().clone(),
        swarm,
        held: HashMap::new(),
    };
    let mut commands = report::lines(io::stdin());
    loop {
        tokio::select! {
            // What a command is answered with comes after all that there was to tell.
            biased;
            event = peer.swarm.select_next_some() => peer.handle(event),
            command = commands.recv() => {
                let Some(command) = command else { return Ok(()) };
                if let Err(error) = peer.obey(&command) {
                    let message = format!("{error:#}");
                    report::line(json!({ "event": "failed", "command": command, "message": message }));
                }
            }
        }
    }
}

fn behaviours(key: &Keypair, relay: relay::client::Behaviour, options: &Options) -> Behaviours {
    // As no stream is counted, it is never quiet.
    let policy = Recommended::default()
        .with_max_ages(options.max_handshake, options.max_limited)
        .with_max_transient(options.max_transient, options.max_transient)
        .with_probe(options.probe, options.probe)
        .with_drain(Duration::ZERO, options.drain);
    let config = TrackerConfig::default().with_history(options.history, HISTORY);
    let mut blocked = allow_block_list::Behaviour::default();
    if let Some(peer) = options.block {
        blocked.block_peer(peer);
    }
    Behaviours {
        state: Behaviour::new(key.public().to_peer_id(), policy, config),
        relay,
        ping: ping::Behaviour::default(),
        blocked,
    }
}

impl Peer {
    fn handle(&mut self, event: SwarmEvent<BehavioursEvent>) {
        match event {
            SwarmEvent::Behaviour(BehavioursEvent::State(update)) => report::update("", &update),
            SwarmEvent::Behaviour(BehavioursEvent::Relay(event)) => {
                self.swarm.behaviour_mut().state.handle_relay_event(&event);
            }
            SwarmEvent::NewListenAddr { address, .. } => {
                let local = *self.swarm.local_peer_id();
                let address = address.with_p2p(local).unwrap_or_else(|address| address);
                report::line(json!({
                    "event": "ready",
                    "peer_id": local.to_string(),
                    "addresses": [address.to_string()],
                }));
            }
            SwarmEvent::ConnectionEstablished {
                peer_id,
                connection_id,
                endpoint,
                ..
            } => report::line(json!({
                "event": "up",
                "peer": peer_id.to_string(),
                "swarm_connection": connection_id.to_string(),
                "relayed": endpoint.is_relayed(),
            })),
            SwarmEvent::ConnectionClosed {
                peer_id,
                connection_id,
                endpoint,
                ..
            } => report::line(json!({
                "event": "down",
                "peer": peer_id.to_string(),
                "swarm_connection": connection_id.to_string(),
                "relayed": endpoint.is_relayed(),
            })),
            SwarmEvent::IncomingConnection { connection_id, .. } => report::line(json!({
                "event": "incoming",
                "swarm_connection": connection_id.to_string(),
            })),
            SwarmEvent::IncomingConnectionError { error, .. } => {
                let message = format!("{:#}", anyhow::Error::from(error));
                report::line(json!({ "event": "refused", "message": message }));
            }
            _ => {}
        }
    }

    fn obey(&mut self, command: &str) -> Result<()> {
        let (verb, what) = command.split_once(' ').context("no such command")?;
        match verb {
            "listen" => drop(self.swarm.listen_on(what.parse()?)?),
            "dial" => self.dial(what.parse()?)?,
            "close" => {
                let connection = ConnectionId::new_unchecked(what.parse()?);
                if !self.swarm.close_connection(connection) {
                    bail!("there is no connection {connection}");
                }
            }
            "connections" => {
                let peer = what.parse()?;
                let now = std::time::Instant::now();
                report::connections(peer, &self.tracker.connections(now, &peer));
            }
            "subscribe" => {
                let reader = self.subscribe(what);
                read(what, reader);
            }
            "hold" => {
                let reader = self.subscribe(what);
                self.held.insert(what.to_owned(), reader);
            }
            "read" => read(what, self.held.remove(what).context("no such reader")?),
            _ => bail!("no such command"),
        }
        Ok(())
    }

    /// Even if there is a connection, and from another port than that of the listener, so that both ends may dial each
    /// other at once.
    fn dial(&mut self, address: Multiaddr) -> Result<()> {
        let Some(Protocol::P2p(peer)) = address.iter().last() else {
            bail!("no peer in {address}");
        };
        let dial = DialOpts::peer_id(peer)
            .condition(PeerCondition::Always)
            .addresses(vec![address])
            .allocate_new_port();
        Ok(self.swarm.dial(dial.build())?)
    }

    fn subscribe(&self, name: &str) -> Subscription<PeerId> {
        let (snapshot, reader) = self.tracker.subscribe();
        report::snapshot(name, &snapshot);
        reader
    }
}

/// Prints what a reader reads, from now on.
fn read(name: &str, mut reader: Subscription<PeerId>) {
    let name = name.to_owned();
    tokio::spawn(async move {
        loop {
            report::update(&name, &reader.next().await);
        }
    });
}
